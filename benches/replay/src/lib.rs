//! What a replacement policy misses: traces of page accesses, the policies of the literature, and tables of miss ratios.
//!
//! Nothing here knows ringpool: its own replacement comes in as one [`Candidate`] more. Everything is counted, nothing measured:
//! the same seed gives the same table on every machine.

pub mod policies;
mod random;
pub mod scan_cost;
pub mod table;
pub mod traces;

pub use policies::{Candidate, PUBLISHED, Policy};
pub use random::{Random, Zipf};
pub use table::{Line, SHARES, compare};
pub use traces::Trace;
