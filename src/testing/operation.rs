//! The way of an operation through the disk, the same whatever it is: it is logged; it waits while a gate holds it; its fate is
//! drawn; it happens, in one step under the lock; its end is logged. The lock is never held across a wait.

use std::io;

use super::{
    fate::Fate,
    fault::{Asked, Op},
    faults::Faults,
    gate::GateState,
    log::{Event, Moment},
    sim_disk::{FileState, SimDisk},
};
use crate::sync::{
    Condvar, Mutex, MutexGuard,
    time::{self, Duration},
};

/// What every operation gives while the power is off.
const EIO: i32 = 5;

/// How long a test waits for operations to come to a gate.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all clones of a disk share.
#[derive(Default)]
pub(super) struct Hub {
    pub(super) state: Mutex<State>,
    /// A gate was opened, or an operation came to one.
    moved: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) files: Vec<FileState>,
    pub(super) faults: Faults,
    pub(super) gates: Vec<GateState>,
    pub(super) gates_made: u64,
    pub(super) log: Vec<Event>,
    pub(super) operations: u64,
    pub(super) capacity: Option<u64>,
    /// The longest atomic write; 0 for none.
    pub(super) atomic_bytes: u32,
    /// The number of the operation during which the power goes off.
    pub(super) power_cut: Option<u64>,
}

impl SimDisk {
    /// Takes an operation through its stages. `act` does it, as its fate has it.
    pub(super) fn operate(
        &self,
        asked: Asked,
        act: impl FnOnce(&mut State, &mut Fate) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Asked { op, file, offset, len, .. } = asked;
        let mut state = self.0.state.lock();
        state.operations += 1;
        let path = state.files[file].path.clone();
        let begin = Event { number: state.operations, op, path, offset, len, moment: Moment::Begin };
        state.log.push(begin.clone());
        state = self.pass_gates(state, &begin);
        let State { files, faults, .. } = &mut *state;
        let mut fate = faults.draw_fate(asked, &files[file].path);
        if !fate.delay.is_zero() {
            drop(state);
            fate.take_its_time();
            state = self.0.state.lock();
        }
        let outcome = state.happen(&begin, &mut fate, act);
        let told = outcome.as_ref().map_err(|error| error.raw_os_error().unwrap_or(0));
        state.log.push(Event { moment: Moment::End(told.copied()), ..begin });
        outcome
    }

    fn pass_gates<'a>(&'a self, mut state: MutexGuard<'a, State>, begin: &Event) -> MutexGuard<'a, State> {
        while let Some(gate) = state.gates.iter_mut().find(|gate| gate.which.covers(begin.op, &begin.path)) {
            let number = gate.number;
            gate.held += 1;
            self.0.moved.notify_all();
            while state.gates.iter().any(|gate| gate.number == number) {
                state = self.0.moved.wait(state);
            }
        }
        state
    }

    /// Waits until so many operations are held at a gate.
    pub(super) fn wait_for_held(&self, gate: u64, operations: usize) {
        let deadline = time::now() + PATIENCE;
        let mut state = self.0.state.lock();
        while state.held_at(gate) < operations {
            let held = state.held_at(gate);
            assert!(time::now() < deadline, "{held} operations came to the gate, not {operations}");
            state = self.0.moved.wait_until(state, deadline);
        }
    }

    pub(super) fn open_gate(&self, number: u64) {
        self.0.state.lock().gates.retain(|gate| gate.number != number);
        self.0.moved.notify_all();
    }
}

impl State {
    pub(super) fn held_at(&self, gate: u64) -> usize {
        self.gates.iter().find(|other| other.number == gate).map_or(0, |gate| gate.held)
    }

    /// Lets an operation happen, or not.
    fn happen(
        &mut self,
        begin: &Event,
        fate: &mut Fate,
        act: impl FnOnce(&mut Self, &mut Fate) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let power_cut = self.power_cut.unwrap_or(u64::MAX);
        let fails_without_trace = fate.errno.is_some() && !fate.is_torn && begin.op != Op::Sync;
        if begin.number > power_cut {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if begin.number == power_cut {
            // What it changed is unsynced. A sync that nobody hears of is none.
            if !matches!(begin.op, Op::Sync | Op::SyncFolder) && !fails_without_trace {
                let _ = act(self, fate);
            }
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if fails_without_trace {
            return fate.end(0);
        }
        if fate.is_lost {
            return fate.end(begin.len.min(fate.at_most));
        }
        act(self, fate)
    }
}
