//! C1: a pinned page never shows bytes that were not its own latest bytes.

use std::{fs, io::Write, num::NonZeroU32};

use ringpool::{
    BufferPool, Error, IoMethod, OpenOptions, PageId,
    options::Fallback,
    testing::{Fault, Op},
};

use crate::support::{
    Bench, PAGE, assert_stamped, eventually, fetch_apart, guarded, join_read, methods, outcome, stamped,
    with_each_method,
};

#[test]
fn c1_concurrent_fetches_of_a_page_share_one_read() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 4);
        let gate = bench.disk.hold(Op::Read);
        let first = fetch_apart(&bench.pool, bench.page(2), false);
        gate.wait_for(1);
        let mut all = join_read(&bench.pool, bench.page(2), 23);
        all.push(first);
        assert!(bench.pool.fetch(bench.page(2)).now().is_none(), "shown before it was read");
        gate.open();
        for fetching in all {
            assert_stamped(&outcome(fetching).unwrap(), 1);
        }
        assert_eq!(bench.disk.count(Op::Read), 1);
        let counts = bench.pool.stats().counts;
        assert_eq!((counts.misses, counts.joins, counts.pages_read), (1, 23, 1));
        bench.assert_at_rest();
    });
}

#[test]
fn c1_a_page_that_was_evicted_comes_back_as_it_was_left() {
    with_each_method(|method| {
        const BLOCKS: u32 = 64;
        for frames in [1, 2, 3, 16] {
            let bench = Bench::new(method.clone(), frames, BLOCKS);
            bench.dirty((0..BLOCKS).filter(|block| block % 3 > 0), 2);
            for n in 0..BLOCKS {
                let block = n * 37 % BLOCKS;
                assert_stamped(&bench.fetch(block).unwrap(), if !block.is_multiple_of(3) { 2 } else { 1 });
            }
            assert!(bench.pool.stats().counts.evictions >= u64::from(BLOCKS - frames));
            bench.assert_at_rest();
        }
    });
}

#[test]
fn c1_a_read_that_comes_in_pieces_is_shown_whole() {
    with_each_method(|method| {
        // With less than a sector at a time, direct transfers would make no progress.
        for piece in [512, 700, 4096, PAGE - 1] {
            let bench = Bench::new(method.clone(), 4, 8);
            bench.disk.inject(Fault::short(Op::Read, piece));
            for block in [3, 7, 0] {
                assert_stamped(&bench.fetch(block).unwrap(), 1);
            }
            assert!(bench.pool.stats().counts.resumed_transfers > 0);
        }
    });
}

#[test]
fn c1_a_change_is_seen_by_the_next_fetch_while_its_write_is_under_way() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 8);
        bench.dirty([5], 2);
        let gate = bench.disk.hold(Op::Write);
        let flushing = std::thread::spawn({
            let (pool, page) = (bench.pool.clone(), bench.page(5));
            move || pool.flush(page).wait()
        });
        gate.wait_for(1);
        assert_stamped(&bench.fetch(5).unwrap(), 2);
        bench.dirty([5], 3);
        assert_stamped(&bench.fetch(5).unwrap(), 3);
        gate.open();
        flushing.join().unwrap().unwrap();
        assert!(
            bench.image()[5 * PAGE..6 * PAGE] == stamped(5, 2),
            "the copy that was taken is what is written"
        );
        bench.pool.evict(bench.page(5)).wait().unwrap();
        assert_stamped(&bench.fetch(5).unwrap(), 3);
    });
}

#[test]
fn c1_a_latch_that_is_refused_takes_nothing_from_its_holders() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 4);
        let page = bench.fetch(1).unwrap();
        let mut writing = page.write().unwrap();
        for _ in 0..3 {
            assert!(page.try_read().is_none());
            assert!(page.try_write().unwrap().is_none());
        }
        writing.copy_from_slice(&stamped(1, 2));
        drop(writing);
        let reading = page.try_read().expect("no thread writes");
        for _ in 0..3 {
            assert!(page.try_write().unwrap().is_none());
            assert!(page.try_read().is_some());
        }
        assert!(*reading == *stamped(1, 2));
        drop(reading);
        assert!(page.try_write().unwrap().is_some());
    });
}

