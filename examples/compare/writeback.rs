//! Writeback: changed pages are written and made durable; pages at random all over the file, and ranges of neighbours.
//!
//! The pool has them resident and dirty when the clock starts, and takes a checkpoint; the baselines write the same pages, in
//! the order of the file, and sync once: plain calls past the page cache and through it, page by page, and the ring, with
//! neighbours in one request. Places are the same in every round, since the pool must have them.
//!
//! The proof: before each arm's turn the places hold something else; then the arm writes, and a plain read must find the
//! digest of what it was to write.

use std::collections::HashMap;
use std::fs::File;

use lab::baseline::Ending;
use lab::baseline::plain::Plain;
use lab::baseline::ring::{BareRing, RingOptions};
use lab::stamp::stamp;
use lab::{Arm, Digest, Place, Result, Rounds, Sample, places, progress};

use crate::arms::{self, BARE_RING};
use crate::options::Options;
use crate::report::{Findings, Timed};
use crate::subject::Subject;
use crate::support::{Input, PoolArm, PoolSpec, memory, methods, scratch};

/// Bytes of a range of neighbours.
const RANGE: u32 = 1 << 20;

/// Bytes of the ring's requests where there are neighbours.
const LONG_REQUEST: u32 = 128 << 10;

/// Which pages are dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Random,
    Dense,
}

impl Pattern {
    fn workload(self) -> &'static str {
        match self {
            Self::Random => "writeback",
            Self::Dense => "dense writeback",
        }
    }

    /// Pages that lie one behind the other. A file may be too short for a range as it should be.
    fn range(self, blocks: &[u32], page_size: u32) -> u32 {
        match self {
            Self::Random => 1,
            Self::Dense => (RANGE / page_size).min(blocks.iter().copied().max().unwrap_or(1)),
        }
    }

    /// Pages that the ring writes with one request.
    fn stride(self, blocks: &[u32], page_size: u32) -> u32 {
        let stride = (LONG_REQUEST / page_size).max(1);
        if self.range(blocks, page_size).is_multiple_of(stride) { stride } else { 1 }
    }

    /// `pages` of them or a few less, in the order of the file.
    fn places(self, blocks: &[u32], pages: u32, page_size: u32) -> Vec<Place> {
        let range = self.range(blocks, page_size);
        let ranges: Vec<u32> = blocks.iter().map(|blocks| blocks / range).collect();
        let mut firsts = places::random_distinct(&ranges, (pages / range).max(1) as usize, 0);
        // As the pool sorts them: a device, or the scheduler before it, may well be faster so.
        firsts.sort_unstable();
        let of_range = |first: Place| {
            (first.block * range..(first.block + 1) * range).map(move |block| Place { block, ..first })
        };
        firsts.into_iter().flat_map(of_range).collect()
    }
}

/// Versions that the proof writes: what was there before, and what each arm has to write.
const BEFORE: u64 = 1;
const PROOF: u64 = 2;

enum Writer<'a> {
    /// With so many pages a request.
    Ring(Box<BareRing>, Vec<File>, u32),
    Plain(Plain, Vec<File>),
    /// Through the page cache, which is emptied afterwards: what it keeps would slow direct writes.
    Buffered(Plain, Vec<File>),
    Pool(PoolArm<'a>),
}

struct WriteArm<'a> {
    name: String,
    method: String,
    in_flight: u32,
    writer: Writer<'a>,
}

impl WriteArm<'_> {
    /// Writes all places, each filled by `fill`; in the pool's case they are filled before the clock starts.
    fn write(&mut self, places: &[Place], fill: &(dyn Fn(Place, &mut [u8]) + Sync)) -> Result<Sample> {
        match &mut self.writer {
            Writer::Ring(ring, files, stride) => {
                let page_size = ring.options().page_size as usize;
                let firsts: Vec<Place> = places.iter().copied().step_by(*stride as usize).collect();
                let fill_all = |first: Place, request: &mut [u8]| {
                    for (block, page) in (first.block..).zip(request.chunks_mut(page_size)) {
                        fill(Place { block, ..first }, page);
                    }
                };
                Ok(ring.write(files, &firsts, Ending::Synced, fill_all)?)
            }
            Writer::Plain(plain, files) => Ok(plain.write(files, places, Ending::Synced, fill)?),
            Writer::Buffered(plain, files) => {
                let written = plain.write(files, places, Ending::Synced, fill)?;
                files.iter().try_for_each(lab::files::drop_cache)?;
                Ok(written)
            }
            Writer::Pool(pool) => {
                pool.change(places, fill)?;
                let sample = pool.checkpoint()?;
                if sample.pages == places.len() as u64 {
                    return Ok(sample);
                }
                Err(format!("the checkpoint wrote {} pages of {}", sample.pages, places.len()).into())
            }
        }
    }
}

