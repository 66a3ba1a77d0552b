//! P5: CPU per page of random reads, user and system, of the whole process, against the bare ring's; and against the same
//! stream into frames that are not registered, which is what registering them is for.

use lab::report::FigureRow;
use lab::{Result, Sample};

use ringpool::StreamOptions;

use crate::bench::{BARE_RING, Bench, FRAMES, Goal};
use crate::p01_random_read::{places_of, readers};
use crate::race::{Reader, race};
use crate::support::methods;

const NOT_REGISTERED: &str = "read stream, frames not registered";

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let mut readers = readers(bench, 64)?;
    let plain = methods::uring_without_fixed_buffers(64);
    readers.push(Reader::stream(bench.input()?, NOT_REGISTERED, &plain, FRAMES, StreamOptions::new())?);
    let outcome = race(bench, bench.input()?, "P5", readers, places_of(bench)?)?;
    let in_words = |arm: &str| format!("{:.2} us", outcome.summary(arm).cpu_us_per_page);
    let of = |arm, to, name, goal| {
        Goal::at_most("P5", name, goal).ratio(&outcome, (arm, to), Sample::cpu_us_per_page, in_words)
    };
    Ok(vec![
        of("prefetch", BARE_RING, "prefetch, 64 in flight", 1.4),
        of("read stream", BARE_RING, "read stream, 64 in flight", 1.4),
        of("tasks", BARE_RING, "1,000 tasks, 64 in flight", 1.8),
        of("read stream", NOT_REGISTERED, "read stream, registered frames to others", 1.0),
    ])
}
