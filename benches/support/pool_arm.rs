//! The pool as an arm: opened, made cold, and driven as an engine would drive it, from one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Instant;

use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use lab::{Latencies, Meter, Place, Result, Sample};
use ringpool::{
    BufferPool, Builder, CheckpointOptions, FileId, IoMethod, PageId, PageWrite, StreamOptions,
    stats::{Counts, MethodReport},
};

use super::{Input, Visit};

/// What a pool is built with.
#[derive(Clone, Debug)]
pub(crate) struct PoolSpec {
    pub(crate) method: IoMethod,
    pub(crate) frames: u32,
    /// The most bytes that one request covers.
    pub(crate) combine: usize,
}

/// How far a reader looks ahead, in pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Pages asked for and not yet taken, at most.
    pub(crate) ahead: usize,
    /// Pages asked for together.
    pub(crate) step: usize,
}

impl Window {
    /// Makes a window that keeps `in_flight` single pages in flight. It is twice as wide, since pages are taken in order: behind
    /// one that is late, other pages have arrived and wait, and the device should not wait with them. The ring's own limit keeps
    /// the device from seeing more than `in_flight`.
    pub(crate) fn of_single_pages(in_flight: u32) -> Self {
        let ahead = 2 * in_flight as usize;
        Self { ahead, step: (ahead / 4).clamp(1, 16) }
    }

    /// Makes a window over `requests` neighbouring requests of `pages` each.
    pub(crate) fn of_requests(requests: usize, pages: usize) -> Self {
        Self { ahead: requests * pages, step: pages }
    }
}

/// A pool with the files of a run open.
#[derive(Debug)]
pub(crate) struct PoolArm<'a> {
    input: &'a Input,
    pool: BufferPool,
    files: Vec<FileId>,
    writes: bool,
}

impl<'a> PoolArm<'a> {
    /// Builds the pool and opens the files, for writing only if it `writes`.
    pub(crate) fn open(input: &'a Input, spec: &PoolSpec, writes: bool) -> Result<Self> {
        Self::open_with(input, spec, writes, |builder| builder)
    }

