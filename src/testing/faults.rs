//! The faults of a disk, and the one place where the outcome of an operation is drawn from them.

use std::{collections::HashMap, path::Path};

use super::{
    fault::{Asked, Fault, Op},
    fault_outcome::{Fate, INTERRUPTIONS},
    rng::Dice,
};

#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) seed: u64,
    pub(super) all: Vec<Fault>,
    pub(super) strikes: u64,
    /// How often each operation was asked for, by kind, file and place.
    repeats: HashMap<(Op, usize, u64), u64>,
}

impl Faults {
    /// Disturbs one transfer in `n`, in one of the ways that a system may disturb any transfer.
    pub(super) fn disturb(&mut self, n: u64) {
        for op in [Op::Read, Op::Write] {
            let interruptions = INTERRUPTIONS.map(|errno| Fault::error(op, errno));
            let ways = interruptions.into_iter().chain([Fault::short_anywhere(op)]);
            self.all.extend(ways.map(|way| way.one_in(n.saturating_mul(4))));
        }
    }

    /// Draws the outcome of this operation. Each fault has random numbers of its own for it, so that no fault changes what another
    /// does.
    pub(super) fn draw_fate(&mut self, asked: Asked, path: &Path) -> Fate {
        let Asked { op, file, offset, .. } = asked;
        let repeat = self.repeats.entry((op, file, offset)).or_default();
        *repeat += 1;
        let (seed, operation) = (self.seed, [op as u64, file as u64, offset, *repeat]);
        let dice = |part: u64| Dice::apart(seed, operation.into_iter().chain([part]));
        let mut fate = Fate::new(dice(0));
        for (part, fault) in (1..).zip(&mut self.all) {
            fault.strike(asked, path, dice(part), &mut fate);
        }
        self.strikes += fate.strikes;
        fate
    }
}
