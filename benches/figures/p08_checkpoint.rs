//! P8: a checkpoint, against the bare ring writing the same pages and syncing once: pages dirtied at random, each a request
//! of its own; and dense ranges, where neighbours make long requests. The rate, and the CPU of a page, user and system, of the
//! whole process.
//!
//! The pool joins neighbours as it does by default. All pages are resident and dirty when the clock starts.

use lab::baseline::Ending;
use lab::baseline::ring::{BareRing, RingOptions};
use lab::report::FigureRow;
use lab::{Arm, Place, Result, Sample, places};

use crate::bench::{BARE_RING, Bench, Goal, PAGE, rate};
use crate::p08_hot_page;
use crate::support::{PoolArm, PoolSpec, methods};

/// Pages of a checkpoint.
pub(crate) const PAGES: u32 = 16_384;

/// Pages of a dense range: 1 MiB.
const RANGE: u32 = 128;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let random = random_pages(&bench.input()?.blocks());
    let single = RingOptions::new(PAGE, 64);
    let goals =
        [Goal::at_least("P8", "random pages", 1.0), Goal::at_most("P8", "random pages, CPU of a page", 1.3)];
    let rings = vec![(BARE_RING.to_owned(), single)];
    let mut rows = compare(bench, goals, &random, &random, rings, 128 << 10)?;

    let dense = ranges(&bench.input()?.blocks());
    let run = |kib: u32, depth, batch| {
        let options = RingOptions { request_size: kib << 10, batch, ..RingOptions::new(PAGE, depth) };
        (format!("{BARE_RING}, {kib} KiB"), options)
    };
    let rings = vec![run(128, 16, 4), run(256, 8, 1)];
    let goals =
        [Goal::at_least("P8", "dense ranges", 1.0), Goal::at_most("P8", "dense ranges, CPU of a page", 2.0)];
    let all = dense_pages(&dense);
    rows.extend(compare(bench, goals, &all, &dense, rings, 256 << 10)?);
    rows.extend(p08_hot_page::measure(bench)?);
    Ok(rows)
}

/// Measures the pool's checkpoint of `pages` against the best of the rings, which write the same pages; with long requests in the
/// ranges that start at `firsts`.
fn compare(
    bench: &Bench,
    [rate_goal, cpu_goal]: [Goal<'_>; 2],
    pages: &[Place],
    firsts: &[Place],
    rings: Vec<(String, RingOptions)>,
    combine: u32,
) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let files = input.open_plain(true)?;
    // Writes that no caller waits for have three quarters of that in flight: 64, as many as the ring has.
    let spec =
        PoolSpec { method: methods::uring(86).method, frames: PAGES + PAGES / 4, combine: combine as usize };
    let pool = PoolArm::open(input, &spec, true)?;
    let names: Vec<String> = rings.iter().map(|(name, _)| name.clone()).collect();
    let mut arms = Vec::new();
    for (name, options) in rings {
        let mut ring = BareRing::new(options)?;
        let stride = options.request_size / PAGE;
        let places: Vec<Place> = match stride {
            1 => pages.to_vec(),
            _ => places::in_ranges(firsts, RANGE, stride),
        };
        let files = &files;
        arms.push(Arm::new(name, move |_| Ok(ring.write(files, &places, Ending::Synced, |_, _| ())?)));
    }
    arms.push(Arm::new("pool", move |round| {
        pool.change(pages, |_, page| page[0] = round as u8)?;
        pool.checkpoint()
    }));
    let outcome = bench.run("P8", &names[0], arms)?;
    let speed = |name: &&String| outcome.summary(name).pages_per_s;
    let best =
        names.iter().max_by(|one, other| speed(one).total_cmp(&speed(other))).expect("there is a ring");
    if outcome.samples("pool").iter().any(|sample| sample.pages != pages.len() as u64) {
        let why = "a checkpoint did not write all dirty pages";
        return Ok(vec![rate_goal.missing(why), cpu_goal.missing(why)]);
    }
    let cpu = |arm: &str| format!("{:.2} us", outcome.summary(arm).cpu_us_per_page);
    Ok(vec![
        rate_goal.ratio(&outcome, ("pool", best), Sample::pages_per_s, rate(&outcome)),
        cpu_goal.ratio(&outcome, ("pool", best), Sample::cpu_us_per_page, cpu),
    ])
}

/// Draws pages at random.
pub(crate) fn random_pages(blocks: &[u32]) -> Vec<Place> {
    places::ranges(blocks, 1, PAGES as usize, 8)
}

/// Draws ranges at random; returns their first pages.
pub(crate) fn ranges(blocks: &[u32]) -> Vec<Place> {
    places::ranges(blocks, RANGE, (PAGES / RANGE) as usize, 9)
}

/// Returns all pages of the ranges.
pub(crate) fn dense_pages(firsts: &[Place]) -> Vec<Place> {
    places::in_ranges(firsts, RANGE, 1)
}
