//! What one of the threads does, and what it demands of every page that it sees.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use ringpool::{PageHint, PinnedPage};

use crate::{Arena, FILE, count_in, stamp::stamp_sectors, watchdog::Watchdog};

/// One of the threads.
pub(crate) struct Worker<'a> {
    arena: &'a Arena,
    random: SmallRng,
    /// Whether it waits as tasks do.
    as_a_task: bool,
    /// Where the last page was that it looked at.
    hint: Option<PageHint>,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(arena: &'a Arena, seed: u64) -> Self {
        Self { arena, random: SmallRng::seed_from_u64(seed), as_a_task: seed % 2 == 1, hint: None }
    }

    pub(crate) fn run(mut self, end: Instant, watchdog: &Watchdog) {
        let reported = ReportFailure(&self.arena.failed);
        while Instant::now() < end && !self.arena.failed.load(Ordering::Relaxed) {
            let block = self.block();
            match self.random.random_range(0..100) {
                0..30 => self.read(block),
                30..45 => self.view(block),
                45..80 => self.change(block),
                80..88 => self.prefetch(),
                88..92 => self.flush(block),
                92..97 => self.evict(block),
                _ => self.look(block),
            }
            watchdog.pet();
        }
        std::mem::forget(reported);
    }

    /// Draws a block, some more often than others.
    fn block(&mut self) -> u32 {
        let blocks = self.arena.blocks.load(Ordering::Acquire);
        let blocks = if self.random.random_bool(0.5) { 12 } else { blocks };
        self.random.random_range(0..blocks)
    }

    /// Fetches the page. No worker holds a pin for long, so a frame comes in the end, unless one was lost.
    fn fetch(&mut self, block: u32) -> PinnedPage {
        let options = Duration::from_secs(25);
        let fetch = self.arena.pool.fetch(self.arena.page(block)).frame_wait(options);
        let fetched = match (self.as_a_task, self.random.random_range(0..8)) {
            (true, _) => pollster::block_on(fetch),
            (false, 0) => {
                fetch.wait_timeout(Duration::from_micros(50)).unwrap_or_else(ringpool::pending::Fetch::wait)
            }
            (false, _) => fetch.wait(),
        };
        fetched.unwrap_or_else(|error| panic!("block {block}: {error}\n{}", self.arena.pool.stats()))
    }

    fn read(&mut self, block: u32) {
        let least = self.arena.done[block as usize].load(Ordering::SeqCst);
        let page = self.fetch(block);
        let as_a_task = self.as_a_task;
        let guard = if as_a_task { pollster::block_on(page.read_async()) } else { page.read() };
        self.compare(block, least, &guard);
    }

    /// Reads a page. All threads read and change the same pages, so slots are taken, and counted, all the time.
    fn view(&mut self, block: u32) {
        let least = self.arena.done[block as usize].load(Ordering::SeqCst);
        let _keeps_it_here = self.fetch(block);
        for _ in 0..6 {
            let view = self.arena.pool.read(self.arena.page(block)).wait();
            self.compare(block, least, &view.expect("the page is pinned"));
        }
    }

    /// Reads a page that happens to be in the pool, as bytes that outlive the guard.
    fn look(&mut self, block: u32) {
        let least = self.arena.done[block as usize].load(Ordering::SeqCst);
        let id = self.arena.page(block);
        // The hint is hardly ever that of this page.
        let found = self.hint.and_then(|hint| self.arena.pool.fetch(id.at(hint)).now());
        if let Some(page) = found.or_else(|| self.arena.pool.fetch(id).now()) {
            self.hint = Some(page.hint());
            self.compare(block, least, &page.freeze());
        }
    }

    fn compare(&self, block: u32, least: u64, bytes: &[u8]) {
        let count = u64::from(count_in(block, bytes));
        let most = self.arena.begun[block as usize].load(Ordering::SeqCst);
        assert!(
            (least..=most).contains(&count),
            "block {block} shows change {count}; it must be one of {least}..={most}"
        );
    }

    fn change(&mut self, block: u32) {
        let least = self.arena.done[block as usize].load(Ordering::SeqCst);
        let page = self.fetch(block);
        let as_a_task = self.as_a_task;
        let guard = if as_a_task { pollster::block_on(page.write_async()) } else { page.write() };
        let mut guard = guard.expect("the file is open for writing");
        self.compare(block, least, &guard);
        let count = count_in(block, &guard);
        self.arena.begun[block as usize].fetch_add(1, Ordering::SeqCst);
        stamp_sectors(&mut guard, FILE, block, 0, count + 1);
        if self.random.random_bool(0.3) {
            let guard = guard.downgrade();
            assert_eq!(count_in(block, &guard), count + 1, "changed while the guard was downgraded");
        } else {
            drop(guard);
        }
        self.arena.done[block as usize].fetch_add(1, Ordering::SeqCst);
    }

    fn prefetch(&mut self) {
        let (from, len) = (self.block(), self.random.random_range(1..32));
        if self.random.random_bool(0.5) {
            self.arena.pool.prefetch(self.arena.file.pages(from..from + len));
        } else {
            let blocks: Vec<u32> = (0..len).map(|_| self.block()).collect();
            self.arena.pool.prefetch(self.arena.file.pages(blocks));
        }
    }

    fn flush(&mut self, block: u32) {
        let flushed = if self.random.random_bool(0.2) {
            self.arena.pool.flush_file(self.arena.file).wait().map(drop)
        } else {
            self.arena.pool.flush(self.arena.page(block)).wait()
        };
        flushed.expect("nothing is wrong with the disk");
    }

    fn evict(&mut self, block: u32) {
        let eviction = self.arena.pool.evict(self.arena.page(block));
        let evicted = if self.as_a_task { pollster::block_on(eviction) } else { eviction.wait() };
        evicted.expect("nothing is wrong with the disk");
    }
}

/// Stops the other threads when one panics; a scope would wait for them to the end.
struct ReportFailure<'a>(&'a AtomicBool);

impl Drop for ReportFailure<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
