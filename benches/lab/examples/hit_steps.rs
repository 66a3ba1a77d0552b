//! From the floor under a hit to a hit, one step at a time: what each step costs, and what keeps hits from overlapping.
//!
//! `cargo run --release -p ringpool-lab --example hit_steps -- [PAGES] [ROUNDS]`
//!
//! Each arm finds pages in random order, pins them, reads a word and unpins them, one thread. The first is the floor: a dense array
//! and one atomic addition and subtraction. The next ones take its place by what a pool has: buckets of tags behind a hash, a state
//! that is looked at before it is changed by compare-and-swap, a header that is compared with the page. The last ones are
//! called instead of inlined, or also count, as statistics do, or do a hundred instructions more that need no memory.

use std::{
    env,
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

use lab::{
    Arm, Result, Rounds, Sample,
    floor::orders,
    measure::on_threads,
    region::Region,
    report::{Align, Table},
};
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};

/// Hits of a round.
const HITS: usize = 1 << 20;
/// Bytes of a page: a hit looks at the first of them only.
const PAGE: usize = 4096;
const WORD: usize = size_of::<u64>();
const HEADER: usize = 4;
const BUCKET: usize = 8;
/// Pages of a bucket, on average.
const PER_BUCKET: usize = 5;
const ONES: u64 = 0x0001_0001_0001_0001;
const TOPS: u64 = ONES << 15;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Resident pages, and both ways to find them.
struct Pool {
    frame_of: Region,
    buckets: Region,
    bucket_count: usize,
    headers: Region,
    frames: Region,
}

impl Pool {
    fn new(pages: u32) -> Result<Self> {
        let mut order: Vec<u32> = (0..pages).collect();
        order.shuffle(&mut SmallRng::seed_from_u64(1));
        let count = pages as usize;
        let bucket_count = count.div_ceil(PER_BUCKET);
        let pool = Self {
            frame_of: Region::new(count * WORD)?,
            buckets: Region::new(bucket_count * BUCKET * WORD)?,
            bucket_count,
            headers: Region::new(count * HEADER * WORD)?,
            frames: Region::new(count * PAGE)?,
        };
        for (page, &frame) in order.iter().enumerate() {
            pool.frame_of.words()[page].store(frame.into(), Ordering::Relaxed);
            pool.headers.words()[frame as usize * HEADER + 1].store(page as u64, Ordering::Relaxed);
            pool.insert(page as u64, frame);
        }
        Ok(pool)
    }

    /// Inserts a page. What finds no place in its bucket is left out: few pages, which then are not hit.
    fn insert(&self, page: u64, frame: u32) {
        let (bucket, tag) = self.slot(page);
        let words = &self.buckets.words()[bucket * BUCKET..][..BUCKET];
        let empty =
            (0..8).find(|place| words[place / 4].load(Ordering::Relaxed) >> (place % 4 * 16) & 0xffff == 0);
        if let Some(place) = empty {
            words[place / 4].fetch_or(tag << (place % 4 * 16), Ordering::Relaxed);
            words[2 + place / 2].fetch_or(u64::from(frame) << (place % 2 * 32), Ordering::Relaxed);
        }
    }

