//! `files` reports what was done with each file, and what the pool holds of it.

use std::{num::NonZeroU32, thread};

use ringpool::{
    BufferPool, CheckpointOptions, FileId, IoMethod, OpenOptions, PageId, StreamOptions,
    stats::FileStats,
    testing::{Fault, Op},
};

use crate::support::{Bench, EIO, fetch_apart, guarded, join_read, outcome, stamped_file, with_each_method};

/// Returns the stats of this file.
#[track_caller]
fn told(pool: &BufferPool, file: FileId) -> FileStats {
    pool.files().into_iter().find(|told| told.file == file).expect("it is open")
}

/// Opens another file of this number of blocks.
fn other(bench: &Bench, name: &str, blocks: u32) -> FileId {
    bench.disk.put(name, stamped_file(blocks, 1));
    bench.pool.open_file(name, OpenOptions::new()).unwrap()
}

#[test]
fn each_file_has_its_own_counts_and_together_they_are_the_pools() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, 16);
        let other = other(&bench, "other", 32);
        for block in [0, 1, 0, 0] {
            drop(bench.pool.read(bench.page(block)).wait().unwrap());
        }
        drop(bench.pool.write(bench.page(0)).wait().unwrap());
        drop(pollster::block_on(bench.pool.fetch(PageId::new(other, 7))).unwrap());
        let both = [bench.page(1), bench.page(2), PageId::new(other, 7), PageId::new(other, 9)];
        drop(bench.pool.fetch_many(&both).wait().unwrap());
        let of_both = other.pages(20..24_u32).chain([bench.page(12)]);
        assert_eq!(bench.pool.prefetch(of_both).started, 5);
        bench.dirty([3], 2);
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        let scan = bench.pool.read_stream(other.pages(10..20_u32), StreamOptions::new());
        assert_eq!(scan.filter(Result::is_ok).count(), 10);
        bench.assert_at_rest();

        let (mine, others) = (told(&bench.pool, bench.file), told(&bench.pool, other));
        let counts = mine.counts;
        assert_eq!((counts.hits, counts.misses, counts.joins), (Some(4), 4, 0));
        assert_eq!((counts.pages_read, counts.read_requests, mine.read.count()), (5, 5, 5));
        assert_eq!((counts.pages_written, counts.write_requests, mine.write.count()), (1, 1, 1));
        assert_eq!((counts.syncs, mine.sync.count(), counts.prefetches, counts.failures), (1, 1, 1, 0));
        let counts = others.counts;
        assert_eq!((counts.hits, counts.pages_read, counts.pages_written), (Some(1), 16, 0));
        assert!(counts.prefetches >= 4 && counts.misses + counts.prefetches == 16, "{counts:?}");
        assert!(others.read.count() == counts.read_requests && counts.read_requests < 16, "{counts:?}");

        let all = bench.pool.stats().counts;
        let of_files = |name: &str| -> u64 {
            let named = |file: &FileStats| file.counts.iter().find(|&(count, _)| count == name).unwrap().1;
            [&mine, &others].into_iter().map(named).sum()
        };
        for (name, count) in all.iter() {
            let by_file = [
                "hits",
                "misses",
                "joins",
                "prefetches",
                "pages_read",
                "pages_written",
                "syncs",
                "failures",
                "corrupt_pages",
            ];
            if by_file.contains(&name) {
                assert_eq!(of_files(name), count, "{name}");
            }
        }
    });
}

#[test]
fn a_read_that_is_joined_and_one_that_fails_are_told_of_their_file_alone() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 16);
        let other = other(&bench, "other", 16);
        let gate = bench.disk.hold(Op::Read);
        let missing = fetch_apart(&bench.pool, bench.page(1), true);
        gate.wait_for(1);
        let joining = join_read(&bench.pool, bench.page(1), 3);
        gate.open();
        joining.into_iter().chain([missing]).for_each(|fetch| drop(outcome(fetch).unwrap()));
        bench.disk.inject(Fault::error(Op::Read, EIO).once());
        bench.pool.fetch(PageId::new(other, 3)).wait().unwrap_err();
        let (mine, others) = (told(&bench.pool, bench.file).counts, told(&bench.pool, other).counts);
        assert_eq!((mine.misses, mine.joins, mine.failures), (1, 3, 0));
        assert_eq!((others.misses, others.joins, others.failures), (1, 0, 1));
    });
}

