//! P3: a sequential scan, by prefetch of a window of pages and by read stream, against the bare ring at whichever request
//! size is best here: the rate, and the CPU of a page, user and system, of the whole process.

use lab::baseline::ring::RingOptions;
use lab::report::FigureRow;
use lab::{Result, Sample, places};
use ringpool::StreamOptions;

use crate::bench::{Bench, FRAMES, Goal, PAGE};
use crate::race::{Reader, race};
use crate::support::{Window, methods};

/// Pages a round: 512 MiB.
const PAGES: u32 = 65_536;

/// The bare ring's requests in KiB, how many are in flight, and how many completions a call waits for.
const SHAPES: [(u32, usize, usize); 3] = [(128, 16, 4), (256, 8, 1), (512, 8, 1)];

/// The pool's requests in KiB, and how many of them its window spans.
const POOL_SHAPE: (u32, usize) = (512, 16);

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let ring = |(kib, depth, batch): (u32, usize, usize)| {
        let options = RingOptions { request_size: kib << 10, batch, ..RingOptions::new(PAGE, depth) };
        Reader::ring(input, &format!("bare ring, {kib} KiB"), options)
    };
    let mut readers: Vec<Reader<'_>> = SHAPES.into_iter().map(ring).collect::<Result<_>>()?;
    let (kib, requests) = POOL_SHAPE;
    let (combine, window) = (kib << 10, Window::of_requests(requests, (kib << 10) as usize / PAGE as usize));
    readers.push(Reader::ahead(input, "prefetch", &methods::uring(64), FRAMES, combine as usize, window)?);
    let options = StreamOptions::new().combine_limit_bytes(combine as usize);
    let streams = [("read stream", options), ("bulk read stream", options.bulk())];
    for (name, options) in streams {
        readers.push(Reader::stream(input, name, &methods::uring(64), FRAMES, options)?);
    }
    let outcome =
        race(bench, bench.input()?, "P3", readers, |_, stride| places::sequential(&[PAGES], stride))?;
    let rings = outcome.names().filter(|&name| name.starts_with("bare ring"));
    let speed = |name: &str| outcome.summary(name).mb_per_s;
    let best = rings.max_by(|one, other| speed(one).total_cmp(&speed(other))).expect("there are several");
    let in_words = |arm: &str| format!("{:.0} MB/s", speed(arm));
    let of =
        |arm, name| Goal::at_least("P3", name, 0.97).ratio(&outcome, (arm, best), Sample::mb_per_s, in_words);
    let cpu_of = |arm, name| {
        let in_words = |arm: &str| format!("{:.2} us", outcome.summary(arm).cpu_us_per_page);
        Goal::at_most("P3", name, 4.0).ratio(&outcome, (arm, best), Sample::cpu_us_per_page, in_words)
    };
    Ok(vec![
        of("prefetch", "prefetch, to the best of the bare ring"),
        of("read stream", "read stream, to the best of the bare ring"),
        of("bulk read stream", "bulk read stream, to the best of the bare ring"),
        cpu_of("read stream", "read stream, CPU of a page"),
        cpu_of("bulk read stream", "bulk read stream, CPU of a page"),
    ])
}
