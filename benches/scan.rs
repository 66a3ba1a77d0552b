//! A sequential scan with a window of pages ahead, under each method.

#[path = "support/criterion_run.rs"]
mod criterion_run;
mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lab::places;
use support::{Window, look_at, methods};

/// Pages of a request: 128 KiB.
const REQUEST: usize = criterion_run::COMBINE / criterion_run::PAGE as usize;

fn scan(criterion: &mut Criterion) {
    let run = criterion_run::open();
    let pages = run.pages(16_384);
    let places = places::sequential(&[pages as u32], 1);
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Bytes(pages as u64 * u64::from(criterion_run::PAGE)));
    for candidate in methods::all(16, 16) {
        let Some(mut pool) = run.pool(&candidate, pages as u32 / 4, false) else {
            continue;
        };
        // No wider than half of the frames.
        let requests = (candidate.in_flight as usize).min(pages / 8 / REQUEST).max(1);
        criterion_run::time(&mut group, candidate.name, || {
            pool.make_cold()?;
            pool.read_ahead(&places, Window::of_requests(requests, REQUEST), &look_at)
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = criterion_run::config(); targets = scan }
criterion_main!(benches);
