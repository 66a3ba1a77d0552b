//! Holding operations, so that a test can look at the pool while they are under way.

use super::{fault::Which, sim_disk::SimDisk};

/// One gate, as the disk keeps it.
pub(super) struct GateState {
    pub(super) number: u64,
    pub(super) which: Which,
    pub(super) stage: HeldStage,
    /// How many operations are held.
    pub(super) held: usize,
}

/// Where an operation is held.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum HeldStage {
    Begin,
    /// After a sector of a transfer was copied, and before the next one is.
    Midway,
}

/// Holds operations for as long as it lives. Made by [`SimDisk::hold`].
#[derive(Debug)]
pub struct Gate {
    disk: SimDisk,
    number: u64,
}

impl Gate {
    pub(super) fn new(disk: SimDisk, number: u64) -> Self {
        Self { disk, number }
    }

    /// Returns how many operations are held here. Example: [`SimDisk::hold`].
    #[must_use]
    pub fn held(&self) -> usize {
        self.disk.look(|state| state.held_at(self.number))
    }

    /// Waits until this number of operations is held here. Example: [`SimDisk::hold`].
    ///
    /// # Panics
    /// If they are not held within a minute.
    pub fn wait_for(&self, operations: usize) {
        self.disk.wait_for_held(self.number, operations);
    }

    /// Lets all held operations go on. Example: [`SimDisk::hold`].
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.disk.open_gate(self.number);
    }
}
