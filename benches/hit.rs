//! A hit: find a resident page, pin it, share its latch, read 8 bytes, release. No method has a part in it.

#[path = "support/criterion_run.rs"]
mod criterion_run;
mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lab::places;
use support::{look_at, methods};

fn hit(criterion: &mut Criterion) {
    let run = criterion_run::open();
    let pages = run.pages(16_384);
    let order = places::random(&[pages as u32], 100_000, 3);
    let candidate = methods::sync();
    let pool =
        run.pool(&candidate, pages as u32 * 5 / 4 + 64, false).expect("the sync method works everywhere");
    pool.read_each(&places::random_distinct(&[pages as u32], pages, 4), &look_at)
        .expect("the file can be read");
    let ids: Vec<_> = order.into_iter().map(|place| pool.page(place)).collect();
    let mut group = criterion.benchmark_group("hit");
    group.throughput(Throughput::Elements(1));
    let mut next = ids.iter().cycle();
    group.bench_function("one thread", |bencher| {
        bencher.iter(|| {
            let &id = next.next().expect("the cycle never ends");
            let page = pool.pool().fetch(id).wait().expect("the page is resident");
            let word: [u8; 8] = *page.read().first_chunk().expect("a page has more than 8 bytes");
            black_box(word);
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion_run::config(); targets = hit }
criterion_main!(benches);
