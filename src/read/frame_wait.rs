//! Waiting for a frame that was not found at once: carries out the [decision](crate::buffer::supply::decision), and waits in line between
//! its steps.

use std::task::{Poll, Waker};

use crate::{
    buffer::{
        frame::frame_waiters::WakerPlace,
        residency::ClaimedFrame,
        supply::{
            DirtyVictims, Search,
            decision::{OngoingWait, Step, WaitBounds},
        },
    },
    error::Result,
    events,
    id::FileId,
    io::operation::Urgency,
    observe::{Counter, Measure},
    runtime::shared::Shared,
    sync::{
        Arc,
        batch_status::BatchStatus,
        time::{self, Duration},
        wait::{Drive, RETRY},
    },
    write::write_out::{Candidate, Patience, write_out},
};

/// One fetch's wait for a frame, and the waits that it had before.
pub(super) struct FrameWait {
    /// The most to wait while pins stand in the way, in all waits.
    pub(super) limit: Duration,
    /// The wait that is going on. In a box, since most fetches never wait.
    wait: Option<Box<OngoingWait>>,
    /// For how long pins stood in the way, in all waits so far.
    pinned: Duration,
    /// The last batch of victims that is written on this fetch's behalf.
    cleaning: Option<Arc<BatchStatus>>,
    /// Its place in line.
    place: Option<WakerPlace>,
}

impl FrameWait {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, wait: None, pinned: Duration::ZERO, cleaning: None, place: None }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.wait.is_some()
    }

    /// Returns how much is left of the time for which pins may stand in the way.
    pub(super) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.pinned)
    }

    /// Waits for a frame for a page of this file, after a search that has met only these `dirty` victims; or goes on with the wait
    /// after a wake-up or [`RETRY`].
    pub(super) fn poll<'a>(
        &mut self,
        shared: &'a Shared,
        file: FileId,
        mut dirty: DirtyVictims,
        drive: Drive,
        waker: &Waker,
    ) -> Poll<Result<ClaimedFrame<'a>>> {
        if let Some(taken) = self.go_on(shared, file, &mut dirty, drive) {
            if let Some(wait) = self.wait.take() {
                shared.counters.measures.add_time(Measure::FrameWait, time::now() - wait.since());
            }
            if taken.is_ok()
                && let Some(place) = self.place.take()
            {
                shared.pool.frame_waiters.leave(&place);
            }
            return Poll::Ready(taken);
        }
        if self.place.is_none() {
            shared.counters.add(Counter::FrameWaits, 1);
        }
        shared.pool.frame_waiters.enlist(&mut self.place, waker);
        if drive == Drive::Task {
            shared.pool.look_after(waker);
        }
        Poll::Pending
    }

    /// Continues until there is a frame, or a reason why there is none, or nothing to do but wait.
    fn go_on<'a>(
        &mut self,
        shared: &'a Shared,
        file: FileId,
        dirty: &mut DirtyVictims,
        drive: Drive,
    ) -> Option<Result<ClaimedFrame<'a>>> {
        let (pool, findings) = (&shared.pool, &shared.pool.findings);
        let bounds = WaitBounds { pins: self.limit, disk: shared.config.disk_wait, file };
        let mut met = if self.is_under_way() { None } else { Some(dirty.len()) };
        loop {
            let signs = pool.signs();
            let wait = self.wait.get_or_insert_with(|| Box::new(OngoingWait::begin(&signs)));
            if let Some((pages, error)) = self.cleaning.as_ref().and_then(|cleaning| cleaning.outcome()) {
                self.cleaning = None;
                if wait.learn(pages, error) {
                    findings.note_in_vain(signs.written);
                }
            }
            met = match wait.next(met, &signs, bounds, &mut self.pinned) {
                Step::Search { spares, no_writes } => {
                    if no_writes {
                        findings.note_in_vain(signs.written);
                    }
                    match pool.take_frame(Search::Again { spares }, dirty) {
                        Some(claimed) => return Some(Ok(claimed)),
                        None => Some(dirty.len()),
                    }
                }
                Step::Write { while_refused, stuck_writer } => {
                    stuck_writer.inspect(|&set_aside| pool.clean_list.note_stuck(set_aside));
                    dirty.truncate(if findings.may_write() { usize::MAX } else { while_refused });
                    if let Some(cleaning) = write_for_fetch(shared, dirty, drive) {
                        wait.note_write(signs.now);
                        self.cleaning = Some(cleaning);
                    }
                    match pool.take_cleaned(dirty) {
                        Some(claimed) => return Some(Ok(claimed)),
                        None => Some(0),
                    }
                }
                Step::Wait => return None,
                Step::GiveUp(error) => {
                    events::no_frame(&shared.counters.pool, &error);
                    return Some(Err(error));
                }
            };
        }
    }

    /// Leaves the line without a frame, and passes on a wake-up that it was given.
    pub(super) fn give_up(&mut self, shared: &Shared) {
        if let Some(place) = self.place.take()
            && shared.check_process().is_ok()
            && shared.pool.frame_waiters.leave(&place)
        {
            shared.pool.frame_waiters.wake_one();
        }
    }
}