    /// Opens a pool with the input's files and further options.
    pub(crate) fn open_with(
        input: &'a Input,
        spec: &PoolSpec,
        writes: bool,
        options: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self> {
        let builder = BufferPool::builder().frames(spec.frames).page_size(input.page_size());
        let builder = builder.io_method(spec.method.clone()).combine_limit_bytes(spec.combine);
        let pool = options(builder).build()?;
        let files = input.open_in(&pool, writes)?;
        Ok(Self { input, pool, files, writes })
    }

    pub(crate) fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Returns which method is really in use, and why.
    pub(crate) fn method(&self) -> MethodReport {
        self.pool.stats().method
    }

    /// Returns the pool's counts up to now.
    pub(crate) fn counts(&self) -> Counts {
        self.pool.stats().counts
    }

    pub(crate) fn page_size(&self) -> u32 {
        self.input.page_size()
    }

    pub(crate) fn page(&self, place: Place) -> PageId {
        PageId::new(self.files[place.file as usize], place.block)
    }

    /// Empties the pool: closing a file takes its pages out.
    pub(crate) fn make_cold(&mut self) -> Result<()> {
        for &file in &self.files {
            self.pool.close_file(file).wait()?;
        }
        self.files = self.input.open_in(&self.pool, self.writes)?;
        self.input.drop_caches()
    }

    /// Reads the pages at `places` in order, looking ahead. Latencies run from when a page was asked for to when it is pinned.
    pub(crate) fn read_ahead(&self, places: &[Place], window: Window, visit: &Visit<'_>) -> Result<Sample> {
        let bytes = self.input.bytes_at(places);
        let mut latencies = Latencies::new();
        let mut asked = 0;
        // By the pages of one call: the first page behind them, and when they were asked for.
        let mut calls = VecDeque::new();
        let meter = Meter::start();
        for (at, &place) in places.iter().enumerate() {
            while asked < places.len() && asked + window.step <= at + window.ahead {
                let behind = places.len().min(asked + window.step);
                calls.push_back((behind, Instant::now()));
                let taken = self.prefetch(&places[asked..behind]);
                asked += taken;
                if taken == 0 {
                    calls.pop_back();
                    break;
                }
                calls.back_mut().expect("just pushed").0 = asked;
            }
            let page = self.pool.fetch(self.page(place)).wait()?;
            visit(place, &page.read());
            while calls.front().is_some_and(|&(behind, _)| behind <= at) {
                calls.pop_front();
            }
            if let Some((_, since)) = calls.front() {
                latencies.record(since.elapsed());
            }
            asked = asked.max(at + 1);
        }
        Ok(meter.stop().sample(places.len() as u64, bytes).with_latencies(latencies))
    }

    /// Reads the pages at `places` in order, by read streams.
    pub(crate) fn read_stream(
        &self,
        places: &[Place],
        options: StreamOptions,
        visit: &Visit<'_>,
    ) -> Result<Sample> {
        let bytes = self.input.bytes_at(places);
        let meter = Meter::start();
        let pages = places.iter().map(|&place| (self.page(place), place));
        for page in self.pool.read_stream(pages, options) {
            let (page, place) = page?;
            visit(place, &page.read());
        }
        Ok(meter.stop().sample(places.len() as u64, bytes))
    }

    /// Reads the pages at `places`, in no order, by this number of tasks of the calling thread.
    pub(crate) async fn read_by_tasks(
        &self,
        places: &[Place],
        tasks: usize,
        visit: &Visit<'_>,
    ) -> Result<Sample> {
        let bytes = self.input.bytes_at(places);
        let (latencies, next) = (RefCell::new(Latencies::new()), Cell::new(0));
        let task = async || -> Result<()> {
            while let Some(&place) = places.get(next.replace(next.get() + 1)) {
                let started = Instant::now();
                let page = self.pool.read(self.page(place)).await?;
                latencies.borrow_mut().record(started.elapsed());
                visit(place, &page);
            }
            Ok(())
        };
        let meter = Meter::start();
        (0..tasks).map(|_| task()).collect::<FuturesUnordered<_>>().try_collect::<()>().await?;
        Ok(meter.stop().sample(places.len() as u64, bytes).with_latencies(latencies.into_inner()))
    }

    /// Asks for pages, and returns how many of the first of them are under way: there was no room for the rest.
    fn prefetch(&self, places: &[Place]) -> usize {
        let mut taken = 0;
        for of_file in places.chunk_by(|one, other| one.file == other.file) {
            let file = self.files[of_file[0].file as usize];
            let outcome = self.pool.prefetch(file.pages(of_file.iter().map(|place| place.block)));
            taken += (outcome.started + outcome.already) as usize;
            if outcome.declined > 0 {
                break;
            }
        }
        taken
    }

    /// Fetches one page after another, asking for none ahead.
    pub(crate) fn read_each(&self, places: &[Place], visit: &Visit<'_>) -> Result<Sample> {
        let bytes = self.input.bytes_at(places);
        let mut latencies = Latencies::new();
        let meter = Meter::start();
        for &place in places {
            let started = Instant::now();
            let page = self.pool.fetch(self.page(place)).wait()?;
            visit(place, &page.read());
            drop(page);
            latencies.record(started.elapsed());
        }
        Ok(meter.stop().sample(places.len() as u64, bytes).with_latencies(latencies))
    }

    /// Changes the pages at `places`, which the pool has room for.
    pub(crate) fn change(&self, places: &[Place], change: impl Fn(Place, &mut PageWrite<'_>)) -> Result<()> {
        for batch in places.chunks(64) {
            self.prefetch(batch);
            for &place in batch {
                let page = self.pool.fetch(self.page(place)).wait()?;
                change(place, &mut page.write()?);
            }
        }
        Ok(())
    }

    /// Writes and syncs all changes; the sample counts the pages that were written.
    pub(crate) fn checkpoint(&self) -> Result<Sample> {
        let meter = Meter::start();
        let report = self.pool.checkpoint(CheckpointOptions::new()).wait()?;
        let elapsed = meter.stop();
        Ok(elapsed.sample(report.pages_written, report.pages_written * u64::from(self.input.page_size())))
    }

    /// Takes a checkpoint where the pages at `places` are those that were changed.
    pub(crate) fn checkpoint_of(&self, places: &[Place]) -> Result<Sample> {
        let sample = self.checkpoint()?;
        if sample.pages == places.len() as u64 {
            return Ok(sample);
        }
        Err(format!("the checkpoint wrote {} pages of {}", sample.pages, places.len()).into())
    }
}
