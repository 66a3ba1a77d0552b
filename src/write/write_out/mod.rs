//! Write-out: writes dirty pages to disk, in runs of neighbours, behind the log.
//!
//! Without a codec the device reads the pages [in their frames](crate::buffer::frame::shadow); with one it reads sealed copies.
//!
//! The rule that prevents deadlock: **never wait with pages in hand that are not submitted.** Such a page is WRITING until it is
//! written, and a thread that waits for that may hold what the writer is about to wait for. So before the writer waits (for a
//! latch, for another write of the same page, for room for copies, for a page that is [in quarantine](crate::buffer::quarantine))
//! it submits the pages that it has. With [`Patience::Try`] it never waits, and leaves out the pages that it cannot have.
//!
//! The share latch is taken ahead of the line of waiters, since it is released within a copy of the page: a caller may hold a read
//! guard of the page and wait for its write while another thread waits to change it. So write-out waits only for a write guard of
//! the page, and for a bounded time: the guard may have been forgotten, or belong to the thread that waits for this write.
//!
//! It need not check where the file ends. A call that cuts a file waits for the writes of the pages behind the cut and keeps these
//! out of reach, so there is no such page when the cut is made.
//!
//! Lock order: one content latch at a time, and under it only the lock of the shadow pages, or of the room for copies.

#[cfg(test)]
mod tests;

use std::{path::Path, task::Poll};

use crate::{
    buffer::{
        frame::{header::Frame, latch::Latch, pin::Pin, waiters::want::Want},
        lookup::NotPinned,
    },
    error::{Callback, Error, Result},
    id::{FileId, FrameNo, Lsn, PageAddress, PageId},
    io::{
        buffers::Direction,
        doublewrite::Run,
        file::File,
        method::calling_thread,
        operation::{Operation, Urgency},
    },
    observe::Counter,
    runtime::{
        config::Config,
        operation::{PageLease, PageOperation, WriteLease, WriteRun},
        shared::Shared,
    },
    sync::{
        Arc,
        batch_status::BatchStatus,
        callback, moment_after,
        time::{self, Duration},
        turns::Turn,
        wait::{Drive, RETRY},
    },
    write::schedule,
};

/// Requests that are handed over together, behind one flush of the log.
const BATCH: usize = 32;

/// Pages that are written in one batch, before it is another file's turn and before a paced checkpoint may pause.
const PIECE: usize = 256;

/// Pages that a paced checkpoint writes in one batch: few, so that its load is even.
const PACED_PIECE: usize = 32;

/// Returns the most pages that are handed over together.
pub(crate) fn largest_batch(config: &Config) -> usize {
    (BATCH * config.combine_pages).min(config.frames_at_most as usize)
}

/// A page and the frame in which it was seen.
pub(crate) type Candidate = (PageId, FrameNo);

/// Sorts the candidates by file and block: by a number for each, which is compared in one step.
pub(crate) fn sort_candidates(candidates: &mut [Candidate]) {
    candidates.sort_unstable_by_key(|&(page, no)| u128::from(page.to_word()) << 32 | u128::from(no.0));
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Every candidate that is dirty when its turn comes is written. The writer waits for one that is being changed, for at most
    /// this time. After that, and at the end of the pool, that is an error, and it waits for no further one.
    Wait(Duration),
    /// Only pages that can be had at once: for callers that hold latches, or must not block.
    Try,
}

impl Patience {
    /// Waits for a page that is being changed for as long as a fetch waits for a frame.
    pub(crate) fn of_callers(shared: &Shared) -> Self {
        Self::Wait(shared.config.frame_wait)
    }
}

/// Returns whether the disk may not have all bytes of the frame's page.
pub(crate) fn may_hold_changes(frame: Frame<'_>) -> bool {
    let state = frame.state.load();
    state.may_hold_changes() && !(state.is_writing() && seeded!("checkpoint_leaves_out_writes_under_way"))
}

