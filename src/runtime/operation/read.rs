//! A read, from its begin to its end: frames that are being filled. Where there is a codec, the end is a page's verification, by a
//! thread that wants it.

use std::io;

use crate::{
    buffer::{
        frame::{
            frames::Frames,
            header::Frame,
            pin::{Pin, Pins},
            state::{Phase, State},
        },
        page::Verification,
        residency::Residency,
    },
    error::{Callback, Error, IoOp, Result},
    events,
    id::{FrameNo, PageAddress, PageId},
    io::{
        buffers::{Direction, IoBuf},
        file::File,
        operation::{Operation, Transfer, Urgency},
    },
    observe::{Counter, Counters},
    runtime::{
        file_table::FileTable,
        operation::{PageLease, PageOperation, PageOperations, abandoned, buffer_at, bytes_of},
    },
    sync::{
        Arc,
        atomic::{Ordering, fence},
        callback,
        waking::Wakers,
    },
};

/// How the pages of a pool are read.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ReadMode {
    pub(crate) urgency: Urgency,
    /// The most pages of an operation, also after a join in a queue.
    pub(crate) most: usize,
}

/// Proves that pages were mapped before their file is checked once more: one for all that were mapped together.
///
/// A truncation publishes the new end and then [looks for frames](crate::files::drop_pages::vacate_file). A close publishes that
/// the file is closed and then looks for frames. Here the frame is mapped first and then the file checked. The fences make one of
/// the two see the other.
#[derive(Copy, Clone)]
pub(crate) struct MappedBefore(());

impl MappedBefore {
    pub(crate) fn now() -> Self {
        fence(Ordering::SeqCst);
        Self(())
    }
}

/// Begins the read of a page that was mapped before, unless its block or its file was removed meanwhile. Neighbours can be
/// [added](add), until it is listed and handed over.
pub(crate) fn begin(
    operations: &Arc<PageOperations>,
    pool: &Arc<Residency>,
    file: &Arc<File>,
    page: Pin,
    before: MappedBefore,
    mode: ReadMode,
) -> Result<PageOperation> {
    let page = check_mapped(pool, file, page, before)?;
    let offset = page.frames().page_size.offset_of(page.frame().page().block);
    let lease = PageLease::Read(ReadLease::new(pool, page, mode.most, file.codec.is_some()));
    Ok(Operation::new(operations, Direction::Read, mode.urgency, Arc::clone(file), offset, lease))
}

/// Begins the read of a page that was just mapped, unless its block or its file was removed meanwhile, as a part of `operation`: it
/// is the neighbour in front or behind.
pub(crate) fn add(operation: &mut PageOperation, page: Pin, before: MappedBefore) -> Result<()> {
    let Transfer { file, offset, lease: PageLease::Read(lease), .. } = &mut **operation else {
        unreachable!("a page is added to a read");
    };
    let page = check_mapped(&lease.pool, file, page, before)?;
    let added = page.frame().page();
    if added.is_followed_by(lease.first) {
        *offset -= page.frames().page_size.bytes() as u64;
        lease.first = added;
        lease.pins.push_front(page);
    } else {
        debug_assert!(lease.last().is_followed_by(added), "{page:?} is no neighbour of {}", lease.last());
        lease.pins.push(page);
    }
    debug_assert!(lease.pages() <= lease.most);
    Ok(())
}

/// Checks whether a page that was mapped is still to be read, and notes whether it has its LSN in its bytes. Returns its pin if it is;
/// else its read ends at once, with an error.
pub(crate) fn check_mapped(pool: &Residency, file: &File, page: Pin, _: MappedBefore) -> Result<Pin> {
    assert_waits(page.frame());
    if file.keeps_lsn {
        page.frame().state.update(State::keep_lsn);
    }
    match file.check_open(page.frame().page().block) {
        Ok(()) => Ok(page),
        Err(error) => {
            pool.end_read(page, &Err(error.clone()), true);
            Err(error)
        }
    }
}

/// Frames that are READING, for consecutive blocks of one file; each with the pin that belongs to the read.
pub(crate) struct ReadLease {
    /// The pool in which a page that was not read is unmapped.
    pool: Arc<Residency>,
    /// The page of the first frame; those of the other frames follow it, as both ends of the read [check](Self::assert_intact).
    first: PageId,
    pub(super) pins: Pins,
    most: usize,
    /// Whether a codec must look at the pages before any caller does.
    to_verify: bool,
}

