//! Holding operations, so that a test can look at the pool while they are under way.

use super::{fault::Which, sim_disk::SimDisk};
use crate::sync::time::{self, Duration};

/// How long a test waits for operations to come to a gate.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct GateState {
    pub(super) number: u64,
    pub(super) which: Which,
    pub(super) stage: HeldStage,
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
    pub(super) disk: SimDisk,
    pub(super) number: u64,
}

impl Gate {
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
        let deadline = time::now() + PATIENCE;
        let mut state = self.disk.0.state.lock();
        while state.held_at(self.number) < operations {
            let held = state.held_at(self.number);
            assert!(time::now() < deadline, "{held} operations came to the gate, not {operations}");
            state = self.disk.0.moved.wait_until(state, deadline);
        }
    }

    /// Lets all held operations go on. Example: [`SimDisk::hold`].
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.disk.0.state.lock().gates.retain(|gate| gate.number != self.number);
        self.disk.0.moved.notify_all();
    }
}
