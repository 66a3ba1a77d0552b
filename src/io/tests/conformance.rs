//! What every method must do, tried with every method (C7): same bytes, same counts, same errors, every lease finished.

use std::{fs, path::Path};

use crate::{
    error::Error,
    id::{FileId, PageSize},
    io::{
        buffers::Direction::{Read, Write},
        file::{File, open_options::OpenOptions},
        method::{Chunk, Method, choice::open_method},
        operation::Lease,
        options::{Fallback, IoMethod, UringOptions},
        report::{MethodKind, Registration},
        storage::{WhyNot, opened::NO_DESCRIPTOR},
        tests::support::{FakeDisk, SCHEDULING, TestArena, TestLease, TransferReport, os_file, stamped},
    },
    observe::{Counter, Counters},
    sync::Arc,
};

type AnyMethod = Arc<dyn Method<TestLease>>;

const PAGE: u64 = 8192;

/// Returns every method and every form of the ring that works here.
fn methods() -> Vec<IoMethod> {
    let plain = UringOptions::default().fixed_buffers(Fallback::Off).fixed_files(Fallback::Off);
    let mut methods = vec![IoMethod::Sync, IoMethod::Worker { threads: 3 }];
    let three = UringOptions::default().workers(3);
    let rings = [UringOptions::default(), plain, three, UringOptions::default().queue_depth(1)];
    let arena = TestArena::new(1 << 16);
    match open_method::<TestLease>(
        &IoMethod::uring(),
        &arena.chunks(),
        &SCHEDULING,
        &Arc::new(Counters::new()),
    ) {
        Ok(_) => methods.extend(rings.map(IoMethod::Uring)),
        Err(error) => println!("skipped for io_uring: {error}"),
    }
    methods
}

fn open(asked: &IoMethod, arena: &TestArena) -> (AnyMethod, Arc<Counters>) {
    let counters = Arc::new(Counters::new());
    (open_method(asked, &arena.chunks(), &SCHEDULING, &counters).unwrap().0, counters)
}

/// Runs `check` for every method, with files that are buffered and direct.
fn for_each(check: impl Fn(&AnyMethod, &TestArena, &OpenOptions)) {
    for asked in methods() {
        for direct in [Fallback::Off, Fallback::Prefer] {
            println!("{asked:?}, direct {direct:?}");
            let arena = TestArena::new(8 << 20);
            check(&open(&asked, &arena).0, &arena, &OpenOptions::new().direct(direct));
        }
    }
}

fn file_of(len: usize) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), stamped(len)).unwrap();
    file
}

fn shared(path: &Path, options: &OpenOptions) -> Arc<File> {
    let mut file = os_file(path, options).unwrap();
    // Whether a file's pages are written atomically, and then one by one, is decided by the code that opens it for a pool.
    file.opened.atomic_pages = Err(WhyNot::NotAsked);
    Arc::new(file)
}

fn open_on(disk: &crate::testing::SimDisk, path: &str) -> File {
    let size = PageSize::new(PAGE as u32).unwrap();
    File::open(disk, FileId(u32::MAX), Path::new(path), &OpenOptions::new(), size).unwrap()
}

#[test]
fn reads_bring_the_bytes_of_their_place_up_to_an_odd_end() {
    const LEN: u64 = 40 * PAGE + 1808;
    let on_disk = file_of(LEN as usize);
    for_each(|method, arena, options| {
        let file = shared(on_disk.path(), options);
        for buffers in [1, 2, 5, 16, 20] {
            let lens = vec![PAGE as u32; buffers];
            let mut batch: Vec<_> =
                (0..44).map(|block| arena.request(Read, &file, block * PAGE, &lens)).collect();
            method.submit(&mut batch);
            assert!(batch.is_empty());
            let whole = buffers as u64 * PAGE;
            (0..44).for_each(|_| arena.expect(|offset| LEN.saturating_sub(offset).min(whole) as usize));
            arena.reuse();
        }
    });
}

#[test]
fn buffers_may_lie_in_several_chunks() {
    let on_disk = file_of(64 * PAGE as usize);
    for_each(|method, arena, options| {
        let file = shared(on_disk.path(), options);
        let filler = arena.request(Read, &file, 0, &[(4 << 20) - 2 * PAGE as u32]);
        let across = arena.request(Read, &file, PAGE, &[PAGE as u32; 4]);
        method.submit(&mut vec![across]);
        arena.expect_reads(1);
        drop(filler);
    });
}

