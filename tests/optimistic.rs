//! Pages read from a copy, without pin and latch.

mod support;

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use ringpool::{BufferPool, Evicted, IoMethod, OptimisticPage, PageId};
use support::{Bench, PAGE, guarded, restamp, stamped, with_each_method};

fn read(pool: &BufferPool, page: PageId) -> Vec<u8> {
    let whole = |page: &OptimisticPage<'_>| {
        let mut bytes = vec![0; page.size()];
        page.copy_to(0, &mut bytes).map(|()| bytes)
    };
    pool.read_optimistically(page, whole).unwrap()
}

fn has_copy(bench: &Bench, block: u32) -> bool {
    bench.pool.try_optimistic(bench.page(block)).is_some()
}

#[test]
fn c1_a_copy_shows_what_the_page_shows() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        for version in 1..4 {
            for block in (0..8).chain(0..8) {
                assert!(read(&bench.pool, bench.page(block)) == stamped(block, version), "block {block}");
            }
            assert!((0..8).any(|block| has_copy(&bench, block)));
            bench.dirty(0..8, version + 1);
            assert!((0..8).all(|block| !has_copy(&bench, block)), "a copy outlived a change");
        }
        bench.assert_at_rest();
    });
}

#[test]
fn any_bytes_of_a_copy_are_had_and_none_beyond_its_end() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 1);
        let bytes = stamped(0, 1);
        assert_eq!(read(&bench.pool, bench.page(0)), bytes, "read from the page, for want of a copy");
        let page = bench.pool.try_optimistic(bench.page(0)).unwrap();
        assert_eq!(page.size(), PAGE);
        for at in (0..64).chain(PAGE - 64..=PAGE) {
            for len in [0, 1, 3, 8, 21, 64].into_iter().filter(|len| at + len <= PAGE) {
                let mut part = vec![0; len];
                page.copy_to(at, &mut part).unwrap();
                assert_eq!(part, bytes[at..at + len], "{len} bytes at {at}");
            }
        }
        assert_eq!(page.bytes_at::<5>(PAGE - 5).unwrap(), bytes[PAGE - 5..]);
        let beyond = || page.bytes_at::<8>(PAGE - 7).map(drop);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(beyond)).is_err());
    });
}

/// A look that began before a change says so from then on, and does not show half of it.
#[test]
fn c1_a_look_ends_with_the_change_of_its_page() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let page = bench.fetch(0).unwrap();
        read(&bench.pool, bench.page(0));
        let look = bench.pool.try_optimistic(bench.page(0)).unwrap();
        let mut guard = page.write().unwrap();
        look.bytes_at::<8>(0).expect("latched, and not changed yet");
        guard[0] = 9;
        look.bytes_at::<8>(0).expect_err("changed");
        drop(guard);
        look.bytes_at::<8>(0).expect_err("still changed");
        assert_eq!(read(&bench.pool, bench.page(0))[0], 9);
        look.bytes_at::<8>(0).expect_err("a new copy is another look's");
    });
}

/// Whatever takes a page out of the pool takes its copy along, and the next page in its frame has its own.
#[test]
fn c1_a_copy_goes_with_its_page() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 8);
        let copied = |block| {
            read(&bench.pool, bench.page(block));
            bench.pool.try_optimistic(bench.page(block)).expect("a free place for a copy")
        };
        let look = copied(0);
        assert_eq!(bench.pool.evict(bench.page(0)).wait().unwrap(), Evicted::Yes);
        look.bytes_at::<1>(0).expect_err("evicted");
        assert!(!has_copy(&bench, 0));
        let look = copied(7);
        bench.pool.truncate(bench.file, 7).wait().unwrap();
        look.bytes_at::<1>(0).expect_err("cut off");
        bench.pool.extend(bench.file, NonZeroU32::MIN).wait().unwrap();
        assert!(read(&bench.pool, bench.page(7)).iter().all(|&byte| byte == 0), "a new block is empty");
        let look = copied(3);
        bench.pool.close_file(bench.file).wait().unwrap();
        look.bytes_at::<1>(0).expect_err("closed");
        bench.pool.read_optimistically(bench.page(3), |_| Ok(())).expect_err("closed");
    });
}

/// A page that is only read from its copy is in use all the same, while others come and go.
#[test]
fn a_page_whose_copy_is_read_stays_in_the_pool() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 8, 200);
        read(&bench.pool, bench.page(0));
        for block in 1..200 {
            assert_eq!(read_word(&bench, 0), 1, "block 0 was read again");
            bench.fetch(block).unwrap();
        }
        assert_eq!(bench.pool.stats().counts.misses, 200);
    });
}

/// The version in a page's first word.
fn read_word(bench: &Bench, block: u32) -> u8 {
    bench.pool.read_optimistically(bench.page(block), |page| Ok(page.bytes_at::<1>(0)?[0])).unwrap()
}

/// Pages beyond the places for copies are read as well, and do not push out those that are read all the time.
#[test]
fn pages_without_a_place_for_a_copy_are_read_all_the_same() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 64, 64);
        for _ in 0..3 {
            for block in 0..64 {
                assert!(read(&bench.pool, bench.page(block)) == stamped(block, 1));
            }
        }
        let copies = (0..64).filter(|&block| has_copy(&bench, block)).count();
        assert!((1..=4).contains(&copies), "{copies} copies");
    });
}

/// Readers beside a writer and an evictor: what is read is always one version, and never older than one read before.
#[test]
fn c1_readers_of_copies_see_whole_pages_in_order() {
    with_each_method(|method| {
        const VERSIONS: u8 = 200;
        let bench = Bench::new(method, 8, 3);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut newest = 0;
                    while !done.load(Ordering::Relaxed) {
                        let bytes = read(&bench.pool, bench.page(1));
                        assert!(
                            bytes[0] >= newest && bytes == stamped(1, bytes[0]),
                            "{} after {newest}",
                            bytes[0]
                        );
                        newest = bytes[0];
                    }
                });
            }
            for version in 2..VERSIONS {
                restamp(&bench.fetch(1).unwrap(), version);
                assert_eq!(read_word(&bench, 1), version);
                if version % 8 == 0 {
                    bench.pool.evict(bench.page(1)).wait().unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        bench.assert_at_rest();
    });
}

/// One thread alone changes a page and reads it back, while another evicts it: what it reads is its last change.
#[test]
fn c1_a_thread_reads_its_own_last_change_while_another_evicts_the_page() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 1);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    bench.pool.evict(bench.page(0)).wait().unwrap();
                }
            });
            let until = Instant::now() + Duration::from_secs(1);
            let (mut value, mut seen) = (0_u64, 0);
            while seen == value && Instant::now() < until {
                value += 1;
                bench.fetch(0).unwrap().write().unwrap()[..8].copy_from_slice(&value.to_le_bytes());
                // The first look makes the copy for the second.
                for _ in 0..2 {
                    let look = bench.pool.read_optimistically(bench.page(0), |page| page.bytes_at::<8>(0));
                    seen = u64::from_le_bytes(look.unwrap());
                    if seen != value {
                        break;
                    }
                }
                // Clean, so that it can be evicted.
                bench.pool.flush(bench.page(0)).wait().unwrap();
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(seen, value, "read {seen} when the last change was {value}");
        });
        bench.assert_at_rest();
    });
}
