//! Write-out: copies of dirty pages, in runs of neighbours, behind the log, on their way to disk.
//!
//! The rule that keeps this free of deadlock: **never wait with copies in hand that are not submitted.** A copied page is
//! WRITING until its copy arrives, and somebody who waits for that may hold what the writer is about to wait for. So
//! before it waits (for a latch, for another write of the same page, for staging) the writer submits what it has. In
//! [`Patience::Try`] it never waits and leaves out what it cannot have.
//!
//! Lock order: one content latch at a time, and under it only the staging's own lock.

use crate::{
    codec::PageAddress,
    error::{Error, Result},
    id::{FrameNo, Lsn, PageId},
    io::{
        file::File,
        request::{Direction, Request},
    },
    lease::{PageLease, Tally, WriteLease},
    pool::{
        handle::Pin,
        latch::Latch,
        pins::Pins,
        staging::StagingRun,
        state::State,
        waiters::{Ticket, Want},
    },
    shared::Shared,
    stats::Counter,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    wait,
};

/// Requests that are handed over together, behind one flush of the log.
const BATCH: usize = 32;

/// A page and the frame in which it was seen.
pub(crate) type Candidate = (PageId, FrameNo);

/// How far a write-out goes for a page.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Every candidate that is dirty when its turn comes is written.
    Wait,
    /// Only what can be had at once: for those who hold latches, or must not block.
    Try,
}

/// Starts writing the candidates that are dirty, in the order of their files. What becomes of them is in the tally.
pub(crate) fn write_out(shared: &Shared, candidates: &mut [Candidate], patience: Patience) -> Arc<Tally> {
    candidates.sort_unstable();
    let mut writer =
        Writer { shared, patience, tally: Tally::new(), batch: Vec::new(), highest_lsn: Lsn::UNLOGGED };
    let mut rest = &*candidates;
    while let Some((&first, behind)) = rest.split_first() {
        rest = match writer.latch_dirty(first) {
            Some(pin) => writer.copy_run(pin, rest),
            None => behind,
        };
    }
    writer.submit();
    writer.tally
}

/// What became of a page that was to be copied.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Copied {
    Yes,
    /// It lies behind the end of its file by now, and is as dirty as before.
    Outside,
    /// It is not to be written any more, or another writer has begun to.
    NotBegun,
}

struct Writer<'a> {
    shared: &'a Shared,
    patience: Patience,
    tally: Arc<Tally>,
    /// Copies that are not submitted yet.
    batch: Vec<Request<PageLease>>,
    highest_lsn: Lsn,
}

