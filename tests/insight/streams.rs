//! What read streams count: pages, waits, and how far they looked ahead.

use ringpool::{
    StreamOptions,
    testing::{Fault, Op},
};

use crate::support::{Bench, EIO, with_each_method};

#[test]
fn a_stream_counts_its_pages_its_waits_and_its_looks_ahead() {
    with_each_method(|method| {
        let bench = Bench::new(method, 128, 64);
        let read = |blocks| bench.pool.read_stream(bench.file.pages(blocks), StreamOptions::new());
        let cold = read(0..64_u32).filter(Result::is_ok).count() as u64;
        let stats = bench.pool.stats();
        assert_eq!((cold, stats.counts.stream_pages), (64, 64));
        assert!((1..64).contains(&stats.counts.stream_waits), "{}", stats.counts.stream_waits);
        let looks = &stats.look_ahead;
        assert!((1..=64).contains(&looks.count()), "{looks:?}");
        assert!(looks.max() > 1 && looks.max() <= 64, "{looks:?}");

        // The stream does not wait for what is resident.
        assert_eq!(read(0..64_u32).filter(Result::is_ok).count(), 64);
        let warm = bench.pool.stats().counts - stats.counts;
        assert_eq!((warm.stream_pages, warm.stream_waits), (64, 0));
    });
}

#[test]
fn a_page_that_a_stream_could_not_read_is_none_that_it_handed_out() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.disk.inject(Fault::error(Op::Read, EIO));
        let mut stream = bench.pool.read_stream(bench.file.pages(0..3_u32), StreamOptions::new());
        assert!(stream.by_ref().all(|page| page.is_err()));
        assert_eq!(bench.pool.stats().counts.stream_pages, 0);
    });
}