impl ReadLease {
    pub(super) fn new(pool: &Arc<Residency>, pin: Pin, most: usize, to_verify: bool) -> Self {
        let (first, mut pins) = (pin.frame().page(), Pins::new());
        pins.push(pin);
        Self { pool: Arc::clone(pool), first, pins, most, to_verify }
    }

    /// Adds the pages of `next`, which follow, and are of the same kind.
    pub(super) fn append(&mut self, mut next: Self) {
        assert!(self.last().is_followed_by(next.first), "{} is no neighbour of {}", next.first, self.last());
        debug_assert!(self.can_append(&next));
        self.most = self.most.min(next.most);
        self.pins.append(&mut next.pins);
    }

    pub(super) fn pages(&self) -> usize {
        self.pins.len()
    }

    /// Returns whether the pages of `next`, which follow, can be added.
    pub(super) fn can_append(&self, next: &Self) -> bool {
        self.pages() + next.pages() <= self.most.min(next.most)
    }

    /// Returns the page at this place.
    fn page(&self, index: usize) -> PageId {
        PageId::new(self.first.file, self.first.block.0 + index as u32)
    }

    /// Returns the last page.
    fn last(&self) -> PageId {
        self.page(self.pages() - 1)
    }

    /// Returns the buffer of the page at this place.
    pub(super) fn buffer(&self, index: usize) -> IoBuf {
        let index = if seeded!("neighbours_swapped") { self.pages() - 1 - index } else { index };
        buffer_of(self.pins.frames(), self.pins.frame_no(index))
    }

    /// Ends every page's read. A page of which a part was read is completed with zeros, for there the file ends. A page of which
    /// nothing was read failed, for its block was within the file when the read was made.
    ///
    /// A failed transfer of several pages tells nothing about any one of them. So a fetch that waits for one of them reads it
    /// alone, and one bad sector does not make good pages fail. Returns the error of a lone page.
    pub(super) fn finish(&mut self, outcome: io::Result<usize>, wakers: &mut Wakers) -> Option<Error> {
        self.assert_intact(&outcome);
        let counters = &self.pins.frames().counters;
        counters.add(Counter::PagesRead, self.pins.len() as u64);
        counters.add(Counter::Failures, u64::from(outcome.is_err()));
        let (page, is_lone) = (self.first, self.pins.len() == 1);
        match outcome {
            Ok(transferred) => self.end_transferred(transferred, wakers).filter(|_| is_lone),
            Err(_) if !is_lone => {
                self.pins.drain().for_each(|pin| self.pool.abandon_read(pin, wakers));
                None
            }
            Err(source) => {
                let error = failed(self.pins.frames(), page, Arc::new(source));
                self.end_each(|_, _| Err(error.clone()), wakers)
            }
        }
    }

    /// Checks, at both ends of a lease, that the frames still wait for the pages for which they were leased, and that no more was
    /// read than there is room for.
    fn assert_intact(&self, outcome: &io::Result<usize>) {
        let came = outcome.as_ref().map_or(0, |&came| came);
        assert!(came <= bytes_of(&self.pins), "more was read at {} than asked for", self.first);
        for (index, frame) in self.pins.iter().enumerate() {
            assert_eq!(frame.page(), self.page(index), "a frame changed its page while it was being read");
            assert_waits(frame);
        }
    }

    fn end_transferred(&mut self, transferred: usize, wakers: &mut Wakers) -> Option<Error> {
        let size = self.pins.frames().page_size.bytes();
        let end = |index: usize, pin: &Pin| match transferred.saturating_sub(index * size).min(size) {
            0 => Err(failed(pin.frames(), pin.frame().page(), Arc::new(shrunk()))),
            arrived => {
                zero_tail(buffer_of(pin.frames(), pin.frame_no()), arrived);
                Ok(())
            }
        };
        self.end_each(end, wakers)
    }

    /// Ends the read of each page with `outcome`, given its place and its pin. Returns the last error.
    fn end_each(
        &mut self,
        outcome: impl Fn(usize, &Pin) -> Result<()>,
        wakers: &mut Wakers,
    ) -> Option<Error> {
        let mut error = None;
        for (index, pin) in self.pins.drain().enumerate() {
            let result = outcome(index, &pin);
            self.pool.end_read_with(pin, &result, !self.to_verify, wakers);
            error = result.err().or(error);
        }
        error
    }
}

impl Drop for ReadLease {
    fn drop(&mut self) {
        if !self.pins.is_empty() {
            let source = Arc::new(abandoned());
            let end = |_, pin: &Pin| Err(failed(pin.frames(), pin.frame().page(), Arc::clone(&source)));
            self.end_each(end, &mut Wakers::new());
        }
    }
}

