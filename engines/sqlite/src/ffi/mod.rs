//! What meets C: the only modules with `unsafe`.
//!
//! [`registration`] gives a VFS to SQLite, [`vfs_calls`] has its functions, [`file_calls`] those of a file, [`file_control`]
//! the rarer ones. [`shm_memory`] is memory that SQLite reads and writes by itself, [`byte_lock`] a lock that the standard library
//! does not have. Each function of SQLite's interface turns its arguments into safe ones, calls a
//! [`Handle`](crate::handle::Handle) or [`Files`](crate::vfs::Files), and turns the result into a code.
#![allow(unsafe_code)]

pub mod byte_lock;
pub mod file_calls;
pub mod file_control;
pub mod registration;
pub mod shm_memory;
pub mod vfs_calls;
