//! P7: a hit. Find the page, pin it, share its latch, read 8 bytes, release; against the floor, which has a dense array in
//! place of the table and one atomic pair in place of pin and latch.
//!
//! The pages come from a file with nothing in it, read in its order since that is fast; they are hit in random order, so
//! that table, header and page are three misses of the processor's caches, as in the floor. Nothing is read once the clock
//! runs: that is checked. Before that each page is used more often than uses are counted, as the pages are that a pool is made for.

use std::hint::black_box;

use lab::floor::{self, Floor};
use lab::measure::{on_cores, on_threads};
use lab::report::FigureRow;
use lab::{Arm, Result, Sample};
use ringpool::{BufferPool, FileId, OpenOptions, PageHint, PageId};

use crate::bench::{Bench, Goal, PAGE};
use crate::support::memory;

/// Hits of each thread in a round.
const HITS: usize = 1 << 20;

/// Pages that are fetched together.
const TOGETHER: usize = 16;

/// Pages that are in the processor's cache.
const FEW: u32 = 4;

/// Uses of each page before the clock runs: one more than are counted.
const USES: u32 = 4;

/// The most bytes of pages.
const MOST: u64 = 4 << 30;

/// Pages that are loaded together.
const AT_ONCE: usize = 4096;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let mut rows = Vec::new();
    for (pages, [read, fetch, hint, two, many]) in [
        (
            1 << 16,
            [
                "64 Ki pages, read to the floor",
                "64 Ki pages, fetch, then latch, to the floor",
                "64 Ki pages, read by a hint to the floor",
                "64 Ki pages, two threads to one",
                "64 Ki pages, fetch_many of 16 to reads one by one",
            ],
        ),
        (
            1 << 20,
            [
                "1 Mi pages, read to the floor",
                "1 Mi pages, fetch, then latch, to the floor",
                "1 Mi pages, read by a hint to the floor",
                "1 Mi pages, two threads to one",
                "1 Mi pages, fetch_many of 16 to reads one by one",
            ],
        ),
    ] {
        let goals = [
            Goal::at_most("P7", read, 2.0),
            Goal::at_most("P7", fetch, 3.0),
            Goal::at_most("P7", hint, 1.5),
            Goal::at_least("P7", two, 1.9),
            Goal::at_most("P7", many, 0.7),
        ];
        // The pool's pages and the floor's are there together. More would take longer to fault in than to measure, and a hit
        // looks at the first bytes of a page, however long it is.
        let fits = |&size: &u32| {
            let bytes = u64::from(pages) * u64::from(size);
            bytes <= MOST && memory::has_room_for(5 * bytes / 2)
        };
        let Some(page_size) = [8192, 4096, 2048, 1024, 512].into_iter().find(fits) else {
            rows.extend(goals.map(|goal| goal.missing("not enough memory")));
            continue;
        };
        rows.extend(hits(bench, pages, page_size, goals)?);
    }
    rows.extend(hits_of_few(bench)?);
    Ok(rows)
}

/// Measures hits of pages that are in the processor's cache, and of one that two threads read.
fn hits_of_few(bench: &Bench) -> Result<Vec<FigureRow>> {
    let resident = Resident::new(bench, FEW, PAGE)?;
    let floor = Floor::new(FEW, PAGE, 1)?;
    let order = |round: u32| floor::orders(FEW, HITS, 1, round.into());
    let one_page = |threads| vec![vec![0; HITS]; threads];
    let arms = vec![
        Arm::new("floor", |round| Ok(floor.run(&order(round)))),
        Arm::new("read", |round| Ok(resident.hit_all(&order(round), |page| resident.read(page)))),
        Arm::new("one page", |_| Ok(resident.hit_all(&one_page(1), |page| resident.read(page)))),
        Arm::new("two threads", |_| Ok(resident.hit_all(&one_page(2), |page| resident.read(page)))),
    ];
    let outcome = bench.run("P7", "floor", arms)?;
    resident.check()?;
    let in_words = |arm: &str| format!("{:.1} ns", 1e9 / outcome.summary(arm).pages_per_s);
    let few = Goal::at_most("P7", "4 pages, read to the floor", 2.0);
    let two = Goal::at_least("P7", "one page, two threads to one", 1.8);
    Ok(vec![
        few.ratio(&outcome, ("read", "floor"), Sample::ns_per_page, in_words),
        two.ratio(&outcome, ("two threads", "one page"), Sample::pages_per_s, in_words),
    ])
}