#[test]
fn writes_arrive_where_they_belong() {
    for_each(|method, arena, options| {
        let on_disk = file_of(0);
        let file = shared(on_disk.path(), options);
        let mut batch = Vec::new();
        let mut block = 0;
        for buffers in [1, 7, 2, 16, 1] {
            batch.push(arena.request(Write, &file, block * PAGE, &vec![PAGE as u32; buffers]));
            block += buffers as u64;
        }
        let lens: Vec<usize> = batch.iter().map(|operation| operation.lease.bytes()).collect();
        let starts: Vec<u64> = batch.iter().map(|request| request.offset).collect();
        method.submit(&mut batch);
        for _ in 0..lens.len() {
            arena.expect(|offset| lens[starts.iter().position(|&start| start == offset).unwrap()]);
        }
        assert!(fs::read(on_disk.path()).unwrap() == stamped((block * PAGE) as usize));
    });
}

#[test]
fn a_write_to_a_file_that_is_read_only_fails_everywhere_alike() {
    let on_disk = file_of(PAGE as usize);
    for_each(|method, arena, options| {
        let file = shared(on_disk.path(), &(*options).read_only(true));
        method.submit(&mut vec![arena.request(Write, &file, 0, &[PAGE as u32])]);
        assert_eq!(arena.expect_error().raw_os_error(), Some(9));
        method.submit(&mut vec![arena.request(Read, &file, 0, &[PAGE as u32])]);
        arena.expect_reads(1);
    });
}

#[test]
fn many_threads_submit_at_once() {
    const THREADS: u64 = 4;
    const EACH: u64 = 100;
    let on_disk = file_of(256 * PAGE as usize);
    for_each(|method, arena, options| {
        let file = shared(on_disk.path(), options);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let file = &file;
                scope.spawn(move || {
                    for round in 0..EACH {
                        let offset = (thread * 61 + round) % 256 * PAGE;
                        method.submit(&mut vec![arena.request(Read, file, offset, &[PAGE as u32])]);
                    }
                });
            }
            arena.expect_reads((THREADS * EACH) as usize);
        });
    });
}

#[test]
fn ten_thousand_requests_pass_a_ring_of_four() {
    let on_disk = file_of(64 * PAGE as usize);
    let asked = IoMethod::Uring(UringOptions::default().queue_depth(4));
    let arena = TestArena::new(8 << 20);
    let counters = Arc::new(Counters::new());
    let Ok((method, _)) = open_method::<TestLease>(&asked, &arena.chunks(), &SCHEDULING, &counters) else {
        return println!("skipped: no io_uring here");
    };
    let file = shared(on_disk.path(), &OpenOptions::new());
    for round in 0..10_000 / 50 {
        let request = |n: u64| arena.request(Read, &file, (round + n) % 64 * PAGE, &[PAGE as u32]);
        method.submit(&mut (0..50).map(request).collect());
        arena.expect_reads(50);
        arena.reuse();
    }
    let [inline, handed, aside] =
        [Counter::Inline, Counter::HandedOver, Counter::Aside].map(|counter| counters.get(counter));
    assert_eq!(inline + handed, 10_000);
    match &file.may_block {
        None => {
            assert!(inline > 0 && handed > 0, "{inline} inline, {handed} handed over");
            assert_eq!((aside, method.room(&file)), (0, 12));
        }
        // On a file system such as tmpfs the ring is never asked.
        Some(reason) => {
            println!("all beside the ring: {reason}");
            assert_eq!(aside, handed);
        }
    }
}

#[test]
fn shutdown_finishes_what_is_under_way_and_then_everything_is_inline() {
    let on_disk = file_of(64 * PAGE as usize);
    for_each(|method, arena, options| {
        let file = shared(on_disk.path(), options);
        let read = |block: u64| arena.request(Read, &file, block * PAGE, &[PAGE as u32; 2]);
        method.submit(&mut (0..60).map(read).collect());
        method.shutdown();
        arena.expect_reads(60);
        method.submit(&mut vec![read(7)]);
        arena.expect_reads(1);
        method.shutdown();
        method.forget(&file);
    });
}

