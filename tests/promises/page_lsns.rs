//! Where pages keep their LSN (`Builder::page_lsn`): it is read with the page, after the codec has opened it, and is in what is written,
//! before the codec seals it.

use std::{
    io,
    num::NonZeroU32,
    sync::{Arc, Mutex},
};

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoMethod, Lsn, OpenOptions, PageAddress, PageCodec, PageLsn,
    Shutdown, StreamOptions, Wal,
    report::Evicted,
    testing::{Op, SimDisk},
};

use crate::support::{Bench, PAGE, eventually, guarded, stamped, with_each_method};

const AT: usize = 24;
const BLOCKS: u32 = 8;

/// A log that notes what it is asked for, and was durable up to 1000 when it was opened.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<Lsn>>>);

impl Wal for Log {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(1000)
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        self.0.lock().unwrap().push(up_to);
        Ok(up_to)
    }
}

/// Inverts all bytes.
struct Inverted;

impl PageCodec for Inverted {
    fn seal(&self, _: PageAddress, page: &mut [u8]) {
        page.iter_mut().for_each(|byte| *byte = !*byte);
    }

    fn open(&self, at: PageAddress, page: &mut [u8]) -> Result<(), String> {
        self.seal(at, page);
        Ok(())
    }
}

/// Returns the bytes of a block in version 1, with this LSN.
fn with_lsn(block: u32, lsn: u64) -> Vec<u8> {
    let mut page = stamped(block, 1);
    page[AT..AT + 8].copy_from_slice(&lsn.to_le_bytes());
    page
}

/// Makes a pool, with a codec or without, whose file has pages with the LSNs 500, 501 and so on; and its log.
fn bench(method: IoMethod, with_codec: bool) -> (Bench, Log) {
    let log = Log(Arc::default());
    let bench = Bench::with(BLOCKS, |builder| {
        let builder = builder.frames(16).io_method(method).wal(log.clone()).page_lsn(PageLsn::at(AT));
        if with_codec { builder.codec(Inverted) } else { builder }
    });
    let pages = (0..BLOCKS).flat_map(|block| with_lsn(block, 500 + u64::from(block)));
    bench.disk.put("data", pages.map(|byte| if with_codec { !byte } else { byte }).collect::<Vec<_>>());
    (bench, log)
}

/// Returns the page as it is on the disk, opened.
fn on_disk(bench: &Bench, block: u32, with_codec: bool) -> Vec<u8> {
    let image = bench.disk.image("data").unwrap();
    let page = &image[block as usize * PAGE..][..PAGE];
    page.iter().map(|&byte| if with_codec { !byte } else { byte }).collect()
}

fn checkpoint(pool: &BufferPool) -> Option<Lsn> {
    pool.checkpoint(CheckpointOptions::new()).wait().unwrap().redo_lsn
}

#[test]
fn c8_the_lsn_of_a_page_is_there_by_each_way_to_it() {
    with_each_method(|method| {
        for with_codec in [false, true] {
            let (bench, _) = bench(method.clone(), with_codec);
            let evict = |n| bench.pool.evict(bench.page(n)).wait().unwrap();
            let forget = || (0..BLOCKS).for_each(|n| assert_eq!(evict(n), Evicted::Yes, "{n}"));
            let lsn = |block: u32| Lsn(500 + u64::from(block));
            for block in 0..BLOCKS {
                assert_eq!(bench.fetch(block).unwrap().read().lsn(), lsn(block));
                assert_eq!(bench.pool.read(bench.page(block)).wait().unwrap().lsn(), lsn(block));
            }
            forget();
            for block in 0..BLOCKS {
                assert_eq!(
                    pollster::block_on(bench.pool.write(bench.page(block))).unwrap().lsn(),
                    lsn(block)
                );
            }
            forget();
            for item in bench.pool.read_stream(bench.file.pages(0..BLOCKS), StreamOptions::new()) {
                let page = item.unwrap();
                assert_eq!(page.read().lsn(), lsn(page.id().block.0));
            }
            forget();
            bench.pool.prefetch(bench.file.pages(0..BLOCKS));
            eventually("all read", || bench.pool.in_flight().is_empty());
            (0..BLOCKS).for_each(|n| assert_eq!(bench.fetch(n).unwrap().read().lsn(), lsn(n)));
            assert_eq!(bench.disk.count(Op::Write), 0);
            assert_eq!(checkpoint(&bench.pool), None, "a page that was read has no changes");
        }
    });
}

