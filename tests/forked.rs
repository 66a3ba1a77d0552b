//! Processes that are forked with a pool open (C10): what they do with their copy of it is an error or nothing, never a hang, and
//! neither the pool's own process nor its files are affected.

#![allow(unsafe_code)]

#[path = "support/mod.rs"]
mod support;

use std::{
    fs, io,
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    pin::pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoMethod, OpenOptions, PageId, Shutdown, StreamOptions, testing::Op,
};
use support::{
    Bench, PAGE, assert_at_rest, assert_stamped, eventually, restamp, stamped_file, with_each_method,
};

const BLOCKS: u32 = 16;

/// How long a forked process may take before the system ends it, in seconds.
const PATIENCE: u32 = 20;

/// Runs `body` in a forked process, which must come to its end.
#[track_caller]
fn in_a_child(body: impl FnOnce()) {
    // SAFETY: the child runs on in this thread alone, allocates by a C library that a fork leaves usable, and never returns.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: no handler is set, so the signal ends the process.
        unsafe { libc::alarm(PATIENCE) };
        std::panic::set_hook(Box::new(|panic| {
            let text = format!("in the child: {panic}\n");
            // SAFETY: the bytes are there. (The harness would keep what the child prints.)
            unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        }));
        let outcome = catch_unwind(AssertUnwindSafe(body));
        // SAFETY: it ends the process, and nothing else.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    let hangs = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM;
    assert!(!hangs, "the child hangs");
    assert_eq!(status, 0, "the child has failed, with this status");
}

/// Makes a pool over a real file, with changes that are not written.
fn open(method: &IoMethod, frames: u32, path: &Path) -> (BufferPool, ringpool::FileId) {
    fs::write(path, stamped_file(BLOCKS, 1)).unwrap();
    let builder = BufferPool::builder().page_size(PAGE as u32).frames(frames).io_method(method.clone());
    let pool = builder.build().unwrap();
    let file = pool.open_file(path, OpenOptions::new()).unwrap();
    for block in 0..BLOCKS / 2 {
        restamp(&pool.fetch(PageId::new(file, block)).wait().unwrap(), 2);
    }
    (pool, file)
}

/// Asserts that the pool works as if there had been no fork, with its changes to be written.
fn assert_unharmed(pool: BufferPool, path: &Path) {
    assert_eq!(fs::read(path).unwrap(), stamped_file(BLOCKS, 1), "the child has written");
    let other = BufferPool::builder().page_size(PAGE as u32).frames(1).build().unwrap();
    let opened = other.open_file(path, OpenOptions::new());
    assert!(matches!(opened, Err(Error::InUse { .. })), "the child has unlocked the file: {opened:?}");
    assert_eq!(pool.stats().frames.dirty, BLOCKS / 2);
    pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    assert_at_rest(&pool);
    pool.shutdown(Shutdown::Flush).unwrap();
    other.open_file(path, OpenOptions::new()).unwrap();
    let [new, old] = [2, 1].map(|version| stamped_file(BLOCKS, version));
    let half = (BLOCKS / 2) as usize * PAGE;
    assert!(fs::read(path).unwrap() == [&new[..half], &old[half..]].concat());
}

/// A subscriber that counts the calls of it.
#[cfg(feature = "tracing")]
mod counting {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing::{
        Event, Metadata, Subscriber,
        span::{Attributes, Id, Record},
    };
    use tracing_core::span::Current;

    static CALLS: AtomicU64 = AtomicU64::new(0);

    pub(super) struct Counting;

    pub(super) fn calls() -> u64 {
        CALLS.load(Ordering::SeqCst)
    }

    fn count() {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }

    impl Subscriber for Counting {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "ringpool"
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            count();
            Id::from_u64(1)
        }

        fn event(&self, _: &Event<'_>) {
            count();
        }

