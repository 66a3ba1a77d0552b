//! Faults that a test injects: which operations are struck, how often, and by what.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{faults::Fate, rng::Dice};

/// What a disk is asked to do with a file that is open, or its name.
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
    /// A sync of the folder that has the file: which names are in it is durable from then on.
    SyncFolder,
    /// An opening, which makes the file where there is none.
    Open,
}

impl Op {
    /// Selects these operations, on one file only. Example: [`Which`].
    #[must_use]
    pub fn of(self, path: impl AsRef<Path>) -> Which {
        Which { path: Some(path.as_ref().to_owned()), ..self.into() }
    }
}

/// Some of the operations: of one kind, of all, or of all but openings; on one file or on all.
///
/// ```
/// use ringpool::testing::{Op, SimDisk, Which};
///
/// let disk = SimDisk::new();
/// disk.file("log").write_all_at(b"record", 0)?;
/// assert_eq!(disk.count(Op::Write), 1);
/// assert_eq!(disk.count(Op::Write.of("heap")), 0);
/// assert_eq!(disk.count(Which::any_of("log")), 1);
/// assert_eq!(disk.count(Which::any().and_openings()), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    op: Option<Op>,
    path: Option<PathBuf>,
    /// Whether all operations include openings.
    openings: bool,
}

impl From<Op> for Which {
    fn from(op: Op) -> Self {
        Self { op: Some(op), path: None, openings: false }
    }
}

impl Which {
    /// Selects all operations but [openings](Op::Open), which are struck and held only where they are
    /// [included](Self::and_openings) or named. Example: [`Which`].
    #[must_use]
    pub fn any() -> Self {
        Self { op: None, path: None, openings: false }
    }

    /// Selects all operations on one file but its [openings](Op::Open). Example: [`Which`].
    #[must_use]
    pub fn any_of(path: impl AsRef<Path>) -> Self {
        Self { path: Some(path.as_ref().to_owned()), ..Self::any() }
    }

    /// Includes [openings](Op::Open) in all operations. Those of one kind stay what they are. Example: [`Which`].
    #[must_use]
    pub fn and_openings(mut self) -> Self {
        self.openings = true;
        self
    }

    pub(super) fn covers(&self, op: Op, path: &Path) -> bool {
        self.op.map_or(self.openings || op != Op::Open, |only| only == op)
            && self.path.as_ref().is_none_or(|only| only == path)
    }
}

/// A fault of some operations: of all of them from now on, unless it is made rarer.
///
/// Several faults may strike one operation: delays add up, the shortest transfer counts, and the first error.
///
/// ```
/// use std::time::Duration;
/// use ringpool::testing::{Fault, Op, SimDisk};
///
/// const EIO: i32 = 5;
/// let disk = SimDisk::new();
/// let file = disk.file("log");
/// file.write_all_at(&[1; 1024], 0)?;
///
/// // Errors: how often, and of which operations.
/// disk.inject(Fault::error(Op::Read, EIO).once());
/// disk.inject(Fault::error(Op::Read, EIO).after(2).times(3));
/// disk.inject(Fault::error(Op::Write.of("log"), EIO).touching(512..1024).without_trace());
/// disk.inject(Fault::error(Op::Sync, EIO).nth(2));
/// disk.inject(Fault::error(Op::Write.of("heap"), EIO).one_in(10));
/// assert!(file.read_at(&mut [0; 512], 0).is_err() && file.read_at(&mut [0; 512], 0).is_ok());
/// assert!(file.write_at(&[2; 512], 0).is_ok() && file.write_at(&[2; 512], 512).is_err());
/// assert!(file.sync().is_ok() && file.sync().is_err());
/// disk.heal();
///
/// // Transfers that end short or late: the engine must notice nothing of them.
/// disk.inject(Fault::short(Op::Read, 100).once());
/// assert_eq!(file.read_at(&mut [0; 512], 0)?, 100);
/// disk.inject(Fault::short_anywhere(Op::Write));
/// disk.inject(Fault::delay(Op::Sync, Duration::from_micros(10)));
/// disk.inject(Fault::delay_up_to(Op::Read, Duration::from_micros(10)));
/// file.write_all_at(&[3; 1024], 0)?;
/// assert_eq!(file.read_all()?, [3; 1024]);
/// disk.heal();
///
/// // Operations that report success: only a checksum, or a test, finds these.
/// for fault in [Fault::lost(Op::Write), Fault::torn(Op::Write), Fault::misdirected(Op::Write)] {
///     disk.inject(fault.once());
/// }
/// disk.inject(Fault::flipped(Op::Read).once());
/// file.write_all_at(&[4; 1024], 0)?;
/// assert_ne!(file.read_all()?, [4; 1024]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    which: Which,
    /// The bytes of which an operation must touch some.
    bytes: Range<u64>,
    effect: Effect,
    /// How many operations are let through first.
    spared: u64,
    /// Of the others one in this many is struck, by chance.
    odds: u64,
    strikes: u64,
    /// A write that fails by it has changed nothing.
    is_clean: bool,
}

