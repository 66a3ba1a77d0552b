//! Random reads of single pages that are known ahead: waiting for each, against having many under way.
//!
//! `RINGPOOL_BENCH_QUICK=1 cargo bench --bench random_read` shows in seconds that it works.

#[path = "support/criterion_run.rs"]
mod criterion_run;
mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lab::places;
use support::{Window, look_at, methods};

fn random_read(criterion: &mut Criterion) {
    let run = criterion_run::open();
    let pages = run.pages(8_192);
    let places = places::random_distinct(&run.input.blocks(), pages, 1);
    let mut group = criterion.benchmark_group("random_read");
    group.throughput(Throughput::Elements(places.len() as u64));
    for candidate in methods::all(64, 16) {
        let Some(mut pool) = run.pool(&candidate, pages as u32 / 4, false) else {
            continue;
        };
        let window = Window::of_single_pages(candidate.in_flight);
        criterion_run::time(&mut group, candidate.name, || {
            pool.make_cold()?;
            pool.read_ahead(&places, window, &look_at)
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = criterion_run::config(); targets = random_read }
criterion_main!(benches);
