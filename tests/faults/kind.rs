//! The faults of the sweep.

use ringpool::testing::{Dice, Fault, Op, SimDisk, Which};

/// What strikes an operation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Eio,
    Enospc,
    Eintr,
    Eagain,
    Ecanceled,
    /// It is cut short.
    Short,
    /// It fails with EIO, and if it is a write some of it is written all the same; a change of length takes place.
    Torn,
}

/// How often it strikes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Strikes {
    Once,
    /// For a while: a few operations in a row, or a hundred.
    Row,
    ForEver,
}

impl Strikes {
    pub(crate) const ALL: [Self; 3] = [Self::Once, Self::Row, Self::ForEver];

    /// Returns how many operations it strikes, from the n-th on.
    pub(crate) fn times(self, n: u64) -> u64 {
        match self {
            Self::Once => 1,
            Self::Row => 2 + Dice::new(n).below(99),
            Self::ForEver => u64::MAX,
        }
    }
}

/// Returns what is numbered and struck: openings too.
fn every() -> Which {
    Which::any().and_openings()
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Eio, Self::Enospc, Self::Eintr, Self::Eagain, Self::Ecanceled, Self::Short, Self::Torn];

    /// Has the n-th operation from now on struck.
    pub(crate) fn inject(self, disk: &SimDisk, n: u64, strikes: Strikes) {
        let mut faults = Vec::new();
        match self {
            Self::Short => faults.push(Fault::short_anywhere(every())),
            Self::Torn => faults.push(Fault::torn(every())),
            _ => {}
        }
        faults.extend(self.errno().map(|errno| Fault::error(every(), errno)));
        for fault in faults {
            disk.inject(fault.after(n - 1).times(strikes.times(n)));
        }
    }

    /// Returns the number of the error that it causes, where it causes one.
    pub(crate) fn errno(self) -> Option<i32> {
        match self {
            Self::Eio | Self::Torn => Some(5),
            Self::Enospc => Some(28),
            Self::Eintr => Some(4),
            Self::Eagain => Some(11),
            Self::Ecanceled => Some(125),
            Self::Short => None,
        }
    }

    /// Returns whether a transfer that is struck once fails: the others are repeated and not reported.
    pub(crate) fn fails_transfers(self) -> bool {
        matches!(self, Self::Eio | Self::Enospc | Self::Torn)
    }

    /// Returns whether it is reported as an error where it strikes such an operation.
    pub(crate) fn is_error_of(self, op: Op) -> bool {
        match op {
            Op::Read | Op::Write => self.fails_transfers(),
            // A file that has the length that was wanted is cut, whatever was reported.
            Op::Resize => self.errno().is_some() && self != Self::Torn,
            _ => self.errno().is_some(),
        }
    }
}
