//! What can be made to go wrong: which operations are struck, how often, and by what.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

/// What a disk is asked to do with a file that is open.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A sync.
    Sync,
    /// A change of the file's length, or a reservation of space.
    Resize,
    /// A removal.
    Remove,
}

impl Op {
    /// These operations, on one file only.
    #[must_use]
    pub fn of(self, path: impl AsRef<Path>) -> Which {
        Which { op: self, path: Some(path.as_ref().to_owned()) }
    }
}

/// Some of the operations: one kind, of one file or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    op: Op,
    path: Option<PathBuf>,
}

impl From<Op> for Which {
    fn from(op: Op) -> Self {
        Self { op, path: None }
    }
}

impl Which {
    pub(super) fn covers(&self, op: Op, path: &Path) -> bool {
        self.op == op && self.path.as_ref().is_none_or(|only| only == path)
    }
}

/// Something that goes wrong with some operations: with all of them from now on, unless it is told to be rarer.
///
/// Several faults may strike one operation: delays add up, the shortest transfer counts, and the first error.
#[derive(Clone, Debug)]
pub struct Fault {
    which: Which,
    /// The bytes of which an operation must touch some.
    bytes: Range<u64>,
    effect: Effect,
    /// So many operations are let through first.
    spared: u64,
    /// So many are struck after that.
    strikes: u64,
}

#[derive(Clone, Debug)]
enum Effect {
    Error(i32),
    Short(usize),
    Delay(Duration),
}

/// What strikes one operation.
#[derive(Debug, Default)]
pub(super) struct Struck {
    pub(super) delay: Duration,
    pub(super) at_most: Option<usize>,
    pub(super) errno: Option<i32>,
}

impl Fault {
    /// The operation fails with the system's error of this number, and changes nothing.
    #[must_use]
    pub fn error(which: impl Into<Which>, errno: i32) -> Self {
        Self::new(which.into(), Effect::Error(errno))
    }

    /// The transfer is cut short after so many bytes.
    #[must_use]
    pub fn short(which: impl Into<Which>, bytes: usize) -> Self {
        Self::new(which.into(), Effect::Short(bytes))
    }

    /// The operation takes that much longer.
    #[must_use]
    pub fn delay(which: impl Into<Which>, time: Duration) -> Self {
        Self::new(which.into(), Effect::Delay(time))
    }

    fn new(which: Which, effect: Effect) -> Self {
        Self { which, bytes: 0..u64::MAX, effect, spared: 0, strikes: u64::MAX }
    }

    /// Strikes only transfers of some of these bytes of a file: a bad sector.
    #[must_use]
    pub fn touching(mut self, bytes: Range<u64>) -> Self {
        self.bytes = bytes;
        self
    }

    /// Strikes so many times and no more.
    #[must_use]
    pub fn times(mut self, strikes: u64) -> Self {
        self.strikes = strikes;
        self
    }

    /// Strikes the next such operation only.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Strikes the n-th such operation from now on only; the next one is the first.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.spared = n.saturating_sub(1);
        self.once()
    }

    /// Adds its effect to `struck` if it strikes this operation.
    pub(super) fn strike(&mut self, op: Op, path: &Path, bytes: &Range<u64>, struck: &mut Struck) {
        let touches = bytes.is_empty() || self.bytes.start < bytes.end && bytes.start < self.bytes.end;
        if !self.which.covers(op, path) || !touches || self.strikes == 0 {
            return;
        }
        if self.spared > 0 {
            self.spared -= 1;
            return;
        }
        self.strikes -= 1;
        match self.effect {
            Effect::Error(errno) => drop(struck.errno.get_or_insert(errno)),
            Effect::Short(bytes) => {
                struck.at_most = Some(struck.at_most.map_or(bytes, |other| other.min(bytes)));
            }
            Effect::Delay(time) => struck.delay += time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error numbers that a row of reads of file "a" gets.
    fn struck(mut fault: Fault, reads: usize) -> Vec<Option<i32>> {
        let strike = |_| {
            let mut struck = Struck::default();
            fault.strike(Op::Read, Path::new("a"), &(0..512), &mut struck);
            struck.errno
        };
        (0..reads).map(strike).collect()
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_was_told() {
        assert_eq!(struck(Fault::error(Op::Read, 5), 3), [Some(5); 3]);
        assert_eq!(struck(Fault::error(Op::Read, 5).once(), 3), [Some(5), None, None]);
        assert_eq!(struck(Fault::error(Op::Read, 5).nth(2), 3), [None, Some(5), None]);
        assert_eq!(struck(Fault::error(Op::Read.of("a"), 5).times(2), 3), [Some(5), Some(5), None]);
    }

    #[test]
    fn a_fault_spares_what_it_was_not_made_for() {
        assert_eq!(struck(Fault::error(Op::Write, 5), 1), [None]);
        assert_eq!(struck(Fault::error(Op::Read.of("b"), 5), 1), [None]);
        assert_eq!(struck(Fault::error(Op::Read, 5).touching(512..1024), 1), [None]);
        assert_eq!(struck(Fault::error(Op::Read, 5).touching(511..1024), 1), [Some(5)]);
    }

    #[test]
    fn faults_add_up() {
        let mut all = Struck::default();
        let second = Duration::from_secs(1);
        for mut fault in [
            Fault::delay(Op::Read, second),
            Fault::short(Op::Read, 700),
            Fault::error(Op::Read, 5),
            Fault::short(Op::Read, 512),
            Fault::delay(Op::Read, second),
            Fault::error(Op::Read, 28),
        ] {
            fault.strike(Op::Read, Path::new("a"), &(0..512), &mut all);
        }
        assert_eq!((all.delay, all.at_most, all.errno), (2 * second, Some(512), Some(5)));
    }
}
