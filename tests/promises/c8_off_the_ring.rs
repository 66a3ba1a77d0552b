//! C8: the log is flushed by the thread that has pages written, and never by a thread that transfers for all: while the log is
//! slow, reads go on.
//!
//! Over a real file, so that with io_uring it is the ring that reads; and with one thread for all transfers, where the method has
//! threads, so that a flush in that thread would stop all transfers.

use std::{
    fs, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, ThreadId},
};

use ringpool::{
    BufferPool, CheckpointOptions, Completion, FileId, IoMethod, Lsn, OpenOptions, PageId, Wal,
    options::BackgroundWriter,
};

use crate::support::{
    assert_stamped, eventually, fetch_apart, outcome, restamp, stamped_file, with_each_method,
};

const FRAMES: u32 = 8;
const BLOCKS: u32 = 32;

/// Pages that stay clean, so that the frames of two can be taken without the log.
const CLEAN: u32 = 2;

/// A page that a miss or a prefetch asks for, and the first of those that are read meanwhile.
const WANTED: u32 = BLOCKS - 1;
const READ_MEANWHILE: u32 = BLOCKS / 2;

/// A log whose flush takes as long as the test holds it, and that notes which threads flush it.
#[derive(Clone, Default)]
struct SlowLog(Arc<Inner>);

#[derive(Default)]
struct Inner {
    in_hand: Mutex<()>,
    flushed: AtomicU64,
    flushers: Mutex<Vec<ThreadId>>,
}

impl Wal for SlowLog {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(self.0.flushed.load(Ordering::SeqCst))
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        self.0.flushers.lock().unwrap().push(thread::current().id());
        let _turn = self.0.in_hand.lock().unwrap();
        self.0.flushed.fetch_max(up_to.0, Ordering::SeqCst);
        Ok(self.flushed_lsn())
    }
}

impl SlowLog {
    fn flushers(&self) -> Vec<ThreadId> {
        self.0.flushers.lock().unwrap().clone()
    }
}

/// Notes which threads wake a task.
#[derive(Default)]
struct WokenBy(Mutex<Vec<ThreadId>>);

impl Wake for WokenBy {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

/// Reads a page that is not in the pool, as a task does, which leaves the transfer to the method. Returns the threads that woke it.
fn read_as_task(pool: &BufferPool, page: PageId) -> Vec<ThreadId> {
    let woken_by = Arc::new(WokenBy::default());
    let waker = Waker::from(Arc::clone(&woken_by));
    let mut fetch = Box::pin(pool.fetch(page));
    eventually("a page is read while the log is flushed", || {
        match fetch.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(fetched) => {
                assert_stamped(&fetched.unwrap(), 1);
                true
            }
            Poll::Pending => false,
        }
    });
    woken_by.0.lock().unwrap().clone()
}

/// Has dirty pages written on some occasion while the log is held, and reads another page meanwhile.
fn assert_reads_go_on(
    method: &IoMethod,
    writer: BackgroundWriter,
    occasion: impl FnOnce(&BufferPool, FileId) + Send + 'static,
) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(dir.path().join("file"), stamped_file(BLOCKS, 1)).unwrap();
    let log = SlowLog::default();
    let method = if *method == IoMethod::worker() { IoMethod::Worker { threads: 1 } } else { method.clone() };
    let builder = BufferPool::builder().frames(FRAMES).io_method(method.clone());
    let pool = builder.background_writer(writer).wal(log.clone()).build().unwrap();
    let file = pool.open_file(dir.path().join("file"), OpenOptions::new()).unwrap();
    let fetch = |block| pool.fetch(PageId::new(file, block)).wait().unwrap();
    let in_hand = log.0.in_hand.lock().unwrap();
    let clean: Vec<_> = (0..CLEAN).map(fetch).collect();
    for block in CLEAN..FRAMES {
        let page = fetch(block);
        restamp(&page, 2);
        page.write().unwrap().set_lsn(Lsn(u64::from(block)));
    }
    let writing = thread::spawn({
        let pool = pool.clone();
        move || occasion(&pool, file)
    });
    eventually("the log is being flushed", || !log.flushers().is_empty());
    drop(clean);
    let mut blocks = (READ_MEANWHILE..WANTED).cycle();
    let mut woken_by = Vec::new();
    // A read that is over before its task is in line wakes nothing: then another page is read.
    eventually("another thread has read a page", || {
        woken_by = read_as_task(&pool, PageId::new(file, blocks.next().unwrap()));
        method == IoMethod::Sync || !woken_by.is_empty()
    });
    drop(in_hand);
    writing.join().unwrap();
    let flushers = log.flushers();
    assert!(
        woken_by.iter().all(|thread| !flushers.contains(thread)),
        "{flushers:?} flushed the log, and {woken_by:?} transfer pages"
    );
}

/// Completes it as a thread that waits, or as a task.
fn complete<T: Send + 'static>(completion: Completion<T>, as_task: bool) {
    let completed = if as_task { pollster::block_on(completion) } else { completion.wait() };
    completed.unwrap();
}

#[test]
fn c8_reads_go_on_while_pages_that_are_to_be_written_wait_for_the_log() {
    let occasions: [fn(&BufferPool, FileId, bool); 6] = [
        |pool, _, as_task| complete(pool.checkpoint(CheckpointOptions::new()), as_task),
        |pool, file, as_task| complete(pool.flush(PageId::new(file, CLEAN)), as_task),
        |pool, file, as_task| complete(pool.flush_file(file), as_task),
        |pool, file, as_task| complete(pool.evict(PageId::new(file, CLEAN)), as_task),
        |pool, file, as_task| complete(pool.close_file(file), as_task),
        |pool, file, as_task| {
            outcome(fetch_apart(pool, PageId::new(file, WANTED), as_task)).unwrap();
        },
    ];
    with_each_method(move |method| {
        for occasion in occasions {
            assert_reads_go_on(&method, BackgroundWriter::Off, move |pool, file| occasion(pool, file, false));
            assert_reads_go_on(&method, BackgroundWriter::Off, move |pool, file| occasion(pool, file, true));
        }
    });
}

#[test]
fn c8_reads_go_on_while_what_makes_room_waits_for_the_log() {
    with_each_method(|method| {
        assert_reads_go_on(&method, BackgroundWriter::Off, |pool, file| {
            pool.prefetch(file.pages([WANTED]));
        });
        // The first fetch that needs a frame wakes the background writer.
        assert_reads_go_on(&method, BackgroundWriter::ReadyFrames { low: 1, high: 2 }, |pool, file| {
            pool.fetch(PageId::new(file, WANTED)).wait().unwrap();
        });
    });
}
