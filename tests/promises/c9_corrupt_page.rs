//! C9: a torn, flipped, misplaced or zeroed page is an error, never data (with the checksum codec on).

use ringpool::{
    CheckpointOptions, Crc32c, Error, ErrorKind, IoMethod, OpenOptions, PageAddress, PageCodec, PinnedPage,
    Result, testing::Op,
};

use crate::support::{
    Bench, PAGE, eventually, fetch_apart, guarded, join_read, outcome, stamped, with_each_method,
};

const BLOCKS: u32 = 8;
const BODY: usize = PAGE - Crc32c::TRAILER;
const TAG: u64 = 42;

/// Makes a page as it lies on disk: sealed.
fn sealed(tag: u64, block: u32, version: u8) -> Vec<u8> {
    let mut page = stamped(block, version);
    Crc32c.seal(PageAddress::new(tag, block), &mut page);
    page
}

/// Makes a bench with the codec, and a file of sealed pages under the tag.
fn bench(method: IoMethod) -> Bench {
    let mut bench = Bench::with(1, |builder| builder.frames(16).io_method(method).codec(Crc32c));
    bench.disk.put("sealed", (0..BLOCKS).flat_map(|block| sealed(TAG, block, 1)).collect::<Vec<_>>());
    bench.file = bench.pool.open_file("sealed", OpenOptions::new().tag(TAG)).unwrap();
    bench
}

/// Changes what is on the disk.
fn damage(bench: &Bench, change: impl FnOnce(&mut [u8])) {
    let mut bytes = bench.disk.image("sealed").unwrap();
    change(&mut bytes);
    bench.disk.put("sealed", bytes);
}

#[track_caller]
fn assert_corrupt(result: Result<PinnedPage>, bench: &Bench, block: u32) {
    match result {
        Err(ref error @ Error::Corrupt { page, .. }) => {
            assert_eq!(page, bench.page(block));
            let told = error.to_string();
            assert!(told.contains("sealed (file"), "{told}");
            assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Corrupt, false));
            let reasons = ["torn, flipped or misplaced", "zeroed, or never written"];
            assert!(reasons.iter().any(|reason| told.contains(reason)), "{told}");
        }
        other => panic!("block {block} is corrupt: {other:?}"),
    }
}