/// Writes the candidates that are dirty, in the order that the [schedule] gives, and waits for them: at once, or, by the holder of the turn,
/// spread over a time. Returns how many were written. The thread that waits for a demand may make the transfer.
pub(crate) fn write_all(
    shared: &Shared,
    mut candidates: Vec<Candidate>,
    urgency: Urgency,
    mut patience: Patience,
    pace: Option<(&Turn<'_>, Duration)>,
) -> Result<u64> {
    sort_candidates(&mut candidates);
    candidates.dedup();
    let pages: Vec<PageId> = candidates.iter().map(|&(page, _)| page).collect();
    let (begun, tally) = (time::now(), BatchStatus::new());
    let (mut pace, mut written) = (pace, 0);
    for piece in schedule::pieces(&pages, pace.map_or(PIECE, |_| PACED_PIECE)) {
        if let Some((turn, over)) = pace
            && !turn.pause_until(moment_after(begun, schedule::due(written, pages.len(), over)), &shared.end)
        {
            pace = None;
        }
        written += piece.len();
        // Several pieces are written side by side.
        let transfers = urgency == Urgency::Demand && piece.len() == pages.len();
        write_sorted(shared, &candidates[piece], urgency, &mut patience, &tally, transfers);
    }
    tally.wait()
}

/// Starts writing the candidates that are dirty, in the order of their files. Their outcomes go into the tally.
///
/// A write that a caller waits for, and a write for a miss that needs the frame, is a demand; [writeback](Urgency::Writeback) goes
/// after those.
pub(crate) fn write_out(
    shared: &Shared,
    candidates: &mut [Candidate],
    urgency: Urgency,
    patience: &mut Patience,
    tally: &Arc<BatchStatus>,
) {
    sort_candidates(candidates);
    write_sorted(shared, candidates, urgency, patience, tally, false);
}

/// Starts writing the candidates, which are sorted, as [`write_out`] does. If they are one request, the calling thread `transfers` it: for a
/// caller that waits for the write next, and has nothing else to do meanwhile. It saves two wake-ups.
fn write_sorted(
    shared: &Shared,
    candidates: &[Candidate],
    urgency: Urgency,
    patience: &mut Patience,
    tally: &Arc<BatchStatus>,
    transfers: bool,
) {
    let (batch, highest_lsn) = (Vec::new(), Lsn::UNLOGGED);
    let mut writer = RunBuilder { shared, urgency, patience, tally, batch, highest_lsn, transfers };
    let mut rest = candidates;
    while let Some((&first, behind)) = rest.split_first() {
        if !writer.may_begin(first.0.file) {
            let of_the_file = rest.iter().take_while(|(page, _)| page.file == first.0.file).count();
            rest = &rest[of_the_file..];
            continue;
        }
        rest = match writer.latch_dirty(first) {
            Some(pin) => writer.build_run(pin, rest),
            None => behind,
        };
    }
    writer.submit();
}

struct RunBuilder<'a> {
    shared: &'a Shared,
    urgency: Urgency,
    patience: &'a mut Patience,
    tally: &'a Arc<BatchStatus>,
    batch: Vec<PageOperation>,
    highest_lsn: Lsn,
    /// Whether the calling thread makes the transfer of the first batch, if that is one request.
    transfers: bool,
}

