//! Random writeback: pages changed at random all over the file are written and made durable.
//!
//! The pool has them resident and dirty when the clock starts, and takes a checkpoint; the baselines write the same pages,
//! one a request and in the order of the file, and sync once. Places are the same in every round, since the pool must have them.
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

const WORKLOAD: &str = "writeback";

/// Versions that the proof writes: what was there before, and what each arm has to write.
const BEFORE: u64 = 1;
const PROOF: u64 = 2;

enum Writer<'a> {
    Ring(Box<BareRing>, Vec<File>),
    Plain(Plain, Vec<File>),
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
            Writer::Ring(ring, files) => Ok(ring.write(files, places, Ending::Synced, fill)?),
            Writer::Plain(plain, files) => Ok(plain.write(files, places, Ending::Synced, fill)?),
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

pub(crate) fn run(subject: &Subject, options: &Options, findings: &mut Findings) -> Result<()> {
    let input = &subject.input;
    let mut places = places::random_distinct(&input.blocks(), options.pages() as usize, 0);
    // As the pool sorts them: a device, or the scheduler before it, may well be faster so.
    places.sort_unstable();
    let mut arms = writing(input, options, places.len() as u32, findings)?;
    let (expected, digests) = prove(input, &mut arms, &places)?;
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
        bar.set_message(format!("{WORKLOAD}: {arm}"));
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let timed =
        Timed { workload: WORKLOAD, page_size: options.page_size, outcome, compared_by: Sample::pages_per_s };
    findings.add(&timed, |arm| {
        let (method, in_flight) = &known[arm];
        (method.clone(), *in_flight, digests[arm])
    });
    findings.check(WORKLOAD, expected, &digests);
    Ok(())
}

fn writing<'a>(
    input: &'a Input,
    options: &Options,
    pages: u32,
    findings: &mut Findings,
) -> Result<Vec<WriteArm<'a>>> {
    let page_size = options.page_size;
    let mut arms = Vec::new();
    let batch = lab::baseline::ring::BATCH.min(options.depth as usize);
    if let Some(ring) =
        arms::ring(RingOptions { batch, ..RingOptions::new(page_size, options.depth as usize) })
    {
        let writer = Writer::Ring(Box::new(ring), input.open_plain(true)?);
        arms.push(WriteArm {
            name: BARE_RING.into(),
            method: "io_uring".into(),
            in_flight: options.depth,
            writer,
        });
    }
    let plain = Plain { latencies: true, ..Plain::new(page_size) };
    let writer = Writer::Plain(plain, input.open_plain(true)?);
    arms.push(WriteArm { name: "pwrite".into(), method: "sync".into(), in_flight: 1, writer });
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
fn prove(input: &Input, arms: &mut [WriteArm<'_>], places: &[Place]) -> Result<(u64, HashMap<String, u64>)> {
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
        bar.set_message(format!("{WORKLOAD}: proof of {}", arm.name));
        Plain::new(page_size).write(&files, places, Ending::Written, filled_with(BEFORE))?;
        arm.write(places, &filled_with(PROOF))
            .map_err(|error| format!("{WORKLOAD}, {}: {error}", arm.name))?;
        let found = Digest::new(page_size);
        input.read_plainly(places, page_size, |place, bytes| found.add(place, bytes))?;
        digests.insert(arm.name.clone(), found.value());
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((wanted.value(), digests))
}