pub(crate) fn run(
    pattern: Pattern,
    subject: &Subject,
    options: &Options,
    findings: &mut Findings,
) -> Result<()> {
    let (input, workload) = (&subject.input, pattern.workload());
    let places = pattern.places(&input.blocks(), options.pages(), options.page_size);
    let mut arms = writing(pattern, input, options, places.len() as u32, findings)?;
    let (expected, digests) = prove(workload, input, &mut arms, &places)?;
    let known = arms.iter().map(|arm| (arm.name.clone(), (arm.method.clone(), arm.in_flight)));
    let known: HashMap<_, _> = known.collect();
    let twin = arms[0].name.clone();
    let bar = progress::steps(u64::from(options.rounds()) * (arms.len() as u64 + 1));
    let timed = arms.into_iter().map(|mut arm| {
        // The pool's pages are dirty as soon as they are borrowed for writing. The baselines write what they have.
        let places = &places;
        Arm::new(arm.name.clone(), move |_| arm.write(places, &|_, _| ()))
    });
    let outcome = Rounds::new(options.rounds()).twin(twin).run(timed.collect(), |arm| {
        bar.set_message(format!("{workload}: {arm}"));
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let timed = Timed { workload, page_size: options.page_size, outcome, compared_by: Sample::pages_per_s };
    findings.add(&timed, |arm| {
        let (method, in_flight) = &known[arm];
        (method.clone(), *in_flight, digests[arm])
    });
    findings.check(workload, expected, &digests);
    Ok(())
}

fn writing<'a>(
    pattern: Pattern,
    input: &'a Input,
    options: &Options,
    pages: u32,
    findings: &mut Findings,
) -> Result<Vec<WriteArm<'a>>> {
    let page_size = options.page_size;
    let mut arms = Vec::new();
    let stride = pattern.stride(&input.blocks(), page_size);
    // Long requests are few, and a few of them keep a device busy.
    let depth = if stride > 1 { options.depth.min(16) } else { options.depth };
    let batch = if stride > 1 { 4 } else { lab::baseline::ring::BATCH }.min(depth as usize);
    let ring = RingOptions {
        batch,
        request_size: stride * page_size,
        ..RingOptions::new(page_size, depth as usize)
    };
    if let Some(ring) = arms::ring(ring) {
        let writer = Writer::Ring(Box::new(ring), input.open_plain(true)?, stride);
        arms.push(WriteArm { name: BARE_RING.into(), method: "io_uring".into(), in_flight: depth, writer });
    }
    let plain = Plain { latencies: true, ..Plain::new(page_size) };
    let plainly =
        |name: &str, writer| WriteArm { name: name.into(), method: "sync".into(), in_flight: 1, writer };
    arms.push(plainly("pwrite", Writer::Plain(plain, input.open_plain(true)?)));
    if input.buffered().is_none() {
        let writer = Writer::Buffered(plain, input.open_buffered(true)?);
        arms.push(plainly("pwrite, page cache", writer));
    }
    // All pages are resident at once, and the table needs some slack to take them.
    let frames = pages + pages / 4 + 64;
    memory::check(3 * u64::from(frames) * u64::from(page_size), "choose fewer --pages")?;
    for candidate in methods::all(options.depth, options.worker_threads) {
        let spec = PoolSpec { method: candidate.method, frames, combine: 128 << 10 };
        let pool = PoolArm::open(input, &spec, true);
        let Some(pool) = arms::or_say_why(candidate.name, pool) else {
            continue;
        };
        let (name, report) = (format!("pool, {}", candidate.name), pool.method());
        findings.tell([format!("{name}: {}", methods::in_words(&report))]);
        let method = report.in_use.to_string();
        arms.push(WriteArm { name, method, in_flight: candidate.in_flight, writer: Writer::Pool(pool) });
    }
    Ok(arms)
}

/// The digest of what was to be written, and of what a plain read found after each arm.
fn prove(
    workload: &str,
    input: &Input,
    arms: &mut [WriteArm<'_>],
    places: &[Place],
) -> Result<(u64, HashMap<String, u64>)> {
    let page_size = input.page_size();
    let filled_with =
        |version| move |place: Place, page: &mut [u8]| stamp(page, scratch::SEED, place.block, version);
    let wanted = Digest::new(page_size);
    let mut page = vec![0; page_size as usize];
    for &place in places {
        filled_with(PROOF)(place, &mut page);
        wanted.add(place, &page);
    }
    let files = input.open_plain(true)?;
    let bar = progress::steps(arms.len() as u64);
    let mut digests = HashMap::new();
    for arm in arms {
        bar.set_message(format!("{workload}: proof of {}", arm.name));
        Plain::new(page_size).write(&files, places, Ending::Written, filled_with(BEFORE))?;
        arm.write(places, &filled_with(PROOF))
            .map_err(|error| format!("{workload}, {}: {error}", arm.name))?;
        let found = Digest::new(page_size);
        input.read_plainly(places, page_size, |place, bytes| found.add(place, bytes))?;
        digests.insert(arm.name.clone(), found.value());
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((wanted.value(), digests))
}
