//! The pool's replacement as one policy beside the published ones, and the traces on which all of them are replayed.

#[path = "engines.rs"]
pub(crate) mod engines;

use std::path::Path;

use replay::{Candidate, PUBLISHED, Policy, Trace};
use ringpool::testing::{NullDisk, Replay};
use ringpool::{BufferPool, FileId, OpenOptions, PageId, Result};

/// Returns the policies of the literature, and ringpool's as the last.
pub(crate) fn candidates() -> Vec<Candidate> {
    let ringpool = Candidate { name: "ringpool", build: |frames| Box::new(Ringpool::new(frames)) };
    PUBLISHED.into_iter().chain([ringpool]).collect()
}

/// Uses in a trace of the engines.
const LENGTH: usize = 400_000;

/// Returns every trace that needs nothing but this repository, whose own sources are what the engines work on.
pub(crate) fn traces() -> engines::Result<Vec<Trace>> {
    let mut traces = replay::traces::synthetic();
    traces.extend(engines::traces(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), LENGTH)?);
    Ok(traces)
}

struct Ringpool {
    replay: Replay,
    /// The pages of a trace are blocks of one file.
    file: FileId,
}

impl Ringpool {
    fn new(frames: usize) -> Self {
        let frames = u32::try_from(frames).expect("a trace has fewer pages than a pool may have frames");
        let replay = Replay::new(frames).expect("there is memory for frames of 512 bytes");
        Self { replay, file: any_file().expect("a file that no thread reads can be opened") }
    }
}

/// Returns the id of a file, which only a pool can make.
fn any_file() -> Result<FileId> {
    let pool = BufferPool::builder().frames(1).storage(NullDisk::new(0)).build()?;
    pool.open_file("trace", OpenOptions::new().read_only(true))
}

impl Policy for Ringpool {
    fn access(&mut self, page: u64) -> bool {
        let block = u32::try_from(page).expect("page numbers of a trace have 32 bits");
        self.replay.access(PageId::new(self.file, block))
    }
}