impl RunBuilder<'_> {
    /// Returns false if there is no room for a copy of a page of the file, and the writer must not wait for some. It must not even
    /// pin such a page: the end of a pin wakes those that wait for a frame, and they would try this write again.
    fn may_begin(&self, file: FileId) -> bool {
        *self.patience != Patience::Try
            || self.shared.pool.copy_room.has_room_for(file)
            || seeded!("page_pinned_without_room")
    }

    /// Pins and share-latches the candidate, if it is dirty and not being written. Returns `None` if there is nothing to do, or if
    /// it would have to wait and must not.
    fn latch_dirty(&mut self, (page, no): Candidate) -> Option<Pin> {
        let pin = self.pin(page, no)?;
        loop {
            if !pin.try_latch_past_the_line() {
                let Patience::Wait(at_most) = *self.patience else { return None };
                self.submit();
                if let Err(error) = self.wait_for_latch(&pin, at_most) {
                    *self.patience = Patience::Wait(Duration::ZERO);
                    self.tally.begin().end(Err(error));
                    return None;
                }
            }
            let state = pin.frame().state.load();
            if state.is_dirty() && !state.is_writing() {
                if self.shared.pool.unlogged.contains(&no) {
                    pin.unlatch_shared();
                    self.tally.begin().end(Err(Error::UnloggedChange { page, path: self.path_of(page) }));
                    return None;
                }
                return Some(pin);
            }
            pin.unlatch_shared();
            if !state.is_writing() || *self.patience == Patience::Try {
                return None;
            }
            // An earlier write of this page is under way; when it is over, the state shows whether it covers the candidate.
            self.submit();
            pin.wait_for_io(Want::WriteDone);
        }
    }

    /// Takes the share latch when the change of the page is over. Fails if the pool ends before that, or it takes too long.
    fn wait_for_latch(&self, pin: &Pin, at_most: Duration) -> Result<()> {
        let begun = time::now();
        let mut place = None;
        // In line, so that it gets its turn among the threads that change the page; and ahead of the line, if the latch is free and
        // the first in line does not take it.
        let latched = self.shared.end.wait_for_callers(moment_after(begun, at_most.max(RETRY)), |waker| {
            if pin.try_latch_past_the_line() {
                return Poll::Ready(());
            }
            pin.poll_latch(Latch::Shared, &mut place, Drive::Thread, waker)
        });
        if let Some(place) = &place {
            pin.cancel_wait(place);
        }
        let waited = time::now() - begun;
        latched.ok_or_else(|| match self.shared.end.has_begun() {
            true => Error::ShutDown,
            false => {
                let page = pin.frame().page();
                Error::Latched { page, path: self.path_of(page), waited }
            }
        })
    }

    /// Pins the candidate, if its frame still has it and may be latched. Otherwise there is nothing to write: a frame that changed
    /// its page was clean when it did, and a page that is being read has no changes. (No thread latches a page before it is read;
    /// once pinned, a page that was read stays.)
    fn pin(&mut self, page: PageId, no: FrameNo) -> Option<Pin> {
        loop {
            match self.shared.pool.pin_unused(no, page) {
                Ok(pin) => return pin.frame().state.load().is_valid().then_some(pin),
                Err(NotPinned::Seized) if *self.patience != Patience::Try => {
                    // If it is put back, it is as dirty as it was.
                    self.submit();
                    self.shared.pool.wait_until_settled(no);
                }
                Err(NotPinned::TooManyPins) if *self.patience != Patience::Try => {
                    self.tally.begin().end(Err(Error::TooManyPins { page, path: self.path_of(page) }));
                    return None;
                }
                Err(_) => return None,
            }
        }
    }

    /// Returns the path of the page's file, for an error.
    fn path_of(&self, page: PageId) -> Option<Arc<Path>> {
        self.shared.pool.path_of(page.file)
    }

    /// Pins and share-latches the candidate, if that needs no wait.
    fn try_latch(&self, page: PageId, no: FrameNo) -> Option<Pin> {
        let pin = self.shared.pool.pin_unused(no, page).ok()?;
        if !pin.frame().state.load().is_valid() || !pin.try_latch_past_the_line() {
            return None;
        }
        if self.shared.pool.unlogged.contains(&no) {
            // Reported when it is its own turn.
            pin.unlatch_shared();
            return None;
        }
        Some(pin)
    }

    /// Puts the latched page, which is the first of the candidates, and as many of its neighbours as can be had into one request.
    /// Returns the candidates that are left.
    fn build_run<'c>(&mut self, first: Pin, candidates: &'c [Candidate]) -> &'c [Candidate] {
        let page = first.frame().page();
        let mut behind = &candidates[1..];
        let Some(file) = self.shared.files.for_write_out(page.file) else {
            first.unlatch_shared();
            return behind;
        };
        let most = file.pages_a_write(self.shared.config.combine_pages);
        let wanted = 1 + neighbours(page, behind).min(most - 1);
        let Some(mut run) = self.begin_run(wanted, page.file) else {
            // Not with the page in hand: a thread that changes it would wait for the disk.
            first.unlatch_shared();
            drop(first);
            if *self.patience == Patience::Try {
                return behind;
            }
            self.submit();
            self.shared.pool.copy_room.wait_for_room(page.file);
            return candidates;
        };
        if !self.add(first, &mut run) {
            // Another writer was faster: the page is looked at again, and its write is waited for if the patience allows.
            run.cancel(&self.shared.pool);
            return if seeded!("write_of_another_not_waited_for") { behind } else { candidates };
        }
        while run.pages() < wanted && !run.is_full() {
            let Some((&(page, no), further)) = behind.split_first() else { break };
            let Some(pin) = self.try_latch(page, no) else { break };
            if !self.add(pin, &mut run) {
                break;
            }
            behind = further;
        }
        self.add_request(file, run);
        behind
    }

    /// Makes an empty run; with a codec, with room for at most `wanted` copies. Returns `None` if there is no room for this file.
    fn begin_run(&self, wanted: usize, file: FileId) -> Option<WriteRun> {
        if self.shared.config.codec.is_none() {
            return Some(WriteRun::lent());
        }
        self.shared.pool.copy_room.try_take(wanted, file).map(WriteRun::copied)
    }

    /// Adds one latched page to the end of the run, and unlatches it. Returns whether it did.
    fn add(&mut self, pin: Pin, run: &mut WriteRun) -> bool {
        let lsn = run.begin(pin);
        self.highest_lsn = self.highest_lsn.max(lsn.unwrap_or(Lsn::UNLOGGED));
        lsn.is_some()
    }

    fn add_request(&mut self, file: Arc<File>, run: WriteRun) {
        let lease = WriteLease::new(Arc::clone(&file), run, self.tally.begin());
        let offset = self.shared.config.page_size.offset_of(lease.first().block);
        let urgency = if seeded!("writes_as_urgent_as_reads") { Urgency::Demand } else { self.urgency };
        let (operations, lease) = (&self.shared.operations, PageLease::Write(lease));
        let mut operation = Operation::new(operations, Direction::Write, urgency, file, offset, lease);
        operation.list(operations.now());
        self.batch.push(operation);
        if self.batch.len() == BATCH {
            self.submit();
        }
    }

    /// Has the log flushed as far as the pages in hand need it, seals copies and submits the requests.
    fn submit(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let lsn = std::mem::take(&mut self.highest_lsn);
        let ready = callback::contained(|| flush_log(self.shared, lsn))
            .unwrap_or_else(|_| Err(Error::panicked(Callback::Log)))
            .and_then(|()| self.seal())
            .and_then(|()| self.protect());
        if let Err(error) = ready {
            for request in self.batch.drain(..) {
                if let PageLease::Write(lease) = request.into_lease() {
                    lease.abort(error.clone());
                }
            }
            return;
        }
        self.shared.counters.add(Counter::WriteRequests, self.batch.len() as u64);
        // Further requests are made side by side.
        let is_lone = self.batch.len() == 1 && self.batch[0].file.max_in_flight.is_none();
        if std::mem::take(&mut self.transfers) && is_lone {
            let lone = self.batch.pop().into_iter();
            lone.for_each(|write| drop(calling_thread::run(write, &self.shared.counters)));
        } else {
            self.shared.method.submit(&mut self.batch);
        }
    }

    fn seal(&mut self) -> Result<()> {
        if let Some(codec) = &self.shared.config.codec
            && !seeded!("copy_not_sealed")
        {
            for request in &mut self.batch {
                let file = Arc::clone(&request.file);
                if let PageLease::Write(lease) = &mut request.lease {
                    let (first, mut page) = (lease.first(), lease.first());
                    let sealed = callback::contained(|| {
                        lease.for_each_copy(|index, copy| {
                            page = PageId::new(first.file, first.block.0 + index);
                            codec.seal(PageAddress::new(file.tag, page.block), copy);
                        });
                    });
                    sealed.map_err(|_| Error::panicked_over(Callback::CodecSeal, page, &file.path))?;
                }
            }
        }
        Ok(())
    }

    /// Makes copies durable in the doublewrite area first, if the pool has one.
    fn protect(&mut self) -> Result<()> {
        let Some(doublewrite) = &self.shared.doublewrite else { return Ok(()) };
        let protected = self.batch.iter().filter(|request| wants_copies(request));
        let runs: Vec<Run<'_>> = protected
            .filter_map(|request| {
                let PageLease::Write(lease) = &request.lease else { return None };
                let (first, pieces) = (lease.first().block, lease.pieces().collect());
                Some(Run { file: &request.file, first, pieces })
            })
            .collect();
        if runs.is_empty() {
            return Ok(());
        }
        let copies = doublewrite.protect(&runs)?;
        drop(runs);
        let protected = self.batch.iter_mut().filter(|request| wants_copies(request));
        for (request, copies) in protected.zip(copies) {
            if let PageLease::Write(lease) = &mut request.lease {
                lease.keep(copies);
            }
        }
        Ok(())
    }
}