#[test]
fn shutdown_races_with_submitters_and_no_lease_is_lost() {
    let on_disk = file_of(64 * PAGE as usize);
    for asked in methods() {
        for round in 0..10 {
            let arena = TestArena::new(8 << 20);
            let (method, _) = open(&asked, &arena);
            let file = shared(on_disk.path(), &OpenOptions::new());
            std::thread::scope(|scope| {
                for thread in 0..2 {
                    let (method, arena, file) = (&method, &arena, &file);
                    scope.spawn(move || {
                        for n in 0..50 {
                            let offset = (thread + n + round) % 64 * PAGE;
                            method.submit(&mut vec![arena.request(Read, file, offset, &[PAGE as u32])]);
                        }
                    });
                }
                method.shutdown();
            });
            arena.expect_reads(100);
        }
    }
}

#[test]
fn a_method_that_is_dropped_finishes_first() {
    let on_disk = file_of(64 * PAGE as usize);
    for asked in methods() {
        let arena = TestArena::new(8 << 20);
        let (method, _) = open(&asked, &arena);
        let file = shared(on_disk.path(), &OpenOptions::new());
        method.submit(&mut (0..64).map(|n| arena.request(Read, &file, n * PAGE, &[PAGE as u32])).collect());
        drop(method);
        assert_eq!(Arc::strong_count(&file), 1, "a request still holds the file");
        arena.expect_reads(64);
    }
}

/// Returns whether any process, or a ring, has the file open for writing: the system grants no read lease on it then.
#[cfg(all(feature = "uring", target_os = "linux"))]
#[allow(unsafe_code)]
fn is_open_for_writing(path: &Path) -> bool {
    use std::os::fd::AsRawFd;
    let file = fs::File::open(path).unwrap();
    // SAFETY: takes a descriptor that is open and a number.
    let outcome = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    outcome != 0
}

#[test]
fn a_file_that_is_forgotten_makes_room_for_another() {
    for_each(|method, arena, options| {
        // More files than a ring has places for, a few at a time.
        for round in 0..300_u64 {
            let on_disk = file_of(2 * PAGE as usize);
            let file = shared(on_disk.path(), options);
            method.submit(&mut vec![arena.request(Read, &file, round % 2 * PAGE, &[PAGE as u32])]);
            arena.expect_reads(1);
            arena.reuse();
            method.forget(&file);
            drop(file);
        }
        method.shutdown();
    });
}

#[cfg(all(feature = "uring", target_os = "linux"))]
#[test]
fn a_ring_lets_go_of_a_forgotten_file() {
    use std::time::{Duration, Instant};
    let Some(asked) = methods().into_iter().find(|asked| matches!(asked, IoMethod::Uring(_))) else {
        return;
    };
    let arena = TestArena::new(1 << 20);
    let (method, _) = open(&asked, &arena);
    let path = file_of(2 * PAGE as usize).into_temp_path();
    assert!(!is_open_for_writing(&path));
    let file = shared(&path, &OpenOptions::new());
    // On a file system such as tmpfs the file goes beside the ring, which never knows it.
    let is_for_the_ring = file.may_block.is_none();
    method.submit_one(arena.request(Read, &file, 0, &[PAGE as u32]));
    arena.expect_reads(1);
    let mut again = os_file(&path, &OpenOptions::new().read_only(true)).unwrap();
    // A method knows a file by its id only.
    again.id = file.id;
    drop(file);
    assert!(is_open_for_writing(&path) || !is_for_the_ring, "it was never registered");
    method.forget(&again);
    drop(again);
    // The worker forgets asynchronously.
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_open_for_writing(&path) {
        assert!(Instant::now() < deadline, "never forgotten");
        std::thread::yield_now();
    }
}

#[test]
fn short_and_interrupted_transfers_are_completed() {
    for asked in methods() {
        let arena = TestArena::new(1 << 20);
        let (method, counters) = open(&asked, &arena);
        let disk = FakeDisk::stamped(64 * 512);
        let file = Arc::new(disk.open_file(512).unwrap());
        for (direction, lens) in [(Read, [512; 5]), (Write, [512; 5])] {
            disk.transfer_at_most([1, 700, 512, 3]);
            disk.fail_transfers([4, 11, 4]);
            method.submit(&mut vec![arena.request(direction, &file, 1024, &lens)]);
            arena.expect(|_| 5 * 512);
        }
        assert_eq!(counters.get(Counter::Resumed), 14);
        assert_eq!(disk.bytes(), stamped(64 * 512));
        disk.fail_transfers([5]);
        method.submit(&mut vec![arena.request(Read, &file, 0, &[512])]);
        assert_eq!(arena.expect_error().raw_os_error(), Some(5));
    }
}

