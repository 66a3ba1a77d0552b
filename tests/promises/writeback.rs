//! What a write-out looks like from the disk: in the order of the files, neighbours in one request, as long as allowed, and never two
//! writes of a page at once.

use std::{collections::BTreeMap, thread, time::Duration};

use ringpool::{
    CheckpointOptions, IoMethod, OpenOptions, PageId,
    testing::{Fault, Moment, Op},
};

use crate::support::{Bench, PAGE, restamp, stamped_file, with_each_method};

/// The most pages of a request.
const COMBINED: usize = 4;

/// The writes so far: path, first block, pages.
fn writes(bench: &Bench) -> Vec<(String, u64, usize)> {
    let log = bench.disk.log();
    let begun = log.iter().filter(|event| event.op == Op::Write && event.moment == Moment::Begin);
    let pages =
        begun.map(|event| (event.path.display().to_string(), event.offset / PAGE as u64, event.len / PAGE));
    pages.collect()
}

#[test]
fn pages_go_in_the_order_of_their_files_with_their_neighbours() {
    with_each_method(|method| {
        let bench = Bench::with(64, |builder| {
            builder.frames(64).io_method(method.clone()).combine_limit(COMBINED * PAGE)
        });
        bench.disk.put("other", stamped_file(8, 1));
        let other = bench.pool.open_file("other", OpenOptions::new()).unwrap();
        // Changed in no order.
        for block in [2, 1] {
            restamp(&bench.pool.fetch(PageId::new(other, block)).wait().unwrap(), 2);
        }
        bench.dirty([40, 9, 33, 31, 3, 36, 8, 34, 50, 30, 4, 35, 32, 37, 38, 39], 2);
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        let mut seen = writes(&bench);
        // Threads take what comes in order, and may begin it in another one.
        if !matches!(method, IoMethod::Sync) {
            seen.sort_unstable();
        }
        let data = [(3, 2), (8, 2), (30, 4), (34, 4), (38, 3), (50, 1)];
        let mut expected: Vec<_> =
            data.into_iter().map(|(first, pages)| ("data".to_owned(), first, pages)).collect();
        expected.push(("other".to_owned(), 1, 2));
        assert_eq!(seen, expected);
    });
}

/// Several threads change pages and have them written, alone, with their file and with everything, while writes take their time.
#[test]
fn a_page_changed_while_it_is_written_is_written_again_and_not_before_that_is_over() {
    const BLOCKS: u32 = 8;
    with_each_method(|method| {
        let bench = Bench::new(method, 16, BLOCKS);
        bench.disk.inject(Fault::delay_up_to(Op::Write, Duration::from_millis(2)));
        thread::scope(|scope| {
            for way in 0..3 {
                let bench = &bench;
                scope.spawn(move || {
                    for version in 2..22 {
                        bench.dirty(0..BLOCKS, version);
                        match way {
                            0 => bench.pool.flush(bench.page(u32::from(version) % BLOCKS)).wait().unwrap(),
                            1 => drop(bench.pool.flush_file(bench.file).wait().unwrap()),
                            _ => drop(bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap()),
                        }
                    }
                });
            }
        });
        let mut under_way = BTreeMap::new();
        for event in bench.disk.log().into_iter().filter(|event| event.op == Op::Write) {
            if event.moment != Moment::Begin {
                under_way.remove(&event.number);
                continue;
            }
            let (begin, end) = (event.offset, event.offset + event.len as u64);
            let is_free = under_way.values().all(|&(other, other_end)| end <= other || other_end <= begin);
            assert!(is_free, "{begin}..{end} is being written: {under_way:?}");
            under_way.insert(event.number, (begin, end));
        }
        assert!(bench.pool.stats().counts.pages_written > u64::from(BLOCKS), "a test of nothing");
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert!(bench.durable() == bench.image());
        (0..BLOCKS).for_each(|block| {
            let at = block as usize * PAGE;
            assert!(*bench.fetch(block).unwrap().read() == bench.durable()[at..at + PAGE]);
        });
    });
}