#[test]
fn c1_a_checkpoint_passes_over_a_page_that_was_evicted_and_is_being_read_again() {
    guarded(|| {
        // A page that would join the run of the page before it, and one that would begin a run.
        for block in [1, 5] {
            let bench = Bench::new(IoMethod::worker(), 2, 8);
            bench.dirty([0, block], 2);
            let (first, checkpointing) = (bench.fetch(0).unwrap(), bench.pool.clone());
            let latch = first.write().unwrap();
            let checkpointing =
                std::thread::spawn(move || checkpointing.checkpoint(Default::default()).wait());
            eventually("it waits for the first page", || bench.pool.stats().frames.pins == 2);
            // With the other frame pinned, the page can only come back into the frame that it leaves.
            bench.pool.evict(bench.page(block)).wait().unwrap();
            let gate = bench.disk.hold(Op::Read);
            let reading = fetch_apart(&bench.pool, bench.page(block), true);
            gate.wait_for(1);
            drop(latch);
            assert_eq!(checkpointing.join().unwrap().unwrap().pages_written, 1);
            gate.open();
            assert_stamped(&outcome(reading).unwrap(), 2);
        }
    });
}

#[test]
fn c1_behind_the_end_of_a_file_there_are_zeros_and_never_the_frames_former_page() {
    guarded(|| {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for method in methods() {
            for direct in [Fallback::Off, Fallback::Prefer] {
                for tail in [1, 511, 512, 4096, 5000, PAGE - 1] {
                    println!("{method:?}, direct {direct:?}, {tail} bytes in the last block");
                    let pool = BufferPool::builder().frames(1).io_method(method.clone()).build().unwrap();
                    let path = dir.path().join("odd");
                    let bytes = [stamped(0, 1), stamped(1, 1)].concat();
                    fs::File::create(&path).unwrap().write_all(&bytes[..PAGE + tail]).unwrap();
                    let file = pool.open_file(&path, OpenOptions::new().direct(direct)).unwrap();
                    assert_eq!(pool.blocks(file).unwrap(), 2);
                    for ahead in [false, true] {
                        let former = pool.fetch(PageId::new(file, 0)).wait().unwrap();
                        assert_stamped(&former, 1);
                        drop(former);
                        if ahead {
                            assert_eq!(pool.prefetch(file.pages([1])).started, 1);
                        }
                        let last = pool.fetch(PageId::new(file, 1)).wait().unwrap();
                        assert!(last.read()[..tail] == bytes[PAGE..PAGE + tail]);
                        assert!(last.read()[tail..].iter().all(|&byte| byte == 0));
                    }
                    pool.close_file(file).wait().unwrap();
                }
            }
        }
    });
}

#[test]
fn c1_blocks_that_were_cut_off_come_back_as_zeros() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 8);
        bench.dirty(0..8, 2);
        bench.pool.truncate(bench.file, 3).wait().unwrap();
        assert!(matches!(bench.fetch(3), Err(Error::PastEof { blocks: 3, .. })));
        bench.pool.extend(bench.file, NonZeroU32::new(5).unwrap()).wait().unwrap();
        assert_stamped(&bench.fetch(2).unwrap(), 2);
        for block in 3..8 {
            assert!(bench.fetch(block).unwrap().read().iter().all(|&byte| byte == 0), "block {block}");
        }
    });
}

#[test]
fn c1_a_page_of_a_closed_file_is_never_taken_for_one_of_the_next() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 4);
        assert_stamped(&bench.fetch(1).unwrap(), 1);
        bench.pool.close_file(bench.file).wait().unwrap();
        bench.disk.put("data", crate::support::stamped_file(4, 9));
        let again = bench.pool.open_file("data", OpenOptions::new()).unwrap();
        assert_ne!(again, bench.file);
        assert!(bench.pool.fetch(bench.page(1)).now().is_none());
        assert!(matches!(bench.fetch(1), Err(Error::NotOpen { .. })));
        assert_stamped(&bench.pool.fetch(PageId::new(again, 1)).wait().unwrap(), 9);
    });
}

#[test]
fn c1_a_page_read_ahead_is_not_shown_before_it_is_there() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 16, 8);
        let gate = bench.disk.hold(Op::Read);
        assert_eq!(bench.pool.prefetch(bench.file.pages(0..8)).started, 8);
        gate.wait_for(1);
        assert!((0..8).all(|block| bench.pool.fetch(bench.page(block)).now().is_none()));
        gate.open();
        eventually("all resident", || bench.pool.stats().frames.resident == 8);
        (0..8).for_each(|block| assert_stamped(&bench.pool.fetch(bench.page(block)).now().unwrap(), 1));
        assert_eq!(bench.disk.count(Op::Read), 1, "neighbours are read together");
    });
}
