//! What it costs a checkpoint of random pages and of dense ranges to be safe: a codec, a log, a doublewrite area, each on beside a
//! pool that has none of them, all under the best method that is available.
//!
//! The proof: a plain read finds in each pool's file what was written, but for the bytes that belong to the codec; and the pool
//! reads it again, which has the codec look at what it has sealed.

use lab::{Place, Result};

use crate::contest::Contest;
use crate::entrants::{self, Card, Entrant};
use crate::findings::Findings;
use crate::options::Options;
use crate::pattern::Pattern;
use crate::progress::Turn;
use crate::stamps::{self, PROOF};
use crate::subject::Subject;
use crate::support::safety::{Ground, SafePool, Safety, TRAILER};
use crate::support::{Window, look_at, memory, methods};

/// The blocks of each file, to the pages of a checkpoint.
const BLOCKS_A_PAGE: u32 = 4;

pub(crate) fn run(subject: &Subject, options: &Options, turn: Turn, findings: &mut Findings) -> Result<()> {
    let blocks = subject.input.blocks()[0].min(options.pages().saturating_mul(BLOCKS_A_PAGE));
    let bytes = u64::from(Ground::frames(blocks)) * u64::from(options.page_size);
    let room = memory::check(Safety::ALL.len() as u64 * bytes, "choose fewer --pages");
    if entrants::or_leave_out("safety", room, findings).is_none() {
        return Ok(());
    }
    let (dir, wish) = (subject.folder(), subject.input.wish());
    let ground = |safety: Safety| {
        let ground = Ground::new(safety, dir, options.page_size, blocks, wish);
        entrants::or_leave_out(&format!("safety, {}", safety.name()), ground, findings)
    };
    let grounds: Vec<Ground> = Safety::ALL.into_iter().filter_map(ground).collect();
    let mut arms = pools(&grounds, options, findings)?;
    for (workload, pattern) in [("safety random", Pattern::Random), ("safety dense", Pattern::Dense)] {
        let places = pattern.places(&[blocks], options.pages(), options.page_size);
        let plain = Some(Safety::Without.name());
        let contest = Contest { workload: workload.to_owned(), options, turn, plain };
        compare(&contest, &mut arms, &places, findings)?;
    }
    Ok(())
}

fn compare(
    contest: &Contest<'_>,
    arms: &mut Vec<Entrant<SafePool<'_>>>,
    places: &[Place],
    findings: &mut Findings,
) -> Result<()> {
    let filled = |place, page: &mut [u8]| stamps::fill(PROOF)(place, page);
    let wanted = stamps::wanted(&arms[0].way.ground.input, places, |place, page| {
        filled(place, page);
        without_trailer(page);
    });
    let ahead = Window::of_single_pages(contest.options.depth);
    let proof = contest.prove(arms, wanted, findings, |pool| {
        pool.checkpoint(places, filled)?;
        pool.arm.make_cold()?;
        pool.arm.read_ahead(places, ahead, &look_at)?;
        stamps::found_but(&pool.ground.input, places, |_, page| without_trailer(page))
    })?;
    let timed = contest
        .time(arms, findings, |pool, round| pool.checkpoint(places, |_, page| page[0] = round as u8))?;
    findings.add(&timed, Some(&proof));
    findings.hold_against(&timed, Safety::Without.name());
    findings.check(&contest.workload, &proof);
    Ok(())
}

/// Returns the pools under the first method with which all of them can be opened.
fn pools<'a>(
    grounds: &'a [Ground],
    options: &Options,
    findings: &mut Findings,
) -> Result<Vec<Entrant<SafePool<'a>>>> {
    for candidate in methods::all(options.depth, options.worker_threads) {
        let opened: Result<Vec<_>> =
            grounds.iter().map(|ground| ground.pool(&candidate, 128 << 10)).collect();
        if let Some(opened) = entrants::or_leave_out(candidate.name, opened, findings) {
            let entrant = |way: SafePool<'a>| {
                let card = Card::pool(&way.arm, &candidate, findings);
                Entrant { card: card.named(way.ground.safety.name()), way }
            };
            return Ok(opened.into_iter().map(entrant).collect());
        }
    }
    Err("there is no method with which pools can be opened".into())
}

/// Clears the bytes that belong to the codec.
fn without_trailer(page: &mut [u8]) {
    let end = page.len() - TRAILER;
    page[end..].fill(0);
}