#[test]
fn a_lease_that_panics_stops_no_other_operation() {
    let on_disk = file_of(4 * PAGE as usize);
    for asked in methods().into_iter().filter(|asked| *asked != IoMethod::Sync) {
        let arena = TestArena::new(1 << 20);
        let (method, _) = open(&asked, &arena);
        let file = shared(on_disk.path(), &OpenOptions::new());
        let mut bad = arena.request(Read, &file, 0, &[PAGE as u32]);
        bad.lease.panic_in_finish();
        method.submit(&mut vec![bad]);
        assert!(matches!(arena.next_report(), TransferReport::Dropped));
        method.submit(&mut vec![arena.request(Read, &file, PAGE, &[PAGE as u32])]);
        arena.expect_reads(1);
    }
}

#[test]
fn what_cannot_be_registered_is_done_without_or_refused_as_asked() {
    // A chunk beyond what the kernel registers at once is refused before it is looked at.
    let arena = TestArena::new(1 << 20);
    let too_long = [Chunk { ptr: arena.chunks()[0].ptr, len: (1 << 30) + 4096 }];
    let ring = |fallback| IoMethod::Uring(UringOptions::default().fixed_buffers(fallback));
    let open = |fallback| {
        open_method::<TestLease>(&ring(fallback), &too_long, &SCHEDULING, &Arc::new(Counters::new()))
    };
    if open(Fallback::Off).is_err() {
        return println!("skipped: no io_uring here");
    }
    let (method, report) = open(Fallback::Prefer).unwrap();
    assert_eq!(report.in_use, MethodKind::Uring);
    let Registration::Refused(reason) = report.fixed_buffers else { panic!("{report:?}") };
    assert!(reason.contains("cannot be registered"), "{reason}");
    let on_disk = file_of(PAGE as usize);
    let file = shared(on_disk.path(), &OpenOptions::new());
    method.submit(&mut vec![arena.request(Read, &file, 0, &[4096, 4096])]);
    arena.expect_reads(1);
    let error = open(Fallback::Require).err().unwrap();
    assert!(matches!(error, Error::Config(_)), "{error}");
}

#[test]
fn several_rings_share_one_registration() {
    let arena = TestArena::new(4 << 20);
    let options = UringOptions::default().workers(3).fixed_buffers(Fallback::Require);
    let counters = Arc::new(Counters::new());
    let opened = open_method::<TestLease>(&IoMethod::Uring(options), &arena.chunks(), &SCHEDULING, &counters);
    let Ok((method, report)) = opened else {
        return println!("skipped: no io_uring here, or not enough memory may be locked");
    };
    assert_eq!(report.fixed_buffers, Registration::InUse);
    // A stretch for each worker.
    let on_disk = file_of(2 * PAGE as usize);
    on_disk.as_file().set_len(64 << 20).unwrap();
    let file = shared(on_disk.path(), &OpenOptions::new());
    let batch = (0..12).map(|n| arena.request(Read, &file, n * (4 << 20), &[PAGE as u32; 2]));
    method.submit(&mut batch.collect());
    (0..12).for_each(|_| {
        assert!(matches!(arena.next_report(), TransferReport::Finished { outcome: Ok(16384), .. }));
    });
}

/// As in a pool that grows and shrinks.
#[test]
fn memory_comes_and_goes_with_every_ring() {
    const EFAULT: i32 = 14;
    let arena = TestArena::new(8 << 20);
    let [first, second] = arena.chunks();
    let nothing = Chunk { len: 0, ..second };
    let asked = IoMethod::Uring(UringOptions::default().workers(3).fixed_buffers(Fallback::Require));
    let counters = Arc::new(Counters::new());
    let Ok((method, _)) = open_method::<TestLease>(&asked, &[first, nothing], &SCHEDULING, &counters) else {
        return println!("skipped: no io_uring here, or not enough memory may be locked");
    };
    let on_disk = file_of(2 * PAGE as usize);
    on_disk.as_file().set_len(64 << 20).unwrap();
    let file = shared(on_disk.path(), &OpenOptions::new());
    if let Some(reason) = &file.may_block {
        return println!("skipped: no ring reads this file, so nothing of it is registered: {reason}");
    }
    method.submit_one(arena.request(Read, &file, 0, &[4 << 20]));
    assert!(
        matches!(arena.next_report(), TransferReport::Finished { outcome: Ok(_), .. }),
        "what is there is registered"
    );
    // A stretch for each worker, read into the second chunk.
    let outcomes = || {
        let read = |n: u64| arena.request(Read, &file, n * (4 << 20), &[PAGE as u32]);
        method.submit(&mut (0..3).map(read).collect());
        [(); 3].map(|()| match arena.next_report() {
            TransferReport::Finished { outcome, .. } => {
                outcome.map_err(|error| error.raw_os_error().unwrap())
            }
            TransferReport::Dropped => panic!("a request was dropped"),
        })
    };
    for _ in 0..2 {
        assert_eq!(outcomes(), [Err(EFAULT); 3]);
        method.set_chunk(1, second).unwrap();
        assert_eq!(outcomes(), [Ok(PAGE as usize); 3]);
        method.set_chunk(1, nothing).unwrap();
    }
    let too_long = Chunk { len: (1 << 30) + 4096, ..second };
    assert!(method.set_chunk(1, too_long).is_err(), "what the system refuses is told");
    method.shutdown();
    method.set_chunk(1, second).expect("a ring that is gone refuses nothing");
}