        fn current_span(&self) -> Current {
            count();
            Current::none()
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
}

/// A lock of a subscriber may be held in the child for ever, by a thread that was not forked with it.
#[test]
#[cfg(feature = "tracing")]
fn c10_a_forked_process_calls_no_subscriber() {
    use counting::{Counting, calls};
    tracing::subscriber::set_global_default(Counting).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let (pool, file) = open(&IoMethod::Sync, BLOCKS, &path);
    let before = calls();
    pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    assert!(calls() > before, "it is called in the pool's own process");
    in_a_child(|| {
        let before = calls();
        assert!(pool.open_file(folder.path().join("other"), OpenOptions::new()).is_err());
        assert!(pool.checkpoint(CheckpointOptions::new()).wait().is_err());
        assert!(pin!(pool.resize(BLOCKS)).poll(&mut Context::from_waker(Waker::noop())).is_ready());
        assert!(pool.close_file(file).wait().is_err());
        drop(pool.clone().shutdown(Shutdown::Discard).unwrap_err());
        assert_eq!(calls(), before);
    });
}

/// Pools with and without a background writer.
const SIZES: [u32; 2] = [BLOCKS, 512];

#[test]
fn c10_a_pool_that_is_dropped_in_a_forked_process_ends_there_alone() {
    with_each_method(|method| {
        for frames in SIZES {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("data");
            let (pool, _) = open(&method, frames, &path);
            let mut pool = Some(pool);
            in_a_child(|| drop(pool.take()));
            assert_unharmed(pool.take().unwrap(), &path);
        }
    });
}

#[test]
fn c10_a_pool_is_not_shut_down_by_a_forked_process() {
    with_each_method(|method| {
        for frames in SIZES {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("data");
            let (pool, _) = open(&method, frames, &path);
            for how in [Shutdown::Flush, Shutdown::Discard] {
                in_a_child(|| {
                    let refused = pool.clone().shutdown(how).unwrap_err();
                    assert!(matches!(refused.error(), Error::Forked), "{refused}");
                    assert!(refused.to_string().contains("is still open"), "{refused}");
                });
            }
            assert_unharmed(pool, &path);
        }
    });
}

#[track_caller]
fn assert_forked<T>(outcome: Result<T, Error>) {
    assert!(matches!(outcome.map(drop), Err(Error::Forked)));
}

#[test]
fn c10_what_a_forked_process_asks_of_a_pool_is_an_error() {
    with_each_method(|method| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let (pool, file) = open(&method, 512, &path);
        let [resident, absent] = [0, BLOCKS - 1].map(|block| PageId::new(file, block));
        let held = pool.fetch(resident).wait().unwrap();
        in_a_child(|| {
            assert_forked(held.write().map(drop));
            assert_forked(held.try_write().map(drop));
            assert_forked(pollster::block_on(held.write_async()).map(drop));
            assert!(
                pool.fetch(resident).now().is_none() && pool.fetch(resident.at(held.hint())).now().is_none()
            );
            assert!(
                pool.read(resident).now().is_none() && pool.read(resident.at(held.hint())).now().is_none()
            );
            assert_forked(pool.fetch(resident).wait());
            assert_forked(pool.fetch(absent).wait());
            assert_forked(pollster::block_on(pool.fetch(absent)));
            assert_forked(pool.fetch(absent).wait_timeout(Duration::from_secs(1)).unwrap());
            assert_forked(pool.read(absent).wait());
            assert_forked(pool.write(resident).wait());
            assert_forked(pool.overwrite(absent).wait());
            assert_forked(pool.fetch_many(&[resident, absent]).wait());
            assert_eq!(pool.prefetch(file.pages([0, BLOCKS - 1])).declined, 2);
            let streamed: Vec<_> =
                pool.read_stream(file.pages([0, BLOCKS - 1]), StreamOptions::new()).collect();
            assert!(matches!(streamed[..], [Err(Error::Forked), Err(Error::Forked)]), "{streamed:?}");
            assert_forked(pool.open_file(folder.path().join("other"), OpenOptions::new().create(true)));
            assert!(!folder.path().join("other").exists());
            assert_forked(pool.blocks(file));
            assert_forked(pool.file_info(file));
            assert_forked(pool.extend(file, NonZeroU32::MIN).wait());
            assert_forked(pool.truncate(file, 0).wait());
            assert_forked(pool.close_file(file).wait());
            assert_forked(pool.drop_file(file).wait());
            assert_forked(pool.evict(resident).wait());
            assert_forked(pool.flush(resident).wait());
            assert_forked(pool.flush_file(file).wait());
            assert_forked(pool.sync_file(file).wait());
            assert_forked(pollster::block_on(pool.checkpoint(CheckpointOptions::new())));
            assert_forked(pool.checkpoint(CheckpointOptions::new()).wait_timeout(Duration::ZERO).unwrap());
            assert_forked(pool.resize(8).wait());
            assert_forked(pool.warm_up([absent]).wait());
            assert_forked(pool.give_up_torn_pages(0));
            assert!(pool.torn_page_tags().is_empty() && pool.in_flight().is_empty());
            assert_eq!(pool.stats().frames.dirty, BLOCKS / 2);
            assert!(pool.resident_pages().contains(&resident));
            assert_eq!(pool.validate(), Err(Error::Forked.to_string()));
            // A pool of its own works.
            let own = BufferPool::builder()
                .page_size(PAGE as u32)
                .frames(2)
                .io_method(method.clone())
                .build()
                .unwrap();
            let other = folder.path().join("own");
            fs::write(&other, stamped_file(1, 3)).unwrap();
            let file = own.open_file(&other, OpenOptions::new()).unwrap();
            assert_stamped(&own.fetch(PageId::new(file, 0)).wait().unwrap(), 3);
            own.shutdown(Shutdown::Flush).unwrap();
        });
        assert_stamped(&held, 2);
        drop(held);
        assert_unharmed(pool, &path);
    });
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn assert_ends<T, F: Future<Output = Result<T, Error>> + Unpin>(future: &mut F) {
    assert!(matches!(poll(future).map_ok(drop), Poll::Ready(Err(Error::Forked))));
}

/// Reads, writes, operations and latches that other threads hold at the moment of the fork.
#[test]
fn c10_what_was_begun_before_a_fork_is_an_error_in_the_forked_process() {
    with_each_method(|method| {
        // With `sync` a stream reads by itself, and would wait for a disk that is held.
        let ahead = if method == IoMethod::Sync { [3, 4] } else { [8, 9] };
        let bench = Bench::new(method, 8, BLOCKS);
        let (pool, file) = (bench.pool.clone(), bench.file);
        let (latched, read) = (bench.page(0), bench.page(3));
        bench.dirty([0, 1], 2);
        let [reads, writes] = [Op::Read, Op::Write].map(|op| bench.disk.hold(op));
        thread::scope(|scope| {
            let (let_go, is_let_go) = mpsc::channel::<()>();
            let (has_it, is_latched) = mpsc::channel();
            let page = pool.fetch(latched).wait().unwrap();
            scope.spawn(move || {
                let guard = page.write().unwrap();
                has_it.send(()).unwrap();
                is_let_go.recv().unwrap();
                drop(guard);
            });
            is_latched.recv().unwrap();
            let reading = scope.spawn(|| pool.fetch(read).wait().map(drop));
            reads.wait_for(1);
            let writing = scope.spawn(|| pool.flush(bench.page(1)).wait());
            writes.wait_for(1);

            let page = pool.fetch(latched).wait().unwrap();
            let mut fetch = pool.fetch(read);
            let mut many = pool.fetch_many(&[latched, read]);
            let mut view = pool.read(latched);
            let mut write = Box::pin(page.write_async());
            let mut flush = pool.flush(bench.page(1));
            let mut stream = pool.read_stream(file.pages([3, 4]), StreamOptions::new());
            let mut other_stream = pool.read_stream(file.pages(ahead), StreamOptions::new());
            assert!(poll(&mut fetch).is_pending() && poll(&mut many).is_pending());
            assert!(poll(&mut view).is_pending() && poll(&mut write).is_pending());
            assert!(poll(&mut flush).is_pending() && poll(&mut stream.next_page()).is_pending());
            assert!(poll(&mut other_stream.next_page()).is_pending());
            // They are dropped there, too.
            let mut begun = Some((fetch, many, view, write, flush, stream, other_stream));
            in_a_child(|| {
                let mut begun = begun.take().unwrap();
                let (fetch, many, view, write, flush, stream, other_stream) = &mut begun;
                assert_ends(fetch);
                assert_ends(many);
                assert_ends(view);
                assert_ends(write);
                assert_ends(flush);
                for stream in [stream, other_stream] {
                    for _ in 0..2 {
                        assert!(matches!(
                            poll(&mut stream.next_page()),
                            Poll::Ready(Some(Err(Error::Forked)))
                        ));
                    }
                    assert!(matches!(poll(&mut stream.next_page()), Poll::Ready(None)));
                }
                drop(begun);
                assert_forked(pool.fetch(read).wait());
                assert_forked(pool.read(latched).wait());
                assert!(page.try_read().is_none());
                assert!(catch_unwind(AssertUnwindSafe(|| drop(page.read()))).is_err());
            });
            let (mut fetch, mut many, mut view, mut write, mut flush, mut stream, other_stream) =
                begun.unwrap();
            let_go.send(()).unwrap();
            reads.open();
            writes.open();
            reading.join().unwrap().unwrap();
            writing.join().unwrap().unwrap();
            eventually("the change", || poll(&mut write).map_ok(drop).is_ready());
            eventually("the view", || poll(&mut view).map_ok(drop).is_ready());
            eventually("the fetch", || poll(&mut fetch).map_ok(drop).is_ready());
            eventually("the pages", || poll(&mut many).map_ok(drop).is_ready());
            eventually("the flush", || poll(&mut flush).map_ok(drop).is_ready());
            assert!(stream.by_ref().chain(other_stream).all(|page| page.is_ok()));
        });
    });
}

#[test]
fn c10_a_shutdown_that_was_begun_before_a_fork_is_an_error_in_the_forked_process() {
    with_each_method(|method| {
        let (disk, pool, file) = Bench::new(method, 8, BLOCKS).into_parts();
        restamp(&pool.fetch(PageId::new(file, 2)).wait().unwrap(), 2);
        let writes = disk.hold(Op::Write);
        let mut ending = pool.shutdown_async(Shutdown::Flush);
        assert!(poll(&mut ending).is_pending());
        writes.wait_for(1);
        // It is dropped there, too.
        let mut begun = Some(ending);
        in_a_child(|| {
            let Poll::Ready(Err(refused)) = poll(begun.as_mut().unwrap()) else { panic!("it is not ready") };
            assert!(matches!(refused.error(), Error::Forked), "{refused}");
            assert_forked(refused.pool().blocks(file));
            drop((refused, begun.take()));
        });
        let mut ending = begun.unwrap();
        writes.open();
        let mut report = None;
        eventually("the end", || {
            if let Poll::Ready(ended) = poll(&mut ending) {
                report = Some(ended.unwrap());
            }
            report.is_some()
        });
        assert_eq!(report.unwrap().pages_written, 1);
    });
}

/// It has its result by then, and no pool is left to be given back.
#[test]
fn c10_a_shutdown_that_was_over_before_a_fork_has_ended_in_the_forked_process_too() {
    with_each_method(|method| {
        let (disk, pool, file) = Bench::new(method, 8, BLOCKS).into_parts();
        restamp(&pool.fetch(PageId::new(file, 2)).wait().unwrap(), 2);
        let writes = disk.hold(Op::Write);
        let (woken, is_woken) = mpsc::channel();
        let mut ending = pool.shutdown_async(Shutdown::Flush);
        let waker = Waker::from(Arc::new(Telling(woken)));
        assert!(pin!(&mut ending).poll(&mut Context::from_waker(&waker)).is_pending());
        writes.open();
        is_woken.recv().unwrap();
        in_a_child(|| assert!(matches!(poll(&mut ending), Poll::Ready(Ok(_)))));
        assert!(matches!(poll(&mut ending), Poll::Ready(Ok(_))));
    });
}

/// A task that tells when it is woken.
struct Telling(mpsc::Sender<()>);

impl Wake for Telling {
    fn wake(self: Arc<Self>) {
        self.0.send(()).unwrap();
    }
}
