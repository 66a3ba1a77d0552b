//! What a checkpoint covers: all that was dirty at its start, whichever thread is writing it; and in which order it writes.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, CheckpointOptions, CheckpointReport, Completion, FileId, IoMethod, Lsn, OpenOptions, PageId,
    testing::{Fault, Moment, Op},
};

use crate::support::{Bench, EIO, eventually, guarded, restamp, stamped_file, with_each_method};

/// Long enough for a checkpoint to end that does not wait for what it should wait for.
const A_WHILE: Duration = Duration::from_millis(50);

#[test]
fn a_checkpoint_waits_for_a_page_that_another_thread_is_writing() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 4, 2);
        bench.dirty([0], 2);
        let gate = bench.disk.hold(Op::Write);
        let (pool, page) = (bench.pool.clone(), bench.page(0));
        let flush = thread::spawn(move || pool.flush(page).wait());
        gate.wait_for(1);
        assert_eq!((bench.pool.stats().frames.dirty, bench.pool.stats().frames.writing), (0, 1));
        let pool = bench.pool.clone();
        let checkpoint = thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait());
        thread::sleep(A_WHILE);
        assert!(!checkpoint.is_finished(), "the page is on its way, not on the disk");
        gate.open();
        flush.join().unwrap().unwrap();
        checkpoint.join().unwrap().unwrap();
        assert_eq!(bench.durable()[..4096], stamped_file(2, 2)[..4096]);
    });
}

#[test]
fn a_checkpoint_waits_for_a_page_that_a_thread_is_changing() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 4, 2);
        let page = bench.fetch(0).unwrap();
        let mut bytes = page.write().unwrap();
        bytes.copy_from_slice(&stamped_file(1, 2));
        let pool = bench.pool.clone();
        let checkpoint = thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait());
        thread::sleep(A_WHILE);
        assert!(!checkpoint.is_finished(), "the change began before the checkpoint did");
        drop(bytes);
        assert_eq!(checkpoint.join().unwrap().unwrap().pages_written, 1);
        assert_eq!(bench.durable()[..8192], stamped_file(1, 2));
    });
}

const HOUR: Duration = Duration::from_secs(3600);

fn start(pool: &BufferPool, options: CheckpointOptions) -> thread::JoinHandle<CheckpointReport> {
    let pool = pool.clone();
    thread::spawn(move || pool.checkpoint(options).wait().unwrap())
}

/// Makes a second file, all of it dirty.
fn add_dirty_file(bench: &Bench, name: &str, blocks: u32) -> FileId {
    bench.disk.put(name, stamped_file(blocks, 1));
    let file = bench.pool.open_file(name, OpenOptions::new()).unwrap();
    (0..blocks).for_each(|block| restamp(&bench.pool.fetch(PageId::new(file, block)).wait().unwrap(), 2));
    file
}

#[test]
fn a_checkpoint_that_has_time_takes_it() {
    with_each_method(|method| {
        let bench = Bench::new(method, 160, 128);
        bench.dirty(0..128, 2);
        let time = Duration::from_millis(200);
        let running = start(&bench.pool, CheckpointOptions::new().spread_over(time));
        let report = running.join().unwrap();
        assert!(report.took >= time / 2, "{report:?}");
        assert_eq!((report.pages_written, report.files_synced), (128, 1));
        assert!(bench.durable() == stamped_file(128, 2));
    });
}

#[test]
fn a_checkpoint_that_has_time_spreads_its_writes_until_the_next_waits_and_each_covers_what_it_found() {
    with_each_method(|method| {
        let bench = Bench::new(method, 160, 128);
        bench.dirty(0..128, 2);
        let leisurely = start(&bench.pool, CheckpointOptions::new().spread_over(HOUR));
        eventually("it has begun", || bench.disk.count(Op::Write) > 0);
        assert!(bench.pool.stats().frames.dirty >= 64, "what is due later is written later");
        bench.dirty([0], 3);
        let next = start(&bench.pool, CheckpointOptions::new());
        assert_eq!(leisurely.join().unwrap().pages_written, 128);
        assert_eq!(next.join().unwrap().pages_written, 1, "what was changed behind the first one's back");
        assert!(bench.durable()[..8192] == stamped_file(1, 3));
    });
}