fn hits(bench: &Bench, pages: u32, page_size: u32, goals: [Goal<'static>; 5]) -> Result<Vec<FigureRow>> {
    let resident = Resident::new(bench, pages, page_size)?;
    let floor = Floor::new(pages, page_size, 1)?;
    let orders = |threads| move |round: u32| floor::orders(pages, HITS, threads, round.into());
    let (one, two) = (orders(1), orders(2));
    let arms = vec![
        Arm::new("floor", |round| Ok(floor.run(&one(round)))),
        Arm::new("read", |round| Ok(resident.hit_all(&one(round), |page| resident.read(page)))),
        Arm::new("two threads", |round| Ok(resident.hit_all(&two(round), |page| resident.read(page)))),
        Arm::new("fetch", |round| Ok(resident.hit_all(&one(round), |page| resident.fetch(page)))),
        Arm::new("hint", |round| Ok(resident.hit_all(&one(round), |page| resident.hint(page)))),
        Arm::new("fetch_many", |round| Ok(resident.hit_together(&one(round)[0]))),
    ];
    let outcome = bench.run("P7", "floor", arms)?;
    resident.check()?;
    let threads = |arm: &str| if arm == "two threads" { 2.0 } else { 1.0 };
    let in_words = |arm: &str| {
        format!("{:.1} ns ({page_size} B a page)", threads(arm) * 1e9 / outcome.summary(arm).pages_per_s)
    };
    let [read, fetch, hint, two, many] = goals;
    Ok(vec![
        read.ratio(&outcome, ("read", "floor"), Sample::ns_per_page, in_words),
        fetch.ratio(&outcome, ("fetch", "floor"), Sample::ns_per_page, in_words),
        hint.ratio(&outcome, ("hint", "floor"), Sample::ns_per_page, in_words),
        two.ratio(&outcome, ("two threads", "read"), Sample::pages_per_s, in_words),
        many.ratio(&outcome, ("fetch_many", "read"), Sample::ns_per_page, in_words),
    ])
}

/// Returns the word with which a page begins. It is summed up, as the floor's is, and not shown to memory: a store that waits for
/// the page would keep the next hit waiting too, behind the atomic step that lets go.
#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    let word = bytes.first_chunk().expect("a page has more than 8 bytes");
    u64::from_ne_bytes(*word)
}

/// A pool that holds all pages of its file.
struct Resident {
    pool: BufferPool,
    file: FileId,
    pages: u32,
    /// By page: where it is.
    hints: Vec<PageHint>,
}

impl Resident {
    fn new(bench: &Bench, pages: u32, page_size: u32) -> Result<Self> {
        let empty = tempfile::NamedTempFile::new_in(&bench.dir)?;
        empty.as_file().set_len(u64::from(pages) * u64::from(page_size))?;
        // Some slack, since the table is cut into parts that fill unevenly.
        let builder = BufferPool::builder().frames(pages + pages / 16).page_size(page_size);
        let pool = builder.combine_limit_bytes(1 << 20).build()?;
        let file = pool.open_file(empty.path(), OpenOptions::new().read_only(true))?;
        for first in (0..pages).step_by(AT_ONCE) {
            pool.prefetch(file.pages(first..pages.min(first + AT_ONCE as u32)));
            for block in first..pages.min(first + AT_ONCE as u32) {
                pool.fetch(PageId::new(file, block)).wait()?;
            }
        }
        let mut hints = Vec::with_capacity(pages as usize);
        for block in 0..pages {
            let id = PageId::new(file, block);
            (1..USES).try_for_each(|_| pool.read(id).wait().map(drop))?;
            hints.push(pool.read(id).wait()?.hint());
        }
        let resident = Self { pool, file, pages, hints };
        resident.check()?;
        Ok(resident)
    }

    /// Checks that all pages are resident, and were read once.
    fn check(&self) -> Result<()> {
        let stats = self.pool.stats();
        if stats.frames.resident == self.pages && stats.counts.pages_read == u64::from(self.pages) {
            return Ok(());
        }
        let (resident, read) = (stats.frames.resident, stats.counts.pages_read);
        Err(format!("of {} pages {resident} are resident after {read} reads", self.pages).into())
    }

    fn hit_all(&self, orders: &[Vec<u32>], hit: impl Fn(u32) -> u64 + Sync) -> Sample {
        let (_, elapsed) = on_cores(orders.len(), |thread| {
            black_box(orders[thread].iter().fold(0, |sum: u64, &page| sum.wrapping_add(hit(page))))
        });
        elapsed.sample(orders.iter().map(|order| order.len() as u64).sum(), 0)
    }

    /// Pins and latches in one step.
    #[inline]
    fn read(&self, page: u32) -> u64 {
        let page = self.pool.read(PageId::new(self.file, page)).wait().expect("the page is resident");
        word_of(&page)
    }

    /// Makes a hit by a hint, without the page table.
    #[inline]
    fn hint(&self, page: u32) -> u64 {
        let page = self.pool.read(PageId::new(self.file, page).at(self.hints[page as usize])).now();
        word_of(&page.expect("no page has moved"))
    }

    /// Pins, then latches.
    #[inline]
    fn fetch(&self, page: u32) -> u64 {
        let pinned = self.pool.fetch(PageId::new(self.file, page)).wait().expect("the page is resident");
        word_of(&pinned.read())
    }

    /// Hits as many pages at a time as [`TOGETHER`] says.
    fn hit_together(&self, order: &[u32]) -> Sample {
        let hit = |group: &[u32]| {
            let mut pages = [PageId::new(self.file, 0); TOGETHER];
            pages.iter_mut().zip(group).for_each(|(page, &block)| *page = PageId::new(self.file, block));
            let pinned = self.pool.fetch_many(&pages[..group.len()]).wait().expect("the pages are resident");
            pinned.iter().fold(0, |sum: u64, page| sum.wrapping_add(word_of(&page.read())))
        };
        let (_, elapsed) = on_threads(1, |_| {
            black_box(order.chunks(TOGETHER).fold(0, |sum: u64, group| sum.wrapping_add(hit(group))))
        });
        elapsed.sample(order.len() as u64, 0)
    }
}
