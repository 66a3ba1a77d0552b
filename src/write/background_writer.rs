//! The background writer: keeps frames clean before they are wanted, so that a miss takes one and never writes.
//!
//! One thread for the pool. It looks for victims in the fetches' stead: victims that are clean go to the list of
//! [ready](crate::pool::ready) frames, dirty ones are written together with their dirty neighbours in the file, two batches
//! at a time, and go there when they are clean. How many are kept ready follows [demand](super::pace). Without demand it
//! sleeps: nobody wakes it but a fetch that has taken a frame and found few left. Where as many victims as the pool has frames
//! were clean one after the other it rests: to set clean frames aside saves nobody anything. The first dirty victim that a
//! fetch meets ends that.
//!
//! It never stands in anybody's way: it only tries latches, and a fetch that sees nothing come from it writes for itself after
//! a moment. After a failure it rests, longer each time, whatever is wanted: a broken disk is not tried in a loop.
//! Meanwhile there is no mark, and fetches do not count on it.
//!
//! It ends with the last clone of the pool, before anything it works on does. Lock order: the handle's lock is taken alone.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    config::Marks,
    error::{Error, Result},
    events,
    id::{FrameNo, PageId},
    lease::Tally,
    pool::state::State,
    shared::Shared,
    stats::Counter,
    sync::{
        Arc, Mutex,
        thread::{self, ThreadId},
        time::{self, Duration},
    },
    write::{
        pace::Pace,
        write_out::{Candidate, Patience, write_out},
    },
};

/// Victims that are written together.
const BATCH: usize = 32;

/// Batches under way at once: the device works on one while the next is put together.
const BATCHES: usize = 2;

/// Pages that a batch has at most, neighbours included.
const BATCH_PAGES: usize = 4 * BATCH;

/// The rest after a first failure, and after many.
const REST: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// The background writer as its pool sees it.
pub(crate) struct BackgroundWriter {
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl BackgroundWriter {
    /// Starts the thread, where the options want one and the system gives one. Without it the pool works all the same.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        // Also where the pool is too small for one, and may grow.
        let ever = shared.config.background_writer.marks(shared.pool.most_frames());
        let thread = ever.and_then(|_| {
            let mut writer = Writer::new(Arc::clone(shared), marks(shared));
            writer.show_mark();
            let started = thread::spawn("ringpool-writer".to_owned(), move || writer.run());
            started.inspect_err(|_| shared.pool.ready.set_mark(0)).ok()
        });
        Self { shared: Arc::clone(shared), thread: Mutex::new(thread) }
    }

    /// Has the thread end once what it has under way is over.
    pub(crate) fn close(&self) {
        self.shared.pool.ready.close();
    }

    pub(crate) fn is(&self, thread: ThreadId) -> bool {
        self.thread.lock().as_ref().is_some_and(|own| own.thread().id() == thread)
    }

    /// Waits until the thread has ended, after it was [told to](Self::close).
    pub(crate) fn wait_until_gone(&self) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // An error is a panic, and the hook has reported it.
            let _ = thread.join();
        }
    }
}

/// What is kept ready with as many frames as there are now; nothing, where they are too few.
fn marks(shared: &Shared) -> Marks {
    shared.config.background_writer.marks(shared.pool.frame_count()).unwrap_or_default()
}

/// What a round came to.
enum Round {
    /// There may be more to do.
    GoesOn,
    /// Enough frames are ready, or there is nothing that could be done about it now.
    Done,
    Failed(Error),
}

struct Writer {
    shared: Arc<Shared>,
    pace: Pace,
    under_way: VecDeque<Batch>,
    /// Victims that were clean since the last dirty one.
    clean_in_a_row: usize,
    rest: Duration,
}

/// Victims whose write has begun.
struct Batch {
    victims: Vec<FrameNo>,
    tally: Arc<Tally>,
}