fn write_for_fetch(shared: &Shared, dirty: &DirtyVictims, drive: Drive) -> Option<Arc<BatchStatus>> {
    let cleaning = write_victims(shared, dirty)?;
    if drive == Drive::Thread {
        // Not until the write ends: if its disk does not answer, there may be frames elsewhere.
        cleaning.wait_until(time::now() + RETRY);
    }
    if cleaning.outcome().is_none_or(|(pages, _)| pages > 0) {
        shared.counters.add(Counter::DirtyEvictions, 1);
    }
    Some(cleaning)
}

/// Starts writing dirty victims, for a caller that does not wait for them, unless the background writer writes them, or the disk
/// refuses writes.
pub(super) fn have_victims_written(shared: &Shared, dirty: &DirtyVictims) {
    let pool = &shared.pool;
    if !pool.clean_list.is_kept() && pool.findings.may_write() {
        write_victims(shared, dirty);
    }
}

/// Starts writing dirty victims, as far as that needs no wait. Returns `None` if no write was begun, nor refused.
fn write_victims(shared: &Shared, dirty: &DirtyVictims) -> Option<Arc<BatchStatus>> {
    let mut candidates: Vec<Candidate> = dirty.iter().map(|&no| (shared.pool.frame(no).page(), no)).collect();
    let tally = BatchStatus::new();
    write_out(shared, &mut candidates, Urgency::Demand, &mut Patience::Try, &tally);
    if tally.is_untouched() {
        return None;
    }
    shared.pool.findings.watch(&tally);
    Some(tally)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        task::{Context, Wake},
        thread,
    };

    use super::*;
    use crate::{
        BufferPool, IoMethod, OpenOptions, PageCodec, PageId,
        buffer::frame::copy_room::COPIES_MIN,
        id::PageAddress,
        options::BackgroundWriter,
        testing::{Op, SimDisk},
    };

    /// Nothing changes a page; that there is a codec is all.
    struct Plain;

    impl PageCodec for Plain {
        fn seal(&self, _: PageAddress, _: &mut [u8]) {}

        fn open(&self, _: PageAddress, _: &mut [u8]) -> std::result::Result<(), String> {
            Ok(())
        }
    }

    #[derive(Default)]
    struct FetchCalls(AtomicU64);

    impl Wake for FetchCalls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    const FRAMES: u32 = 8;

    /// Otherwise each try to write a victim takes a pin, and its end wakes the line for the next try.
    #[test]
    fn c6_while_writes_have_all_the_room_for_copies_a_fetch_sleeps() {
        for writer in [BackgroundWriter::Off, BackgroundWriter::ReadyFrames { low: 1, high: 2 }] {
            let disk = SimDisk::new();
            disk.put("data", vec![1; 4 * FRAMES as usize * 512]);
            let builder = BufferPool::builder().frames(FRAMES).page_size(512).codec(Plain);
            let builder = builder.io_method(IoMethod::Worker { threads: 8 }).background_writer(writer);
            let pool = builder.storage(disk.clone()).build().unwrap();
            let file = pool.open_file("data", OpenOptions::new()).unwrap();
            let gate = disk.hold(Op::Write);
            // No two are neighbours.
            for block in 0..FRAMES {
                pool.fetch(PageId::new(file, 2 * block)).wait().unwrap().write().unwrap().fill(2);
            }
            let (calls, tried) = (Arc::new(FetchCalls::default()), Duration::from_millis(200));
            thread::scope(|scope| {
                let flush = scope.spawn(|| pool.flush_file(file).wait().unwrap());
                gate.wait_for(1);
                let line = &pool.shared().pool.frame_waiters;
                let waiting = scope.spawn(|| pool.fetch(PageId::new(file, 1)).wait().map(drop));
                let waker = Waker::from(Arc::clone(&calls));
                let mut fetch = Box::pin(pool.fetch(PageId::new(file, 3)).into_future());
                let mut poll = || {
                    assert!(fetch.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                };
                poll();
                // Until the file has all the room that it gets, there is something to do; a fetch notes that a moment later.
                while pool.shared().pool.copy_room.taken().len() < COPIES_MIN - 1 {
                    thread::sleep(RETRY);
                }
                thread::sleep(10 * RETRY);
                let before = (pool.stats().counts.dirty_evictions, line.reliefs());
                let (mut polls, begun) = (0, time::now());
                while begun.elapsed() < tried {
                    thread::sleep(Duration::from_micros(100));
                    if calls.0.swap(0, Ordering::SeqCst) > 0 {
                        polls += 1;
                        poll();
                    }
                }
                let after = (pool.stats().counts.dirty_evictions, line.reliefs());
                assert_eq!(after, before, "it has victims written in vain");
                let most = begun.elapsed().as_millis() as u64 / RETRY.as_millis() as u64 + 2;
                assert!(polls <= most, "{polls} polls, and {most} ticks at the most");
                gate.open();
                waiting.join().unwrap().unwrap();
                drop(fetch);
                flush.join().unwrap();
            });
            let counts = pool.stats().counts;
            assert!(counts.dirty_evictions <= counts.pages_written, "{counts:?}");
        }
    }
}