#[test]
fn a_checkpoint_that_no_caller_waits_for_any_more_goes_on() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.dirty(0..8, 2);
        let gate = bench.disk.hold(Op::Write);
        {
            let mut checkpoint: Completion<_> = bench.pool.checkpoint(CheckpointOptions::new());
            assert!(pin!(&mut checkpoint).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        gate.wait_for(1);
        gate.open();
        eventually("everything is durable", || bench.durable() == stamped_file(8, 2));
    });
}

#[test]
fn files_are_written_side_by_side() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 1400, 512);
        bench.dirty(0..512, 2);
        add_dirty_file(&bench, "other", 512);
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        let log = bench.disk.log();
        let writes = log.iter().filter(|event| event.op == Op::Write && event.moment == Moment::Begin);
        let mut order: Vec<_> = writes.map(|event| event.path.to_str().unwrap()).collect();
        order.dedup();
        assert_eq!(order, ["data", "other", "data", "other"]);
    });
}

#[test]
fn files_are_synced_side_by_side_and_each_once_after_all_of_its_writes() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, 8);
        bench.dirty([0, 2, 4, 6], 2);
        for name in ["second", "third"] {
            add_dirty_file(&bench, name, 4);
        }
        bench.disk.inject(Fault::delay_up_to(Op::Write, Duration::from_millis(5)));
        let gate = bench.disk.hold(Op::Sync);
        let running = start(&bench.pool, CheckpointOptions::new());
        gate.wait_for(3);
        gate.open();
        assert_eq!(running.join().unwrap().files_synced, 3);
        assert_eq!(bench.disk.count(Op::Sync), 3);
        let log = bench.disk.log();
        for name in ["data", "second", "third"] {
            let synced = log.iter().position(|event| event.begins(Op::Sync, name));
            let written = log.iter().rposition(|event| event.succeeds(Op::Write, name));
            assert!(
                synced > written && written.is_some(),
                "{name}: synced at {synced:?}, written at {written:?}"
            );
        }
    });
}

#[test]
fn c4_every_file_is_synced_though_one_fails_and_the_first_failure_is_told() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, 8);
        bench.dirty(0..8, 2);
        let names = ["second", "third", "fourth", "fifth", "sixth"];
        for name in names {
            add_dirty_file(&bench, name, 2);
        }
        for name in ["data", "third"] {
            bench.disk.inject(Fault::error(Op::Sync.of(name), EIO));
        }
        let error = bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err();
        assert!(error.to_string().contains("sync of data"), "{error}");
        for name in names {
            let is_durable = bench.disk.durable_image(name).unwrap() == stamped_file(2, 2);
            assert_eq!(is_durable, name != "third", "{name}");
        }
    });
}

#[test]
fn the_redo_position_is_never_later_than_a_change_that_is_not_durable() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        let change = |block, lsn| {
            let page = bench.fetch(block).unwrap();
            page.write().unwrap().set_lsn(Lsn(lsn)..Lsn(lsn + 5));
        };
        change(0, 10);
        change(1, 20);
        let gate = bench.disk.hold(Op::Write);
        let running = start(&bench.pool, CheckpointOptions::new());
        gate.wait_for(1);
        // While the writes are under way: changed again, twice, and one that was clean.
        let deadline = Instant::now() + Duration::from_secs(10);
        while bench.pool.stats().frames.writing < 2 && Instant::now() < deadline {
            // With the sync method the second page is written when the first is through.
            if bench.pool.stats().frames.dirty == 1 {
                break;
            }
        }
        change(0, 60);
        change(0, 65);
        change(5, 70);
        gate.open();
        let redo = running.join().unwrap().redo_lsn.expect("pages are dirty again");
        assert!(redo <= Lsn(60), "the change of 60 is not on disk: {redo:?}");
        let after = bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert_eq!(after.redo_lsn, None);
        change(5, 80);
        bench.disk.inject(Fault::error(Op::Write, EIO).once());
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err();
        change(5, 90);
        // What failed is needed from its first change on.
        change(6, 95);
        let held = bench.fetch(5).unwrap();
        let gate = bench.disk.hold(Op::Write);
        let running = start(&bench.pool, CheckpointOptions::new());
        gate.wait_for(1);
        held.write().unwrap().set_lsn(Lsn(100));
        gate.open();
        assert!(running.join().unwrap().redo_lsn.expect("dirty again") <= Lsn(100));
    });
}