impl Writer {
    fn new(shared: Arc<Shared>, marks: Marks) -> Self {
        Self { shared, pace: Pace::new(marks), under_way: VecDeque::new(), clean_in_a_row: 0, rest: REST[0] }
    }

    fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        let ready = &shared.pool.ready;
        while ready.sleep() {
            loop {
                // The log and the codec are the engine's and may panic.
                let round = catch_unwind(AssertUnwindSafe(|| self.round()));
                match round.unwrap_or(Round::Failed(Error::Panicked)) {
                    Round::GoesOn if !ready.is_closed() => {}
                    Round::Failed(error) => {
                        self.back_off(&error);
                        break;
                    }
                    Round::GoesOn | Round::Done => break,
                }
            }
            if self.finds_all_clean() {
                self.clean_in_a_row = 0;
                ready.rest();
            }
        }
        self.under_way.drain(..).for_each(|batch| drop(batch.tally.wait()));
    }

    fn finds_all_clean(&self) -> bool {
        self.clean_in_a_row >= self.shared.pool.frame_count() as usize
    }

    /// Finds victims, starts writing those that are dirty, and sees to the oldest batch where there is nothing better to do.
    fn round(&mut self) -> Round {
        let pool = &self.shared.pool;
        self.pace.keep_to(marks(&self.shared));
        self.pace.observe(pool.ready.take_demand());
        self.show_mark();
        let cleaning: usize = self.under_way.iter().map(|batch| batch.victims.len()).sum();
        let short = self.pace.target().saturating_sub(pool.ready.len() + pool.free_frames() + cleaning);
        let mut victims = Vec::with_capacity(BATCH);
        if short > 0 && self.under_way.len() < BATCHES {
            let clean = pool.make_ready(short, &mut victims, BATCH);
            self.relieve(clean);
            self.clean_in_a_row += clean;
            if !victims.is_empty() {
                self.clean_in_a_row = 0;
                self.start(victims);
                return Round::GoesOn;
            }
            if clean > 0 {
                return if self.finds_all_clean() { Round::Done } else { Round::GoesOn };
            }
        }
        match self.under_way.pop_front().map(|batch| self.settle(&batch)) {
            Some(Ok(true)) => Round::GoesOn,
            // Latched, pinned, or no room for copies: who needs a frame will call again.
            Some(Ok(false)) | None => Round::Done,
            Some(Err(error)) => Round::Failed(error),
        }
    }

    /// Starts writing the victims and their dirty neighbours.
    fn start(&mut self, victims: Vec<FrameNo>) {
        let mut candidates: Vec<Candidate> =
            victims.iter().map(|&no| (self.shared.pool.frame(no).page(), no)).collect();
        for at in 0..victims.len() {
            let room = BATCH_PAGES.saturating_sub(candidates.len()).min(self.shared.config.combine_pages - 1);
            let neighbours = self.dirty_neighbours(candidates[at].0);
            candidates.extend(neighbours.take(room));
        }
        candidates.sort_unstable();
        candidates.dedup();
        let tally = Tally::new();
        write_out(&self.shared, &mut candidates, &mut Patience::Try, &tally);
        self.under_way.push_back(Batch { victims, tally });
    }

    /// The pages right behind and right before, as far as they are dirty too: they ride along in the same request.
    fn dirty_neighbours(&self, page: PageId) -> impl Iterator<Item = Candidate> {
        let pool = &self.shared.pool;
        let at = move |block: Option<u32>| {
            let page = PageId::new(page.file, block?);
            Some((page, pool.find(page, State::is_idle_dirty)?))
        };
        let block = page.block.0;
        let behind = (1..).map_while(move |step| at(block.checked_add(step)));
        let before = (1..).map_while(move |step| at(block.checked_sub(step)));
        behind.chain(before)
    }

    /// Waits for the batch and makes ready what is clean now. Gives whether anything was written.
    fn settle(&mut self, batch: &Batch) -> Result<bool> {
        let shared = &self.shared;
        let outcome = batch.tally.wait();
        let clean = batch.victims.iter().filter(|&&no| shared.pool.set_aside(no)).count();
        self.relieve(clean);
        let pages = outcome?;
        shared.counters.add(Counter::PagesCleaned, pages);
        self.rest = REST[0];
        Ok(pages > 0)
    }

    /// Wakes as many of those who wait for a frame as there are new ones.
    fn relieve(&self, frames: usize) {
        let starvation = &self.shared.pool.starvation;
        (0..frames).take_while(|_| starvation.is_felt()).for_each(|_| starvation.relieve());
    }

    /// Lets fetches know when to call.
    fn show_mark(&self) {
        self.shared.pool.ready.set_mark(self.pace.wake_below());
    }

    /// Rests, and leaves the writing to the fetches meanwhile, which get the error.
    fn back_off(&mut self, error: &Error) {
        self.shared.counters.add(Counter::CleaningFailures, 1);
        events::cleaning_failed(error);
        let ready = &self.shared.pool.ready;
        ready.set_mark(0);
        if ready.rest_until(time::now() + self.rest) {
            self.show_mark();
        }
        self.rest = (self.rest * 2).min(REST[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BackgroundWriter as Setting, BufferPool, IoMethod, OpenOptions,
        testing::{Op, SimDisk},
    };

    #[test]
    fn dirty_neighbours_ride_along_with_a_victim() {
        let disk = SimDisk::new();
        disk.put("data", [1; 8 * 4096]);
        let builder = BufferPool::builder().frames(8).page_size(4096).io_method(IoMethod::Sync);
        let pool = builder.background_writer(Setting::Off).disk(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        for block in [1, 3, 4, 5, 7] {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            page.write().unwrap().fill(2);
        }
        let victim = pool.shared().pool.find(PageId::new(file, 4), State::is_idle_dirty).unwrap();
        let mut writer = Writer::new(Arc::clone(pool.shared()), Marks { low: 1, high: 8 });
        writer.start(vec![victim]);
        let batch = writer.under_way.pop_front().unwrap();
        assert_eq!(batch.tally.wait().unwrap(), 3);
        assert_eq!(disk.count(Op::Write), 1);
        assert_eq!(pool.stats().frames.dirty, 2, "those that touch nothing stay");
    }

    #[test]
    fn where_frames_are_free_none_is_made_ready() {
        let disk = SimDisk::new();
        disk.put("data", vec![1; 64 * 512]);
        let builder = BufferPool::builder().frames(64).page_size(512).io_method(IoMethod::Sync);
        let builder = builder.background_writer(Setting::Ready { low: 8, high: 16 });
        let pool = builder.disk(disk).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        let fetch = |block| drop(pool.fetch(PageId::new(file, block)).wait().unwrap());
        (0..32).for_each(fetch);
        let mut writer = Writer::new(Arc::clone(pool.shared()), Marks { low: 8, high: 16 });
        assert!(matches!(writer.round(), Round::Done));
        assert_eq!((pool.shared().pool.ready.made(), pool.shared().pool.free_frames()), (0, 32));
        (32..64).for_each(fetch);
        writer.round();
        assert!(pool.shared().pool.ready.made() >= 8);
    }

    #[test]
    fn a_pool_of_clean_pages_is_left_alone_until_there_is_something_to_clean() {
        const FRAMES: u32 = 64;
        let disk = SimDisk::new();
        disk.put("data", vec![1; 4 * FRAMES as usize * 512]);
        let builder = BufferPool::builder().frames(FRAMES).page_size(512).io_method(IoMethod::Sync);
        let builder = builder.background_writer(Setting::Ready { low: 8, high: 16 });
        let pool = builder.disk(disk).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        let blocks = || (0..4 * FRAMES).cycle().map(|block| PageId::new(file, block));
        let ready = &pool.shared().pool.ready;
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
