//! What it costs a checkpoint of random pages and of dense ranges to be safe: a codec, a log, a doublewrite area, each on beside a
//! pool that has none of them, all under the best method that is to be had.
//!
//! The proof: a plain read finds in each pool's file what was written, but for the bytes that belong to the codec; and the pool
//! reads it again, which has the codec look at what it has sealed.

use lab::Result;

use crate::contest::Contest;
use crate::entrants::{self, Card, Entrant, Pools};
use crate::options::Options;
use crate::pattern::Pattern;
use crate::report::Findings;
use crate::stamps::{self, PROOF};
use crate::subject::Subject;
use crate::support::safety::{Ground, Safety, TRAILER, checkpoint};
use crate::support::{PoolArm, Window, look_at, methods};

/// The blocks of each file, to the pages of a checkpoint.
const BLOCKS_A_PAGE: u32 = 4;

/// A pool, and the file that is its own.
struct Writer<'a> {
    ground: &'a Ground,
    pool: PoolArm<'a>,
}

pub(crate) fn run(subject: &Subject, options: &Options, findings: &mut Findings) -> Result<()> {
    let blocks = subject.input.blocks()[0].min(options.pages().saturating_mul(BLOCKS_A_PAGE));
    let (dir, wish) = (options.dir(), subject.input.wish());
    let grounds: Vec<Ground> = Safety::ALL
        .into_iter()
        .filter_map(|safety| {
            let ground = Ground::new(safety, &dir, options.page_size, blocks, wish);
            entrants::or_say_why(&format!("safety, {}", safety.name()), ground)
        })
        .collect();
    for (workload, pattern) in [("safety random", Pattern::Random), ("safety dense", Pattern::Dense)] {
        compare(Contest { workload, options }, pattern, blocks, &grounds, findings)?;
    }
    Ok(())
}

fn compare(
    contest: Contest<'_>,
    pattern: Pattern,
    blocks: u32,
    grounds: &[Ground],
    findings: &mut Findings,
) -> Result<()> {
    let options = contest.options;
    let places = pattern.places(&[blocks], options.pages(), options.page_size);
    let mut arms = writers(grounds, options, places.len() as u32, findings)?;
    let filled = |place, page: &mut [u8]| stamps::fill(PROOF)(place, page);
    let wanted = stamps::wanted(&grounds[0].input, &places, |place, page| {
        filled(place, page);
        without_trailer(page);
    });
    let proof = contest.prove(&mut arms, wanted, |Writer { ground, pool }| {
        checkpoint(pool, &places, 1, filled)?;
        pool.make_cold()?;
        pool.read_ahead(&places, Window::of_single_pages(options.depth), &look_at)?;
        stamps::found_but(&ground.input, &places, |_, page| without_trailer(page))
    })?;
    let timed = contest.time(&mut arms, |Writer { pool, .. }, round| {
        checkpoint(pool, &places, round + 2, |_, page| page[0] = round as u8)
    })?;
    findings.add(&timed, Some(&proof));
    findings.hold_against(&timed, Safety::Without.name());
    findings.check(contest.workload, &proof);
    Ok(())
}

/// The pools under the first method with which all of them can be opened.
fn writers<'a>(
    grounds: &'a [Ground],
    options: &Options,
    pages: u32,
    findings: &mut Findings,
) -> Result<Vec<Entrant<Writer<'a>>>> {
    let pools = Pools::with_room_for(pages);
    pools.check_memory(grounds.len(), options.page_size, "choose fewer --pages")?;
    for candidate in methods::all(options.depth, options.worker_threads) {
        let spec = pools.spec(candidate.method.clone());
        let opened: Result<Vec<PoolArm<'_>>> = grounds.iter().map(|ground| ground.pool(&spec)).collect();
        if let Some(opened) = entrants::or_say_why(candidate.name, opened) {
            let entrant = |(pool, ground): (PoolArm<'a>, &'a Ground)| {
                let card = Card::pool(&pool, &candidate, findings).named(ground.safety.name());
                Entrant { card, way: Writer { ground, pool } }
            };
            return Ok(opened.into_iter().zip(grounds).map(entrant).collect());
        }
    }
    Err("there is no method with which pools can be opened".into())
}

/// The page without what belongs to the codec.
fn without_trailer(page: &mut [u8]) {
    let end = page.len() - TRAILER;
    page[end..].fill(0);
}