#[test]
fn a_page_that_another_thread_is_writing_when_a_checkpoint_ends_holds_the_redo_position() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        let change =
            |block, lsn| bench.fetch(block).unwrap().write().unwrap().set_lsn(Lsn(lsn)..Lsn(lsn + 5));
        change(0, 10);
        let syncs = bench.disk.hold(Op::Sync);
        let running = start(&bench.pool, CheckpointOptions::new());
        syncs.wait_for(1);
        change(0, 60);
        let writes = bench.disk.hold(Op::Write);
        let (pool, page) = (bench.pool.clone(), bench.page(0));
        let flush = thread::spawn(move || pool.flush(page).wait());
        writes.wait_for(1);
        syncs.open();
        assert_eq!(running.join().unwrap().redo_lsn, Some(Lsn(60)), "it is on its way, and may not arrive");
        writes.open();
        flush.join().unwrap().unwrap();
    });
}

#[test]
fn a_page_that_is_latched_and_clean_does_not_take_the_redo_position_back() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        let change =
            |block, lsn| bench.fetch(block).unwrap().write().unwrap().set_lsn(Lsn(lsn)..Lsn(lsn + 5));
        change(0, 10);
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        change(1, 20);
        let gate = bench.disk.hold(Op::Write);
        let running = start(&bench.pool, CheckpointOptions::new());
        gate.wait_for(1);
        let long_durable = bench.fetch(0).unwrap();
        let latched = long_durable.write().unwrap();
        gate.open();
        assert_eq!(running.join().unwrap().redo_lsn, None, "the log may have been cut behind that");
        drop(latched);
    });
}

#[test]
fn c8_the_redo_position_follows_a_page_that_is_changed_during_each_of_its_writes() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        let change = |lsn| bench.fetch(0).unwrap().write().unwrap().set_lsn(Lsn(lsn)..Lsn(lsn + 5));
        change(10);
        for round in 2..8 {
            let gate = bench.disk.hold(Op::Write);
            let running = start(&bench.pool, CheckpointOptions::new());
            gate.wait_for(1);
            change(10 * round);
            change(10 * round + 5);
            gate.open();
            assert_eq!(running.join().unwrap().redo_lsn, Some(Lsn(10 * round)));
        }
        let page = bench.page(0);
        let gate = bench.disk.hold(Op::Write);
        bench.disk.inject(Fault::error(Op::Write, EIO).once());
        let pool = bench.pool.clone();
        let failing = thread::spawn(move || pool.flush(page).wait());
        gate.wait_for(1);
        change(90);
        gate.open();
        failing.join().unwrap().unwrap_err();
        // The write of a checkpoint covers what failed and what was changed meanwhile.
        let gate = bench.disk.hold(Op::Write);
        let running = start(&bench.pool, CheckpointOptions::new());
        gate.wait_for(1);
        change(100);
        gate.open();
        assert_eq!(running.join().unwrap().redo_lsn, Some(Lsn(100)));
        assert_eq!(bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap().redo_lsn, None);
    });
}

/// Four threads change one page all the time; the log could be cut behind each checkpoint.
#[test]
fn c8_the_redo_position_follows_a_page_that_many_change_all_the_time() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 1);
        bench.disk.inject(Fault::delay_up_to(Op::Write, Duration::from_millis(5)));
        let (end, done) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let page = bench.fetch(0).unwrap();
                    while !done.load(Relaxed) {
                        let mut bytes = page.write().unwrap();
                        // Appended while the guard is held.
                        let lsn = end.fetch_add(1, Relaxed) + 1;
                        bytes[..8].copy_from_slice(&lsn.to_le_bytes());
                        bytes.set_lsn(Lsn(lsn));
                    }
                });
            }
            let mut is_behind = Vec::new();
            for _ in 0..20 {
                let before = end.load(Relaxed);
                let report = bench.pool.checkpoint(CheckpointOptions::new()).wait();
                let redo = report.map(|report| report.redo_lsn);
                is_behind.push(match &redo {
                    // A moment in which a write ended as a change began: the next write catches up.
                    Ok(redo) => redo.is_none_or(|redo| redo.0 >= before),
                    Err(_) => false,
                });
            }
            done.store(true, Relaxed);
            let late = is_behind.iter().filter(|&&is_behind| !is_behind).count();
            assert!(late <= 5, "{late} of 20 redo positions are those of changes that are long on disk");
        });
    });
}