type Damage = (&'static str, fn(&mut [u8]));

const DAMAGES: [Damage; 6] = [
    ("torn: its second half is older", |file| {
        let older = sealed(TAG, 3, 0);
        file[3 * PAGE + PAGE / 2..4 * PAGE].copy_from_slice(&older[PAGE / 2..]);
    }),
    ("one bit is flipped", |file| file[3 * PAGE + 4711] ^= 0x10),
    ("one bit of the checksum is flipped", |file| file[4 * PAGE - 1] ^= 1),
    ("the page of another block", |file| file.copy_within(5 * PAGE..6 * PAGE, 3 * PAGE)),
    ("the same block of another file", |file| {
        file[3 * PAGE..4 * PAGE].copy_from_slice(&sealed(TAG + 1, 3, 1));
    }),
    ("zeros, as of a block that the file system has lost", |file| file[3 * PAGE..4 * PAGE].fill(0)),
];

#[test]
fn c9_a_torn_flipped_misplaced_or_zeroed_page_is_an_error_and_never_data() {
    with_each_method(|method| {
        for (what, change) in DAMAGES {
            println!("{what}");
            let bench = bench(method.clone());
            damage(&bench, change);
            for as_task in [false, true] {
                assert_corrupt(outcome(fetch_apart(&bench.pool, bench.page(3), as_task)), &bench, 3);
                assert!(bench.pool.fetch(bench.page(3)).now().is_none());
            }
            bench.assert_at_rest();
            let good = bench.fetch(4).unwrap();
            assert!(good.read()[..BODY] == stamped(4, 1)[..BODY]);
            // Repaired, as from a backup, it can be fetched.
            damage(&bench, |file| file[3 * PAGE..4 * PAGE].copy_from_slice(&sealed(TAG, 3, 2)));
            assert!(bench.fetch(3).unwrap().read()[..BODY] == stamped(3, 2)[..BODY]);
        }
    });
}

#[test]
fn c9_every_waiter_gets_the_error() {
    with_each_method(|method| {
        let bench = bench(method);
        damage(&bench, |file| file[3 * PAGE] ^= 1);
        let gate = bench.disk.hold(Op::Read);
        let first = fetch_apart(&bench.pool, bench.page(3), false);
        gate.wait_for(1);
        let mut all = join_read(&bench.pool, bench.page(3), 23);
        all.push(first);
        gate.open();
        for fetching in all {
            assert_corrupt(outcome(fetching), &bench, 3);
        }
        bench.assert_at_rest();
        assert_eq!(bench.pool.stats().frames.resident, 0);
    });
}

#[test]
fn c9_a_corrupt_page_that_was_read_ahead_is_an_error_too() {
    with_each_method(|method| {
        let bench = bench(method);
        damage(&bench, |file| file[3 * PAGE] ^= 1);
        assert_eq!(bench.pool.prefetch(bench.file.pages(0..BLOCKS)).started, BLOCKS);
        eventually("all read", || bench.pool.stats().frames.in_flight() == 0);
        assert_corrupt(bench.fetch(3), &bench, 3);
        for block in (0..BLOCKS).filter(|&block| block != 3) {
            assert!(bench.fetch(block).unwrap().read()[..BODY] == stamped(block, 1)[..BODY]);
        }
        assert_eq!(bench.disk.count(Op::Read), 1, "its neighbours were read with it and are good");
        assert_corrupt(bench.fetch(3), &bench, 3);
        assert_eq!(bench.disk.count(Op::Read), 2, "nothing of it stayed cached");
        bench.assert_at_rest();
    });
}

#[test]
fn c9_the_copy_is_sealed_and_the_page_stays_as_the_engine_wrote_it() {
    with_each_method(|method| {
        let bench = bench(method);
        bench.dirty(2..5, 2);
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        for block in 2..5 {
            assert!(
                *bench.fetch(block).unwrap().read() == *stamped(block, 2),
                "the codec worked on the page itself"
            );
            let at = block as usize * PAGE;
            assert!(bench.disk.durable_image("sealed").unwrap()[at..at + PAGE] == sealed(TAG, block, 2));
            bench.pool.evict(bench.page(block)).wait().unwrap();
            assert!(bench.fetch(block).unwrap().read()[..BODY] == stamped(block, 2)[..BODY]);
        }
    });
}

#[test]
fn c9_blocks_that_are_added_are_sealed_pages_of_zeros() {
    const BLOCKS: u32 = 300;
    with_each_method(|method| {
        for (initial_blocks, grow_by_blocks) in [(0, 0), (100, 0), (100, 1000)] {
            let mut bench = bench(method.clone());
            let options = OpenOptions::new().create(true).tag(7).grow_by_blocks(grow_by_blocks);
            bench.file = bench.pool.open_file("fresh", options.initial_blocks(initial_blocks)).unwrap();
            while bench.pool.blocks(bench.file).unwrap() < BLOCKS {
                bench.pool.extend(bench.file, std::num::NonZeroU32::new(100).unwrap()).wait().unwrap();
            }
            for block in 0..BLOCKS {
                assert!(bench.fetch(block).unwrap().read()[..BODY].iter().all(|&byte| byte == 0));
            }
            bench.pool.close_file(bench.file).wait().unwrap();
            let new_page = |block: usize| {
                let mut page = vec![0; PAGE];
                Crc32c.seal(PageAddress::new(7, block as u32), &mut page);
                page
            };
            let image = bench.disk.image("fresh").unwrap();
            assert_eq!(image.len(), BLOCKS as usize * PAGE);
            assert!(image.chunks(PAGE).enumerate().all(|(block, page)| page == new_page(block)));
        }
    });
}

#[test]
fn c9_zeros_are_new_pages_where_a_file_is_opened_so_and_nothing_else_is() {
    with_each_method(|method| {
        let mut bench = bench(method);
        damage(&bench, |file| file[3 * PAGE..4 * PAGE].fill(0));
        damage(&bench, |file| file[5 * PAGE] ^= 1);
        bench.pool.close_file(bench.file).wait().unwrap();
        bench.file = bench.pool.open_file("sealed", OpenOptions::new().tag(TAG).sparse(true)).unwrap();
        assert!(bench.fetch(3).unwrap().read().iter().all(|&byte| byte == 0));
        assert!(bench.fetch(4).unwrap().read()[..BODY] == stamped(4, 1)[..BODY]);
        assert_corrupt(bench.fetch(5), &bench, 5);
        // Once it is written it is like any other page.
        bench.dirty([3], 2);
        bench.pool.close_file(bench.file).wait().unwrap();
        bench.file = bench.pool.open_file("sealed", OpenOptions::new().tag(TAG)).unwrap();
        assert!(bench.fetch(3).unwrap().read()[..BODY] == stamped(3, 2)[..BODY]);
    });
}

#[test]
fn c9_files_whose_pages_could_be_exchanged_unseen_are_not_open_together() {
    with_each_method(|method| {
        let bench = bench(method);
        bench.disk.put("other", sealed(TAG, 0, 1));
        for read_only in [false, true] {
            let options = OpenOptions::new().read_only(read_only);
            match bench.pool.open_file("other", options.tag(TAG)) {
                Err(Error::TagTaken { tag: TAG, file, .. }) => assert_eq!(file, bench.file),
                other => panic!("it has the other's tag: {other:?}"),
            }
            // The bench has another file, without a tag.
            assert!(matches!(bench.pool.open_file("other", options), Err(Error::TagTaken { tag: 0, .. })));
        }
        bench.pool.open_file("other", OpenOptions::new().tag(TAG + 1)).unwrap();
    });
}

/// A codec that panics over one block.
struct Touchy;

impl PageCodec for Touchy {
    fn seal(&self, _: PageAddress, _: &mut [u8]) {}

    fn open(&self, at: PageAddress, _: &mut [u8]) -> std::result::Result<(), String> {
        assert!(at.block.0 != 1, "the codec's own panic");
        Ok(())
    }
}

#[test]
fn c9_a_codec_that_panics_fails_the_read_and_leaves_no_frame_busy() {
    guarded(|| {
        let bench = Bench::with(4, |builder| builder.frames(2).io_method(IoMethod::worker()).codec(Touchy));
        let gate = bench.disk.hold(Op::Read);
        let first = fetch_apart(&bench.pool, bench.page(1), false);
        gate.wait_for(1);
        let mut all = join_read(&bench.pool, bench.page(1), 3);
        all.push(first);
        gate.open();
        for fetching in all {
            let end = outcome(fetching);
            assert!(matches!(end, Err(Error::Panicked { .. })), "{end:?}");
        }
        bench.assert_at_rest();
        assert!(bench.fetch(0).is_ok() && bench.fetch(2).is_ok() && bench.fetch(3).is_ok());
    });
}
