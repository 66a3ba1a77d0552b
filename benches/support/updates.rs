//! Updates of a working set that is larger than the pool, by many tasks on one thread: each takes the next page, fetches it and
//! changes it. Nearly every update is a miss, and its frame held a dirty page, so a page is written for each that is read.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::mem;
use std::task::Poll;
use std::time::Instant;

use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use lab::{Latencies, Meter, Place, Result, Sample, places};
use ringpool::PageId;

use super::PoolArm;

/// Where the updates of each round go: to the first blocks of the first file, at random.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// Blocks that are updated.
    pub(crate) working_set: u32,
    /// Updates of a round.
    pub(crate) updates: u32,
}

impl Mix {
    /// Numbers far from those of the rounds that are measured.
    const BEFORE: [u32; 2] = [1000, 1001];
    const WRITES: u32 = 5000;

    pub(crate) fn places(&self, round: u32) -> Vec<Place> {
        places::random(&[self.working_set], self.updates as usize, round.into())
    }

    /// Returns what a ring does in the place of a pool that is full of dirty pages: for each page that it reads it writes another.
    pub(crate) fn pairs(&self, round: u32) -> Vec<(Place, Place)> {
        self.places(round).into_iter().zip(self.places(round + Self::WRITES)).collect()
    }
}

/// A pool, and the tasks that change its pages.
#[derive(Debug)]
pub(crate) struct Updater<'a> {
    pub(crate) pool: PoolArm<'a>,
    tasks: u32,
}

impl<'a> Updater<'a> {
    pub(crate) fn new(pool: PoolArm<'a>, tasks: u32) -> Self {
        Self { pool, tasks }
    }

    /// Fills the pool with dirty pages, so that the first round is like the other rounds.
    pub(crate) fn warm_up(&self, mix: &Mix) -> Result<()> {
        Mix::BEFORE.iter().try_for_each(|&round| self.count_up(&mix.places(round)).map(drop))
    }

    /// Updates all places, each in the cheapest way.
    pub(crate) fn count_up(&self, places: &[Place]) -> Result<Sample> {
        self.update(places, |_, page| page[0] = page[0].wrapping_add(1))
    }

    /// Has the tasks `change` the pages at all places. What was read and written is what the pool has counted meanwhile;
    /// latencies are those of the fetches.
    pub(crate) fn update(&self, places: &[Place], change: impl Fn(Place, &mut [u8])) -> Result<Sample> {
        let pages: Vec<(Place, PageId)> =
            places.iter().map(|&place| (place, self.pool.page(place))).collect();
        let (latencies, next) = (RefCell::new(Latencies::new()), Cell::new(0));
        let task = async || -> ringpool::Result<()> {
            while let Some(&(place, id)) = pages.get(next.replace(next.get() + 1)) {
                let started = Instant::now();
                let page = self.pool.pool().fetch(id).await?;
                latencies.borrow_mut().record(started.elapsed());
                change(place, &mut page.write_async().await?);
                drop(page);
                give_way().await;
            }
            Ok(())
        };
        let before = self.pool.counts();
        let meter = Meter::start();
        let tasks = (0..self.tasks).map(|_| task()).collect::<FuturesUnordered<_>>();
        pollster::block_on(tasks.try_collect::<()>())?;
        let elapsed = meter.stop();
        let counts = self.pool.counts() - before;
        let bytes = |pages: u64| pages * u64::from(self.pool.page_size());
        let sample = elapsed.sample(counts.pages_read, bytes(counts.pages_read));
        let sample = sample.with_written(counts.pages_written, bytes(counts.pages_written));
        Ok(sample.with_latencies(latencies.into_inner()))
    }
}

/// Lets the other tasks run. Under the sync method no fetch ever waits: without this, one task does everything, and the other tasks
/// are polled again when the deadlines of their waits have passed.
async fn give_way() {
    let mut gave_way = false;
    poll_fn(|context| {
        if mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