/// Requests for a file that may block go beside the ring; the ring, and the files it serves, know nothing of it.
#[test]
fn a_slow_file_is_read_beside_the_ring() {
    const SLOW: u64 = 40;
    let Some(asked) = methods().into_iter().find(|asked| matches!(asked, IoMethod::Uring(_))) else {
        return;
    };
    let on_disk = file_of(64 * PAGE as usize);
    let arena = TestArena::new(8 << 20);
    let (method, counters) = open(&asked, &arena);
    let fast = shared(on_disk.path(), &OpenOptions::new());
    // It tells which thread reads it: not the one that submits.
    let disk = crate::testing::SimDisk::new();
    disk.put("slow", stamped(64 * PAGE as usize));
    let slow = Arc::new(open_on(&disk, "slow"));
    assert_eq!(slow.may_block.as_deref(), Some(NO_DESCRIPTOR));
    let gate = disk.hold(crate::testing::Op::Read);
    // Both in one batch, by turns.
    let mut batch: Vec<_> = (0..SLOW)
        .flat_map(|n| [&slow, &fast].map(|file| arena.request(Read, file, n * PAGE, &[PAGE as u32])))
        .collect();
    method.submit(&mut batch);
    gate.wait_for(6);
    arena.expect_reads(SLOW as usize);
    assert_eq!(gate.held(), 6, "three quarters of the threads");
    // On a file system such as tmpfs the fast file is read beside the ring as well, and is not held up even so.
    let fast_aside = fast.may_block.as_ref().map_or(0, |reason| {
        println!("the fast file is beside the ring too: {reason}");
        SLOW
    });
    if fast_aside == 0 {
        assert_eq!(method.room(&fast), open(&asked, &arena).0.room(&fast), "the ring's queue is empty");
    }
    gate.open();
    arena.expect_reads(SLOW as usize);
    assert_eq!((counters.get(Counter::Aside), counters.get(Counter::Inline)), (SLOW + fast_aside, 0));
}

/// A batch is one call of the ring, and no request that was taken is held back to be joined, nor while the worker sleeps or
/// finishes something else.
#[test]
fn nothing_that_was_handed_over_waits_for_company() {
    let Some(asked) = methods().into_iter().find(|asked| matches!(asked, IoMethod::Uring(_))) else {
        return;
    };
    let on_disk = file_of(64 * PAGE as usize);
    let arena = TestArena::new(8 << 20);
    let (method, counters) = open(&asked, &arena);
    let file = shared(on_disk.path(), &OpenOptions::new());
    let read = |block: u64| arena.request(Read, &file, block * PAGE, &[PAGE as u32]);
    // Alone, again and again: each comes back although no other ever joins it.
    for block in 0..64 {
        method.submit_one(read(block));
        arena.expect_reads(1);
    }
    // Fifteen in flight is below what the worker makes bounded waits for; with more it makes them, and a last one behind them
    // comes back too.
    for batch in [15, 16, 40] {
        let before = counters.get(Counter::RingEnters);
        method.submit(&mut (0..batch).map(read).collect());
        method.submit_one(read(63));
        arena.expect_reads(batch as usize + 1);
        let enters = counters.get(Counter::RingEnters) - before;
        assert!(enters <= batch + 4, "{enters} calls for {batch} requests and one more");
    }
}
