//! What a task awaits where a thread would block: opening a file, and the end of a pool. No poll waits for a disk.

use std::{
    fs, io,
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use ringpool::{
    BufferPool, Builder, Error, IoMethod, Lsn, OpenOptions, PageId, Shutdown, Wal,
    testing::{Fault, Op},
};

use crate::support::{Bench, EIO, PAGE, eventually, guarded, stamped, with_each_method};

/// A task that counts how often it was woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, task: &Arc<Task>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(Arc::clone(task))))
}

/// Returns the future's result, after the task was woken.
fn when_woken<F: Future + Unpin>(mut future: F, task: &Arc<Task>) -> F::Output {
    loop {
        let before = task.0.load(Ordering::SeqCst);
        if let Poll::Ready(output) = poll(&mut future, task) {
            return output;
        }
        eventually("the task is woken", || task.0.load(Ordering::SeqCst) > before);
    }
}

#[test]
fn c6_a_task_opens_a_file_without_waiting_for_its_disk() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 2);
        bench.disk.put("slow", stamped(0, 1));
        let task = Arc::default();
        // Nothing begins before it is polled.
        drop(bench.pool.open_file_async("slow", OpenOptions::new()));
        assert_eq!(bench.disk.count(Op::Open.of("slow")), 0);
        let gate = bench.disk.hold(Op::Open.of("slow"));
        let mut opening = bench.pool.open_file_async("slow", OpenOptions::new());
        assert!(poll(&mut opening, &task).is_pending());
        gate.wait_for(1);
        // Other operations go on meanwhile, on the same disk.
        bench.disk.put("other", stamped(0, 1));
        bench.pool.open_file("other", OpenOptions::new()).unwrap();
        assert!(poll(&mut opening, &task).is_pending());
        gate.open();
        let file = when_woken(opening, &task).unwrap();
        assert_eq!(*bench.pool.read(PageId::new(file, 0)).wait().unwrap(), *stamped(0, 1));
    });
}

#[test]
fn c6_files_of_a_folder_that_does_not_answer_hold_up_those_of_others_no_more() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 4, 2);
        let task = Arc::default();
        let gate = bench.disk.hold(Op::Open.of("dead/0"));
        let dead = |n: u32| format!("dead/{n}");
        let gates: Vec<_> = (1..40).map(|n| bench.disk.hold(Op::Open.of(dead(n)))).collect();
        let mut stuck: Vec<_> = (0..40)
            .map(|n| {
                bench.disk.put(dead(n), stamped(0, 1));
                bench.pool.open_file_async(dead(n), OpenOptions::new())
            })
            .collect();
        assert!(stuck.iter_mut().all(|opening| poll(opening, &task).is_pending()));
        gate.wait_for(1);
        bench.disk.put("good/0", stamped(0, 1));
        let opened = when_woken(bench.pool.open_file_async("good/0", OpenOptions::new()), &task);
        opened.unwrap();
        when_woken(bench.pool.checkpoint(ringpool::CheckpointOptions::new()), &task).unwrap();
        drop((gate, gates));
        stuck.into_iter().for_each(|opening| assert!(when_woken(opening, &task).is_ok()));
    });
}

#[test]
fn c5_an_opening_that_is_dropped_goes_on_and_the_file_can_be_found() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 2);
        bench.disk.put("slow", stamped(0, 1));
        // Held where the file has its place among the open ones.
        let gate = bench.disk.hold(Op::Resize.of("slow"));
        let mut opening = bench.pool.open_file_async("slow", OpenOptions::new().initial_blocks(2));
        assert!(poll(&mut opening, &Arc::default()).is_pending());
        gate.wait_for(1);
        drop(opening);
        gate.open();
        let file = match bench.pool.open_file("slow", OpenOptions::new()) {
            Err(Error::AlreadyOpen { file, .. }) => file,
            other => panic!("two ids for one file: {other:?}"),
        };
        assert_eq!(bench.pool.blocks(file).unwrap(), 2);
        assert_eq!(*bench.pool.read(PageId::new(file, 0)).wait().unwrap(), *stamped(0, 1));
    });
}

