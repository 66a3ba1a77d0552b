//! An open pool that is not used: how often its threads wake up, and what CPU they take. Nothing is read or written, so there
//! is nothing to prove.

use std::thread;
use std::time::Duration;

use lab::Result;

use crate::contest::Contest;
use crate::entrants::{self, Card, Entrant};
use crate::findings::Findings;
use crate::options::Options;
use crate::progress::Turn;
use crate::subject::Subject;
use crate::support::idle::{IdlePool, REST, SETTLED};
use crate::support::{Candidate, methods};

/// Not long enough for threads that leave when there was nothing to do for seconds.
const SETTLED_SOMEHOW: Duration = Duration::from_millis(500);

pub(crate) fn run(subject: &Subject, options: &Options, turn: Turn, findings: &mut Findings) -> Result<()> {
    let open = |candidate: Candidate| {
        let way =
            entrants::or_leave_out(candidate.name, IdlePool::open(&subject.input, &candidate), findings)?;
        let card = Card::pool(&way.pool, &candidate, findings);
        Some(Entrant { card: Card { in_flight: 0, ..card }, way })
    };
    let pools = methods::all(options.depth, options.worker_threads);
    let mut arms: Vec<Entrant<IdlePool<'_>>> = pools.into_iter().filter_map(open).collect();
    thread::sleep(if options.quick { SETTLED_SOMEHOW } else { SETTLED });
    let contest = Contest { workload: "idle".to_owned(), options, turn, plain: None };
    let timed = contest.watch_unproven(&mut arms, REST, findings, |pool, _| pool.rest())?;
    findings.add(&timed, None);
    Ok(())
}