#[test]
fn c8_what_is_written_has_the_lsn_that_was_stated() {
    with_each_method(|method| {
        for with_codec in [false, true] {
            let (bench, log) = bench(method.clone(), with_codec);
            {
                let mut page = bench.pool.write(bench.page(3)).wait().unwrap();
                page[100] = 9;
                page.set_lsn(Lsn(2000)..Lsn(2040));
                assert_eq!(page.lsn(), Lsn(2040));
            }
            // A borrowed guard, by way of its downgrade; and a record without a change.
            let pinned = bench.fetch(4).unwrap();
            let mut page = pinned.write().unwrap();
            page.set_lsn(Lsn(2040)..Lsn(2080));
            let page = page.downgrade();
            assert_eq!((page.lsn(), &page[AT..AT + 8]), (Lsn(2080), &2080_u64.to_le_bytes()[..]));
            drop(page);
            drop(pinned);
            bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
            assert_eq!(*log.0.lock().unwrap(), [Lsn(2080)]);
            let mut expected = with_lsn(3, 2040);
            expected[100] = 9;
            assert!(on_disk(&bench, 3, with_codec) == expected);
            assert!(on_disk(&bench, 4, with_codec) == with_lsn(4, 2080));
            assert!(on_disk(&bench, 5, with_codec) == with_lsn(5, 505));
            assert_eq!(bench.pool.evict(bench.page(3)).wait().unwrap(), Evicted::Yes);
            assert_eq!(bench.fetch(3).unwrap().read().lsn(), Lsn(2040));
        }
    });
}

/// A page that is being written when its next record is stated: what is lent to the device keeps the LSN that it had.
#[test]
fn c8_a_record_that_is_stated_during_a_write_is_in_the_next_one() {
    with_each_method(|method| {
        let (bench, log) = bench(method.clone(), false);
        bench.pool.write(bench.page(3)).wait().unwrap().set_lsn(Lsn(2000)..Lsn(2040));
        let gate = bench.disk.hold_midway(Op::Write);
        let writing = std::thread::spawn({
            let (pool, page) = (bench.pool.clone(), bench.page(3));
            move || pool.flush(page).wait()
        });
        gate.wait_for(1);
        bench.pool.write(bench.page(3)).wait().unwrap().set_lsn(Lsn(3000)..Lsn(3040));
        assert_eq!(bench.pool.read(bench.page(3)).wait().unwrap()[AT..AT + 8], 3040_u64.to_le_bytes());
        gate.open();
        writing.join().unwrap().unwrap();
        assert!(on_disk(&bench, 3, false) == with_lsn(3, 2040));
        checkpoint(&bench.pool);
        assert!(on_disk(&bench, 3, false) == with_lsn(3, 3040));
        assert_eq!(*log.0.lock().unwrap(), [Lsn(2040), Lsn(3040)]);
    });
}

#[test]
fn c8_a_change_without_a_record_leaves_the_lsn_and_the_log_alone() {
    with_each_method(|method| {
        let (bench, log) = bench(method, false);
        {
            let mut page = bench.pool.write(bench.page(3)).wait().unwrap();
            page.copy_from_slice(&stamped(3, 2));
            page.set_lsn(Lsn::UNLOGGED);
        }
        assert_eq!(checkpoint(&bench.pool), None);
        let mut expected = stamped(3, 2);
        expected[AT..AT + 8].copy_from_slice(&503_u64.to_le_bytes());
        assert!(
            on_disk(&bench, 3, false) == expected,
            "its LSN is put back over what the engine wrote there"
        );
        assert_eq!(*log.0.lock().unwrap(), [], "durable when the log was opened");
    });
}

