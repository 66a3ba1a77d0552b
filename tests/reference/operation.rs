//! The operations of a random script, and how they are drawn.
//!
//! Every operation means something in every state (a page behind the end is one that must be refused, and so on), so any
//! part of a script is a script. That is why this is a plain list and not `proptest-state-machine`: its preconditions would
//! tie operations together, and shrinking could not drop them one by one.

use std::{fmt, ops::Range};

use proptest::{collection::vec, prelude::*};

/// Files are kept below this many blocks.
pub(crate) const MOST_BLOCKS: u32 = 64;

/// A page of one of the script's files.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) file: usize,
    pub(crate) block: u32,
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {} block {}", self.file, self.block)
    }
}

/// How a fetch is waited for.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Way {
    Wait,
    Await,
    /// With this little time first, and without a bound then.
    TimeoutMicros(u64),
}

/// How any other operation is waited for.
#[derive(Copy, Clone, Debug)]
pub(crate) enum By {
    Thread,
    Task,
    /// In pieces.
    Timeouts,
}

/// What is done with a page once it is there. All of them compare it with the model first.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Use {
    Read,
    ReadAsTask,
    Copy,
    Freeze,
    /// Stamps some sectors, counted from `from` on and cut off at the end of the page.
    Write {
        from: u8,
        sectors: u8,
        by: By,
        then: Then,
    },
    /// Raises the version in every sector.
    ReadModifyWrite {
        by: By,
        then: Then,
    },
    /// A write guard that is not written through.
    LookExclusively,
    /// Keeps the pin, if that leaves a frame for other pages; `even_the_last`: even if not.
    Hold {
        even_the_last: bool,
    },
    /// Keeps the pin and a share latch, as `Bytes`; leaves a frame for other pages.
    HoldFrozen,
}

/// How a write guard ends.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Then {
    Drop,
    Downgrade,
}

/// What is to be read ahead.
#[derive(Clone, Debug)]
pub(crate) enum Blocks {
    Ascending(Range<u32>),
    Descending(Range<u32>),
    /// With duplicates and blocks that do not exist.
    Scattered(Vec<u32>),
}

impl Blocks {
    pub(crate) fn list(&self) -> Vec<u32> {
        match self {
            Self::Ascending(range) => range.clone().collect(),
            Self::Descending(range) => range.clone().rev().collect(),
            Self::Scattered(list) => list.clone(),
        }
    }
}

/// How a pool ends.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Ending {
    /// Checkpoint, then shut down: everything must be in the files.
    Checkpoint,
    /// Shut down with a flush: everything must be in the files.
    Flush,
    /// Shut down without a flush: every page is one of its versions since it was last known to be in the file.
    Discard,
    /// Dropped without a shutdown: every page is one of its versions since it was last known to be in the file.
    Drop,
}

impl Ending {
    pub(crate) fn keeps_changes(self) -> bool {
        matches!(self, Self::Checkpoint | Self::Flush)
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Fetch(At, Way, Use),
    TryFetch(At, Use),
    /// Starts to fetch, and drops the future.
    Abandon(At),
    Prefetch(usize, Blocks),
    Stream {
        file: usize,
        blocks: Blocks,
        bulk: bool,
        /// As a task, and not as a thread.
        as_task: bool,
        /// This number of pages is taken, then it is dropped.
        taken: usize,
    },
    FetchMany {
        pages: Vec<At>,
        as_task: bool,
    },
    Flush(At, By),
    FlushFile(usize, By),
    Sync(usize, By),
    Checkpoint(By),
    Evict(At, By),
    Extend(usize, u32, By),
    Truncate(usize, u32, By),
    /// Gives back the n-th of the pages that are held.
    Release(u8),
    /// Closes a file and opens it again.
    Reopen {
        file: usize,
        read_only: bool,
        by: By,
    },
    /// Ends the pool and begins a new one over the same files.
    Restart(Ending),
}

/// A file as a script finds it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) blocks: u32,
    /// Bytes behind the last whole block, modulo the page size.
    pub(crate) tail: u32,
}

#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) files: Vec<Origin>,
    pub(crate) ops: Vec<Op>,
    pub(crate) ending: Ending,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "script over {:?}", self.files)?;
        for (at, op) in self.ops.iter().enumerate() {
            writeln!(f, "  {at:3}: {op:?}")?;
        }
        write!(f, "  end: {:?}", self.ending)
    }
}

/// Makes scripts over this number of files, with this number of operations on average.
pub(crate) fn scripts(files: usize, mean_len: usize) -> impl Strategy<Value = Script> {
    // From one operation on, so that shrinking has no lower limit.
    let ops = vec(op(files), 1..2 * mean_len);
    (vec(origin(), files), ops, ending()).prop_map(|(files, ops, ending)| Script { files, ops, ending })
}

