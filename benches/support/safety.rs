//! What can make a pool's checkpoints safer, each by itself: a codec that seals each page with a checksum, a log that has to be
//! durable first, a doublewrite area that every page goes to first.
//!
//! Each pool has a file of its own, since no other pool can read sealed pages. The log is in memory and durable as soon as it
//! is asked to be: what it takes to write it is the engine's, what is measured is the gate.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lab::files::TestFile;
use lab::{Place, Result, Sample};
use ringpool::{
    Builder, Lsn, Wal,
    options::{DoubleWriteArea, TornPages},
};
use tempfile::TempDir;

use super::{Candidate, Input, PoolArm, PoolSpec, Wish, scratch};

/// Bytes at the end of each page that belong to the codec.
pub(crate) const TRAILER: usize = 4;

/// What a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    Without,
    Codec,
    Log,
    DoubleWrite,
}

impl Safety {
    pub(crate) const ALL: [Self; 4] = [Self::Without, Self::Codec, Self::Log, Self::DoubleWrite];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Without => "without",
            Self::Codec => "codec",
            Self::Log => "log",
            Self::DoubleWrite => "doublewrite",
        }
    }

    /// Returns why it is not available, if so.
    pub(crate) fn is_missing(self) -> Option<&'static str> {
        (self == Self::Codec && cfg!(not(feature = "crc32c")))
            .then_some("needs one: run with --features crc32c")
    }

    fn built(self, builder: Builder, folder: &Path) -> Builder {
        match self {
            Self::Without => builder,
            #[cfg(feature = "crc32c")]
            Self::Codec => builder.codec(ringpool::Crc32c),
            #[cfg(not(feature = "crc32c"))]
            Self::Codec => unreachable!("what is missing has no ground"),
            Self::Log => builder.wal(Log::default()),
            Self::DoubleWrite => {
                builder.torn_pages(TornPages::DoubleWrite(DoubleWriteArea::new(folder.join("area"))))
            }
        }
    }
}

/// A file of zeros, for one pool.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) safety: Safety,
    pub(crate) input: Input,
    folder: TempDir,
    _file: TestFile,
}

impl Ground {
    pub(crate) fn new(safety: Safety, dir: &Path, page_size: u32, blocks: u32, wish: Wish) -> Result<Self> {
        if let Some(why) = safety.is_missing() {
            return Err(why.into());
        }
        let folder = tempfile::Builder::new().prefix("ringpool-").tempdir_in(dir)?;
        let file = scratch::zeroed(folder.path(), page_size, blocks)?;
        let input = Input::new(vec![file.path().to_owned()], page_size, wish)?;
        Ok(Self { safety, input, folder, _file: file })
    }

    /// Returns the number of frames of a pool that has all of a file of this many blocks resident. It is larger than what it writes
    /// at once, as pools are: how many copies a codec may have under way depends on the pool's size.
    pub(crate) fn frames(blocks: u32) -> u32 {
        blocks + blocks / 8
    }

    pub(crate) fn pool(&self, candidate: &Candidate, combine: usize) -> Result<SafePool<'_>> {
        let frames = Self::frames(self.input.blocks()[0]);
        let spec = PoolSpec { method: candidate.method.clone(), frames, combine };
        let built = |builder| self.safety.built(builder, self.folder.path());
        let arm = PoolArm::open_with(&self.input, &spec, true, built)?;
        Ok(SafePool { ground: self, arm, records: Cell::new(0) })
    }
}

/// A pool, and the log of what was changed in it.
#[derive(Debug)]
pub(crate) struct SafePool<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) arm: PoolArm<'a>,
    records: Cell<u64>,
}

impl SafePool<'_> {
    /// Changes the pages at `places`, under a log record each, and has them written while the clock runs.
    pub(crate) fn checkpoint(&self, places: &[Place], change: impl Fn(Place, &mut [u8])) -> Result<Sample> {
        self.arm.change(places, |place, page| {
            self.records.set(self.records.get() + 1);
            page.set_lsn(Lsn(self.records.get()));
            change(place, page);
        })?;
        self.arm.checkpoint_of(places)
    }
}

#[derive(Clone, Default)]
struct Log(Arc<AtomicU64>);

impl Wal for Log {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(self.0.load(Ordering::Acquire))
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        Ok(Lsn(self.0.fetch_max(up_to.0, Ordering::AcqRel).max(up_to.0)))
    }
}