#[test]
fn c5_a_task_shuts_a_pool_down_without_waiting_for_its_disk() {
    with_each_method(|method| {
        let (disk, pool, file) = Bench::new(method, 8, 4).into_parts();
        pool.write(PageId::new(file, 2)).wait().unwrap().copy_from_slice(&stamped(2, 2));
        let task = Arc::default();
        let gate = disk.hold(Op::Write);
        let mut ending = pool.shutdown_async(Shutdown::Flush);
        assert_eq!(format!("{ending:?}"), "ShuttingDown(not started)");
        assert!(poll(&mut ending, &task).is_pending());
        gate.wait_for(1);
        assert!(poll(&mut ending, &task).is_pending());
        gate.open();
        let report = when_woken(ending, &task).unwrap();
        assert_eq!((report.pages_written, report.pages_discarded), (1, 0));
        assert!(disk.durable_image("data").unwrap()[2 * PAGE..3 * PAGE] == stamped(2, 2));
    });
}

#[test]
fn c3_a_shutdown_that_a_task_awaits_gives_the_pool_back_where_it_cannot_write() {
    with_each_method(|method| {
        let (disk, pool, file) = Bench::new(method, 8, 4).into_parts();
        pool.write(PageId::new(file, 2)).wait().unwrap().copy_from_slice(&stamped(2, 2));
        disk.inject(Fault::error(Op::Write, EIO));
        let task = Arc::default();
        let refused = when_woken(pool.shutdown_async(Shutdown::Flush), &task).unwrap_err();
        assert!(matches!(refused.error(), Error::Io { .. }), "{refused}");
        disk.heal();
        let (pool, _) = refused.into_parts();
        assert_eq!(*pool.read(PageId::new(file, 2)).wait().unwrap(), *stamped(2, 2));
        assert_eq!(when_woken(pool.shutdown_async(Shutdown::Flush), &task).unwrap().pages_written, 1);
        assert!(disk.durable_image("data").unwrap()[2 * PAGE..3 * PAGE] == stamped(2, 2));
    });
}

/// A log whose drop panics, as that of one does which finds its thread dead.
struct PanicsWhenDropped;

impl Wal for PanicsWhenDropped {
    fn flushed_lsn(&self) -> Lsn {
        Lsn::UNLOGGED
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        Ok(up_to)
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        resume_unwind(Box::new("its thread is dead"));
    }
}

#[test]
fn c10_a_shutdown_ends_though_the_drop_of_the_engines_log_panics() {
    with_each_method(|method| {
        let options = |builder: Builder| builder.frames(8).io_method(method).wal(PanicsWhenDropped);
        let (_, pool, file) = Bench::with(4, options).into_parts();
        pool.write(PageId::new(file, 2)).wait().unwrap().set_lsn(Lsn(7));
        let task = Arc::default();
        assert_eq!(when_woken(pool.shutdown_async(Shutdown::Flush), &task).unwrap().pages_written, 1);
    });
}

/// When it is over nothing of the pool is left, so the files can be opened elsewhere at once: locked files on the system's own disk.
#[test]
fn c5_after_a_shutdown_that_was_awaited_the_files_are_free() {
    with_each_method(|method| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs::write(&path, stamped(0, 1)).unwrap();
        let open = || {
            let builder = BufferPool::builder().frames(4).page_size(PAGE as u32).io_method(method.clone());
            let pool = builder.build().unwrap();
            let file = pollster::block_on(pool.open_file_async(&path, OpenOptions::new()));
            (pool, file)
        };
        for how in [Shutdown::Flush, Shutdown::Discard, Shutdown::Flush] {
            let (pool, file) = open();
            file.unwrap();
            pollster::block_on(pool.shutdown_async(how)).unwrap();
        }
        let (pool, file) = open();
        pool.write(PageId::new(file.unwrap(), 0)).wait().unwrap()[0] = 9;
        let report = pollster::block_on(pool.shutdown_async(Shutdown::Discard)).unwrap();
        assert_eq!(report.pages_discarded, 1);
    });
}

#[test]
fn c5_a_shutdown_that_is_dropped_goes_on_once_it_was_polled() {
    guarded(|| {
        let (disk, pool, file) = Bench::new(IoMethod::worker(), 8, 4).into_parts();
        pool.write(PageId::new(file, 2)).wait().unwrap().copy_from_slice(&stamped(2, 2));
        let other = pool.clone();
        drop(pool.clone().shutdown_async(Shutdown::Flush));
        assert!(other.blocks(file).is_ok() && disk.count(Op::Write) == 0, "it had not begun");
        let gate = disk.hold(Op::Write);
        let mut ending = pool.shutdown_async(Shutdown::Flush);
        assert!(poll(&mut ending, &Arc::default()).is_pending());
        gate.wait_for(1);
        drop(ending);
        gate.open();
        eventually("it has ended", || matches!(other.flush_file(file).wait(), Err(Error::ShutDown)));
        assert!(disk.durable_image("data").unwrap()[2 * PAGE..3 * PAGE] == stamped(2, 2));
    });
}