/// The state of a page that was being read, seen from a pin on it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// The page can be used.
    Here,
    /// Its read, or its verification by another thread, is under way.
    Reading,
    /// Its read failed: the frame has no page any more.
    Gone,
}

/// Looks how far the read of a pinned page has come, and verifies the page if no thread has done so.
pub(crate) fn look(pool: &Residency, files: &FileTable, pin: &Pin) -> Result<ReadOutcome> {
    loop {
        let state = pin.frame().state.load();
        match state.phase() {
            Phase::Valid => return Ok(ReadOutcome::Here),
            Phase::Reading => return Ok(ReadOutcome::Reading),
            Phase::Free | Phase::Claimed => return Ok(ReadOutcome::Gone),
            // To verify takes a further pin.
            Phase::Loaded if state.pins_are_exhausted() => {
                return Err(pool.too_many_pins(pin.frame().page()));
            }
            Phase::Loaded => {
                if let Some(verification) = Verification::begin(pool, pin) {
                    let page = pin.frame().page();
                    verification
                        .run(|bytes| open(&*files.open_file(page.file)?, page, bytes, &pool.counters))?;
                }
            }
        }
    }
}

/// Has the codec of its file open a page.
fn open(file: &File, page: PageId, bytes: &mut [u8], counters: &Counters) -> Result<()> {
    let Some(codec) = &file.codec else { return Ok(()) };
    if file.sparse && bytes.iter().all(|&byte| byte == 0) {
        return Ok(());
    }
    let verdict = callback::contained(|| codec.open(PageAddress::new(file.tag, page.block), bytes))
        .map_err(|_| Error::panicked_over(Callback::CodecOpen, page, &file.path))?;
    let verdict = if seeded!("page_not_verified") { Ok(()) } else { verdict };
    verdict.map_err(|reason| {
        counters.add(Counter::CorruptPages, 1);
        file.activity.corrupt_pages.fetch_add(1, Ordering::Relaxed);
        events::corrupt_page(&counters.pool, page.file, &file.path, page.block.0, &reason);
        Error::Corrupt { page, path: file.path.clone(), reason: reason.into() }
    })
}

fn failed(frames: &Frames, page: PageId, source: Arc<io::Error>) -> Error {
    Error::Io { op: IoOp::Read, page, path: frames.path_of(page.file), source }
}

/// Checks that the frame waits for its page, so no thread uses its bytes.
fn assert_waits(frame: Frame<'_>) {
    let state = frame.state.load();
    assert!(state.phase() == Phase::Reading, "{} is in a read, and does not say so: {state:?}", frame.page());
}

fn buffer_of(frames: &Frames, no: FrameNo) -> IoBuf {
    buffer_at(frames, frames.offset_of(no), frames.page_size.bytes())
}

fn shrunk() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the file is shorter than when it was opened; was it cut by another program?",
    )
}

/// Zeros the bytes behind the end of the file, so that they never show what the frame held before.
#[allow(unsafe_code)]
fn zero_tail(buffer: IoBuf, arrived: usize) {
    let len = buffer.len as usize;
    debug_assert!(arrived <= len);
    // Nearly always true. To zero nothing is not free: it may be a store under an empty mask, which waits for the next page's
    // bytes.
    if arrived == len || seeded!("tail_not_zeroed") {
        return;
    }
    // SAFETY: `arrived` is at most the buffer's length.
    let tail = unsafe { buffer.ptr.add(arrived) };
    // SAFETY: 1. the lease owns the buffer's `len` bytes until the read is ended, which is after this; 2. the transfer is
    // over, so the kernel does not touch them either.
    unsafe { tail.write_bytes(0, len - arrived) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buffer::{residency::Mapped, small_pools::pool_of},
        id::{FileId, PageSize},
        io::tests::support::FakeDisk,
    };

    #[test]
    #[should_panic(expected = "is in a read, and does not say so")]
    fn a_page_that_is_here_is_leased_to_no_read() {
        let counters = Arc::new(Counters::new());
        let pool = Arc::new(pool_of(1));
        let claimed = pool.take_clean().unwrap();
        let Mapped { reading, own } = pool.map(claimed, PageId::new(FileId(0), 1), false).unwrap();
        pool.end_read(reading, &Ok(()), true);
        let file = Arc::new(FakeDisk::stamped(2 * 512).open_file(512).unwrap());
        let mode = ReadMode { urgency: Urgency::Demand, most: 1 };
        drop(begin(
            &Arc::new(PageOperations::new(PageSize::MIN, counters)),
            &pool,
            &file,
            own,
            MappedBefore::now(),
            mode,
        ));
    }
}
