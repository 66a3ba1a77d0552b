//! What safety costs a checkpoint: a codec, a log, a doublewrite area. Each on beside a pool without any of them: its rate to that
//! pool's, and its CPU a page.

use lab::report::FigureRow;
use lab::rounds::Outcome;
use lab::{Arm, Result, Sample};

use crate::bench::{Bench, Goal, PAGE, rate};
use crate::p08_checkpoint::{PAGES, dense_pages, random_pages, ranges};
use crate::support::methods;
use crate::support::safety::{Ground, SafePool, Safety};

/// Blocks of each file, of which a checkpoint writes some.
const BLOCKS: u32 = 4 * PAGES;

const WITHOUT: &str = Safety::Without.name();

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let wish = bench.input()?.wish();
    let here = Safety::ALL.into_iter().filter(|safety| safety.is_missing().is_none());
    let grounds: Vec<Ground> =
        here.map(|safety| Ground::new(safety, &bench.dir, PAGE, BLOCKS, wish)).collect::<Result<_>>()?;
    let method = methods::uring(64);
    let pools: Vec<SafePool<'_>> =
        grounds.iter().map(|ground| ground.pool(&method, 256 << 10)).collect::<Result<_>>()?;
    let mut rows = Vec::new();
    for (workload, pages) in [("random", random_pages(&[BLOCKS])), ("dense", dense_pages(&ranges(&[BLOCKS])))]
    {
        let arms = pools.iter().map(|pool| {
            let checkpoint = |round| pool.checkpoint(&pages, |_, page| page[0] = round as u8);
            Arm::new(pool.ground.safety.name(), checkpoint)
        });
        let outcome = bench.run("P8c", WITHOUT, arms.collect())?;
        let costly = Safety::ALL.into_iter().filter(|&safety| safety != Safety::Without);
        rows.extend(costly.flat_map(|safety| costs(&outcome, workload, safety)));
    }
    Ok(rows)
}

/// Makes the rows of the rate and the CPU of one way to be safe.
fn costs(outcome: &Outcome, workload: &str, safety: Safety) -> [FigureRow; 2] {
    let name = format!("{workload}, {}", safety.name());
    let cpu_a_page = format!("{name}, CPU us a page");
    let goals = [Goal::none("P8c", &name), Goal::none("P8c", &cpu_a_page)];
    if let Some(why) = safety.is_missing() {
        return goals.map(|goal| goal.missing(why));
    }
    let [by_rate, by_cpu] = goals;
    let without = format!("{WITHOUT} {:.2} us", outcome.summary(WITHOUT).cpu_us_per_page);
    let cpu = match outcome.spread(safety.name(), Sample::cpu_us_per_page) {
        Some(cpu) => by_cpu.spread(outcome, cpu, outcome.noise(Sample::cpu_us_per_page), &without),
        None => by_cpu.missing("there were no rounds"),
    };
    [by_rate.ratio(outcome, (safety.name(), WITHOUT), Sample::pages_per_s, rate(outcome)), cpu]
}
