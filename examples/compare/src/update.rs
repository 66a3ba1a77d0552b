//! Updates of a working set four times the pool, by as many tasks on one thread as the ring has requests in flight. Nearly every
//! update is a miss that evicts a dirty page, so the ring reads and writes as many.
//!
//! The proof: an update makes the next version of its page, and at the end each page must be as many versions on as it was
//! updated. The ring writes the last versions at once.

use std::collections::BTreeMap;
use std::fs::File;

use lab::baseline::ring::{self, BareRing, RingOptions};
use lab::{Place, Result, Sample};
use ringpool::stats::Counts;

use crate::contest::{Contest, Timed};
use crate::entrants::{self, Card, Entrant, Pools};
use crate::findings::Findings;
use crate::options::Options;
use crate::progress::Turn;
use crate::reads::frames;
use crate::stamps::{self, BEFORE};
use crate::subject::Subject;
use crate::support::Input;
use crate::support::updates::{Mix, Updater};

/// The working set, in pools.
const TIMES: u32 = 4;

enum Way<'a> {
    Ring(Box<BareRing>, Vec<File>),
    Pool(Updater<'a>),
}

impl Way<'_> {
    fn update(&mut self, mix: &Mix, round: u32) -> Result<Sample> {
        match self {
            Self::Ring(ring, files) => Ok(ring.update(files, &mix.pairs(round), |_, _| ())?),
            Self::Pool(updater) => updater.count_up(&mix.places(round)),
        }
    }

    /// Makes a new version of the page at each place, as often as it is there; `last` are the versions in the end.
    fn make_versions(&mut self, places: &[Place], last: &BTreeMap<Place, u64>) -> Result<()> {
        match self {
            Self::Ring(ring, files) => {
                let pairs: Vec<_> = last.keys().map(|&place| (place, place)).collect();
                ring.update(files, &pairs, |place, page| stamps::fill(last[&place])(place, page))?;
            }
            Self::Pool(updater) => {
                updater.update(places, stamps::make_next)?;
                updater.pool.checkpoint()?;
            }
        }
        Ok(())
    }

    fn counts(&self) -> Option<Counts> {
        match self {
            Self::Ring(..) => None,
            Self::Pool(updater) => Some(updater.pool.counts()),
        }
    }
}

pub(crate) fn run(subject: &Subject, options: &Options, turn: Turn, findings: &mut Findings) -> Result<()> {
    let contest = Contest { workload: "update".to_owned(), options, turn, plain: Some("pool, sync") };
    let input = &subject.input;
    let frames = frames(options, options.pages());
    let working_set = input.blocks()[0].min(TIMES.saturating_mul(frames));
    let mix = Mix { working_set, updates: options.pages() };
    let mut arms = updating(input, options, frames, findings)?;

    let places = mix.places(0);
    let mut last = BTreeMap::new();
    places.iter().for_each(|&place| *last.entry(place).or_insert(BEFORE) += 1);
    let updated: Vec<Place> = last.keys().copied().collect();
    let wanted = stamps::wanted(input, &updated, |place, page| stamps::fill(last[&place])(place, page));
    let proof = contest.prove(&mut arms, wanted, findings, |way| {
        stamps::put_before(input, &updated)?;
        way.make_versions(&places, &last)?;
        stamps::found(input, &updated)
    })?;

    for arm in &arms {
        if let Way::Pool(updater) = &arm.way {
            updater.warm_up(&mix)?;
        }
    }
    let before: BTreeMap<String, Option<Counts>> =
        arms.iter().map(|arm| (arm.card.name.clone(), arm.way.counts())).collect();
    let timed = contest.time(&mut arms, findings, |way, round| way.update(&mix, round))?;
    let reads = Timed { workload: "update reads".to_owned(), ..timed };
    findings.add(&reads, Some(&proof));
    findings.add_rows(&reads.seen("update writes", Sample::by_writes), Some(&proof));
    findings.check(&contest.workload, &proof);
    findings.remark(format!(
        "update: {working_set} pages in pools of {frames}; latencies are those of a fetch or a read, CPU goes to the pages read and \
         written alike"
    ));
    for arm in &arms {
        if let Some((after, before)) = arm.way.counts().zip(before[&arm.card.name]) {
            findings.remark(format!("update: {}: {}", arm.card.name, dirty_evictions(&(after - before))));
        }
    }
    Ok(())
}

/// Tells how many fetches had to have dirty pages written first. (A fetch that needs a frame should find a clean one.)
fn dirty_evictions(counts: &Counts) -> String {
    format!(
        "of {} fetches {} had dirty pages written first, the background writer wrote {} pages",
        counts.hits + counts.misses + counts.joins,
        counts.dirty_evictions,
        counts.pages_cleaned
    )
}

fn updating<'a>(
    input: &'a Input,
    options: &Options,
    frames: u32,
    findings: &mut Findings,
) -> Result<Vec<Entrant<Way<'a>>>> {
    let depth = options.depth;
    let mut arms = Vec::new();
    let ring = RingOptions {
        batch: ring::BATCH.min(depth as usize),
        ..RingOptions::new(options.page_size, depth as usize)
    };
    if let Some(ring) = entrants::ring(ring, findings) {
        let way = Way::Ring(Box::new(ring), input.open_plain(true)?);
        arms.push(Entrant { card: Card::ring(depth), way });
    }
    let pools = Pools { depth, frames, combine: 128 << 10, writes: true };
    for Entrant { card, way } in pools.open(input, options, "choose a smaller --pool", findings)? {
        arms.push(Entrant { card, way: Way::Pool(Updater::new(way, depth)) });
    }
    Ok(arms)
}