/// Returns whether a power cut could tear the pages of the request.
fn wants_copies(request: &PageOperation) -> bool {
    request.file.atomic_pages.is_err() && request.file.tears_pages()
}

/// Returns how many of the next candidates follow `page` block by block.
fn neighbours(mut page: PageId, behind: &[Candidate]) -> usize {
    let follows = |&&(next, _): &&Candidate| std::mem::replace(&mut page, next).is_followed_by(next);
    behind.iter().take_while(follows).count()
}

/// Has the log made durable up to `lsn`, or returns an error: write-ahead log before data.
fn flush_log(shared: &Shared, lsn: Lsn) -> Result<()> {
    let Some(wal) = &shared.config.wal else { return Ok(()) };
    if lsn == Lsn::UNLOGGED || seeded!("log_not_asked") || wal.flushed_lsn() >= lsn {
        return Ok(());
    }
    let failed = |source| Error::Wal { lsn, source: Arc::new(source) };
    let durable = wal
        .flush(lsn)
        .or_else(|error| if seeded!("log_failure_ignored") { Ok(lsn) } else { Err(failed(error)) })?;
    if durable >= lsn {
        Ok(())
    } else {
        Err(failed(std::io::Error::other(format!("the log says that it is durable only up to {durable}"))))
    }
}
