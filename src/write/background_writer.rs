//! The background writer: keeps frames clean before they are wanted, so that a miss takes one and never writes.
//!
//! One thread for the pool looks for victims in place of the fetches. Clean victims go to the list of [ready](crate::buffer::frame::clean_list)
//! frames. Dirty ones are written, some sixty at a time, with dirty neighbours that are not used: they would soon be victims. They are set aside
//! when they are clean: at once, each by itself, if fetches wait, else with their batch. The next ones are begun before the last are over, so
//! that frames become ready at an even rate, as many as there is [demand](super::clean_target) for. If as many victims as the pool has frames
//! were clean one after the other it pauses, until a fetch meets a dirty one: to set clean frames aside saves no fetch anything.
//!
//! It never waits for one batch alone. A batch that has not ended after a [while](STALLED) does not count any more, and no victims of its files
//! are written until it is over: so a file that does not answer delays no other. (With [`IoMethod::Sync`](crate::IoMethod::Sync) this thread
//! waits for each write. Fetches then detect that, and write for themselves.)
//!
//! It never delays another thread: it only tries latches, and a fetch that gets no frame from it writes for itself after a moment. After a
//! failure it pauses, longer each time, whatever the demand, and fetches do not count on it meanwhile.
//!
//! Lock order: the handle's lock is taken alone.

use std::mem;

use crate::{
    buffer::{frame::state::State, replacement::Reach},
    error::{Error, Result},
    events,
    id::{FileId, FrameNo, PageId},
    io::operation::Urgency,
    observe::Counter,
    runtime::{config::Marks, shared::Shared},
    sync::{
        Arc, Mutex,
        batch_status::BatchStatus,
        pause::Pause,
        thread::{self, ThreadId},
        time::{self, Duration, Instant},
    },
    write::{
        clean_target::CleanTarget,
        write_out::{Candidate, Patience, sort_candidates, write_out},
    },
};

/// The most victims that are written together.
const BATCH: usize = 32;

/// The room that there must be beside the victims under way before it looks for more.
const LEAST_ROOM: usize = 16;

/// Victims under way at once, about: the device works on some while the next are collected.
const VICTIMS_OUT: usize = 64;

/// The number of requests of a batch that are over when it looks for the next victims.
const LOOK_EVERY: usize = 8;

/// A batch that takes longer does not delay the next ones.
const STALLED: Duration = Duration::from_millis(50);

/// Batches under way, stalled ones included.
const BATCHES_MOST: usize = 16;

/// The most pages of a batch, neighbours included.
const BATCH_PAGES: usize = 4 * BATCH;

/// The pause after a first failure, and after many.
const REST: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

pub(crate) struct WriterThread {
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl WriterThread {
    /// Starts the thread, if the options want one and the system gives one. The pool works without it, too.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        // Also if the pool is too small for one now, and may grow.
        let ever = shared.config.background_writer.marks(shared.pool.size.most());
        let thread = ever.and_then(|_| {
            let mut writer = Cleaner::new(Arc::clone(shared), marks(shared));
            writer.show_mark();
            let started = thread::spawn("ringpool-writer".to_owned(), move || writer.run());
            started.inspect_err(|_| shared.pool.clean_list.set_mark(0)).ok()
        });
        Self { thread: Mutex::new(thread) }
    }

    pub(crate) fn is(&self, thread: ThreadId) -> bool {
        self.thread.lock().as_ref().is_some_and(|own| own.thread().id() == thread)
    }

    /// Waits until the thread has ended, when the pool's end has begun and the thread was woken.
    pub(crate) fn wait_until_gone(&self) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // An error is a panic, and the hook has reported it.
            let _ = thread.join();
        }
    }
}

/// Returns how many frames are kept ready, given the number of frames now; none, if there are too few.
fn marks(shared: &Shared) -> Marks {
    shared.config.background_writer.marks(shared.pool.size.frames()).unwrap_or_default()
}