/// Redo: a torn page has an LSN that is later than the image that puts it right, and the records behind that must be done again.
#[test]
fn c8_an_image_has_its_own_lsn_however_late_the_one_in_the_page_was() {
    with_each_method(|method| {
        for way in ["an image over what was read", "overwritten while resident", "overwritten while absent"] {
            let (bench, _) = bench(method.clone(), false);
            let page = bench.page(3);
            if way != "overwritten while absent" {
                assert_eq!(bench.pool.read(page).wait().unwrap().lsn(), Lsn(503));
            }
            let mut guard = match way {
                "an image over what was read" => bench.pool.write(page).wait().unwrap(),
                _ => bench.pool.overwrite(page).wait().unwrap(),
            };
            guard.copy_from_slice(&with_lsn(3, 77));
            match way {
                "an image over what was read" => guard.set_image_lsn(Lsn(100)..Lsn(140)),
                _ => guard.set_lsn(Lsn(100)..Lsn(140)),
            }
            assert_eq!(guard.lsn(), Lsn(140), "{way}");
            guard.set_lsn(Lsn(140)..Lsn(180));
            drop(guard);
            assert_eq!(bench.pool.read(page).wait().unwrap().lsn(), Lsn(180), "{way}");
            bench.pool.flush(page).wait().unwrap();
            assert!(on_disk(&bench, 3, false) == with_lsn(3, 180), "{way}");
        }
    });
}

#[test]
fn c8_pages_of_zeros_have_no_lsn_and_stay_zeros() {
    with_each_method(|method| {
        for with_codec in [false, true] {
            let (bench, log) = bench(method.clone(), with_codec);
            bench.pool.extend(bench.file, NonZeroU32::new(2).unwrap()).wait().unwrap();
            for block in BLOCKS..BLOCKS + 2 {
                let page = bench.pool.read(bench.page(block)).wait().unwrap();
                assert_eq!((page.lsn(), page.iter().all(|&byte| byte == 0)), (Lsn::UNLOGGED, true));
            }
            for block in [BLOCKS, 3] {
                bench.pool.overwrite(bench.page(block)).wait().unwrap().set_lsn(Lsn::UNLOGGED);
            }
            checkpoint(&bench.pool);
            for block in [BLOCKS, 3] {
                assert!(on_disk(&bench, block, with_codec) == [0; PAGE]);
            }
            assert_eq!(*log.0.lock().unwrap(), []);
        }
    });
}

/// Says the LSN of a page, and has it read from the disk and says it again.
fn lsn_before_and_after_an_eviction(bench: &Bench, block: u32) -> [Lsn; 2] {
    let lsn = || bench.pool.read(bench.page(block)).wait().unwrap().lsn();
    let before = lsn();
    assert_eq!(bench.pool.evict(bench.page(block)).wait().unwrap(), Evicted::Yes);
    [before, lsn()]
}

/// What was overwritten without a record is what its bytes say: the LSN that it had is gone with what was there.
#[test]
fn c8_a_page_that_is_overwritten_without_a_record_has_the_lsn_in_its_bytes() {
    with_each_method(|method| {
        for (is_stated, is_filled) in [(true, false), (false, false), (true, true), (false, true)] {
            let (bench, _) = bench(method.clone(), false);
            let page = bench.page(3);
            assert_eq!(bench.pool.read(page).wait().unwrap().lsn(), Lsn(503));
            let mut guard = bench.pool.overwrite(page).wait().unwrap();
            assert_eq!(guard.lsn(), Lsn::UNLOGGED);
            let expected = if is_filled { Lsn(77) } else { Lsn::UNLOGGED };
            if is_filled {
                guard.copy_from_slice(&with_lsn(3, 77));
            }
            if is_stated {
                guard.set_lsn(Lsn::UNLOGGED);
            }
            drop(guard);
            // A second guard, whose change has no record either.
            let mut guard = bench.pool.write(page).wait().unwrap();
            assert_eq!(guard.lsn(), expected);
            guard[100] = 9;
            guard.set_lsn(Lsn::UNLOGGED);
            drop(guard);
            assert_eq!(lsn_before_and_after_an_eviction(&bench, 3), [expected; 2]);
            assert_eq!(on_disk(&bench, 3, false)[AT..AT + 8], expected.0.to_le_bytes());
            // Redo has the records from there on to do.
            let mut guard = bench.pool.write(page).wait().unwrap();
            guard.set_lsn(Lsn(100)..Lsn(140));
            drop(guard);
            assert_eq!(lsn_before_and_after_an_eviction(&bench, 3), [Lsn(140); 2]);
        }
    });
}

