//! The faults of a phase.

use std::time::Duration;

use ringpool::testing::{Fault, FaultyDisk, Op};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// How long a file takes to be opened where that is slow.
pub(crate) const OPENING: Duration = Duration::from_millis(900);

/// What the disk does to the file that faults can strike.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// No faults.
    Peace,
    /// Reads and writes that fail now and then.
    Errors,
    /// No write finds space, and the file cannot grow.
    NoSpace,
    /// Transfers that end short or interrupted.
    Disturbances,
    /// Signals to every thread: system calls that are interrupted.
    Signals,
    /// Operations that take longer.
    Delays,
    /// A file is opened and closed again and again, and each opening takes long: the other files must not wait for it.
    SlowOpens,
    /// Syncs that fail: the file is to be opened anew.
    FailingSyncs,
    /// A little of everything.
    Mixed,
}

impl Weather {
    /// What cycles have after their peace, in turn.
    pub(crate) const FOUL: [Self; 8] = [
        Self::Errors,
        Self::NoSpace,
        Self::Disturbances,
        Self::Signals,
        Self::Delays,
        Self::SlowOpens,
        Self::FailingSyncs,
        Self::Mixed,
    ];

    /// Returns whether the disk does all that it is asked to do.
    pub(crate) fn spares_the_disk(self) -> bool {
        matches!(self, Self::Peace | Self::Signals | Self::SlowOpens)
    }

    pub(crate) fn break_on(self, disk: &FaultyDisk) {
        let delays =
            [Op::Read, Op::Write, Op::Sync].map(|op| Fault::delay_up_to(op, Duration::from_millis(20)));
        match self {
            Self::Peace | Self::Signals => {}
            Self::Errors => {
                disk.inject(Fault::error(Op::Read, EIO).one_in(50));
                disk.inject(Fault::error(Op::Write, EIO).one_in(20));
                disk.inject(Fault::error(Op::Resize, EIO).one_in(2));
            }
            Self::NoSpace => {
                disk.inject(Fault::error(Op::Write, ENOSPC));
                disk.inject(Fault::error(Op::Resize, ENOSPC));
            }
            Self::Disturbances => disk.disturb(4),
            Self::Delays => delays.into_iter().for_each(|delay| disk.inject(delay.one_in(4))),
            Self::SlowOpens => disk.inject(Fault::delay(Op::Open, OPENING)),
            Self::FailingSyncs => disk.inject(Fault::error(Op::Sync, EIO).one_in(2)),
            Self::Mixed => {
                disk.inject(Fault::error(Op::Read, EIO).one_in(200));
                disk.inject(Fault::error(Op::Write, ENOSPC).one_in(50));
                disk.inject(Fault::error(Op::Sync, EIO).one_in(20));
                disk.disturb(20);
                delays.into_iter().for_each(|delay| disk.inject(delay.one_in(50)));
            }
        }
    }
}