    fn slot(&self, page: u64) -> (usize, u64) {
        let mut hash = (page ^ 0x5eed ^ (page >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 33;
        let bucket = (u128::from(hash) * self.bucket_count as u128) >> 64;
        (bucket as usize, (hash & 0xffff).max(2))
    }

    fn by_array(&self, page: u32) -> Option<usize> {
        Some(self.frame_of.words()[page as usize].load(Ordering::Relaxed) as usize)
    }

    fn by_bucket(&self, page: u32) -> Option<usize> {
        let (bucket, tag) = self.slot(page.into());
        let words = &self.buckets.words()[bucket * BUCKET..][..BUCKET];
        let lanes = |word: usize| {
            let word = words[word].load(Ordering::Acquire) ^ (tag * ONES);
            word.wrapping_sub(ONES) & !word & TOPS
        };
        let found = lanes(0) >> 15 | lanes(1) >> 14;
        if found == 0 {
            return None;
        }
        let bit = found.trailing_zeros() as usize;
        let place = bit % 16 * 4 + bit / 16;
        let frame = words[2 + place / 2].load(Ordering::Relaxed) >> (place % 2 * 32);
        Some((frame & 0xffff_ffff) as usize)
    }

    fn word(&self, frame: usize) -> u64 {
        self.frames.words()[frame * PAGE / WORD].load(Ordering::Relaxed)
    }

    /// Pins and unpins by addition.
    fn add(&self, frame: usize) -> u64 {
        let state = &self.headers.words()[frame * HEADER];
        state.fetch_add(1, Ordering::Acquire);
        let word = self.word(frame);
        state.fetch_sub(1, Ordering::Release);
        word
    }

    /// Pins and unpins by compare-and-swap; where `compares`, looks at the page in the header in between.
    fn swap(&self, frame: usize, page: u32, compares: bool) -> u64 {
        let header = &self.headers.words()[frame * HEADER..][..HEADER];
        change(&header[0], |state| (state >> 20 == 0).then(|| state + 1));
        let word = if compares && header[1].load(Ordering::Relaxed) != u64::from(page) {
            0
        } else {
            self.word(frame)
        };
        change(&header[0], |state| (state != 0).then(|| state - 1));
        word
    }
}

fn change(word: &AtomicU64, step: impl Fn(u64) -> Option<u64>) {
    let mut current = word.load(Ordering::Relaxed);
    while let Some(next) = step(current) {
        match word.compare_exchange_weak(current, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => break,
            Err(actual) => current = actual,
        }
    }
}

/// Makes a hit by a call: what the loop has in registers goes through the stack, before and after the atomic steps.
#[inline(never)]
fn behind_a_call(pool: &Pool, page: u32) -> u64 {
    pool.by_bucket(page).map_or(0, |frame| pool.swap(frame, page, true))
}

/// Executes a hundred instructions that need no memory and that no compiler takes out.
#[inline(always)]
fn busy(page: u32) -> u64 {
    let [mut a, mut b, mut c, mut d] = [0, 1, 2, 3].map(|lane| u64::from(page) + lane);
    for _ in 0..12 {
        a = a.rotate_left(5) ^ b;
        b = b.rotate_left(9) ^ c;
        c = c.rotate_left(13) ^ d;
        d = d.rotate_left(21) ^ a;
    }
    a ^ b ^ c ^ d
}

/// Counts, as statistics do: a load and a store of a thread's own cache line.
#[inline(always)]
fn count(counter: &AtomicU64) -> u64 {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    0
}

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1).map(|argument| argument.parse::<u32>());
    let pages = arguments.next().transpose()?.unwrap_or(1 << 20);
    let rounds = arguments.next().transpose()?.unwrap_or(15);
    let pool = Pool::new(pages)?;
    let arm = |name: &'static str, hit: fn(&Pool, u32) -> u64| {
        let pool = &pool;
        Arm::new(name, move |round: u32| {
            let order = &orders(pages, HITS, 1, round.into())[0];
            let (_, elapsed) = on_threads(1, |_| {
                black_box(order.iter().fold(0, |sum: u64, &page| sum.wrapping_add(hit(pool, page))))
            });
            Ok(elapsed.sample(HITS as u64, 0))
        })
    };
    let arms = vec![
        arm("array, add", |pool, page| pool.by_array(page).map_or(0, |frame| pool.add(frame))),
        arm("array, swap", |pool, page| pool.by_array(page).map_or(0, |frame| pool.swap(frame, page, false))),
        arm("buckets, add", |pool, page| pool.by_bucket(page).map_or(0, |frame| pool.add(frame))),
        arm("buckets, swap", |pool, page| {
            pool.by_bucket(page).map_or(0, |frame| pool.swap(frame, page, false))
        }),
        arm("and compared", |pool, page| {
            pool.by_bucket(page).map_or(0, |frame| pool.swap(frame, page, true))
        }),
        arm("and behind a call", behind_a_call),
        arm("and shown to memory", |pool, page| black_box(behind_a_call(pool, page))),
        arm("and counted", |pool, page| {
            count(&COUNTER) + pool.by_bucket(page).map_or(0, |frame| pool.swap(frame, page, true))
        }),
        arm("and 100 instructions", |pool, page| {
            busy(page) + pool.by_bucket(page).map_or(0, |frame| pool.swap(frame, page, true))
        }),
        arm("array, add, counted", |pool, page| {
            count(&COUNTER) + pool.by_array(page).map_or(0, |frame| pool.add(frame))
        }),
        arm("array, add, 100 instructions", |pool, page| {
            busy(page) + pool.by_array(page).map_or(0, |frame| pool.add(frame))
        }),
    ];
    let outcome = Rounds::new(rounds).twin("array, add").run(arms, |_| ())?;
    let mut table = Table::new(&[("hit", Align::Left), ("ns", Align::Right), ("to the floor", Align::Left)]);
    for arm in outcome.names() {
        let ns = outcome.spread(arm, Sample::ns_per_page).map_or_else(String::new, |ns| ns.to_string());
        let ratio = outcome
            .ratio(arm, "array, add", Sample::ns_per_page)
            .map_or_else(String::new, |ratio| ratio.to_string());
        table.push([arm.to_owned(), ns, ratio]);
    }
    print!("{table}");
    outcome.noise(Sample::ns_per_page).into_iter().for_each(|noise| println!("the floor to itself: {noise}"));
    outcome.disturbance().into_iter().for_each(|why| println!("{why}"));
    Ok(())
}
