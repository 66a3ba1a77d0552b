//! The arms that read: each is given places and shows the bytes.

use std::fs::File;

use lab::baseline::plain::Plain;
use lab::baseline::ring::{self, BareRing, RingOptions};
use lab::{Place, Result, Sample};

use crate::entrants::{self, Card, Entrant, Pools};
use crate::findings::Findings;
use crate::options::Options;
use crate::support::{Input, PoolArm, Visit, Window};

/// Plain calls, to whose rate those of the others are compared.
pub(crate) const PREAD: &str = "pread";

/// A way to read.
pub(crate) struct Reader<'a> {
    /// Pages that it wants to be given as one place.
    pub(crate) stride: u32,
    input: &'a Input,
    how: How<'a>,
}

enum How<'a> {
    Ring(Box<BareRing>, Vec<File>),
    Plain(Plain, Vec<File>),
    /// Through the page cache, which is empty at first and emptied afterwards: what it keeps would slow direct I/O.
    Cached(Plain, Vec<File>),
    Ahead(PoolArm<'a>, Window),
    Each(PoolArm<'a>),
}

impl Reader<'_> {
    /// Empties all caches, then reads the places.
    pub(crate) fn read(&mut self, places: &[Place], visit: &Visit<'_>) -> Result<Sample> {
        match &mut self.how {
            How::Ring(ring, files) => {
                self.input.drop_caches()?;
                Ok(ring.read(files, places, visit)?)
            }
            How::Plain(plain, files) => {
                self.input.drop_caches()?;
                Ok(plain.read(files, places, visit)?)
            }
            How::Cached(plain, files) => {
                files.iter().try_for_each(lab::files::drop_cache)?;
                let read = plain.read(files, places, visit)?;
                files.iter().try_for_each(lab::files::drop_cache)?;
                Ok(read)
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
    /// This number of requests of one page in flight.
    SinglePages(u32),
    /// A number of requests in flight, of a number of pages each.
    Requests(u32, u32),
    /// One page after another.
    OneByOne,
}

impl Shape {
    /// Returns how a pool that may have `in_flight` requests is read.
    fn by_pool(self, pool: PoolArm<'_>, in_flight: u32, frames: u32) -> How<'_> {
        match self {
            Self::SinglePages(_) => How::Ahead(pool, Window::of_single_pages(in_flight)),
            Self::Requests(_, pages) => {
                How::Ahead(pool, bounded(Window::of_requests(in_flight as usize, pages as usize), frames))
            }
            Self::OneByOne => How::Each(pool),
        }
    }
}

/// Makes the arms of a workload; what this machine lacks is left out.
pub(crate) fn reading<'a>(
    input: &'a Input,
    options: &Options,
    shape: Shape,
    frames: u32,
    findings: &mut Findings,
) -> Result<Vec<Entrant<Reader<'a>>>> {
    let page_size = input.page_size();
    let (depth, stride, batch) = match shape {
        Shape::SinglePages(depth) => (depth, 1, ring::BATCH.min(depth as usize)),
        Shape::Requests(depth, pages) => (depth, pages, (depth as usize / 4).clamp(1, 4)),
        Shape::OneByOne => (1, 1, 1),
    };
    let request_size = stride * page_size;
    let mut arms = Vec::new();
    let ring = RingOptions { request_size, batch, ..RingOptions::new(page_size, depth as usize) };
    if let Some(ring) = entrants::ring(ring, findings) {
        let how = How::Ring(Box::new(ring), input.open_plain(false)?);
        arms.push(Entrant { card: Card::ring(depth), way: Reader { stride, input, how } });
    }
    let plain = Plain { request_size, latencies: true, ..Plain::new(page_size) };
    let how = How::Plain(plain, input.open_plain(false)?);
    arms.push(Entrant { card: Card::plain(PREAD), way: Reader { stride, input, how } });
    if input.buffered().is_none() {
        let how = How::Cached(plain, input.open_buffered(false)?);
        arms.push(Entrant { card: Card::plain(entrants::PAGE_CACHE[0]), way: Reader { stride, input, how } });
    }
    let pools = Pools { depth, frames, combine: request_size, writes: false };
    let pools = pools.open(input, options, "choose a smaller --pool", findings)?;
    arms.extend(pools.into_iter().map(|Entrant { card, way }| {
        let how = shape.by_pool(way, card.in_flight, frames);
        let in_flight = if let Shape::OneByOne = shape { 1 } else { card.in_flight };
        Entrant { card: Card { in_flight, ..card }, way: Reader { stride: 1, input, how } }
    }));
    Ok(arms)
}

/// Returns the window cut to half of the frames: look-ahead is given three quarters, and some of those are still being left.
fn bounded(window: Window, frames: u32) -> Window {
    let ahead = window.ahead.min((frames / 2).max(1) as usize);
    Window { ahead, step: window.step.min(ahead) }
}
