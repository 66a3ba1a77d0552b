//! The lease of a write: pages that are being written to disk, in their frames or as copies.

use std::{io, slice};

use crate::{
    buffer::frame::{
        copy_room::CopyRun,
        frames::Frames,
        pin::{Pin, Pins},
        state::State,
    },
    error::{Error, IoOp},
    id::{Lsn, PageId},
    io::{buffers::IoBuf, doublewrite::KeptCopies, file::File},
    observe::Counter,
    runtime::operation::{abandoned, buffer_at, bytes_of},
    sync::{Arc, batch_status::Outstanding, waking::Wakers},
};

/// Frames that are WRITING, for consecutive blocks of one file, each with a pin; and the bytes that the device reads.
pub(crate) struct WriteRun {
    pins: Pins,
    bytes: WriteSource,
}

enum WriteSource {
    /// The bytes in the frames.
    Lent,
    /// Copies, one behind the other, with room for more.
    Copied(CopyRun),
}

impl WriteRun {
    /// Makes a run of pages that are written from their frames.
    pub(crate) fn lent() -> Self {
        Self { pins: Pins::new(), bytes: WriteSource::Lent }
    }

    /// Makes a run of copies, as many as there is room for.
    pub(crate) fn copied(room: CopyRun) -> Self {
        Self { pins: Pins::new(), bytes: WriteSource::Copied(room) }
    }

    pub(crate) fn pages(&self) -> usize {
        self.pins.len()
    }

    /// Returns whether there is no room for another copy.
    pub(crate) fn is_full(&self) -> bool {
        matches!(&self.bytes, WriteSource::Copied(room) if room.pages == self.pins.len())
    }

    /// Begins the write of a page that has a share latch, which ends: lends its bytes, or copies them, and adds it to the end of the run.
    /// Returns its LSN; `None` if the page is not to be written any more, or another writer has begun to.
    #[must_use]
    pub(crate) fn begin(&mut self, pin: Pin) -> Option<Lsn> {
        let begun = match &mut self.bytes {
            WriteSource::Lent => pin.lend(),
            WriteSource::Copied(room) => {
                let begun = pin.frame().state.try_update(State::begin_write).is_ok();
                if begun {
                    pin.copy_to(room, self.pins.len());
                }
                begun
            }
        };
        let lsn = begun.then(|| pin.frame().page_lsn());
        pin.unlatch_shared();
        if begun {
            self.pins.push(pin);
        }
        lsn
    }

    /// Cancels a run that stayed empty.
    pub(crate) fn cancel(self, frames: &Frames) {
        debug_assert!(self.pins.is_empty());
        if let WriteSource::Copied(room) = self.bytes {
            frames.give_back_run(room, &mut Wakers::new());
        }
    }
}

/// A run as a request has it.
pub(crate) struct WriteLease {
    file: Arc<File>,
    run: WriteRun,
    /// Taken when the lease ends.
    outstanding: Option<Outstanding>,
    /// The copies in the doublewrite area.
    copies: Option<KeptCopies>,
}

impl WriteLease {
    /// Makes the lease of a run of at least one page.
    pub(crate) fn new(file: Arc<File>, mut run: WriteRun, outstanding: Outstanding) -> Self {
        if let WriteSource::Copied(room) = &mut run.bytes {
            run.pins.frames().shrink_run(room, run.pins.len(), &mut Wakers::new());
        }
        let lease = Self { file, run, outstanding: Some(outstanding), copies: None };
        lease.assert_intact();
        lease
    }

    /// Checks, at both ends of a lease, that the frames are being written, and have the consecutive pages of this file that they
    /// had when the lease was made.
    fn assert_intact(&self) {
        let first = self.first();
        assert_eq!(first.file, self.file.id, "a page was to be written to another file");
        for (index, frame) in self.run.pins.iter().enumerate() {
            let (page, state) = (frame.page(), frame.state.load());
            let expected = PageId::new(first.file, first.block.0 + index as u32);
            assert_eq!(page, expected, "not the page that belongs here in a write from {first} on");
            assert!(state.is_writing(), "{page} is in a write, and does not say so: {state:?}");
        }
    }

    /// Returns the first page.
    pub(crate) fn first(&self) -> PageId {
        self.run.pins.page(0)
    }

