//! A thread that changes one page over and over, and how long it waits to get at it: while a checkpoint writes that page among
//! others, and while nobody does anything, which shows what the machine itself adds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Latencies, Meter, Place, Result, Sample};
use ringpool::PinnedPage;

use super::PoolArm;

/// How long the thread is left alone.
const ALONE: Duration = Duration::from_millis(50);

/// The page that is hot: one in the middle of those that a checkpoint writes.
pub(crate) fn among(pages: &[Place]) -> Place {
    pages[pages.len() / 2]
}

/// Changes the hot page during a checkpoint. The sample is the checkpoint's, its latencies are the waits, one a change.
pub(crate) fn beside_a_checkpoint(pool: &PoolArm<'_>, hot: Place) -> Result<Sample> {
    changing(pool, hot, || pool.checkpoint())
}

/// Changes the hot page for a while; no page is moved.
pub(crate) fn alone(pool: &PoolArm<'_>, hot: Place) -> Result<Sample> {
    changing(pool, hot, || {
        let meter = Meter::start();
        thread::sleep(ALONE);
        Ok(meter.stop().sample(0, 0))
    })
}

fn changing(pool: &PoolArm<'_>, hot: Place, work: impl FnOnce() -> Result<Sample>) -> Result<Sample> {
    let page = pool.pool().fetch(pool.page(hot)).wait()?;
    let over = AtomicBool::new(false);
    let (sample, waits) = thread::scope(|scope| {
        let changer = scope.spawn(|| change_until(&over, &page));
        let sample = work();
        over.store(true, Ordering::Relaxed);
        (sample, changer.join().expect("a changer that does not panic"))
    });
    Ok(sample?.with_latencies(waits?))
}

fn change_until(over: &AtomicBool, page: &PinnedPage) -> Result<Latencies> {
    let mut waits = Latencies::new();
    while !over.load(Ordering::Relaxed) {
        let started = Instant::now();
        let mut bytes = page.write()?;
        waits.record(started.elapsed());
        let changes = changes(&mut bytes);
        *changes = (u64::from_le_bytes(*changes) + 1).to_le_bytes();
        drop(bytes);
        thread::yield_now();
    }
    Ok(waits)
}

/// Where the hot page has the number of its changes.
pub(crate) fn changes(page: &mut [u8]) -> &mut [u8; 8] {
    page.last_chunk_mut().expect("a page has more than 8 bytes")
}