struct Cleaner {
    shared: Arc<Shared>,
    pace: CleanTarget,
    under_way: Vec<CleaningBatch>,
    /// Victims that were clean since the last dirty one.
    clean_in_a_row: usize,
    /// How often frames had been released before the last sweep, if that met no victim.
    in_vain_after: Option<usize>,
    pause: Pause,
}

struct CleaningBatch {
    /// Those that were not set aside since.
    victims: Vec<FrameNo>,
    tally: Arc<BatchStatus>,
    /// How many of its pages were written at the last look.
    written: u64,
    begun: Instant,
}

impl CleaningBatch {
    fn is_stalled(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) >= STALLED && !seeded!("hanging_batch_waited_for")
    }
}

/// The outcome of the batches that are over since the last look.
#[derive(Default)]
struct Settled {
    pages: u64,
    /// One of them has written nothing, and had no error.
    in_vain: bool,
}

impl Cleaner {
    fn new(shared: Arc<Shared>, marks: Marks) -> Self {
        Self {
            shared,
            pace: CleanTarget::new(marks),
            under_way: Vec::new(),
            clean_in_a_row: 0,
            in_vain_after: None,
            pause: Pause::default(),
        }
    }

    fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        let ready = &shared.pool.clean_list;
        while ready.sleep(&shared.end) {
            loop {
                match self.round() {
                    Ok(true) if !shared.end.has_begun() => {}
                    Ok(_) => break,
                    Err(error) => {
                        self.back_off(&error);
                        break;
                    }
                }
            }
            if self.finds_all_clean() {
                self.clean_in_a_row = 0;
                ready.rest();
            }
        }
        // From here on fetches do not count on it.
        ready.set_mark(0);
        self.under_way.drain(..).for_each(|batch| drop(batch.tally.wait()));
    }

    fn finds_all_clean(&self) -> bool {
        self.clean_in_a_row >= self.shared.pool.size.frames() as usize
    }

    /// Handles the batches that are over, finds victims, and starts writing the dirty ones. Waits if there is nothing better to do,
    /// but for no batch that is stalled. Returns whether there may be more to do: not if enough frames are ready, or nothing can be done
    /// about it now.
    fn round(&mut self) -> Result<bool> {
        let shared = Arc::clone(&self.shared);
        let pool = &shared.pool;
        self.pace.keep_to(marks(&shared));
        self.pace.observe(pool.clean_list.take_demand());
        self.show_mark();
        let now = time::now();
        let settled = self.settle(now)?;
        let fresh = || self.under_way.iter().filter(|batch| !batch.is_stalled(now));
        let is_out = |&&no: &&FrameNo| pool.frame(no).state.load().is_writing();
        let out = fresh().flat_map(|batch| &batch.victims).filter(is_out).count();
        let short = self.pace.target().saturating_sub(pool.clean_list.len() + pool.free_frames() + out);
        // Latched, pinned, or no room for copies: a fetch that needs a frame will call again.
        let room = VICTIMS_OUT.saturating_sub(out).min(BATCH);
        let has_room = room >= LEAST_ROOM && self.under_way.len() < BATCHES_MOST && !settled.in_vain;
        let wants_more = short > 0 && has_room;
        if wants_more && self.in_vain_after.is_none_or(|reliefs| pool.is_any_left(reliefs)) {
            // Past the pages that are in turn only if fetches had to: those pages may be busy with reads ahead, or being written,
            // and for that no used page is to be evicted.
            let is_wanted_now = pool.clean_list.take_dirt_met_by_demand()
                || pool.frame_waiters.any() && !pool.spares_used_pages();
            let reach = if is_wanted_now { Reach::All } else { Reach::InTurn };
            let slow = self.slow_files(now);
            let can_clean = |no| !slow.contains(&pool.frame(no).page().file);
            let mut victims = Vec::with_capacity(BATCH);
            let reliefs = pool.frame_waiters.reliefs();
            let clean = pool.set_victims_aside(reach, short, &mut victims, room, can_clean);
            self.wake_one(clean);
            self.in_vain_after = (clean == 0 && victims.is_empty()).then_some(reliefs);
            self.clean_in_a_row += clean;
            if !victims.is_empty() {
                self.clean_in_a_row = 0;
                let urgency = if is_wanted_now { Urgency::Demand } else { Urgency::Writeback };
                self.start(victims, urgency);
                return Ok(true);
            }
            if clean > 0 {
                return Ok(!self.finds_all_clean());
            }
        }
        let eldest =
            self.under_way.iter().filter(|batch| !batch.is_stalled(now)).map(|batch| batch.begun).min();
        if let Some(begun) = eldest {
            // If it found none to clean beside these, a frame may be released meanwhile.
            pool.clean_list.sleep_until(begun + STALLED, wants_more, &shared.end);
            return Ok(true);
        }
        Ok(settled.pages > 0)
    }

    /// Returns the files whose victims have been out for too long.
    fn slow_files(&self, now: Instant) -> Vec<FileId> {
        let stalled = self.under_way.iter().filter(|batch| batch.is_stalled(now));
        let frames = stalled.flat_map(|batch| &batch.victims).map(|&no| self.shared.pool.frame(no));
        let out = frames.filter(|frame| frame.state.load().is_writing());
        let mut files: Vec<_> = out.map(|frame| frame.page().file).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Starts writing the victims and their dirty neighbours.
    fn start(&mut self, victims: Vec<FrameNo>, urgency: Urgency) {
        let mut candidates: Vec<Candidate> =
            victims.iter().map(|&no| (self.shared.pool.frame(no).page(), no)).collect();
        for at in 0..victims.len() {
            let page = candidates[at].0;
            let file = self.shared.files.for_write_out(page.file);
            let combined = file.map_or(1, |file| file.pages_a_write(self.shared.config.combine_pages));
            let room = BATCH_PAGES.saturating_sub(candidates.len()).min(combined - 1);
            let neighbours = self.idle_neighbours(page);
            candidates.extend(neighbours.take(room));
        }
        sort_candidates(&mut candidates);
        candidates.dedup();
        let tally = BatchStatus::that_wakes(self.shared.pool.clean_list.waker(), LOOK_EVERY);
        write_out(&self.shared, &mut candidates, urgency, &mut Patience::Try, &tally);
        self.under_way.push(CleaningBatch { victims, tally, written: 0, begun: time::now() });
    }

    /// Returns the pages right behind and right before, as far as they are dirty too and were not used since they came in: they go
    /// into the same request. A page that is used would be dirty again before it is a victim, and its write would be in vain.
    fn idle_neighbours(&self, page: PageId) -> impl Iterator<Item = Candidate> {
        let pool = &self.shared.pool;
        let is_wanted = |state: State| {
            state.is_idle_dirty() && (state.usage() == 0 || seeded!("used_neighbours_written"))
        };
        let at = move |block: Option<u32>| {
            let page = PageId::new(page.file, block?);
            Some((page, pool.find(page, is_wanted)?))
        };
        let block = page.block.0;
        let behind = (1..).map_while(move |step| at(block.checked_add(step)));
        let before = (1..).map_while(move |step| at(block.checked_sub(step)));
        behind.chain(before)
    }

    /// Makes the victims ready that are clean now, of batches that are over and of stalled ones.
    ///
    /// # Errors
    /// The first of a batch that is over.
    fn settle(&mut self, now: Instant) -> Result<Settled> {
        let (mut settled, mut failed) = (Settled::default(), None);
        let mut under_way = mem::take(&mut self.under_way);
        under_way.retain_mut(|batch| {
            let outcome = batch.tally.outcome();
            let before = mem::replace(&mut batch.written, batch.tally.pages());
            self.shared.pool.clean_list.note_made((batch.written - before) as usize);
            if outcome.is_some() || batch.is_stalled(now) {
                let before = batch.victims.len();
                batch.victims.retain(|&no| !self.shared.pool.set_aside(no));
                self.wake_one(before - batch.victims.len());
            }
            let Some((pages, error)) = outcome else { return true };
            settled.pages += pages;
            settled.in_vain |= pages == 0 && error.is_none();
            failed = failed.take().or(error);
            false
        });
        self.under_way = under_way;
        self.shared.counters.add(Counter::PagesCleaned, settled.pages);
        if failed.is_none() && settled.pages > 0 {
            self.pause.end();
        }
        failed.map_or(Ok(settled), Err)
    }

    /// Wakes as many of the fetches that wait for a frame as there are new frames.
    fn wake_one(&self, frames: usize) {
        let starvation = &self.shared.pool.frame_waiters;
        (0..frames).take_while(|_| starvation.any()).for_each(|_| starvation.wake_one());
    }

    /// Publishes the mark below which fetches call.
    fn show_mark(&self) {
        self.shared.pool.clean_list.set_mark(self.pace.wake_below());
    }

    /// Pauses, and leaves the writing to the fetches meanwhile, which get the error.
    fn back_off(&mut self, error: &Error) {
        self.shared.counters.add(Counter::CleaningFailures, 1);
        events::cleaning_failed(&self.shared.counters.pool, error);
        let ready = &self.shared.pool.clean_list;
        ready.set_mark(0);
        let until = self.pause.lengthen_within(REST, time::now());
        if ready.rest_until(until, &self.shared.end) {
            self.show_mark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BufferPool, IoMethod, OpenOptions,
        options::BackgroundWriter as Setting,
        testing::{Op, SimDisk},
    };

    #[test]
    fn dirty_neighbours_ride_along_with_a_victim() {
        let disk = SimDisk::new();
        disk.put("data", [1; 8 * 4096]);
        let builder = BufferPool::builder().frames(8).page_size(4096).io_method(IoMethod::Sync);
        let pool = builder.background_writer(Setting::Off).storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        for block in [1, 2, 3, 4, 5, 7] {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            page.write().unwrap().fill(2);
        }
        // A page that is used again and again would be dirty again soon.
        drop(pool.fetch(PageId::new(file, 2)).wait().unwrap());
        let victim = pool.shared().pool.find(PageId::new(file, 4), State::is_idle_dirty).unwrap();
        let mut writer = Cleaner::new(Arc::clone(pool.shared()), Marks { low: 1, high: 8 });
        writer.start(vec![victim], Urgency::Demand);
        let batch = writer.under_way.pop().unwrap();
        assert_eq!(batch.tally.wait().unwrap(), 3);
        assert_eq!(disk.count(Op::Write), 1);
        assert_eq!(pool.stats().frames.dirty, 3, "those that are used, and that touch nothing, stay");
    }

    #[test]
    fn what_is_written_atomically_goes_alone() {
        let disk = SimDisk::new();
        disk.put("data", [1; 8 * 4096]);
        disk.set_atomic_writes(65536);
        let builder = BufferPool::builder().frames(8).page_size(4096).io_method(IoMethod::Sync);
        let builder = builder.torn_pages(crate::options::TornPages::Atomic).background_writer(Setting::Off);
        let pool = builder.storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        for block in 3..6 {
            pool.fetch(PageId::new(file, block)).wait().unwrap().write().unwrap().fill(2);
        }
        let victim = pool.shared().pool.find(PageId::new(file, 4), State::is_idle_dirty).unwrap();
        let mut writer = Cleaner::new(Arc::clone(pool.shared()), Marks { low: 1, high: 8 });
        writer.start(vec![victim], Urgency::Demand);
        assert_eq!((disk.count(Op::Write), pool.stats().frames.dirty), (1, 2));
    }

    /// Otherwise a frame that is handed on would wait until a batch has ended, or was out for long.
    #[test]
    #[cfg(not(any(loom, shuttle)))]
    fn c6_a_writer_that_waits_for_a_batch_is_called_for_a_frame_that_is_let_go_of() {
        let disk = SimDisk::new();
        disk.put("data", vec![1; 64 * 512]);
        let builder = BufferPool::builder().frames(64).page_size(512).io_method(IoMethod::Sync);
        let builder =
            builder.background_writer(Setting::ReadyFrames { low: 8, high: 16 }).storage(disk.clone());
        let pool = thread::refused(0, u64::MAX, || builder.build()).unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        let fetch = |block| pool.fetch(PageId::new(file, block)).wait().unwrap();
        let pins: Vec<_> = (0..64).map(fetch).inspect(|page| page.write().unwrap().fill(2)).collect();
        let mut writer = Cleaner::new(Arc::clone(pool.shared()), Marks { low: 8, high: 16 });
        // It never counts as stalled.
        let (tally, begun) = (BatchStatus::new(), time::now() + Duration::from_secs(86_400));
        let _out = tally.begin();
        writer.under_way.push(CleaningBatch { victims: Vec::new(), tally, written: 0, begun });
        let writer = std::thread::spawn(move || {
            while disk.count(Op::Write) == 0 {
                assert!(writer.round().unwrap());
            }
        });
        let frames = &pool.shared().pool.frames;
        // The first may come before the writer sleeps.
        for page in pins {
            frames.frame_waiters.enlist(&mut None, std::task::Waker::noop());
            frames.clean_list.note_dirt(true);
            drop(page);
            std::thread::sleep(Duration::from_millis(if writer.is_finished() { 0 } else { 30 }));
        }
        assert!(writer.is_finished(), "it sleeps on");
    }

    #[test]
    fn where_frames_are_free_none_is_made_ready() {
        let disk = SimDisk::new();
        disk.put("data", vec![1; 64 * 512]);
        let builder = BufferPool::builder().frames(64).page_size(512).io_method(IoMethod::Sync);
        let builder = builder.background_writer(Setting::ReadyFrames { low: 8, high: 16 });
        let pool = builder.storage(disk).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        let fetch = |block| drop(pool.fetch(PageId::new(file, block)).wait().unwrap());
        (0..32).for_each(fetch);
        let mut writer = Cleaner::new(Arc::clone(pool.shared()), Marks { low: 8, high: 16 });
        assert!(!writer.round().unwrap());
        assert_eq!((pool.shared().pool.clean_list.made(), pool.shared().pool.free_frames()), (0, 32));
        (32..64).for_each(fetch);
        writer.round().unwrap();
        assert!(pool.shared().pool.clean_list.made() >= 8);
    }

    #[test]
    fn a_pool_of_clean_pages_is_left_alone_until_there_is_something_to_clean() {
        const FRAMES: u32 = 64;
        let disk = SimDisk::new();
        disk.put("data", vec![1; 4 * FRAMES as usize * 512]);
        let builder = BufferPool::builder().frames(FRAMES).page_size(512).io_method(IoMethod::Sync);
        let builder = builder.background_writer(Setting::ReadyFrames { low: 8, high: 16 });
        let pool = builder.storage(disk).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        let blocks = || (0..4 * FRAMES).cycle().map(|block| PageId::new(file, block));
        let ready = &pool.shared().pool.clean_list;
        blocks().take_while(|_| !ready.rests()).for_each(|page| drop(pool.fetch(page).wait().unwrap()));
        // The pages that are dirty now become victims, and their writer is awake when they do.
        for page in blocks().take(8 * FRAMES as usize) {
            pool.fetch(page).wait().unwrap().write().unwrap().fill(2);
        }
        let stats = pool.stats();
        assert!(!ready.rests());
        assert!(stats.counts.pages_cleaned > 0 && stats.counts.dirty_evictions == 0, "{stats:?}");
    }
}