impl Writer<'_> {
    /// A pin and a share latch on the candidate, which is dirty and not being written; `None` where there is nothing to do,
    /// or not without patience.
    fn latch_dirty(&mut self, (page, no): Candidate) -> Option<Pin> {
        let pin = self.pin_readable(page, no)?;
        loop {
            if !pin.try_latch(Latch::Shared) {
                if self.patience == Patience::Try {
                    return None;
                }
                self.submit();
                pin.latch(Latch::Shared);
            }
            let state = pin.frame().state.load();
            if state.is_dirty() && !state.is_writing() {
                return Some(pin);
            }
            pin.unlatch_shared();
            if !state.is_writing() || self.patience == Patience::Try {
                return None;
            }
            // An earlier write of this page is under way; whether it covers the candidate shows when it is over.
            self.submit();
            wait_for_write(&pin);
        }
    }

    /// A pin on the candidate, if its frame still has it and may be latched. Otherwise there is nothing to write: a frame
    /// that changed its page was clean when it did, and a page that is being read has no changes. (Nobody latches a page
    /// before it is there; once pinned, one that is there stays.)
    fn pin_readable(&self, page: PageId, no: FrameNo) -> Option<Pin> {
        self.shared.pool.pin_unused(no, page).filter(|pin| pin.frame().state.load().is_valid())
    }

    /// Copies the latched page, which is the first of the candidates, and as many of its neighbours as can be had into one run;
    /// gives the candidates that are left.
    fn copy_run<'c>(&mut self, first: Pin, candidates: &'c [Candidate]) -> &'c [Candidate] {
        let page = first.frame().page();
        let mut behind = &candidates[1..];
        let Some(file) = self.shared.files.for_write_out(page.file) else {
            first.unlatch_shared();
            return behind;
        };
        let wanted = 1 + neighbours(page, behind).min(self.shared.config.combine_pages - 1);
        let Some(mut run) = self.take_staging(wanted) else {
            first.unlatch_shared();
            return behind;
        };
        let mut pins = Pins::new();
        if self.copy(first, &file, &mut run, &mut pins) == Copied::NotBegun {
            // Another writer was faster: it is looked at again, and its write is waited for with patience.
            self.shared.pool.staging.give_back(run);
            return candidates;
        }
        while pins.len() < run.pages() && !pins.is_empty() {
            let Some((&(page, no), further)) = behind.split_first() else { break };
            let neighbour = self.pin_readable(page, no).filter(|pin| pin.try_latch(Latch::Shared));
            let Some(pin) = neighbour else { break };
            if self.copy(pin, &file, &mut run, &mut pins) != Copied::Yes {
                break;
            }
            behind = further;
        }
        self.add_request(file, pins, run);
        behind
    }

    /// Copies one latched page to the end of the run, if it is still to be written, and unlatches it.
    fn copy(&mut self, pin: Pin, file: &File, run: &mut StagingRun, pins: &mut Pins) -> Copied {
        let frame = pin.frame();
        let begun = frame.state.try_update(State::begin_write).is_ok();
        if begun {
            pin.pool().stage(run, pins.len(), &pin);
            self.highest_lsn = self.highest_lsn.max(frame.page_lsn());
        }
        pin.unlatch_shared();
        if !begun {
            return Copied::NotBegun;
        }
        // A truncation publishes the new end and then looks for frames that are WRITING; this frame is, and then looks
        // at the end. The fences make one of them see the other, so no page is written back behind the end.
        fence(Ordering::SeqCst);
        if file.check(frame.page().block).is_ok() {
            pins.push(pin);
            Copied::Yes
        } else {
            pin.end_write(false);
            Copied::Outside
        }
    }

    /// Room for copies. With patience there is always some, once earlier writes are through.
    fn take_staging(&mut self, wanted: usize) -> Option<StagingRun> {
        let staging = &self.shared.pool.staging;
        let at_once = staging.try_take(wanted);
        if at_once.is_some() || self.patience == Patience::Try {
            return at_once;
        }
        self.submit();
        Some(staging.take(wanted))
    }

    fn add_request(&mut self, file: Arc<File>, pins: Pins, mut run: StagingRun) {
        let pool = &self.shared.pool;
        if pins.is_empty() {
            pool.staging.give_back(run);
            return;
        }
        pool.staging.shrink(&mut run, pins.len());
        let lease = WriteLease::new(Arc::clone(&file), pins, run, self.tally.begin());
        let offset = pool.page_size().offset_of(lease.first().block);
        self.batch.push(Request {
            direction: Direction::Write,
            file,
            offset,
            lease: PageLease::Write(lease),
        });
        if self.batch.len() == BATCH {
            self.submit();
        }
    }

    /// Has the log flushed as far as the copies in hand need it, seals them and hands them over.
    fn submit(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let lsn = std::mem::take(&mut self.highest_lsn);
        if let Err(error) = flush_log(self.shared, lsn) {
            for request in self.batch.drain(..) {
                if let PageLease::Write(lease) = request.lease {
                    lease.abort(error.clone());
                }
            }
            return;
        }
        if let Some(codec) = &self.shared.config.codec {
            for request in &mut self.batch {
                if let PageLease::Write(lease) = &mut request.lease {
                    let (tag, first) = (request.file.tag, lease.first().block.0);
                    lease.for_each_copy(|index, copy| codec.seal(PageAddress::new(tag, first + index), copy));
                }
            }
        }
        self.shared.counters.add(Counter::WriteRequests, self.batch.len() as u64);
        self.shared.method.submit(&mut self.batch);
    }
}

/// How many of the next candidates follow `page` block by block.
fn neighbours(mut page: PageId, behind: &[Candidate]) -> usize {
    let follows = |&&(next, _): &&Candidate| std::mem::replace(&mut page, next).is_followed_by(next);
    behind.iter().take_while(follows).count()
}

