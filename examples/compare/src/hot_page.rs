//! How long a thread that keeps changing one page has to wait for it while a checkpoint writes that page among others; and the
//! same thread with no checkpoint beside it, which shows what the machine itself adds.
//!
//! The proof: the page counts its changes, and a plain read must find as many as the thread has made, with all other pages as
//! they were changed before.

use lab::{Latencies, Place, Result, Sample, places};

use crate::contest::Contest;
use crate::entrants::{Card, Entrant, Pools};
use crate::findings::Findings;
use crate::options::Options;
use crate::progress::Turn;
use crate::stamps::{self, PROOF};
use crate::subject::Subject;
use crate::support::hot_page::{self, changes};
use crate::support::{Input, PoolArm};

/// A thread and a pool.
struct Writer<'a> {
    pool: &'a PoolArm<'a>,
    /// What goes on beside it.
    beside: fn(&PoolArm<'_>, Place) -> Result<Sample>,
}

pub(crate) fn run(subject: &Subject, options: &Options, turn: Turn, findings: &mut Findings) -> Result<()> {
    let contest = Contest { workload: "hot page".to_owned(), options, turn, plain: None };
    let input = &subject.input;
    let pages = places::sequential(&[input.blocks()[0].min(options.pages())], 1);
    let hot = hot_page::among(&pages);
    let pools = Pools::with_room_for(pages.len() as u32, options.depth);
    let pools = pools.open(input, options, "choose fewer --pages", findings)?;
    let mut arms: Vec<Entrant<Writer<'_>>> = pools.iter().flat_map(writers).collect();
    let counted = |place, page: &mut [u8]| {
        stamps::fill(PROOF)(place, page);
        if place == hot {
            *changes(page) = [0; 8];
        }
    };
    let proof = contest.prove(&mut arms, stamps::wanted(input, &pages, counted), findings, |writer| {
        stamps::put_before(input, &pages)?;
        writer.pool.change(&pages, |place, page| counted(place, page))?;
        let made = count(&(writer.beside)(writer.pool, hot)?);
        writer.pool.checkpoint()?;
        found(input, &pages, hot, made)
    })?;
    let timed = contest.watch(&mut arms, findings, |writer, round| {
        writer.pool.change(&pages, |_, page| page[0] = round as u8)?;
        (writer.beside)(writer.pool, hot)
    })?;
    findings.add(&timed, Some(&proof));
    findings.check(&contest.workload, &proof);
    findings.remark(format!(
        "hot page: latencies are how long its writer waited for each change, pages those that a checkpoint of {} wrote meanwhile, \
         CPU is that of both",
        pages.len()
    ));
    Ok(())
}

/// Makes two writers: one beside a checkpoint, and one alone.
fn writers<'a>(Entrant { card, way: pool }: &'a Entrant<PoolArm<'a>>) -> [Entrant<Writer<'a>>; 2] {
    let alone = Card { in_flight: 0, ..card.named(format!("{}, no checkpoint", card.name)) };
    [
        Entrant { card: card.clone(), way: Writer { pool, beside: hot_page::beside_a_checkpoint } },
        Entrant { card: alone, way: Writer { pool, beside: hot_page::alone } },
    ]
}

/// Returns how many changes were made: each had its wait.
fn count(sample: &Sample) -> u64 {
    sample.latencies.as_ref().map_or(0, Latencies::count)
}

/// Returns the digest of the pages, in which the hot one counts for none if it has counted right.
fn found(input: &Input, pages: &[Place], hot: Place, made: u64) -> Result<u64> {
    stamps::found_but(input, pages, |place, page| {
        if place == hot && *changes(page) == made.to_le_bytes() {
            *changes(page) = [0; 8];
        }
    })
}
