//! The arms that read: each is given places and shows the bytes.

use std::fs::File;

use lab::baseline::plain::Plain;
use lab::baseline::ring::{BareRing, RingOptions};
use lab::{Place, Result, Sample};

use crate::options::Options;
use crate::support::{Input, PoolArm, PoolSpec, Visit, Window, memory, methods};

/// The name of the arm that all others are held against.
pub(crate) const BARE_RING: &str = "bare ring";

/// An arm that reads.
pub(crate) struct ReadArm<'a> {
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) in_flight: u32,
    /// Pages that it wants to be given as one place.
    pub(crate) stride: u32,
    /// A pool's own words on what it uses, and why.
    pub(crate) report: Option<String>,
    how: How<'a>,
}

enum How<'a> {
    Ring(Box<BareRing>, Vec<File>, &'a Input),
    Plain(Plain, Vec<File>, &'a Input),
    Ahead(PoolArm<'a>, Window),
    Each(PoolArm<'a>),
}

impl ReadArm<'_> {
    /// Empties all caches, then reads the places.
    pub(crate) fn read(&mut self, places: &[Place], visit: &Visit<'_>) -> Result<Sample> {
        match &mut self.how {
            How::Ring(ring, files, input) => {
                input.drop_caches()?;
                Ok(ring.read(files, places, visit)?)
            }
            How::Plain(plain, files, input) => {
                input.drop_caches()?;
                Ok(plain.read(files, places, visit)?)
            }
            How::Ahead(pool, window) => {
                pool.make_cold()?;
                pool.read_ahead(places, *window, visit)
            }
            How::Each(pool) => {
                pool.make_cold()?;
                pool.read_each(places, visit)
            }
        }
    }
}

/// How the arms of a workload ask.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// So many requests of one page in flight.
    SinglePages(u32),
    /// So many requests of so many pages in flight.
    Requests(u32, u32),
    /// One page after another.
    OneByOne,
}

/// Makes the arms of a workload; what this machine lacks is a printed line.
pub(crate) fn reading<'a>(
    input: &'a Input,
    options: &Options,
    shape: Shape,
    frames: u32,
) -> Result<Vec<ReadArm<'a>>> {
    let page_size = input.page_size();
    let (depth, stride, batch) = match shape {
        Shape::SinglePages(depth) => (depth, 1, lab::baseline::ring::BATCH.min(depth as usize)),
        Shape::Requests(depth, pages) => (depth, pages, (depth as usize / 4).clamp(1, 4)),
        Shape::OneByOne => (1, 1, 1),
    };
    let request_size = stride * page_size;
    let mut arms = Vec::new();
    arms.extend(
        ring(RingOptions { request_size, batch, ..RingOptions::new(page_size, depth as usize) }).map(
            |ring| -> Result<_> {
                let how = How::Ring(Box::new(ring), input.open_plain(false)?, input);
                Ok(ReadArm {
                    name: BARE_RING.into(),
                    method: "io_uring".into(),
                    in_flight: depth,
                    stride,
                    report: None,
                    how,
                })
            },
        ),
    );
    let plain = Plain { request_size, latencies: true, ..Plain::new(page_size) };
    let how = How::Plain(plain, input.open_plain(false)?, input);
    arms.push(Ok(ReadArm {
        name: "pread".into(),
        method: "sync".into(),
        in_flight: 1,
        stride,
        report: None,
        how,
    }));

    memory::check(3 * u64::from(frames) * u64::from(page_size), "choose a smaller --pool")?;
    for candidate in methods::all(depth, options.worker_threads) {
        let spec = PoolSpec { method: candidate.method, frames, combine: request_size as usize };
        let Some(pool) = or_say_why(candidate.name, PoolArm::open(input, &spec, false)) else {
            continue;
        };
        let report = pool.method();
        let method = report.in_use.to_string();
        let (in_flight, how) = match shape {
            Shape::SinglePages(_) => {
                (candidate.in_flight, How::Ahead(pool, Window::of_single_pages(candidate.in_flight)))
            }
            Shape::Requests(..) => {
                let window = Window::of_requests(candidate.in_flight as usize, stride as usize);
                (candidate.in_flight, How::Ahead(pool, bounded(window, frames)))
            }
            Shape::OneByOne => (1, How::Each(pool)),
        };
        let name = format!("pool, {}", candidate.name);
        let report = Some(methods::in_words(&report));
        arms.push(Ok(ReadArm { name, method, in_flight, stride: 1, report, how }));
    }
    arms.into_iter().collect()
}

/// The window cut to half of the frames: look-ahead is given three quarters, and some of those are still being left.
fn bounded(window: Window, frames: u32) -> Window {
    let ahead = window.ahead.min((frames / 2).max(1) as usize);
    Window { ahead, step: window.step.min(ahead) }
}

/// A bare ring, unless this machine forbids it.
pub(crate) fn ring(options: RingOptions) -> Option<BareRing> {
    let ring = or_say_why(BARE_RING, BareRing::new(options).map_err(Into::into))?;
    if !ring.is_registered() {
        println!(
            "{BARE_RING}: this user may not lock enough memory (ulimit -l), so its buffers are not registered and it is \
             slower than it could be"
        );
    }
    Some(ring)
}

/// What was opened; what cannot be had here is not compared, but said.
pub(crate) fn or_say_why<T>(name: &str, opened: Result<T>) -> Option<T> {
    opened.inspect_err(|error| println!("{name}: left out: {error}")).ok()
}