#[derive(Clone, Debug)]
enum Effect {
    Error(i32),
    Short(usize),
    ShortAnywhere,
    Delay(Duration),
    DelayUpTo(Duration),
    Lost,
    Torn,
    Misdirected,
    Flipped,
}

#[derive(Copy, Clone, Debug)]
pub(super) struct Asked {
    pub(super) op: Op,
    /// The file's place in the disk's list.
    pub(super) file: usize,
    pub(super) offset: u64,
    pub(super) len: usize,
    /// What a transfer that is cut short has a multiple of.
    pub(super) align: u64,
}

impl Asked {
    /// Asks for something that transfers no bytes.
    pub(super) fn of_file(op: Op, file: usize) -> Self {
        Self { op, file, offset: 0, len: 0, align: 1 }
    }
}

impl Fault {
    /// Makes the operation fail with the system's error of this number, and change nothing. Two kinds of operations may change
    /// something all the same, on a [`SimDisk`](super::SimDisk):
    ///
    /// A write that fails may have been done in part: by chance none of its sectors is written, or the first ones, or any of them,
    /// as far as the file reached before; an atomic write as a whole or not at all. A write that fails with `EINTR`, `EAGAIN` or
    /// `ECANCELED`, by which the system asks for another try, changes nothing, and neither does one where that is
    /// [excluded](Self::without_trace).
    ///
    /// A sync that fails loses what it should have made durable, as on Linux: of each sector either the old bytes are durable or
    /// the new ones, by chance, and no later sync changes that, although it succeeds.
    ///
    /// Example: [`Fault`].
    #[must_use]
    pub fn error(which: impl Into<Which>, errno: i32) -> Self {
        Self::new(which.into(), Effect::Error(errno))
    }

    /// Cuts the transfer short after this many bytes. Example: [`Fault`].
    #[must_use]
    pub fn short(which: impl Into<Which>, bytes: usize) -> Self {
        Self::new(which.into(), Effect::Short(bytes))
    }

    /// Cuts the transfer short anywhere, by chance: after some bytes, but not all; where the file is open for direct
    /// transfers, after some sectors, as the system does it. Example: [`Fault`].
    #[must_use]
    pub fn short_anywhere(which: impl Into<Which>) -> Self {
        Self::new(which.into(), Effect::ShortAnywhere)
    }

    /// Delays the operation by this time. Example: [`Fault`].
    #[must_use]
    pub fn delay(which: impl Into<Which>, time: Duration) -> Self {
        Self::new(which.into(), Effect::Delay(time))
    }

    /// Delays the operation by a random time, up to this much: of operations that are under way together the later may end
    /// first. Example: [`Fault`].
    #[must_use]
    pub fn delay_up_to(which: impl Into<Which>, time: Duration) -> Self {
        Self::new(which.into(), Effect::DelayUpTo(time))
    }

    /// Makes the operation report success and do nothing: a lost write, a sync that lies, a read that leaves its buffer as it was.
    /// Example: [`Fault`].
    #[must_use]
    pub fn lost(which: impl Into<Which>) -> Self {
        Self::new(which.into(), Effect::Lost)
    }

    /// Tears a write: each of its sectors is written or not, by chance. It reports success, unless another fault makes it fail:
    /// then also a file whose length is changed has the new length all the same, as on ext4. Example: [`Fault`].
    #[must_use]
    pub fn torn(which: impl Into<Which>) -> Self {
        Self::new(which.into(), Effect::Torn)
    }

