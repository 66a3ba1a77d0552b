//! The workloads that read: random pages, a scan, and lone misses.
//!
//! The proof: each arm reads the places of the first round while a digest is taken, which must be that of a plain read.

use std::cell::RefCell;
use std::collections::HashMap;

use lab::{Digest, Place, Result, places};

use crate::arms::{self, PREAD, Reader, Shape};
use crate::contest::Contest;
use crate::entrants::{BARE_RING, Entrant, PAGE_CACHE};
use crate::findings::Findings;
use crate::options::Options;
use crate::progress::Turn;
use crate::subject::Subject;
use crate::support::look_at;

/// Pages of a batch of look-ahead, within which an engine would sort its requests by file.
const BATCH: usize = 16;

/// Bytes of a scan's requests, as PostgreSQL's `io_combine_limit` has them: long enough for nearly all of the bandwidth.
const SCAN_REQUEST: u32 = 128 << 10;

/// Requests of a scan in flight.
const SCAN_DEPTH: u32 = 16;

/// Requests in flight of the single-page reads at several depths.
pub(crate) const DEPTHS: [u32; 5] = [1, 4, 16, 64, 256];

pub(crate) fn random(
    subject: &Subject,
    options: &Options,
    turn: Turn,
    findings: &mut Findings,
) -> Result<()> {
    let pages = options.pages().min(total(&subject.input.blocks()));
    let shape = Shape::SinglePages(options.depth);
    let arms = arms::reading(&subject.input, options, shape, frames(options, pages), findings)?;
    let contest = contest("random read", options, turn);
    compare(&contest, subject, arms, |round, _| places_at_random(subject, pages, round), findings)
}

/// Compares random reads at several depths, a tenth of the pages each, by the arms that depend on the depth or that others are
/// compared with.
pub(crate) fn depths(
    subject: &Subject,
    options: &Options,
    turn: Turn,
    findings: &mut Findings,
) -> Result<()> {
    let pages = (options.pages() / 10).max(1).min(total(&subject.input.blocks()));
    for depth in DEPTHS {
        let at_depth = options.at_depth(depth);
        let (shape, frames) = (Shape::SinglePages(depth), frames(&at_depth, pages));
        let mut arms = arms::reading(&subject.input, &at_depth, shape, frames, findings)?;
        arms.retain(|arm| [BARE_RING, PREAD, PAGE_CACHE[0], "pool, io_uring"].contains(&&arm.card.name[..]));
        let contest = Contest { workload: depth_name(depth), ..contest("", &at_depth, turn) };
        compare(&contest, subject, arms, |round, _| places_at_random(subject, pages, round), findings)?;
    }
    Ok(())
}

/// Returns the name of the workload of a depth.
pub(crate) fn depth_name(depth: u32) -> String {
    format!("depth {depth}")
}

/// Returns whether this is the workload of a depth: those are for pictures, the verdict is on the depth that was asked for.
pub(crate) fn is_depth(workload: &str) -> bool {
    workload.starts_with("depth ")
}

fn contest<'a>(workload: &str, options: &'a Options, turn: Turn) -> Contest<'a> {
    Contest { workload: workload.to_owned(), options, turn, plain: Some(PREAD) }
}

pub(crate) fn lone_misses(
    subject: &Subject,
    options: &Options,
    turn: Turn,
    findings: &mut Findings,
) -> Result<()> {
    let pages = (options.pages() / 10).max(1).min(total(&subject.input.blocks()));
    let arms = arms::reading(&subject.input, options, Shape::OneByOne, frames(options, pages), findings)?;
    let contest = contest("lone miss", options, turn);
    compare(&contest, subject, arms, |round, _| places_at_random(subject, pages, round), findings)
}

