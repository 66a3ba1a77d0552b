//! Traces: which pages are used, one after another.

mod file;
mod synthetic;

pub use file::read;
pub use synthetic::synthetic;

use std::collections::HashSet;

/// Accesses in their order.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What it is called.
    pub name: String,
    /// The page of each access.
    pub pages: Vec<u64>,
}

impl Trace {
    /// Returns how many pages there are in it.
    pub fn footprint(&self) -> usize {
        self.pages.iter().collect::<HashSet<_>>().len()
    }
}