/// Write-ahead log before data: durable up to `lsn`, or an error.
fn flush_log(shared: &Shared, lsn: Lsn) -> Result<()> {
    let Some(wal) = &shared.config.wal else { return Ok(()) };
    if lsn == Lsn::UNLOGGED || wal.flushed_lsn() >= lsn {
        return Ok(());
    }
    let failed = |source| Error::Wal { lsn, source: Arc::new(source) };
    let durable = wal.flush(lsn).map_err(failed)?;
    if durable >= lsn {
        Ok(())
    } else {
        Err(failed(std::io::Error::other(format!("the log says that it is durable only up to {durable}"))))
    }
}

/// Sleeps until no write of the pinned page is under way.
pub(crate) fn wait_for_write(pin: &Pin) {
    wait_for_io(pin, Want::WriteDone);
}

/// Sleeps until the I/O of the pinned page is over, however it ends.
pub(crate) fn wait_for_io(pin: &Pin, want: Want) {
    let waiters = &pin.pool().waiters;
    let mut ticket: Option<Ticket> = None;
    wait::block_on(|waker| {
        if ticket.is_none() {
            ticket = waiters.enlist(pin.frame_no(), pin.frame(), want, waker);
        }
        ticket.as_ref().map_or(std::task::Poll::Ready(()), |ticket| waiters.poll(ticket, waker).map(drop))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BufferPool, IoMethod, OpenOptions,
        testing::{Op, SimDisk},
    };

    #[test]
    fn nothing_is_written_behind_an_end_that_a_truncation_has_published() {
        let disk = SimDisk::new();
        disk.put("data", [1; 2 * 4096]);
        let builder = BufferPool::builder().frames(4).page_size(4096).io_method(IoMethod::Sync);
        let pool = builder.disk(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        let mut candidates: Vec<Candidate> = (0..2)
            .map(|block| {
                let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
                page.write().unwrap().fill(2);
                let no = pool.shared().pool.frames().find(|(_, frame)| frame.page() == page.id()).unwrap().0;
                (page.id(), no)
            })
            .collect();
        // As a truncation does before it looks for frames.
        pool.shared().files.open_file(file).unwrap().set_blocks(1);
        let pages = write_out(pool.shared(), &mut candidates, Patience::Wait).wait().unwrap();
        assert_eq!((pages, disk.count(Op::Write)), (1, 1));
        assert_eq!(disk.image("data").unwrap()[4096..], [1; 4096]);
        assert_eq!(pool.stats().frames.dirty, 1, "what was not written is as dirty as before");
        assert_eq!((pool.stats().frames.pins, pool.stats().frames.writing), (0, 0));
    }

    /// Left out, the page would come back from the other's write after the sync of a checkpoint that has passed over it.
    #[test]
    fn a_page_whose_write_another_begins_in_between_is_looked_at_again() {
        let disk = SimDisk::new();
        disk.put("data", [1; 4096]);
        let builder = BufferPool::builder().frames(4).page_size(4096).io_method(IoMethod::Sync);
        let pool = builder.disk(disk).build().unwrap();
        let page = PageId::new(pool.open_file("data", OpenOptions::new()).unwrap(), 0);
        pool.fetch(page).wait().unwrap().write().unwrap().fill(2);
        let shared = pool.shared();
        let no = shared.pool.frames().find(|(_, frame)| frame.page() == page).unwrap().0;
        let candidates = [(page, no)];
        let (patience, tally) = (Patience::Wait, Tally::new());
        let mut writer = Writer { shared, patience, tally, batch: Vec::new(), highest_lsn: Lsn::UNLOGGED };
        let pin = writer.latch_dirty(candidates[0]).unwrap();
        let others = pin.again().unwrap();
        pin.frame().state.try_update(State::begin_write).unwrap();
        assert_eq!(writer.copy_run(pin, &candidates), candidates);
        others.end_write(false);
        assert_eq!(write_out(shared, &mut candidates.clone(), patience).wait().unwrap(), 1);
    }
}
