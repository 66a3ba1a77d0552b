//! `residency` shows what is there, and a pool warms up to what another one had.

use std::{collections::BTreeMap, thread};

use ringpool::{
    CheckpointOptions, Error, FileId, OpenOptions, PageId, Shutdown,
    stats::Resident,
    testing::{Fault, Op},
};

use crate::support::{Bench, EIO, PAGE, stamped_file, with_each_method};

/// Returns what the pool holds, by block.
fn by_block(bench: &Bench) -> BTreeMap<u32, Resident> {
    bench.pool.residency().map(|resident| (resident.page.block.0, resident)).collect()
}

#[test]
fn each_page_is_shown_with_what_becomes_of_it() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 16);
        assert_eq!(bench.pool.residency().count(), 0);
        bench.fetch(1).unwrap();
        for _ in 0..3 {
            bench.fetch(2).unwrap();
        }
        let pinned = bench.fetch(3).unwrap();
        bench.dirty([4], 2);
        let shown = by_block(&bench);
        assert_eq!(shown.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(shown.values().all(|resident| resident.page.file == bench.file));
        let pins = |block| shown[&block].pins;
        assert_eq!((1..=4).map(pins).collect::<Vec<_>>(), [0, 0, 1, 0]);
        let dirty = |block| shown[&block].dirty;
        assert_eq!((1..=4).map(dirty).collect::<Vec<_>>(), [false, false, false, true]);
        assert!(shown[&2].usage > shown[&1].usage, "{shown:?}");
        assert!(shown.values().all(|resident| !resident.reading && !resident.writing));
        drop(pinned);
        bench.pool.evict(bench.page(3)).wait().unwrap();
        assert!(!by_block(&bench).contains_key(&3));
    });
}

#[test]
fn pages_in_an_io_are_shown_so_and_only_those_that_can_be_used_are_listed() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 16);
        bench.dirty([4], 2);
        let (reads, writes) = (bench.disk.hold(Op::Read), bench.disk.hold(Op::Write));
        thread::scope(|scope| {
            scope.spawn(|| bench.fetch(7).unwrap());
            scope.spawn(|| bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap());
            reads.wait_for(1);
            writes.wait_for(1);
            let shown = by_block(&bench);
            assert!(shown[&7].reading && !shown[&7].writing && shown[&7].pins > 0, "{shown:?}");
            assert!(shown[&4].writing && !shown[&4].dirty && !shown[&4].reading, "{shown:?}");
            assert_eq!(bench.pool.resident_pages(), [bench.page(4)]);
            reads.open();
            writes.open();
        });
        assert_eq!(bench.pool.resident_pages(), [bench.page(4), bench.page(7)]);
        assert!(!by_block(&bench)[&4].writing);
    });
}

#[test]
fn a_pool_warms_up_to_what_another_one_had() {
    with_each_method(|method| {
        let before = Bench::new(method.clone(), 32, 64);
        for block in [40, 3, 4, 5, 6, 60] {
            before.fetch(block).unwrap();
        }
        let kept: Vec<u32> = before.pool.resident_pages().iter().map(|page| page.block.0).collect();
        assert_eq!(kept, [3, 4, 5, 6, 40, 60]);
        before.into_pool().shutdown(Shutdown::Discard).unwrap();

        let after = Bench::new(method, 32, 64);
        let pages = kept.iter().rev().chain(&[3]).map(|&block| after.page(block));
        let warm = pollster::block_on(after.pool.warm_up(pages)).unwrap();
        assert_eq!((warm.pages, warm.failed, warm.left_out), (6, 0, 0));
        let reads = after.pool.stats().counts.pages_read;
        for &block in &kept {
            after.fetch(block).unwrap();
        }
        assert_eq!((reads, after.pool.stats().counts.pages_read), (6, 6), "each was read once");
        after.assert_at_rest();
    });
}

#[test]
fn what_cannot_be_read_or_has_no_room_keeps_nothing_from_warming_up() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 64);
        bench.disk.put("other", stamped_file(4, 1));
        let other = bench.pool.open_file("other", OpenOptions::new()).unwrap();
        let gone = closed_file(&bench);
        let pages = [bench.page(2), bench.page(99), PageId::new(gone, 0), PageId::new(other, 1)];
        let warm = bench.pool.warm_up(pages).wait().unwrap();
        assert_eq!((warm.pages, warm.failed, warm.left_out), (2, 2, 0));
        assert_eq!(bench.pool.resident_pages(), [bench.page(2), PageId::new(other, 1)]);

        // The first of a list are its most important ones.
        let warm = bench.pool.warm_up((20..40).rev().map(|block| bench.page(block))).wait().unwrap();
        assert_eq!((warm.pages, warm.failed, warm.left_out), (8, 0, 12));
        assert!(bench.pool.resident_pages().contains(&bench.page(39)));

        bench.disk.inject(Fault::error(Op::Read, EIO));
        let warm = bench.pool.warm_up([bench.page(1)]).wait().unwrap();
        assert_eq!((warm.pages, warm.failed), (0, 1));
        bench.assert_at_rest();
        bench.pool.clone().shutdown(Shutdown::Discard).unwrap();
        assert!(matches!(bench.pool.warm_up([bench.page(1)]).wait(), Err(Error::ShutDown)));
    });
}

#[test]
fn a_warm_up_counts_each_page_once_and_only_those_that_are_there_at_its_end() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 64);
        // Ten times the same page takes no room from the other pages.
        let doubled = [3; 10].into_iter().chain(10..14).map(|block| bench.page(block));
        let warm = bench.pool.warm_up(doubled).wait().unwrap();
        assert_eq!((warm.pages, warm.failed, warm.left_out), (5, 0, 0));
        let pages = [3, 10, 11, 12, 13].map(|block| bench.page(block));
        assert_eq!(bench.pool.resident_pages(), pages);

        // Four frames are pinned: so not all of eight pages can stay.
        let held: Vec<_> = pages[..4].iter().map(|&page| bench.pool.fetch(page).wait().unwrap()).collect();
        let warm = bench.pool.warm_up((20..28).map(|block| bench.page(block))).wait().unwrap();
        let there = bench.pool.resident_pages().iter().filter(|page| page.block.0 >= 20).count() as u64;
        assert!(there <= 4, "{there} pages in four frames");
        assert_eq!((warm.pages, warm.failed, warm.left_out), (there, 0, 8 - there));
        drop(held);
        bench.assert_at_rest();
    });
}

/// Returns the number of a file that was closed.
fn closed_file(bench: &Bench) -> FileId {
    bench.disk.put("gone", vec![0; PAGE]);
    let gone = bench.pool.open_file("gone", OpenOptions::new()).unwrap();
    bench.pool.close_file(gone).wait().unwrap();
    gone
}