    /// Makes a transfer report success and go to another place of the file, or come from there. Example: [`Fault`].
    #[must_use]
    pub fn misdirected(which: impl Into<Which>) -> Self {
        Self::new(which.into(), Effect::Misdirected)
    }

    /// Flips one bit of what is transferred: on the disk after a write, in the reader's memory alone after a read.
    /// Example: [`Fault`].
    #[must_use]
    pub fn flipped(which: impl Into<Which>) -> Self {
        Self::new(which.into(), Effect::Flipped)
    }

    fn new(which: Which, effect: Effect) -> Self {
        Self { which, bytes: 0..u64::MAX, effect, spared: 0, odds: 1, strikes: u64::MAX, is_clean: false }
    }

    /// Has a write that fails by this fault change nothing. Example: [`Fault`].
    #[must_use]
    pub fn without_trace(mut self) -> Self {
        self.is_clean = true;
        self
    }

    /// Strikes only transfers of some of these bytes of a file: a bad sector. Example: [`Fault`].
    #[must_use]
    pub fn touching(mut self, bytes: Range<u64>) -> Self {
        self.bytes = bytes;
        self
    }

    /// Lets this many such operations through first. Example: [`Fault`].
    #[must_use]
    pub fn after(mut self, operations: u64) -> Self {
        self.spared = operations;
        self
    }

    /// Strikes one operation in `n`, by chance. What chance decides follows from the disk's
    /// [seed](super::SimDisk::with_seed). Example: [`Fault`].
    ///
    /// # Panics
    /// If `n` is 0.
    #[must_use]
    pub fn one_in(mut self, n: u64) -> Self {
        assert!(n > 0, "one in none");
        self.odds = n;
        self
    }

    /// Sets the most operations that it strikes. Example: [`Fault`].
    #[must_use]
    pub fn times(mut self, strikes: u64) -> Self {
        self.strikes = strikes;
        self
    }

