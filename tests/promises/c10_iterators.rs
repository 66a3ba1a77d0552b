//! C10: the caller's iterators are called with nothing begun: one that fetches, waits or panics harms only its own caller.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::channel,
    thread,
};

use std::time::Duration;

use ringpool::{BlockNo, StreamOptions};

use crate::support::{Bench, assert_stamped, fetch_apart, outcome, with_each_method};

/// Fetches a page, within a bound.
fn fetch_in_time(bench: &Bench, block: u32) {
    let fetched = bench.pool.fetch(bench.page(block)).wait_timeout(Duration::from_secs(30));
    assert_stamped(&fetched.expect("it hangs").unwrap(), 1);
}

#[test]
fn c10_an_iterator_may_fetch_the_blocks_that_it_gave_to_a_prefetch() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, 64);
        let fetched = (0..16).inspect(|&block| {
            fetch_in_time(&bench, block.max(1) - 1);
            fetch_in_time(&bench, block);
        });
        let prefetched = bench.pool.prefetch(bench.file.pages(fetched));
        assert_eq!(prefetched.started + prefetched.already, 16);
        // The conversion into a block is the caller's code too.
        struct Fetching<'a>(&'a Bench, u32);
        impl From<Fetching<'_>> for BlockNo {
            fn from(Fetching(bench, block): Fetching<'_>) -> Self {
                fetch_in_time(bench, block - 1);
                Self(block)
            }
        }
        bench.pool.prefetch(bench.file.pages((17..32).map(|block| Fetching(&bench, block))));
        bench.assert_at_rest();
    });
}

#[test]
fn c10_an_iterator_that_waits_holds_up_no_thread_that_wants_its_blocks() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, 64);
        let (go_on, wait) = channel::<()>();
        let (given, all_given) = channel();
        let prefetching = {
            let (pool, file) = (bench.pool.clone(), bench.file);
            thread::spawn(move || {
                let blocks = (0..8).chain(std::iter::once_with(move || {
                    given.send(()).unwrap();
                    wait.recv().unwrap();
                    8
                }));
                pool.prefetch(file.pages(blocks))
            })
        };
        all_given.recv().unwrap();
        for block in 0..8 {
            let fetched = outcome(fetch_apart(&bench.pool, bench.page(block), block % 2 == 0));
            assert_stamped(&fetched.unwrap(), 1);
        }
        bench.pool.truncate(bench.file, 32).wait().unwrap();
        go_on.send(()).unwrap();
        let prefetched = prefetching.join().unwrap();
        assert_eq!(prefetched.started + prefetched.already, 9);
        bench.assert_at_rest();
    });
}

#[test]
fn c10_an_iterator_that_panics_leaves_nothing_behind() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, 1024);
        for begun in [0, 3, 700] {
            let blocks =
                (0..begun).chain(std::iter::once_with(|| std::panic::resume_unwind(Box::new("iterator"))));
            let prefetch = AssertUnwindSafe(|| bench.pool.prefetch(bench.file.pages(blocks.clone())));
            assert!(catch_unwind(prefetch).is_err());
            let blocks = blocks.clone();
            let mut stream = bench.pool.read_stream(bench.file.pages(blocks), StreamOptions::new());
            let taken = AssertUnwindSafe(|| stream.by_ref().inspect(|page| assert!(page.is_ok())).count());
            assert!(catch_unwind(taken).is_err());
            drop(stream);
            bench.assert_at_rest();
            assert_eq!(bench.pool.stats().frames.reading_ahead, 0);
        }
    });
}

#[test]
fn c10_an_iterator_may_fetch_the_blocks_that_it_gave_to_a_stream() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, 256);
        for options in [StreamOptions::new(), StreamOptions::new().bulk()] {
            let fetched = (0..256).inspect(|&block: &u32| {
                fetch_in_time(&bench, block.max(1) - 1);
            });
            let pages = bench.pool.read_stream(bench.file.pages(fetched), options);
            assert_eq!(pages.map(|page| assert_stamped(&page.unwrap(), 1)).count(), 256);
        }
        bench.assert_at_rest();
    });
}
