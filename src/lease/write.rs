//! The lease of a write: copies of pages on their way to disk.

use std::io;

use crate::{
    doublewrite::OnTheirWay,
    error::{Error, IoOp},
    id::PageId,
    io::{file::File, request::IoBuf},
    lease::{abandoned, buffer_at, tally::Outstanding},
    pool::{pins::Pins, staging::StagingRun},
    stats::Counter,
    sync::Arc,
};

/// Frames that are WRITING, for consecutive blocks of one file, each with a pin; and the staging run that holds their copies.
pub(crate) struct WriteLease {
    file: Arc<File>,
    pins: Pins,
    buffer: IoBuf,
    /// Taken when the lease ends.
    run: Option<(StagingRun, Outstanding)>,
    /// Where copies went first: that these pages have not arrived yet.
    on_their_way: Option<Arc<OnTheirWay>>,
}

impl WriteLease {
    /// `run` holds the copies of the pinned frames, in order, and nothing else.
    pub(crate) fn new(file: Arc<File>, pins: Pins, run: StagingRun, outstanding: Outstanding) -> Self {
        debug_assert_eq!(pins.len(), run.pages());
        let pool = pins.pool();
        let buffer = buffer_at(pool, pool.staging_offset(&run), run.pages() * pool.page_size().bytes());
        Self { file, pins, buffer, run: Some((run, outstanding)), on_their_way: None }
    }

    /// The first page.
    pub(crate) fn first(&self) -> PageId {
        self.pins.page(0)
    }

    /// Shows each copy, with its place in the request.
    pub(crate) fn for_each_copy(&mut self, mut look: impl FnMut(u32, &mut [u8])) {
        let pool = self.pins.pool();
        if let Some((run, _)) = &mut self.run {
            for index in 0..run.pages() {
                look(index as u32, pool.staged_mut(run, index));
            }
        }
    }

    /// The copies, one behind the other.
    pub(crate) fn copies(&self) -> &[u8] {
        self.run.as_ref().map_or(&[], |(run, _)| self.pins.pool().staged(run))
    }

    /// The pages have copies elsewhere, which are kept until this write is over.
    pub(crate) fn keep(&mut self, on_their_way: Arc<OnTheirWay>) {
        self.on_their_way = Some(on_their_way);
    }

    /// Ends the lease without a transfer: every page is as dirty as before.
    pub(crate) fn abort(mut self, error: Error) {
        self.end(Err(error));
    }

    /// The copies, which are one behind the other.
    pub(super) fn buffer(&self) -> IoBuf {
        self.buffer
    }

    pub(super) fn finish(mut self, outcome: io::Result<usize>) {
        debug_assert!(outcome.as_ref().is_ok_and(|&n| n == self.buffer.len as usize) || outcome.is_err());
        let first = self.first();
        let counters = &self.pins.pool().counters;
        counters.add(Counter::PagesWritten, self.pins.len() as u64);
        counters.add(Counter::Failures, u64::from(outcome.is_err()));
        self.end(outcome.map(drop).map_err(|source| Error::io(IoOp::Write, first, source)));
    }

    fn end(&mut self, outcome: Result<(), Error>) {
        let Some((run, outstanding)) = self.run.take() else { return };
        let pages = self.pins.len() as u64;
        // Even a write that failed may have changed the disk. Noted before a frame leaves WRITING: a checkpoint that sees
        // the page clean must see that its file wants a sync.
        self.file.note_written();
        // Behind that, so that the copies are not given up before the file is synced.
        self.on_their_way = None;
        self.pins.pool().staging.give_back(run);
        for pin in self.pins.drain() {
            pin.end_write(outcome.is_ok());
        }
        outstanding.end(outcome.map(|()| pages));
    }
}

impl Drop for WriteLease {
    fn drop(&mut self) {
        if self.run.is_some() {
            let first = self.first();
            self.end(Err(Error::io(IoOp::Write, first, abandoned())));
        }
    }
}
