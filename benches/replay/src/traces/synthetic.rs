//! Traces by rule: single access patterns of storage engines, over a file of [`PAGES`] pages.

use std::iter;

use crate::random::{Random, Zipf};

use super::Trace;

/// Pages of the file.
const PAGES: u64 = 20_000;

/// Accesses of a trace.
const LENGTH: usize = 400_000;

/// The seed of them all.
const SEED: u64 = 5;

/// Makes all synthetic traces.
pub fn synthetic() -> Vec<Trace> {
    let draws = |skew: f64| move |random: &mut Random| zipf(random, skew);
    vec![
        trace("uniform", |random| endless(|| random.below(PAGES))),
        trace("zipf 0.6", draws(0.6)),
        trace("zipf 0.8", draws(0.8)),
        trace("zipf 1.0", draws(1.0)),
        trace("zipf 1.2", draws(1.2)),
        trace("zipf 0.9 and full scans", zipf_and_scans),
        trace("zipf 0.9 and scans row by row", zipf_and_scans_by_row),
        trace("loop of 6,000", |_| endless_over(0..6_000)),
        trace("loop of 12,000", |_| endless_over(0..12_000)),
        trace("three loops", three_loops),
        trace("loop of 6,000 in zipf 0.9", loop_in_zipf),
        trace("B+tree, uniform keys", |random| descents(random, None)),
        trace("B+tree, zipf keys", |random| descents(random, Some(0.9))),
        trace("B+tree, ranges and points", ranges),
        trace("hot set that jumps", jumping),
        trace("hot set that slides", sliding),
        trace("newest first", newest_first),
    ]
}

fn trace(name: &str, accesses: impl FnOnce(&mut Random) -> Vec<u64>) -> Trace {
    Trace { name: name.to_owned(), pages: accesses(&mut Random::new(SEED)) }
}

fn endless(next: impl FnMut() -> u64) -> Vec<u64> {
    iter::repeat_with(next).take(LENGTH).collect()
}

fn endless_over(range: std::ops::Range<u64>) -> Vec<u64> {
    range.cycle().take(LENGTH).collect()
}

/// Makes loops of 2,000, 4,000 and 8,000 pages, each continued where it was left.
fn three_loops(random: &mut Random) -> Vec<u64> {
    let looped = |pages: u64| (PAGES + pages..PAGES + 2 * pages).cycle();
    let mut loops = [2_000, 4_000, 8_000].map(looped);
    endless(|| loops[random.below(3) as usize].next().unwrap_or_default())
}

fn zipf(random: &mut Random, skew: f64) -> Vec<u64> {
    let zipf = Zipf::new(PAGES, skew, random);
    endless(|| zipf.draw(random))
}

/// Makes point reads, beside which half of the time a scan of the whole file runs, page for page.
fn zipf_and_scans(random: &mut Random) -> Vec<u64> {
    let zipf = Zipf::new(PAGES, 0.9, random);
    let mut scan = None;
    let mut at = 0;
    endless(|| {
        at += 1;
        if at % 100_000 == 50_000 {
            scan = Some((0..PAGES).flat_map(|page| [Some(page), None]));
        }
        scan.as_mut().and_then(Iterator::next).flatten().unwrap_or_else(|| zipf.draw(random))
    })
}

/// Makes a scan that fetches a page anew for each of its twenty rows.
fn zipf_and_scans_by_row(random: &mut Random) -> Vec<u64> {
    let zipf = Zipf::new(PAGES, 0.9, random);
    let mut scan = (0..PAGES).cycle().flat_map(|page| [page; 20]);
    endless(|| if random.once_in(2) { zipf.draw(random) } else { scan.next().unwrap_or_default() })
}

fn loop_in_zipf(random: &mut Random) -> Vec<u64> {
    let zipf = Zipf::new(PAGES, 0.9, random);
    let mut looped = (PAGES..PAGES + 6_000).cycle();
    endless(|| if random.once_in(2) { zipf.draw(random) } else { looped.next().unwrap_or_default() })
}

/// Pages below an inner page.
const FANOUT: u64 = 100;

/// Returns the pages on the way to a leaf: the root, an inner page, and the leaf.
fn way_to(leaf: u64) -> [u64; 3] {
    [PAGES, PAGES + 1 + leaf / FANOUT, leaf]
}

/// Makes look-ups through a tree of three levels.
fn descents(random: &mut Random, skew: Option<f64>) -> Vec<u64> {
    let zipf = skew.map(|skew| Zipf::new(PAGES, skew, random));
    let mut leaf = || match &zipf {
        Some(zipf) => zipf.draw(random),
        None => random.below(PAGES),
    };
    iter::repeat_with(|| way_to(leaf())).flatten().take(LENGTH).collect()
}

/// Makes look-ups in a tree, of which one in fifty reads a range of a hundred leaves.
fn ranges(random: &mut Random) -> Vec<u64> {
    let zipf = Zipf::new(PAGES, 0.9, random);
    let one = || {
        let leaf = zipf.draw(random);
        let end = if random.once_in(50) { (leaf + 100).min(PAGES) } else { leaf + 1 };
        way_to(leaf).into_iter().chain(leaf + 1..end)
    };
    iter::repeat_with(one).flatten().take(LENGTH).collect()
}

/// Makes accesses of which nine of ten go to 800 pages, which change after every 40,000 accesses.
fn jumping(random: &mut Random) -> Vec<u64> {
    let mut at = 0_u64;
    endless(|| {
        at += 1;
        let first = (at / 40_000 * 7_919) % (PAGES - 800);
        if random.once_in(10) { random.below(PAGES) } else { first + random.below(800) }
    })
}

/// Makes accesses of which nine of ten go to 800 pages, of which one is replaced every 25 accesses.
fn sliding(random: &mut Random) -> Vec<u64> {
    let mut at = 0_u64;
    endless(|| {
        at += 1;
        if random.once_in(10) { random.below(PAGES) } else { (at / 25 + random.below(800)) % PAGES }
    })
}

/// Makes a table that grows by a page every ten accesses, and is read at its end: the older a page, the more seldom.
fn newest_first(random: &mut Random) -> Vec<u64> {
    let ages = Zipf::new(PAGES, 0.9, random);
    let mut at = 0_u64;
    endless(|| {
        at += 1;
        PAGES + at / 10 - ages.draw_rank(random) as u64
    })
}
