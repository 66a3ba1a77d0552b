//! The time of a hit, with and without misses in flight beside it.
//!
//! Misses take CPU from the thread that hits, whatever makes them. So there are three arms: no misses; plain requests at the store, which is what
//! the machine does to that thread; and as many misses of the pool that it hits in.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringpool::testing::Dice;
use ringpool::{BufferPool, FileId, OpenOptions, PageId};
use ringpool_object_store::ObjectFiles;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::store::Plain;
use crate::{BLOCKS, READERS, ROUNDS, median, spread};

/// The pages that are hit, which stay resident.
const HOT: u32 = 1024;
const FRAMES: u32 = 8192;
const MEASURED: Duration = Duration::from_millis(500);

/// What one arm measured, in nanoseconds a hit.
struct Hits {
    median: f64,
    p99: f64,
}

/// Hits hot pages for a while. Returns how long hits took, and how many pages were not there.
fn hits(pool: &BufferPool, file: FileId, seed: u64) -> (Hits, u64) {
    let mut dice = Dice::new(seed);
    let (mut times, mut absent) = (Vec::new(), 0);
    let begun = Instant::now();
    let mut last = begun;
    while last - begun < MEASURED {
        let block = dice.below(HOT.into()) as u32;
        let before = Instant::now();
        let page = pool.read(PageId::new(file, block)).now();
        match &page {
            Some(page) => {
                black_box(page[0]);
            }
            None => absent += 1,
        }
        let is_hit = page.is_some();
        drop(page);
        last = Instant::now();
        if is_hit {
            times.push((last - before).as_nanos() as u32);
        } else {
            pool.read(PageId::new(file, block)).wait().unwrap();
        }
    }
    times.sort_unstable();
    let at = |part: f64| f64::from(times[(times.len() as f64 * part) as usize]);
    (Hits { median: at(0.5), p99: at(0.99) }, absent)
}

/// Has as many tasks miss in the pool, until `is_over`.
fn missing_tasks(
    pool: &BufferPool,
    runtime: &Runtime,
    file: FileId,
    seed: u64,
    is_over: &Arc<AtomicBool>,
) -> JoinSet<()> {
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (pool, is_over) = (pool.clone(), Arc::clone(is_over));
        readers.spawn_on(
            async move {
                let mut dice = Dice::new(seed + reader);
                while !is_over.load(Ordering::Relaxed) {
                    let block = HOT + dice.below(u64::from(BLOCKS - HOT)) as u32;
                    black_box(pool.read(PageId::new(file, block)).await.unwrap()[0]);
                }
            },
            runtime.handle(),
        );
    }
    readers
}

/// Runs the three arms in turn, and prints what a hit takes in each.
pub fn compare(runtime: &Runtime, files: &ObjectFiles, plain: &Plain) {
    let pool = BufferPool::builder().frames(FRAMES).storage(files.clone()).build().unwrap();
    let file = pool.open_file("table", OpenOptions::new().read_only(true)).unwrap();
    for _ in 0..4 {
        (0..HOT).for_each(|block| drop(pool.read(PageId::new(file, block)).wait().unwrap()));
    }
    let mut arms: [Vec<Hits>; 3] = Default::default();
    let (mut absent, mut gets, mut seconds) = (0, 0, 0.0);
    for round in 0..ROUNDS {
        for turn in 0..arms.len() {
            let arm = (round + turn) % arms.len();
            let seed = (round * 1_000_003) as u64;
            let is_over = Arc::new(AtomicBool::new(false));
            let mut readers = match arm {
                0 => JoinSet::new(),
                1 => runtime.block_on(async { plain.random_readers(seed, &is_over) }),
                _ => missing_tasks(&pool, runtime, file, seed, &is_over),
            };
            std::thread::sleep(Duration::from_millis(100));
            let (before, begun) = (files.requests().gets, Instant::now());
            let (hits, not_there) = hits(&pool, file, seed);
            if arm == 2 {
                gets += files.requests().gets - before;
                seconds += begun.elapsed().as_secs_f64();
            }
            absent += not_there;
            is_over.store(true, Ordering::Relaxed);
            runtime.block_on(async { while readers.join_next().await.is_some() {} });
            arms[arm].push(hits);
        }
    }
    println!("hits of {HOT} resident pages, one thread, and {READERS} readers of random pages beside it:");
    for (arm, name) in ["no readers", "readers at the store, by plain gets", "readers that miss in the pool"]
        .iter()
        .enumerate()
    {
        let of = |part: fn(&Hits) -> f64| median(arms[arm].iter().map(part));
        println!("    {name}: median {:.0} ns, p99 {:.0} ns", of(|hits| hits.median), of(|hits| hits.p99));
    }
    let ratios = |base: usize| -> Vec<f64> {
        arms[2].iter().zip(&arms[base]).map(|(with, without)| with.p99 / without.p99).collect()
    };
    for (base, name) in [(0, "no readers"), (1, "readers at the store")] {
        println!("    p99 with misses to p99 with {name}: {}", spread(&ratios(base)));
    }
    println!(
        "    {:.0} misses/s beside the hits; {absent} of the hot pages were not resident",
        gets as f64 / seconds
    );
}
