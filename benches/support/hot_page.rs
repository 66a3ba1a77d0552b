//! A thread that changes one page over and over, or many in turn, and how long it waits until it may: while a checkpoint writes
//! those pages, and while nothing else runs, which shows what the machine itself adds.
//!
//! It may change the page when it has the latch, and the bytes that the device reads have been moved.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Latencies, Meter, Place, Result, Sample};
use ringpool::PinnedPage;

use super::PoolArm;

/// How long the thread runs alone.
const ALONE: Duration = Duration::from_millis(50);

/// Returns the page that is hot: one in the middle of those that a checkpoint writes.
pub(crate) fn among(pages: &[Place]) -> Place {
    pages[pages.len() / 2]
}

/// Changes the hot page during a checkpoint. The sample is the checkpoint's, its latencies are the waits, one a change.
pub(crate) fn beside_a_checkpoint(pool: &PoolArm<'_>, hot: Place) -> Result<Sample> {
    changing(pool, &[hot], || pool.checkpoint())
}

/// Changes the pages of the checkpoint in turn, over and over.
pub(crate) fn all_beside_a_checkpoint(pool: &PoolArm<'_>, pages: &[Place]) -> Result<Sample> {
    changing(pool, pages, || pool.checkpoint())
}

/// Changes the hot page for a while; no page is moved.
pub(crate) fn alone(pool: &PoolArm<'_>, hot: Place) -> Result<Sample> {
    changing(pool, &[hot], || {
        let meter = Meter::start();
        thread::sleep(ALONE);
        Ok(meter.stop().sample(0, 0))
    })
}

fn changing(pool: &PoolArm<'_>, hot: &[Place], work: impl FnOnce() -> Result<Sample>) -> Result<Sample> {
    let pages = hot.iter().map(|&place| pool.pool().fetch(pool.page(place)).wait());
    let pages = pages.collect::<Result<Vec<_>, _>>()?;
    let over = AtomicBool::new(false);
    let (sample, waits) = thread::scope(|scope| {
        let changer = scope.spawn(|| change_until(&over, &pages));
        let sample = work();
        over.store(true, Ordering::Relaxed);
        (sample, changer.join().expect("a changer that does not panic"))
    });
    Ok(sample?.with_latencies(waits?))
}

fn change_until(over: &AtomicBool, pages: &[PinnedPage]) -> Result<Latencies> {
    let mut waits = Latencies::new();
    for page in pages.iter().cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
        let started = Instant::now();
        let mut bytes = page.write()?;
        let changes = changes(&mut bytes);
        waits.record(started.elapsed());
        *changes = (u64::from_le_bytes(*changes) + 1).to_le_bytes();
        drop(bytes);
        thread::yield_now();
    }
    Ok(waits)
}

/// Returns where the hot page has the number of its changes.
pub(crate) fn changes(page: &mut [u8]) -> &mut [u8; 8] {
    page.last_chunk_mut().expect("a page has more than 8 bytes")
}
