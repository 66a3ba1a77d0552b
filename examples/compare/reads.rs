//! The workloads that read: random pages, a scan, and lone misses.
//!
//! Each first proves that all arms see the same bytes, then times them. The proof is apart because a digest costs more CPU
//! a page than some arms do.

use std::cell::RefCell;
use std::collections::HashMap;

use lab::{Arm, Digest, Place, Result, Rounds, Sample, places, progress};

use crate::arms::{self, ReadArm, Shape};
use crate::options::Options;
use crate::report::{Findings, Timed};
use crate::subject::Subject;
use crate::support::look_at;

/// Pages of a batch of look-ahead, within which an engine would sort its requests by file.
const BATCH: usize = 16;

/// Bytes of a scan's requests, as PostgreSQL's `io_combine_limit` has them: long enough for nearly all of the bandwidth.
const SCAN_REQUEST: u32 = 128 << 10;

/// Requests of a scan in flight.
const SCAN_DEPTH: u32 = 16;

pub(crate) fn random(subject: &Subject, options: &Options, findings: &mut Findings) -> Result<()> {
    let pages = options.pages().min(total(&subject.input.blocks()));
    let arms =
        arms::reading(&subject.input, options, Shape::SinglePages(options.depth), frames(options, pages))?;
    compare(
        "random read",
        subject,
        options,
        arms,
        |round, _| places_at_random(subject, pages, round),
        findings,
    )
}

pub(crate) fn lone_misses(subject: &Subject, options: &Options, findings: &mut Findings) -> Result<()> {
    let pages = (options.pages() / 10).max(1).min(total(&subject.input.blocks()));
    let arms = arms::reading(&subject.input, options, Shape::OneByOne, frames(options, pages))?;
    compare("lone miss", subject, options, arms, |round, _| places_at_random(subject, pages, round), findings)
}

pub(crate) fn scan(subject: &Subject, options: &Options, findings: &mut Findings) -> Result<()> {
    let stride = (SCAN_REQUEST / options.page_size).max(1);
    let blocks =
        first_blocks(&subject.input.blocks(), options.scan_size / u64::from(options.page_size), stride);
    let depth = SCAN_DEPTH.min(options.depth);
    let frames = frames(options, total(&blocks));
    let arms = arms::reading(&subject.input, options, Shape::Requests(depth, stride), frames)?;
    compare("scan", subject, options, arms, |_, stride| places::sequential(&blocks, stride), findings)
}

/// Proves and times the arms of one workload. `places_of` gives the places of a round, one for so many pages.
fn compare(
    workload: &'static str,
    subject: &Subject,
    options: &Options,
    mut arms: Vec<ReadArm<'_>>,
    places_of: impl Fn(u32, u32) -> Vec<Place>,
    findings: &mut Findings,
) -> Result<()> {
    findings.tell(arms.iter().filter_map(|arm| Some(format!("{}: {}", arm.name, arm.report.as_ref()?))));
    let digests = prove(workload, subject, &mut arms, &places_of)?;
    let known = arms.iter().map(|arm| (arm.name.clone(), (arm.method.clone(), arm.in_flight)));
    let known: HashMap<_, _> = known.collect();
    // The places of a round, by stride: drawn once, before any arm of the round is timed.
    let drawn: RefCell<HashMap<(u32, u32), Vec<Place>>> = RefCell::default();
    let twin = arms[0].name.clone();
    let bar = progress::steps(u64::from(options.rounds()) * (arms.len() as u64 + 1));
    let timed = arms.into_iter().map(|mut arm| {
        let (drawn, places_of) = (&drawn, &places_of);
        Arm::new(arm.name.clone(), move |round| {
            let mut drawn = drawn.borrow_mut();
            drawn.retain(|&(of, _), _| of == round);
            let places = drawn.entry((round, arm.stride)).or_insert_with(|| places_of(round, arm.stride));
            arm.read(places, &look_at)
        })
    });
    let outcome = Rounds::new(options.rounds()).twin(twin).run(timed.collect(), |arm| {
        bar.set_message(format!("{workload}: {arm}"));
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let compared_by = Sample::pages_per_s;
    findings.add(&Timed { workload, page_size: options.page_size, outcome, compared_by }, |arm| {
        let (method, in_flight) = &known[arm];
        (method.clone(), *in_flight, digests.arms[arm])
    });
    findings.check(workload, digests.expected, &digests.arms);
    Ok(())
}

/// What each arm saw, and what there was to see.
struct Digests {
    expected: u64,
    arms: HashMap<String, u64>,
}

/// Has each arm read the places of the first round while a digest is taken.
fn prove(
    workload: &str,
    subject: &Subject,
    arms: &mut [ReadArm<'_>],
    places_of: &impl Fn(u32, u32) -> Vec<Place>,
) -> Result<Digests> {
    let bar = progress::steps(arms.len() as u64 + 1);
    bar.set_message(format!("{workload}: proof by a plain read"));
    let page_size = subject.input.page_size();
    let stride = arms.iter().map(|arm| arm.stride).max().unwrap_or(1);
    let digest = Digest::new(page_size);
    let request_size = stride * page_size;
    subject.input.read_plainly(&places_of(0, stride), request_size, |first, bytes| {
        digest.add(first, bytes);
    })?;
    let expected = digest.value();
    let mut seen = HashMap::new();
    for arm in arms {
        bar.inc(1);
        bar.set_message(format!("{workload}: proof of {}", arm.name));
        let digest = Digest::new(page_size);
        let read = arm.read(&places_of(0, arm.stride), &|first, bytes| {
            digest.add(first, bytes);
        });
        read.map_err(|error| format!("{workload}, {}: {error}", arm.name))?;
        seen.insert(arm.name.clone(), digest.value());
    }
    bar.finish_and_clear();
    Ok(Digests { expected, arms: seen })
}

/// The same number of different places in every round, those of a batch sorted by file.
fn places_at_random(subject: &Subject, pages: u32, round: u32) -> Vec<Place> {
    let mut places = places::random_distinct(&subject.input.blocks(), pages as usize, round.into());
    places.chunks_mut(BATCH).for_each(|batch| batch.sort_by_key(|place| place.file));
    places
}

/// Frames of a pool that reads so many pages: a quarter of them at most, so that most reads replace a page.
fn frames(options: &Options, pages: u32) -> u32 {
    let most = u32::try_from(options.pool / u64::from(options.page_size)).unwrap_or(u32::MAX);
    // A pool this small could not hold what is in flight.
    let least = 4 * options.depth.max(SCAN_DEPTH * (SCAN_REQUEST / options.page_size).max(1));
    most.min(pages / 4).max(least)
}

/// The beginning of the files, `limit` blocks in all; a file that is cut is cut to whole requests.
fn first_blocks(blocks: &[u32], limit: u64, stride: u32) -> Vec<u32> {
    let mut left = limit.max(stride.into());
    let cut = |&of_file: &u32| {
        let whole_requests = left / u64::from(stride) * u64::from(stride);
        let taken = u64::from(of_file).min(if left < u64::from(of_file) { whole_requests } else { left });
        left -= taken;
        taken as u32
    };
    let first: Vec<u32> = blocks.iter().map(cut).collect();
    if total(&first) < total(blocks) {
        println!("scan: the first {} of {} pages (--scan-size)", total(&first), total(blocks));
    }
    first
}

/// Pages of all files together, as far as they can be counted.
fn total(blocks: &[u32]) -> u32 {
    blocks.iter().fold(0, |sum: u32, &of_file| sum.saturating_add(of_file))
}
