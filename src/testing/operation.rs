//! The way of an operation through the disk, the same whatever it is: it is logged; it waits while a gate holds it; its outcome is
//! drawn; it happens, in one step under the lock; its end is logged. The lock is never held across a wait.
//!
//! Bytes that are written are copied before the step, and bytes that are read after it; where transfers go in pieces, without the lock
//! and sector by sector, with other threads in between.

use std::io;

use super::{
    fault::{Asked, Op},
    faults::{Fate, Faults},
    gate::{GateState, HeldStage},
    log::{Event, Moment},
    sim_disk::{FileState, SECTOR, SimDisk},
};
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

/// What every operation gives while the power is off.
const EIO: i32 = 5;

#[derive(Default)]
pub(super) struct Hub {
    pub(super) state: Mutex<SimState>,
    /// A gate was opened, or an operation came to one.
    pub(super) moved: Condvar,
}

#[derive(Default)]
pub(super) struct SimState {
    pub(super) files: Vec<FileState>,
    pub(super) faults: Faults,
    pub(super) gates: Vec<GateState>,
    pub(super) gates_made: u64,
    pub(super) log: Vec<Event>,
    pub(super) operations: u64,
    pub(super) capacity: Option<u64>,
    /// Whether transfers copy their bytes sector by sector.
    pub(super) in_pieces: bool,
    /// The longest atomic write; 0 for none.
    pub(super) atomic_bytes: u32,
    /// The number of the operation during which the power goes off.
    pub(super) power_cut: Option<u64>,
}

/// An operation that no gate holds any more, and whose delay is over.
pub(super) struct SimOperation<'a> {
    disk: &'a SimDisk,
    begin: Event,
    fate: Fate,
    pub(super) unit: usize,
    /// The lock is kept where the operation takes no time and goes in one piece: for a model checker each lock is one more place to
    /// switch threads.
    held: Option<MutexGuard<'a, SimState>>,
}

impl<'a> SimOperation<'a> {
    /// Lets the operation happen. `act` does it, in one step, by its outcome. Whatever goes in pieces gives up the lock then.
    pub(super) fn happen(
        &mut self,
        act: impl FnOnce(&mut SimState, &mut Fate) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let outcome = self.step(act);
        self.held = self.held.take().filter(|_| self.unit == usize::MAX);
        outcome
    }

    fn step(&mut self, act: impl FnOnce(&mut SimState, &mut Fate) -> io::Result<usize>) -> io::Result<usize> {
        let Self { disk, begin, fate, held, .. } = self;
        held.get_or_insert_with(|| disk.0.state.lock()).happen(begin, fate, act)
    }

    /// Lets other threads run in the middle of a transfer, after a piece of it was copied.
    pub(super) fn pause(&self) {
        let state = self.disk.0.state.lock();
        drop(self.disk.pass_gates(state, &self.begin, HeldStage::Midway));
        thread::yield_now();
    }

    pub(super) fn end(mut self, outcome: io::Result<usize>) -> io::Result<usize> {
        let told = outcome.as_ref().map_err(|error| error.raw_os_error().unwrap_or(0)).copied();
        let end = Event { moment: Moment::End(told), ..self.begin.clone() };
        self.held.take().unwrap_or_else(|| self.disk.0.state.lock()).log.push(end);
        outcome
    }

    pub(super) fn finish(
        mut self,
        act: impl FnOnce(&mut SimState, &mut Fate) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let outcome = self.step(act);
        self.end(outcome)
    }
}

impl SimDisk {
    /// Takes an operation to where it happens: logs it, and waits for its gates and its delay.
    pub(super) fn begin(&self, asked: Asked) -> SimOperation<'_> {
        let Asked { op, file, offset, len, .. } = asked;
        let mut state = self.0.state.lock();
        state.operations += 1;
        let path = state.files[file].path.clone();
        let begin = Event { number: state.operations, op, path, offset, len, moment: Moment::Begin };
        state.log.push(begin.clone());
        state = self.pass_gates(state, &begin, HeldStage::Begin);
        let SimState { files, faults, .. } = &mut *state;
        let fate = faults.draw_fate(asked, &files[file].path);
        let in_pieces = state.in_pieces || state.gates.iter().any(|gate| gate.stage == HeldStage::Midway);
        let unit = if in_pieces { SECTOR as usize } else { usize::MAX };
        let held = (!in_pieces && fate.delay.is_zero()).then_some(state);
        fate.take_its_time();
        SimOperation { disk: self, begin, fate, unit, held }
    }

    fn pass_gates<'a>(
        &'a self,
        mut state: MutexGuard<'a, SimState>,
        begin: &Event,
        stage: HeldStage,
    ) -> MutexGuard<'a, SimState> {
        let holds = |gate: &&mut GateState| gate.stage == stage && gate.which.covers(begin.op, &begin.path);
        while let Some(gate) = state.gates.iter_mut().find(holds) {
            let number = gate.number;
            gate.held += 1;
            self.0.moved.notify_all();
            while state.gates.iter().any(|gate| gate.number == number) {
                state = self.0.moved.wait(state);
            }
        }
        state
    }
}

impl SimState {
    pub(super) fn held_at(&self, gate: u64) -> usize {
        self.gates.iter().find(|other| other.number == gate).map_or(0, |gate| gate.held)
    }

    /// Performs an operation, unless its outcome prevents it.
    fn happen(
        &mut self,
        begin: &Event,
        fate: &mut Fate,
        act: impl FnOnce(&mut Self, &mut Fate) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let power_cut = self.power_cut.unwrap_or(u64::MAX);
        let fails_without_trace = fate.fails_without_trace(begin.op);
        if begin.number > power_cut {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if begin.number == power_cut {
            // What it changed is unsynced. A sync that is not reported is none.
            if !matches!(begin.op, Op::Sync | Op::SyncFolder) && !fails_without_trace {
                let _ = act(self, fate);
            }
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if fails_without_trace {
            return fate.end(0);
        }
        // An opening gives a file or fails.
        if fate.is_lost && begin.op != Op::Open {
            return fate.end(begin.len.min(fate.at_most));
        }
        act(self, fate)
    }
}