    /// Strikes the next such operation only. Example: [`Fault`].
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Strikes the n-th such operation from now on only; the next one is the first. Example: [`Fault`].
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        self.after(n.saturating_sub(1)).once()
    }

    /// Adds its part to the outcome of this operation, if it strikes it.
    pub(super) fn strike(&mut self, asked: Asked, path: &Path, mut dice: Dice, fate: &mut Fate) {
        let Asked { op, offset, len, align, .. } = asked;
        let end = offset + len as u64;
        let touches = len == 0 || self.bytes.start < end && offset < self.bytes.end;
        if !self.which.covers(op, path) || !touches || self.strikes == 0 {
            return;
        }
        if self.spared > 0 {
            self.spared -= 1;
            return;
        }
        if !dice.one_in(self.odds) {
            return;
        }
        self.strikes -= 1;
        fate.strikes += 1;
        match self.effect {
            Effect::Error(errno) => {
                if fate.errno.is_none() {
                    (fate.errno, fate.is_clean) = (Some(errno), self.is_clean);
                }
            }
            Effect::Short(bytes) => fate.at_most = fate.at_most.min(bytes),
            Effect::ShortAnywhere => {
                // A transfer of a single piece cannot be short.
                let others = (len as u64 / align).saturating_sub(1).max(1);
                fate.at_most = fate.at_most.min(((1 + dice.below(others)) * align) as usize);
            }
            Effect::Delay(time) => fate.delay += time,
            Effect::DelayUpTo(most) => {
                fate.delay += Duration::from_nanos(dice.below(most.as_nanos() as u64 + 1));
            }
            Effect::Lost => fate.is_lost = true,
            Effect::Torn => fate.is_torn = true,
            Effect::Misdirected => fate.is_misdirected = true,
            Effect::Flipped => fate.is_flipped = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A read of the first sector of file "a".
    const ASKED: Asked = Asked { op: Op::Read, file: 0, offset: 0, len: 512, align: 1 };

    fn fate_of(faults: &mut [Fault], seed: u64) -> Fate {
        fate_of_asked(ASKED, faults, seed)
    }

    fn fate_of_asked(asked: Asked, faults: &mut [Fault], seed: u64) -> Fate {
        let mut fate = Fate::new(Dice::new(seed));
        faults.iter_mut().for_each(|fault| fault.strike(asked, Path::new("a"), Dice::new(seed), &mut fate));
        fate
    }

    /// Returns the error numbers that a row of such reads gets.
    fn struck(fault: Fault, reads: u64) -> Vec<Option<i32>> {
        let mut faults = [fault];
        (0..reads).map(|seed| fate_of(&mut faults, seed).errno).collect()
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_was_told() {
        assert_eq!(struck(Fault::error(Op::Read, 5), 3), [Some(5); 3]);
        assert_eq!(struck(Fault::error(Op::Read, 5).once(), 3), [Some(5), None, None]);
        assert_eq!(struck(Fault::error(Op::Read, 5).nth(2), 3), [None, Some(5), None]);
        assert_eq!(struck(Fault::error(Op::Read, 5).after(1), 3), [None, Some(5), Some(5)]);
        assert_eq!(struck(Fault::error(Op::Read.of("a"), 5).times(2), 3), [Some(5), Some(5), None]);
        let by_chance = struck(Fault::error(Op::Read, 5).one_in(10), 10_000);
        let strikes = by_chance.iter().flatten().count();
        assert!((900..1100).contains(&strikes), "{strikes}");
        assert_eq!(struck(Fault::error(Op::Read, 5).one_in(10).times(7), 10_000).iter().flatten().count(), 7);
    }

    #[test]
    fn a_fault_spares_what_it_was_not_made_for() {
        assert_eq!(struck(Fault::error(Op::Write, 5), 1), [None]);
        assert_eq!(struck(Fault::error(Op::Read.of("b"), 5), 1), [None]);
        assert_eq!(struck(Fault::error(Which::any_of("b"), 5), 1), [None]);
        assert_eq!(struck(Fault::error(Op::Read, 5).touching(512..1024), 1), [None]);
        assert_eq!(struck(Fault::error(Op::Read, 5).touching(511..1024), 1), [Some(5)]);
        assert_eq!(struck(Fault::error(Which::any(), 5), 1), [Some(5)]);
        assert_eq!(struck(Fault::error(Which::any_of("a"), 5), 1), [Some(5)]);
    }

    #[test]
    fn openings_are_struck_only_where_they_are_included_or_named() {
        let is_struck = |which: Which| {
            let opening = Asked { op: Op::Open, len: 0, ..ASKED };
            fate_of_asked(opening, &mut [Fault::error(which, 5)], 1).errno.is_some()
        };
        assert!(!is_struck(Which::any()) && !is_struck(Which::any_of("a")));
        assert!(is_struck(Op::Open.into()) && is_struck(Op::Open.of("a")) && !is_struck(Op::Open.of("b")));
        assert!(is_struck(Which::any().and_openings()) && is_struck(Which::any_of("a").and_openings()));
        assert!(!is_struck(Which::any_of("b").and_openings()) && !is_struck(Op::Read.of("a").and_openings()));
    }

    #[test]
    fn faults_add_up() {
        let second = Duration::from_secs(1);
        let mut all = [
            Fault::delay(Op::Read, second),
            Fault::short(Op::Read, 700),
            Fault::error(Op::Read, 5),
            Fault::short(Op::Read, 512),
            Fault::delay(Op::Read, second),
            Fault::error(Op::Read, 28),
            Fault::torn(Op::Write),
        ];
        let fate = fate_of(&mut all, 0);
        assert_eq!((fate.delay, fate.at_most, fate.errno), (2 * second, 512, Some(5)));
        assert_eq!((fate.strikes, fate.is_torn), (6, false));
    }

    #[test]
    fn what_is_left_to_chance_takes_every_value() {
        let lengths = |seed| fate_of(&mut [Fault::short_anywhere(Op::Read)], seed).at_most;
        let lengths: BTreeSet<_> = (0..10_000).map(lengths).collect();
        assert_eq!(lengths, (1..512).collect());
        let direct = Asked { len: 2048, align: 512, ..ASKED };
        let lengths = |seed| fate_of_asked(direct, &mut [Fault::short_anywhere(Op::Read)], seed).at_most;
        assert_eq!((0..100).map(lengths).collect::<BTreeSet<_>>(), [512, 1024, 1536].into());
        let most = Duration::from_micros(3);
        let delays = |seed| fate_of(&mut [Fault::delay_up_to(Op::Read, most)], seed).delay;
        let delays: BTreeSet<_> = (0..10_000).map(delays).collect();
        assert!(delays.len() > 1000 && delays.iter().all(|&delay| delay <= most));
    }
}
