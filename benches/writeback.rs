//! A checkpoint of pages that were changed at random, and of all pages of a range, under each method. The pages are dirty
//! when the clock starts.

#[path = "support/criterion_run.rs"]
mod criterion_run;
mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lab::{Place, places};
use support::methods;

fn writeback(criterion: &mut Criterion) {
    let run = criterion_run::open();
    let pages = run.pages(4_096);
    let random = places::random_distinct(&run.input.blocks(), pages, 2);
    let dense = places::sequential(&[pages as u32], 1);
    for (name, places) in [("checkpoint, random", random), ("checkpoint, dense", dense)] {
        checkpoint(criterion, &run, name, &places);
    }
}

fn checkpoint(criterion: &mut Criterion, run: &criterion_run::Run, name: &str, places: &[Place]) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(places.len() as u64));
    for candidate in methods::all(64, 16) {
        // All pages are resident at once, and the table needs some slack to take them.
        let frames = places.len() as u32 * 5 / 4 + 64;
        let Some(pool) = run.pool(&candidate, frames, true) else {
            continue;
        };
        criterion_run::time(&mut group, candidate.name, || {
            pool.change(places, |_, page| page[0] = page[0].wrapping_add(1))?;
            pool.checkpoint()
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = criterion_run::config(); targets = writeback }
criterion_main!(benches);