pub(crate) fn scan(subject: &Subject, options: &Options, turn: Turn, findings: &mut Findings) -> Result<()> {
    let stride = (SCAN_REQUEST / options.page_size).max(1);
    let blocks =
        first_blocks(&subject.input.blocks(), options.scan_size / u64::from(options.page_size), stride);
    let (first, all) = (total(&blocks), total(&subject.input.blocks()));
    if first < all {
        findings.remark(format!("scan: the first {first} of {all} pages (--scan-size)"));
    }
    let depth = SCAN_DEPTH.min(options.depth);
    let frames = frames(options, total(&blocks));
    let arms = arms::reading(&subject.input, options, Shape::Requests(depth, stride), frames, findings)?;
    let contest = contest("scan", options, turn);
    compare(&contest, subject, arms, |_, stride| places::sequential(&blocks, stride), findings)
}

/// Proves and times the arms of one workload. `places_of` gives the places of a round, one for this number of pages.
fn compare(
    contest: &Contest<'_>,
    subject: &Subject,
    mut arms: Vec<Entrant<Reader<'_>>>,
    places_of: impl Fn(u32, u32) -> Vec<Place>,
    findings: &mut Findings,
) -> Result<()> {
    let page_size = subject.input.page_size();
    let stride = arms.iter().map(|arm| arm.way.stride).max().unwrap_or(1);
    let expected = Digest::new(page_size);
    subject.input.read_plainly(&places_of(0, stride), stride * page_size, |first, bytes| {
        expected.add(first, bytes);
    })?;
    let proof = contest.prove(&mut arms, expected.value(), findings, |reader| {
        let seen = Digest::new(page_size);
        reader.read(&places_of(0, reader.stride), &|first, bytes| seen.add(first, bytes))?;
        Ok(seen.value())
    })?;
    // The places of a round, by stride: drawn once, before any arm of the round is timed.
    let drawn: RefCell<HashMap<(u32, u32), Vec<Place>>> = RefCell::default();
    let timed = contest.time(&mut arms, findings, |reader, round| {
        let mut drawn = drawn.borrow_mut();
        drawn.retain(|&(of, _), _| of == round);
        let places = drawn.entry((round, reader.stride)).or_insert_with(|| places_of(round, reader.stride));
        reader.read(places, &look_at)
    })?;
    findings.add(&timed, Some(&proof));
    findings.check(&contest.workload, &proof);
    Ok(())
}

/// Draws as many different places in every round, those of a batch sorted by file.
fn places_at_random(subject: &Subject, pages: u32, round: u32) -> Vec<Place> {
    let mut places = places::random_distinct(&subject.input.blocks(), pages as usize, round.into());
    places.chunks_mut(BATCH).for_each(|batch| batch.sort_by_key(|place| place.file));
    places
}

/// Returns the number of frames of a pool that reads `pages` pages: a quarter of them at most, so that most pages replace another.
pub(crate) fn frames(options: &Options, pages: u32) -> u32 {
    let most = u32::try_from(options.pool / u64::from(options.page_size)).unwrap_or(u32::MAX);
    // A pool this small could not hold what is in flight.
    let least = 4 * options.depth.max(SCAN_DEPTH * (SCAN_REQUEST / options.page_size).max(1));
    most.min(pages / 4).max(least)
}

/// Returns the beginning of the files, `limit` blocks in all; a file that is cut is cut to whole requests.
fn first_blocks(blocks: &[u32], limit: u64, stride: u32) -> Vec<u32> {
    let mut left = limit.max(stride.into());
    let cut = |&of_file: &u32| {
        let whole_requests = left / u64::from(stride) * u64::from(stride);
        let taken = u64::from(of_file).min(if left < u64::from(of_file) { whole_requests } else { left });
        left -= taken;
        taken as u32
    };
    blocks.iter().map(cut).collect()
}

/// Returns the number of pages of all files together, at most `u32::MAX`.
fn total(blocks: &[u32]) -> u32 {
    blocks.iter().fold(0, |sum: u32, &of_file| sum.saturating_add(of_file))
}
