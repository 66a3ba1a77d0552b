//! The faults of a disk, and what comes of an operation: the sum of the faults that strike it, and random numbers for what they leave open.

use std::{collections::HashMap, io, path::Path};

use super::{
    fault::{Asked, Fault, Op},
    rng::Dice,
};
use crate::sync::{
    thread,
    time::{self, Duration},
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

/// What a system may answer to any transfer that can be tried again: `EINTR`, `EAGAIN` and `ECANCELED`.
pub(super) const INTERRUPTIONS: [i32; 3] = [4, 11, 125];

/// The outcome of one operation. No fault, at first.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) delay: Duration,
    pub(super) at_most: usize,
    pub(super) errno: Option<i32>,
    /// If it fails, it has changed nothing.
    pub(super) is_clean: bool,
    /// It only seems to happen.
    pub(super) is_lost: bool,
    /// Some of its sectors are written, and some are not.
    pub(super) is_torn: bool,
    /// It happens elsewhere in the file.
    pub(super) is_misdirected: bool,
    /// One bit of what is transferred is flipped.
    pub(super) is_flipped: bool,
    pub(super) strikes: u64,
    /// Random numbers for what is left open.
    pub(super) dice: Dice,
}

impl Fate {
    pub(super) fn new(dice: Dice) -> Self {
        Self {
            delay: Duration::ZERO,
            at_most: usize::MAX,
            errno: None,
            is_clean: false,
            is_lost: false,
            is_torn: false,
            is_misdirected: false,
            is_flipped: false,
            strikes: 0,
            dice,
        }
    }

    /// Waits for the operation's delay, by sleeps that a park which ends early cannot cut short.
    pub(super) fn take_its_time(&self) {
        let until = time::now() + self.delay;
        while time::now() < until {
            thread::park_timeout(until.saturating_duration_since(time::now()));
        }
    }

    /// Returns whether an operation of this kind fails and changes nothing. A write may have been done in part, unless its error
    /// only asks to try again; a sync that fails loses what it covered.
    pub(super) fn fails_without_trace(&self, op: Op) -> bool {
        let Some(errno) = self.errno else { return false };
        let may_leave_some = match op {
            Op::Sync => true,
            Op::Write => !self.is_clean && !INTERRUPTIONS.contains(&errno),
            _ => false,
        };
        !self.is_torn && !may_leave_some
    }

    /// Returns whether nothing happens at all, whatever is reported.
    pub(super) fn prevents(&self) -> bool {
        self.errno.is_some() || self.is_lost
    }

    /// Returns whether a transfer of `len` bytes is done as it was asked for.
    pub(super) fn leaves_alone(&self, len: usize) -> bool {
        self.at_most >= len && !(self.is_torn || self.is_misdirected || self.is_flipped)
    }

    pub(super) fn end(&self, count: usize) -> io::Result<usize> {
        self.errno.map_or(Ok(count), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    /// Returns where a transfer of `len` bytes at `offset` goes, in a file of `file_len` bytes. Another place is a multiple of
    /// `len` away, as a disk that mistakes one page for another would have it.
    pub(super) fn place(&mut self, offset: u64, len: usize, file_len: usize) -> u64 {
        let places = (file_len as u64).checked_div(len as u64).unwrap_or(0);
        if !self.is_misdirected || places < 2 {
            return offset;
        }
        let own = (offset / len as u64).min(places - 1);
        let other = (own + 1 + self.dice.below(places - 1)) % places;
        other * len as u64
    }

    pub(super) fn flip(&mut self, bytes: &mut [u8]) {
        if self.is_flipped && !bytes.is_empty() {
            let bit = self.dice.below(bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misdirected_transfer_goes_to_another_place_of_the_file_if_there_is_one() {
        let place = |seed, offset, file_len| {
            let mut fate = Fate::new(Dice::new(seed));
            fate.is_misdirected = true;
            fate.place(offset, 1024, file_len)
        };
        let all: std::collections::BTreeSet<_> = (0..100).map(|seed| place(seed, 1024, 4096)).collect();
        assert_eq!(all, [0, 2048, 3072].into());
        assert_eq!((place(0, 0, 1024), place(0, 0, 0)), (0, 0));
        assert!(place(0, 8192, 4096) < 3072, "behind the end");
    }

    #[test]
    fn one_bit_is_flipped_and_only_if_it_is_to_be() {
        let mut fate = Fate::new(Dice::new(1));
        let mut bytes = [0; 64];
        fate.flip(&mut bytes);
        assert_eq!(bytes, [0; 64]);
        fate.is_flipped = true;
        fate.flip(&mut bytes);
        assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        fate.flip(&mut []);
    }
}
