//! Reads the vertices of a DiskANN index from the frames of a [`ringpool::BufferPool`].
//!
//! DiskANN searches a graph whose vertices, a vector and its neighbours each, lie in the blocks of a file. Its own reader has a ring
//! and plain buffers for each search, and copies each vertex; what it reads twice it reads from the disk twice, but for the
//! vertices next to the entry, which it can keep for good. [`PooledVertices`] takes the reader's place: all searches share the
//! frames of one pool, which keeps the blocks that searches use most, and a search borrows vectors and neighbours from there.
//!
//! * [`layout`]: where the parts of a vertex are; pure.
//! * [`sample`]: an index of generated vectors, for tests and the bench.
//! * [`vertices`]: what a search asks for its vertices.

pub mod layout;
pub mod sample;
pub mod vertices;

pub use vertices::PooledVertices;
