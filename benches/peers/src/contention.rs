//! Many threads at once: their rate together, compared with that of two, and how long one of them waits.
//!
//! Every thread fetches one page after the other, reads its first bytes and lets it go. With more threads than cores most of them
//! wait for a core at any time; a thread that has none while it holds a page holds up the threads that want to change that page. So
//! throughput of readers should stay what it is with two threads, and only the last of a thousand fetches show the scheduler.
//! Beside a page that is changed stands a lock and nothing else.

use std::{
    hint::black_box,
    sync::OnceLock,
    time::{Duration, Instant},
};

use lab::{
    Arm, Latencies, Result, Sample,
    measure::on_threads,
    report::{Align, Table},
};
use parking_lot::RwLock;
use replay::Random;
use ringpool::{BufferPool, FileId, PageId};

use crate::{
    peers::{null_pool, word_of},
    run,
};

const THREADS: [usize; 6] = [2, 4, 8, 16, 32, 64];

/// How long an arm runs: each of 64 threads on two cores gets its turn several times.
const PERIOD: Duration = Duration::from_millis(200);

/// Pages of the file.
const PAGES: u32 = 1 << 16;

/// Frames of the pool that must evict: of four pages it holds one.
const FEW: u32 = PAGES / 4;

const PAGE_SIZE: u32 = 4096;

/// A page that all threads want.
const HOT: u32 = 0;

/// What the threads want.
#[derive(Clone, Copy, Debug)]
enum Wish {
    /// To read one page.
    Hot,
    /// One page, which one in sixteen changes.
    Changed,
    /// To read any page.
    Any,
    /// One word behind `parking_lot`'s lock, which one in sixteen changes: no pool, no turns.
    Lock,
    /// One page every other time, else any page.
    HotOrAny,
}

/// The rows: what the threads want, of a pool that has all pages or of one that must evict.
const WORKLOADS: [(&str, Wish, bool); 6] = [
    ("one page", Wish::Hot, false),
    ("one page, 1 of 16 changes it", Wish::Changed, false),
    ("a word behind an RwLock, 1 of 16 changes it", Wish::Lock, false),
    ("spread", Wish::Any, false),
    ("spread, evicting", Wish::Any, true),
    ("one page every other time, evicting", Wish::HotOrAny, true),
];

pub(crate) fn measure(rounds: u32) -> Result<()> {
    let (enough, few) = (Crowd::new(PAGES + PAGES / 16)?, Crowd::new(FEW)?);
    let mut arms = Vec::new();
    for (name, wish, evicts) in WORKLOADS {
        let crowd = if evicts { &few } else { &enough };
        arms.extend(
            THREADS.map(|threads| Arm::new(called(name, threads), move |_| Ok(crowd.run(wish, threads)))),
        );
    }
    let twin = called(WORKLOADS[0].0, THREADS[0]);
    let outcome = run(rounds, &twin, arms)?;
    let mut table = Table::new(&[
        ("", Align::Left),
        ("threads", Align::Right),
        ("fetches/s", Align::Right),
        ("to two threads", Align::Right),
        ("p50 us", Align::Right),
        ("p99 us", Align::Right),
        ("p99.9 us", Align::Right),
    ]);
    let known = "there were rounds";
    for (name, ..) in WORKLOADS {
        for threads in THREADS {
            let arm = called(name, threads);
            let middle = |metric: fn(&Sample) -> f64| outcome.spread(&arm, metric).expect(known).median;
            let ratio = outcome.ratio(&arm, &called(name, THREADS[0]), Sample::pages_per_s).expect(known);
            table.push([
                name.to_owned(),
                threads.to_string(),
                format!("{:.0}", middle(Sample::pages_per_s)),
                format!("{:.2}", ratio.median),
                format!("{:.2}", middle(|sample| quantile(sample, 0.5))),
                format!("{:.2}", middle(|sample| quantile(sample, 0.99))),
                format!("{:.2}", middle(|sample| quantile(sample, 0.999))),
            ]);
        }
    }
    print!("{table}");
    let noise = outcome.noise(Sample::pages_per_s).expect(known);
    println!("{twin} to itself: {:.3} ({:.3} to {:.3})", noise.median, noise.lower, noise.upper);
    Ok(())
}

fn called(workload: &str, threads: usize) -> String {
    format!("{workload}, {threads} threads")
}

fn quantile(sample: &Sample, part: f64) -> f64 {
    sample.latencies.as_ref().and_then(|latencies| latencies.quantile_us(part)).expect("it was timed")
}

/// A pool and its file, and the threads that come for its pages.
struct Crowd {
    pool: BufferPool,
    file: FileId,
    lock: RwLock<u64>,
}

impl Crowd {
    fn new(frames: u32) -> Result<Self> {
        let (pool, file) = null_pool(frames, PAGES, PAGE_SIZE)?;
        for page in 0..PAGES.min(frames) {
            pool.fetch(PageId::new(file, page)).wait()?;
        }
        Ok(Self { pool, file, lock: RwLock::default() })
    }

    fn run(&self, wish: Wish, threads: usize) -> Sample {
        let begun = OnceLock::new();
        let (counted, elapsed) = on_threads(threads, |thread| {
            let mut random = Random::new(thread as u64);
            let mut latencies = Latencies::new();
            let end = *begun.get_or_init(Instant::now) + PERIOD;
            let mut last = Instant::now();
            while last < end {
                self.fetch(wish, &mut random);
                // The end of one is the beginning of the next, so the clock is in the time of each.
                let now = Instant::now();
                latencies.record(now - last);
                last = now;
            }
            latencies
        });
        let mut all = Latencies::new();
        counted.iter().for_each(|latencies| all.merge(latencies));
        elapsed.sample(all.count(), 0).with_latencies(all)
    }

    #[inline]
    fn fetch(&self, wish: Wish, random: &mut Random) {
        match wish {
            Wish::Hot => self.read(HOT),
            Wish::Changed if random.once_in(16) => self.change(HOT),
            Wish::Changed => self.read(HOT),
            Wish::Lock if random.once_in(16) => *self.lock.write() += 1,
            Wish::Lock => {
                black_box(*self.lock.read());
            }
            Wish::Any => self.read(random.below(PAGES.into()) as u32),
            Wish::HotOrAny if random.once_in(2) => self.read(HOT),
            Wish::HotOrAny => self.read(random.below(PAGES.into()) as u32),
        }
    }

    #[inline]
    fn read(&self, page: u32) {
        let page = self.pool.read(PageId::new(self.file, page)).wait().expect("a null disk fails never");
        black_box(word_of(&page));
    }

    #[inline]
    fn change(&self, page: u32) {
        let page = self.pool.fetch(PageId::new(self.file, page)).wait().expect("a null disk fails never");
        page.write().expect("the file can be written")[0] ^= 1;
    }
}