#[test]
fn c8_a_page_without_a_record_gets_no_lsn_by_what_is_copied_there() {
    with_each_method(|method| {
        for is_stated in [true, false] {
            let (bench, _) = bench(method.clone(), false);
            bench.pool.extend(bench.file, NonZeroU32::MIN).wait().unwrap();
            let mut guard = bench.pool.write(bench.page(BLOCKS)).wait().unwrap();
            guard.copy_from_slice(&with_lsn(BLOCKS, 500));
            if is_stated {
                guard.set_lsn(Lsn::UNLOGGED);
            }
            drop(guard);
            assert_eq!(lsn_before_and_after_an_eviction(&bench, BLOCKS), [Lsn::UNLOGGED; 2]);
            assert!(on_disk(&bench, BLOCKS, false) == with_lsn(BLOCKS, 0));
        }
    });
}

#[test]
fn c8_what_one_life_has_stated_the_next_one_finds() {
    with_each_method(|method| {
        let disk = SimDisk::new();
        let open = |place: PageLsn| {
            let builder = BufferPool::builder().frames(8).page_size(PAGE as u32).io_method(method.clone());
            let pool = builder.page_lsn(place).storage(disk.clone()).build().unwrap();
            let file = pool.open_file("data", OpenOptions::new().create(true).initial_blocks(1)).unwrap();
            (pool, ringpool::PageId::new(file, 0))
        };
        for place in [PageLsn::at(PAGE - 8), PageLsn::at(3).big_endian()] {
            let (pool, page) = open(place);
            pool.write(page).wait().unwrap().set_image_lsn(Lsn(0x0102_0304));
            pool.shutdown(Shutdown::Flush).unwrap();
            let (pool, page) = open(place);
            assert_eq!(pool.read(page).wait().unwrap().lsn(), Lsn(0x0102_0304));
        }
    });
}

/// Beside a file whose pages have their LSN: its frames are used for both by turns.
#[test]
fn c1_a_file_without_lsns_has_its_bytes_to_itself() {
    with_each_method(|method| {
        let (mut bench, _) = bench(method, false);
        let with_lsns = bench.file;
        bench.disk.put("other", stamped(3, 1).repeat(32));
        bench.file = bench.pool.open_file("other", OpenOptions::new().page_lsn(false).tag(2)).unwrap();
        for _ in 0..2 {
            for block in 0..32 {
                let page = bench.pool.read(ringpool::PageId::new(with_lsns, block % BLOCKS)).wait().unwrap();
                assert_eq!(page.lsn(), Lsn(500 + u64::from(block % BLOCKS)));
                drop(page);
                let mut page = bench.pool.write(bench.page(block)).wait().unwrap();
                page.copy_from_slice(&stamped(3, 2));
                assert_eq!(page.lsn(), Lsn::UNLOGGED, "of block {block}");
                page.set_lsn(Lsn(2000));
                drop(page);
                assert!(*bench.pool.read(bench.page(block)).wait().unwrap() == *stamped(3, 2));
            }
            checkpoint(&bench.pool);
            assert!(bench.disk.image("other").unwrap() == stamped(3, 2).repeat(32));
            // There are fewer frames.
            let evict = |n| bench.pool.evict(bench.page(n)).wait().unwrap();
            (0..32).for_each(|n| assert_ne!(evict(n), Evicted::Pinned, "{n}"));
        }
    });
}

#[test]
fn a_place_that_is_not_within_the_page_is_refused() {
    guarded(|| {
        for (offset, works) in [(504, true), (505, false), (usize::MAX, false)] {
            let built = BufferPool::builder().frames(1).page_size(512).page_lsn(PageLsn::at(offset)).build();
            match built {
                Ok(_) => assert!(works),
                Err(Error::Config(refused)) => {
                    let text = refused.to_string();
                    assert!(!works && text.contains("page_lsn"), "{text}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    });
}