    /// Calls `look` with each copy and its place in the request.
    pub(crate) fn for_each_copy(&mut self, mut look: impl FnMut(u32, &mut [u8])) {
        if let WriteSource::Copied(copies) = &mut self.run.bytes {
            let frames = self.run.pins.frames();
            for index in 0..copies.pages {
                look(index as u32, frames.copy_mut(copies, index));
            }
        }
    }

    /// Returns the bytes that are written, buffer by buffer.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.buffer_count()).map(|index| {
            let IoBuf { ptr, len, .. } = self.buffer(index);
            // SAFETY: 1. a lease's buffers are valid, initialised memory as long as it is not finished, and it is borrowed here.
            //    2. No thread changes them meanwhile: one that changes a page that is lent does so elsewhere (`buffer/frame/shadow`), and
            //    copies are changed only through a lease that is borrowed mutably.
            #[allow(unsafe_code)]
            unsafe {
                slice::from_raw_parts(ptr.as_ptr(), len as usize)
            }
        })
    }

    /// Notes that the pages have copies elsewhere, which are kept until this write is over.
    pub(crate) fn keep(&mut self, copies: KeptCopies) {
        self.copies = Some(copies);
    }

    /// Ends the lease without a transfer: every page is as dirty as before.
    pub(crate) fn abort(mut self, error: Error) {
        self.end(Err(error), &mut Wakers::new());
    }

    pub(super) fn pins(&self) -> &Pins {
        &self.run.pins
    }

    /// Returns the number of buffers. Copies are one buffer, since they are one behind the other; pages in their frames are one
    /// each.
    pub(super) fn buffer_count(&self) -> usize {
        match &self.run.bytes {
            WriteSource::Lent => self.run.pins.len(),
            WriteSource::Copied(_) => 1,
        }
    }

    pub(super) fn buffer(&self, index: usize) -> IoBuf {
        let frames = self.run.pins.frames();
        let size = frames.page_size.bytes();
        match &self.run.bytes {
            WriteSource::Lent => buffer_at(frames, frames.offset_of(self.run.pins.frame_no(index)), size),
            WriteSource::Copied(copies) => buffer_at(frames, frames.run_offset(copies), copies.pages * size),
        }
    }

    pub(super) fn finish(&mut self, outcome: io::Result<usize>, wakers: &mut Wakers) {
        self.assert_intact();
        let (pages, bytes) = (self.run.pins.len() as u64, bytes_of(&self.run.pins));
        assert!(
            outcome.as_ref().map_or(true, |&went| went == bytes),
            "a part of a write passed for all of it"
        );
        let counters = &self.run.pins.frames().counters;
        counters.add(Counter::PagesWritten, pages);
        counters.add(Counter::Failures, u64::from(outcome.is_err()));
        self.end(outcome.map(drop).map_err(|source| self.failed(source)), wakers);
    }

    fn failed(&self, source: io::Error) -> Error {
        let path = Some(self.file.path.clone());
        Error::Io { op: IoOp::Write, page: self.first(), path, source: source.into() }
    }

    /// Ends the lease. The `wakers` are called when all parts of this write have ended.
    fn end(&mut self, outcome: Result<(), Error>, wakers: &mut Wakers) {
        let Some(outstanding) = self.outstanding.take() else { return };
        let WriteRun { pins, bytes } = &mut self.run;
        let pages = pins.len() as u64;
        // Even a write that failed may have changed the disk. Noted before a frame leaves WRITING: a checkpoint that sees
        // the page clean must see that its file wants a sync.
        self.file.note_written();
        if let Some(copies) = self.copies.take() {
            copies.end(outcome.is_ok());
        }
        if let WriteSource::Copied(copies) = std::mem::replace(bytes, WriteSource::Lent) {
            pins.frames().give_back_run(copies, wakers);
        }
        let frames = pins.keep_frames();
        let clean =
            pins.drain().filter_map(|pin| pin.end_write_with(outcome.is_ok(), wakers).then_some(())).count();
        frames.note_clean(self.file.id, clean);
        frames.dirty_counts.note_write(self.file.id, outcome.as_ref().err());
        outstanding.end(outcome.map(|()| pages));
    }
}

impl Drop for WriteLease {
    fn drop(&mut self) {
        if self.outstanding.is_some() {
            let abandoned = self.failed(abandoned());
            self.end(Err(abandoned), &mut Wakers::new());
        }
    }
}
