//! Writeback: changed pages are written and made durable; pages at random all over the file, and ranges of neighbours.
//!
//! The pool has them resident and dirty when the clock starts, and takes a checkpoint; the baselines write the same pages, in
//! the order of the file, and sync once: plain calls past the page cache and through it, page by page, and the ring, with
//! neighbours in one request. Places are the same in every round, since the pool must have them.
//!
//! The proof: after each arm's turn a plain read must find the digest of what it was to write.

use std::fs::File;

use lab::baseline::Ending;
use lab::baseline::plain::Plain;
use lab::baseline::ring::{self, BareRing, RingOptions};
use lab::{Place, Result, Sample};

use crate::contest::Contest;
use crate::entrants::{self, Card, Entrant, Pools};
use crate::findings::Findings;
use crate::options::Options;
use crate::pattern::Pattern;
use crate::progress::Turn;
use crate::stamps;
use crate::subject::Subject;
use crate::support::{Input, PoolArm};

/// Plain calls, to whose rate those of the others are compared.
const PWRITE: &str = "pwrite";

enum Writer<'a> {
    /// With this number of pages a request.
    Ring(Box<BareRing>, Vec<File>, u32),
    Plain(Plain, Vec<File>),
    /// Through the page cache, which is emptied afterwards: what it keeps would slow direct writes.
    Buffered(Plain, Vec<File>),
    Pool(PoolArm<'a>),
}

impl Writer<'_> {
    /// Writes all places, each filled by `fill`; in the pool's case they are filled before the clock starts.
    fn write(&mut self, places: &[Place], fill: impl Fn(Place, &mut [u8]) + Sync) -> Result<Sample> {
        match self {
            Self::Ring(ring, files, stride) => {
                let page_size = ring.options().page_size as usize;
                let firsts: Vec<Place> = places.iter().copied().step_by(*stride as usize).collect();
                let fill_all = |first: Place, request: &mut [u8]| {
                    for (block, page) in (first.block..).zip(request.chunks_mut(page_size)) {
                        fill(Place { block, ..first }, page);
                    }
                };
                Ok(ring.write(files, &firsts, Ending::Synced, fill_all)?)
            }
            Self::Plain(plain, files) => Ok(plain.write(files, places, Ending::Synced, fill)?),
            Self::Buffered(plain, files) => {
                let written = plain.write(files, places, Ending::Synced, fill)?;
                files.iter().try_for_each(lab::files::drop_cache)?;
                Ok(written)
            }
            Self::Pool(pool) => {
                pool.change(places, |place, page| fill(place, page))?;
                pool.checkpoint_of(places)
            }
        }
    }
}

pub(crate) fn random(
    subject: &Subject,
    options: &Options,
    turn: Turn,
    findings: &mut Findings,
) -> Result<()> {
    compare(&contest("writeback", options, turn), Pattern::Random, subject, findings)
}

pub(crate) fn dense(subject: &Subject, options: &Options, turn: Turn, findings: &mut Findings) -> Result<()> {
    compare(&contest("dense writeback", options, turn), Pattern::Dense, subject, findings)
}

fn contest<'a>(workload: &str, options: &'a Options, turn: Turn) -> Contest<'a> {
    Contest { workload: workload.to_owned(), options, turn, plain: Some(PWRITE) }
}

fn compare(
    contest: &Contest<'_>,
    pattern: Pattern,
    subject: &Subject,
    findings: &mut Findings,
) -> Result<()> {
    let (input, options) = (&subject.input, contest.options);
    let places = pattern.places(&input.blocks(), options.pages(), options.page_size);
    let mut arms = writing(pattern, input, options, places.len() as u32, findings)?;
    let filled = stamps::fill(stamps::PROOF);
    let proof = contest.prove(&mut arms, stamps::wanted(input, &places, filled), findings, |writer| {
        stamps::put_before(input, &places)?;
        writer.write(&places, filled)?;
        stamps::found(input, &places)
    })?;
    // The pool's pages are dirty as soon as they are borrowed for writing. The baselines write what they have.
    let timed = contest.time(&mut arms, findings, |writer, _| writer.write(&places, |_, _| ()))?;
    findings.add(&timed, Some(&proof));
    findings.check(&contest.workload, &proof);
    Ok(())
}

fn writing<'a>(
    pattern: Pattern,
    input: &'a Input,
    options: &Options,
    pages: u32,
    findings: &mut Findings,
) -> Result<Vec<Entrant<Writer<'a>>>> {
    let page_size = options.page_size;
    let mut arms = Vec::new();
    let stride = pattern.stride(&input.blocks(), page_size);
    // Long requests are few, and a few of them keep a device busy.
    let depth = if stride > 1 { options.depth.min(16) } else { options.depth };
    let batch = if stride > 1 { 4 } else { ring::BATCH }.min(depth as usize);
    let ring = RingOptions {
        batch,
        request_size: stride * page_size,
        ..RingOptions::new(page_size, depth as usize)
    };
    if let Some(ring) = entrants::ring(ring, findings) {
        let way = Writer::Ring(Box::new(ring), input.open_plain(true)?, stride);
        arms.push(Entrant { card: Card::ring(depth), way });
    }
    let plain = Plain { latencies: true, ..Plain::new(page_size) };
    let way = Writer::Plain(plain, input.open_plain(true)?);
    arms.push(Entrant { card: Card::plain(PWRITE), way });
    if input.buffered().is_none() {
        let way = Writer::Buffered(plain, input.open_buffered(true)?);
        arms.push(Entrant { card: Card::plain(entrants::PAGE_CACHE[1]), way });
    }
    let pools =
        Pools::with_room_for(pages, options.depth).open(input, options, "choose fewer --pages", findings)?;
    arms.extend(pools.into_iter().map(|pool| Entrant { card: pool.card, way: Writer::Pool(pool.way) }));
    Ok(arms)
}