#[test]
fn pages_that_the_pool_holds_are_told_by_file_and_so_is_how_it_was_opened() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 32, 16);
        bench.disk.put("other", stamped_file(9, 1));
        let other = bench.pool.open_file("other", OpenOptions::new().read_only(true)).unwrap();
        bench.dirty(0..3, 2);
        drop(bench.fetch(7).unwrap());
        drop(bench.pool.fetch(PageId::new(other, 8)).wait().unwrap());
        let files = bench.pool.files();
        let held: Vec<_> =
            files.iter().map(|file| (file.file, file.resident_pages, file.dirty_pages)).collect();
        assert_eq!(held, [(bench.file, 4, 3), (other, 1, 0)]);
        let opened: Vec<_> = files
            .iter()
            .map(|file| (file.info.path.to_str().unwrap(), file.info.blocks, file.info.read_only))
            .collect();
        assert_eq!(opened, [("data", 16, false), ("other", 9, true)]);
        bench.pool.close_file(other).wait().unwrap();
        assert_eq!(bench.pool.files().len(), 1, "one that is closed is not told");
    });
}

#[test]
fn hits_of_a_file_that_was_closed_are_not_those_of_the_next() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 16, 1);
        bench.pool.extend(bench.file, NonZeroU32::MIN).wait().unwrap();
        for _ in 0..200 {
            let other = other(&bench, "other", 1);
            let hits = |file| told(&bench.pool, file).counts.hits;
            let before = hits(bench.file);
            assert_eq!(hits(other), Some(0));
            for _ in 0..3 {
                drop(bench.pool.read(PageId::new(other, 0)).wait().unwrap());
                drop(bench.fetch(1).unwrap());
            }
            assert_eq!(hits(other), Some(2));
            assert!(hits(bench.file) >= before.map(|hits| hits + 2), "it has its place to itself");
            bench.pool.close_file(other).wait().unwrap();
        }
    });
}

#[test]
fn of_more_files_than_places_some_share_their_hits_and_none_tells_those_of_another() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 128, 1);
        let files: Vec<_> = (1..80).map(|n| other(&bench, &format!("file {n}"), 1)).collect();
        thread::scope(|scope| {
            for &file in &files {
                let pool = &bench.pool;
                scope.spawn(move || {
                    (0..5).for_each(|_| drop(pool.read(PageId::new(file, 0)).wait().unwrap()));
                });
            }
        });
        let hits: Vec<_> = files.iter().map(|&file| told(&bench.pool, file).counts.hits).collect();
        assert!(hits.iter().all(|hits| matches!(hits, None | Some(4))), "{hits:?}");
        // 80 files in 64 places: 16 places have two.
        assert_eq!(hits.iter().filter(|hits| hits.is_none()).count(), 32);
        assert!(hits[..31].iter().all(Option::is_some), "the first ones keep theirs");
        assert_eq!(bench.pool.stats().counts.hits, 4 * 79);
    });
}

#[test]
fn an_opening_that_fails_takes_no_other_file_its_hits() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 128, 1);
        let files: Vec<_> = (1..64).map(|n| other(&bench, &format!("file {n}"), 1)).collect();
        bench.disk.put("refused", stamped_file(1, 1));
        bench.disk.inject(Fault::error(Op::Resize.of("refused"), EIO).once());
        bench.pool.open_file("refused", OpenOptions::new().initial_blocks(40)).unwrap_err();
        assert!(files.iter().all(|&file| told(&bench.pool, file).counts.hits.is_some()));
    });
}

#[test]
fn what_is_kept_for_each_file_counts_as_memory() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 16, 1);
        let bytes = || bench.pool.stats().overhead_bytes;
        let before = bytes();
        let others: Vec<_> = (0..4).map(|n| other(&bench, &format!("file {n}"), 1)).collect();
        assert!(bytes() >= before + 4 * 6 * 1024, "{} and then {} bytes", before, bytes());
        others.into_iter().for_each(|file| bench.pool.close_file(file).wait().unwrap());
        assert_eq!(bytes(), before);
    });
}
