//! C5, for background operations that no caller waits for: they end with the pool, which waits for them and for no caller, so that
//! the files can be opened anew at once.

use std::{
    num::NonZeroU32,
    pin::pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, Builder, CheckpointOptions, Completion, Error, IoMethod, OpenOptions, PageId, Shutdown,
    testing::{Fault, Moment, Op, SimDisk},
};

use crate::support::{
    Bench, PAGE, assert_stamped, eventually, guarded, restamp, stamped, stamped_file, with_each_method,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Less than the minute after which parts of this would time out by themselves.
const SOON: Duration = Duration::from_secs(30);

/// The two ways in which a pool's work ends; what is dirty is not asked for in either.
const ENDS: [fn(BufferPool); 2] = [drop, |pool| drop(pool.shutdown(Shutdown::Discard))];

fn poll_once<T: Send + 'static>(completion: &mut Completion<T>) -> Poll<ringpool::Result<T>> {
    pin!(completion).poll(&mut Context::from_waker(Waker::noop()))
}

/// Begins it in the background, and leaves it there.
fn begin_and_leave<T: Send + 'static>(mut completion: Completion<T>) {
    assert!(poll_once(&mut completion).is_pending());
}

/// Ends the pool, and fails where that takes long: then it waits for something that it should not wait for.
#[track_caller]
fn end_soon(end: fn(BufferPool), pool: BufferPool) {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        end(pool);
        done.send(())
    });
    assert!(is_done.recv_timeout(SOON).is_ok(), "the end of the pool waits for what it should not wait for");
}

/// Asserts that nothing is under way on the disk, and that nothing begins.
#[track_caller]
fn assert_quiet(disk: &SimDisk) {
    let log = disk.log();
    let ended = log.iter().filter(|event| event.moment != Moment::Begin).count();
    assert_eq!(2 * ended, log.len(), "an operation is under way");
    // Time for operations that must not begin.
    thread::sleep(Duration::from_millis(20));
    assert_eq!(disk.log().len(), log.len(), "an operation has begun");
}

/// Asserts that what another pool on the disk writes to a block is found there.
#[track_caller]
fn assert_free_to_use(disk: &SimDisk, block: u32) {
    let pool = BufferPool::builder().frames(4).page_size(PAGE as u32).storage(disk.clone()).build().unwrap();
    let file = pool.open_file("data", OpenOptions::new()).unwrap();
    restamp(&pool.fetch(PageId::new(file, block)).wait().unwrap(), 9);
    pool.shutdown(Shutdown::Flush).unwrap();
    assert_quiet(disk);
    let at = block as usize * PAGE;
    assert!(
        disk.image("data").unwrap()[at..at + PAGE] == stamped(block, 9),
        "an old page came over a new one"
    );
}

#[test]
fn c5_a_checkpoint_that_was_left_alone_ends_with_the_pool() {
    with_each_method(|method| {
        for end in ENDS {
            let bench = Bench::new(method.clone(), 32, 16);
            bench.dirty((0..16).step_by(2), 2);
            bench.disk.inject(Fault::delay(Op::Write, Duration::from_millis(2)));
            let gate = bench.disk.hold(Op::Write);
            begin_and_leave(bench.pool.checkpoint(CheckpointOptions::new()));
            gate.wait_for(1);
            let (disk, pool, _) = bench.into_parts();
            let ending = thread::spawn(move || end(pool));
            gate.open();
            ending.join().unwrap();
            assert_quiet(&disk);
            let image = disk.durable_image("data").unwrap();
            let expected = (0..16).flat_map(|block| stamped(block, if block % 2 == 0 { 2 } else { 1 }));
            assert!(image == expected.collect::<Vec<_>>(), "what was begun did not go to its end");
            assert_free_to_use(&disk, 14);
        }
    });
}

#[test]
fn c5_a_checkpoint_that_has_time_hurries_when_the_pool_ends() {
    with_each_method(|method| {
        for end in ENDS {
            let bench = Bench::new(method.clone(), 160, 128);
            bench.dirty(0..128, 2);
            begin_and_leave(bench.pool.checkpoint(CheckpointOptions::new().spread_over(HOUR)));
            eventually("it has begun", || bench.disk.count(Op::Write) > 0);
            let disk = bench.disk.clone();
            end_soon(end, bench.into_pool());
            assert_quiet(&disk);
            assert!(disk.durable_image("data").unwrap() == stamped_file(128, 2));
        }
    });
}

#[test]
fn c5_the_end_of_a_pool_waits_for_the_disk_and_for_no_thread_that_changes_a_page() {
    with_each_method(|method| {
        for end in ENDS {
            let bench = Bench::new(method.clone(), 16, 8);
            bench.dirty(0..4, 2);
            let page = bench.fetch(2).unwrap();
            let changing = page.write().unwrap();
            let mut checkpoint = bench.pool.checkpoint(CheckpointOptions::new());
            assert!(poll_once(&mut checkpoint).is_pending());
            eventually("it waits for the latch", || bench.disk.count(Op::Write) > 0);
            let disk = bench.disk.clone();
            end_soon(end, bench.into_pool());
            assert_quiet(&disk);
            assert!(matches!(checkpoint.wait(), Err(Error::ShutDown)), "it did not write everything");
            assert!(disk.image("data").unwrap()[2 * PAGE..3 * PAGE] == stamped(2, 1));
            drop(changing);
            assert_stamped(&page, 2);
        }
    });
}