fn op(files: usize) -> impl Strategy<Value = Op> {
    let file = 0..files;
    prop_oneof![
        45 => (at(files), way(), usage()).prop_map(|(at, way, usage)| Op::Fetch(at, way, usage)),
        8 => (at(files), usage()).prop_map(|(at, usage)| Op::TryFetch(at, usage)),
        4 => at(files).prop_map(Op::Abandon),
        10 => (file.clone(), blocks()).prop_map(|(file, blocks)| Op::Prefetch(file, blocks)),
        6 => stream(file.clone()),
        4 => (vec(at(files), 0..12), any::<bool>()).prop_map(|(pages, as_task)| Op::FetchMany { pages, as_task }),
        5 => (at(files), by()).prop_map(|(at, by)| Op::Flush(at, by)),
        3 => (file.clone(), by()).prop_map(|(file, by)| Op::FlushFile(file, by)),
        2 => (file.clone(), by()).prop_map(|(file, by)| Op::Sync(file, by)),
        2 => by().prop_map(Op::Checkpoint),
        5 => (at(files), by()).prop_map(|(at, by)| Op::Evict(at, by)),
        3 => (file.clone(), 1_u32..12, by()).prop_map(|(file, blocks, by)| Op::Extend(file, blocks, by)),
        2 => (file.clone(), 0..MOST_BLOCKS, by()).prop_map(|(file, blocks, by)| Op::Truncate(file, blocks, by)),
        8 => any::<u8>().prop_map(Op::Release),
        1 => (file, prop::bool::weighted(0.2), by())
            .prop_map(|(file, read_only, by)| Op::Reopen { file, read_only, by }),
        1 => ending().prop_map(Op::Restart),
    ]
}

/// Draws mostly few blocks, so that pages are used again.
fn block() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0_u32..6, 3 => 0_u32..24, 2 => 0..MOST_BLOCKS + 4]
}

fn at(files: usize) -> impl Strategy<Value = At> {
    (0..files, block()).prop_map(|(file, block)| At { file, block })
}

fn way() -> impl Strategy<Value = Way> {
    let timeout = prop_oneof![Just(0), Just(100), Just(1_000_000)].prop_map(Way::TimeoutMicros);
    prop_oneof![2 => Just(Way::Wait), 2 => Just(Way::Await), 1 => timeout]
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![3 => Just(By::Thread), 2 => Just(By::Task), 1 => Just(By::Timeouts)]
}

fn usage() -> impl Strategy<Value = Use> {
    let then = || prop_oneof![Just(Then::Drop), Just(Then::Downgrade)];
    let (from, sectors) = (prop_oneof![Just(0_u8), 0_u8..32], prop_oneof![Just(u8::MAX), 1_u8..8]);
    prop_oneof![
        8 => Just(Use::Read),
        2 => Just(Use::ReadAsTask),
        1 => Just(Use::Copy),
        1 => Just(Use::Freeze),
        12 => (from, sectors, by(), then())
            .prop_map(|(from, sectors, by, then)| Use::Write { from, sectors, by, then }),
        3 => (by(), then()).prop_map(|(by, then)| Use::ReadModifyWrite { by, then }),
        1 => Just(Use::LookExclusively),
        3 => prop::bool::weighted(0.15).prop_map(|even_the_last| Use::Hold { even_the_last }),
        1 => Just(Use::HoldFrozen),
    ]
}

fn blocks() -> impl Strategy<Value = Blocks> {
    let range = || (block(), 1_u32..MOST_BLOCKS).prop_map(|(start, len)| start..start + len);
    prop_oneof![
        range().prop_map(Blocks::Ascending),
        range().prop_map(Blocks::Descending),
        vec(block(), 1..100).prop_map(Blocks::Scattered),
    ]
}

fn stream(file: Range<usize>) -> impl Strategy<Value = Op> {
    let taken = prop_oneof![4 => Just(usize::MAX), 1 => 0_usize..30];
    (file, blocks(), prop::bool::weighted(0.3), any::<bool>(), taken)
        .prop_map(|(file, blocks, bulk, as_task, taken)| Op::Stream { file, blocks, bulk, as_task, taken })
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![Just(Ending::Checkpoint), Just(Ending::Flush), Just(Ending::Discard), Just(Ending::Drop)]
}

fn origin() -> impl Strategy<Value = Origin> {
    // Often short, so that the piece at the end is among the blocks that are wanted most.
    let (blocks, tail) = (prop_oneof![0_u32..6, 0_u32..48], prop_oneof![Just(0_u32), any::<u32>()]);
    (blocks, tail).prop_map(|(blocks, tail)| Origin { blocks, tail })
}