#[test]
fn c5_the_end_of_a_pool_does_not_wait_for_pins() {
    with_each_method(|method| {
        for end in ENDS {
            let bench = Bench::new(method.clone(), 16, 8);
            bench.dirty([1, 6], 2);
            let pinned = bench.fetch(5).unwrap();
            let mut cut = bench.pool.truncate(bench.file, 4);
            assert!(poll_once(&mut cut).is_pending());
            eventually("it waits for the pin", || bench.pool.blocks(bench.file).unwrap() == 4);
            let disk = bench.disk.clone();
            end_soon(end, bench.into_pool());
            assert!(matches!(cut.wait(), Err(Error::Pinned { .. })));
            assert_quiet(&disk);
            assert_eq!(disk.image("data").unwrap().len(), 8 * PAGE);
            assert_stamped(&pinned, 1);
        }
    });
}

#[test]
fn c5_a_warm_up_ends_with_the_pool() {
    const BLOCKS: u32 = 256;
    with_each_method(|method| {
        for end in ENDS {
            let one_by_one =
                |builder: Builder| builder.frames(BLOCKS).combine_limit_bytes(PAGE).io_method(method.clone());
            let bench = Bench::with(BLOCKS, one_by_one);
            bench.disk.inject(Fault::delay(Op::Read, Duration::from_millis(50)));
            begin_and_leave(bench.pool.warm_up((0..BLOCKS).map(|block| bench.page(block))));
            eventually("it has begun", || bench.disk.count(Op::Read) > 0);
            let disk = bench.disk.clone();
            end_soon(end, bench.into_pool());
            assert_quiet(&disk);
            assert!(disk.count(Op::Read) < BLOCKS as usize, "it has read pages that no caller can want");
        }
    });
}

#[test]
fn c5_zeroing_ahead_ends_with_the_pool() {
    with_each_method(|method| {
        for end in ENDS {
            let disk = SimDisk::new();
            disk.put("data", stamped_file(2, 1));
            let builder = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(method.clone());
            let pool = builder.storage(disk.clone()).build().unwrap();
            let file = pool.open_file("data", OpenOptions::new().grow_by_blocks(64)).unwrap();
            let extend = |blocks| pool.extend(file, NonZeroU32::new(blocks).unwrap()).wait().unwrap();
            extend(1);
            disk.inject(Fault::delay(Op::Write, Duration::from_millis(20)));
            let gate = disk.hold(Op::Resize);
            // Leaves less than half a step, so that the next one is begun, and is held.
            extend(40);
            gate.wait_for(1);
            let ending = thread::spawn(move || end(pool));
            gate.open();
            ending.join().unwrap();
            assert_quiet(&disk);
            assert_free_to_use(&disk, 1);
        }
    });
}

/// The last clone of a pool, owned by a waker.
struct LastClone(Mutex<Option<BufferPool>>);

impl Wake for LastClone {
    fn wake(self: Arc<Self>) {
        let mut pool = self.0.lock().unwrap();
        drop(pool.take());
    }
}

#[test]
fn c5_the_last_clone_may_go_in_a_thread_of_the_pool() {
    with_each_method(|method| {
        let bench = Bench::new(method.clone(), 16, 8);
        bench.dirty(0..8, 2);
        let gate = bench.disk.hold(Op::Write);
        let mut checkpoint = bench.pool.checkpoint(CheckpointOptions::new());
        let (disk, pool, _) = bench.into_parts();
        let last = Arc::new(LastClone(Mutex::new(Some(pool))));
        let waker = Waker::from(Arc::clone(&last));
        assert!(pin!(&mut checkpoint).poll(&mut Context::from_waker(&waker)).is_pending());
        gate.wait_for(1);
        gate.open();
        eventually("it is gone", || last.0.try_lock().is_ok_and(|pool| pool.is_none()));
        assert_eq!(checkpoint.wait().unwrap().pages_written, 8);
        assert!(disk.durable_image("data").unwrap() == stamped_file(8, 2));
    });
}

#[test]
fn c5_the_last_clone_may_go_in_a_thread_that_the_rest_waits_for() {
    guarded(|| {
        // The one thread that reads, and will write the checkpoint.
        let bench = Bench::new(IoMethod::Worker { threads: 1 }, 16, 16);
        bench.dirty(0..8, 2);
        let gate = bench.disk.hold(Op::Read);
        let mut fetch = bench.pool.fetch(bench.page(12));
        let waker = Waker::from(Arc::new(LastClone(Mutex::new(Some(bench.pool.clone())))));
        assert!(pin!(&mut fetch).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        gate.wait_for(1);
        begin_and_leave(bench.pool.checkpoint(CheckpointOptions::new()));
        eventually("its writes wait", || bench.pool.stats().frames.writing == 8);
        let (disk, pool, _) = bench.into_parts();
        drop(pool);
        gate.open();
        let image = [stamped_file(8, 2), stamped_file(16, 1)[8 * PAGE..].to_vec()].concat();
        eventually("the checkpoint is over", || disk.durable_image("data").unwrap() == image);
        assert_stamped(&fetch.wait().unwrap(), 1);
    });
}
