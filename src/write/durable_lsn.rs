//! How far a log is durable, for the threads and tasks that wait for it: the part of a group commit that every engine needs.
//!
//! Invariants: a waiter is in the map only while the log is not durable up to its LSN, and has not failed. It looks at both under the lock
//! that it gets in by, and each step forward is published under that lock; so none is missed. After a failure there is no step any more.
//!
//! Lock order: a leaf. Wakers are called after it is released.
//!
//! PostgreSQL's counterpart: `XLogFlush`, and the wait for `LogwrtResult.Flush`.

use std::{
    collections::BTreeMap,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    id::Lsn,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        poll_budget, wait,
        waking::{StoredWaker, Wakers},
    },
};

/// The position up to which the engine's log is durable, and the threads and tasks that wait for it.
///
/// The log's own thread writes and syncs what was appended, then calls [`advance`](Self::advance). A commit waits for the end of
/// its record by [`reached`](Self::reached): a task awaits it and occupies no thread. One sync serves all that wait for it.
/// [`Wal`](crate::Wal) uses the same value, so pages and commits wait in one line.
///
/// # Examples
/// A log with its own thread, and group commit for threads and tasks:
/// ```
/// use std::{io, sync::{Arc, Mutex, mpsc}};
/// use ringpool::{DurableLsn, LogRecord, Lsn, Wal};
///
/// struct Log {
///     /// Records that are not written yet, and where they end.
///     tail: Mutex<(Vec<u8>, u64)>,
///     durable: DurableLsn,
///     work: mpsc::Sender<()>,
/// }
///
/// impl Log {
///     fn start(mut file: impl io::Write + Send + 'static) -> Arc<Self> {
///         let (work, asked) = mpsc::channel();
///         let log = Arc::new(Self { tail: Mutex::default(), durable: DurableLsn::new(Lsn(0)), work });
///         // It ends with the log.
///         let weak = Arc::downgrade(&log);
///         std::thread::spawn(move || while asked.recv().is_ok() {
///             let Some(log) = weak.upgrade() else { return };
///             let (bytes, end) = {
///                 let mut tail = log.tail.lock().unwrap();
///                 (std::mem::take(&mut tail.0), Lsn(tail.1))
///             };
///             // And a sync, where this is a file.
///             match file.write_all(&bytes) {
///                 Ok(()) => log.durable.advance(end),
///                 // For good: what it would write later has a gap before it.
///                 Err(error) => return log.durable.fail(error),
///             }
///         });
///         log
///     }
///
///     fn append(&self, record: &[u8]) -> LogRecord {
///         let mut tail = self.tail.lock().unwrap();
///         let begin = Lsn(tail.1);
///         tail.0.extend_from_slice(record);
///         tail.1 += record.len() as u64;
///         (begin..Lsn(tail.1)).into()
///     }
///
///     /// Waits until the record is durable, and occupies no thread.
///     async fn commit(&self, record: LogRecord) -> io::Result<Lsn> {
///         let _ = self.work.send(());
///         self.durable.reached(record.end).await
///     }
/// }
///
/// struct LogFirst(Arc<Log>);
///
/// impl Wal for LogFirst {
///     fn flushed_lsn(&self) -> Lsn {
///         self.0.durable.get()
///     }
///
///     fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
///         // No record ends there, so none would end the wait.
///         if up_to.0 > self.0.tail.lock().unwrap().1 {
///             return Err(io::Error::other("a page is ahead of the log"));
///         }
///         let _ = self.0.work.send(());
///         self.0.durable.reached(up_to).wait()
///     }
/// }
///
/// let log = Log::start(Vec::new());
/// let record = log.append(b"a change");
/// assert_eq!(pollster::block_on(log.commit(record)).unwrap(), Lsn(8));
/// let log = LogFirst(log);
/// assert_eq!(log.flush(Lsn(8)).unwrap(), Lsn(8));
/// assert!(log.flush(Lsn(9)).is_err());
/// ```
pub struct DurableLsn {
    durable: AtomicU64,
    waiting: Mutex<LogWaiters>,
}

#[derive(Default)]
struct LogWaiters {
    /// By the LSN that each waits for, and a number of its own.
    wakers: BTreeMap<(Lsn, u64), StoredWaker>,
    next: u64,
    failed: Option<LogFailure>,
}

impl DurableLsn {
    /// Makes the value for a log that is durable up to `durable`: to where its last whole record ends. Example: [`DurableLsn`].
    #[must_use]
    pub fn new(durable: Lsn) -> Self {
        Self { durable: AtomicU64::new(durable.0), waiting: Mutex::default() }
    }

    /// Returns the position up to which the log is durable. Cheap: one load. Example: [`DurableLsn`].
    #[must_use]
    pub fn get(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    #[cfg(all(test, not(loom)))]
    fn waiters(&self) -> usize {
        self.waiting.lock().wakers.len()
    }

    /// Says that the log is durable up to there, and wakes those that waited for no more. It never goes back. Does nothing once the log
    /// has [failed](Self::fail): records that are written after others were lost are of no use. Example: [`DurableLsn`].
    pub fn advance(&self, durable: Lsn) {
        // Called when this is dropped: after the lock.
        let mut wakers = Wakers::new();
        let mut waiting = self.waiting.lock();
        if waiting.failed.is_some() {
            return;
        }
        self.durable.fetch_max(durable.0, Ordering::AcqRel);
        let later = self.get().0.checked_add(1).map(|next| waiting.wakers.split_off(&(Lsn(next), 0)));
        let served = std::mem::replace(&mut waiting.wakers, later.unwrap_or_default());
        drop(waiting);
        wakers.extend(served.into_values());
    }

    /// Says that the log does not become durable any further: all that wait, now or later, for more than it is get this error. After
    /// a sync that failed a later one may succeed and have lost the records, so this is for good. What they get is of
    /// the kind `Other`, so the pool does not take it for one that [passes](crate::Error::is_transient), with this error as its source.
    ///
    /// # Examples
    /// ```
    /// # use std::io;
    /// # use ringpool::{DurableLsn, Lsn};
    /// let log = DurableLsn::new(Lsn(40));
    /// log.advance(Lsn(80));
    /// log.fail(io::Error::other("the disk is gone"));
    /// assert_eq!(log.get(), Lsn(80));
    /// assert_eq!(log.reached(Lsn(80)).wait()?, Lsn(80));
    /// assert!(log.reached(Lsn(81)).wait().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail(&self, error: io::Error) {
        let mut wakers = Wakers::new();
        let mut waiting = self.waiting.lock();
        waiting.failed.get_or_insert_with(|| LogFailure(Arc::new(error)));
        let all = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.extend(all.into_values());
    }

    /// Waits until the log is durable up to `lsn`. This does not start a write: the engine tells its log.
    /// Example: [`DurableLsn`].
    pub fn reached(&self, lsn: Lsn) -> LogWait<'_> {
        LogWait { log: self, lsn, place: None }
    }
}

impl fmt::Debug for DurableLsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableLsn({})", self.get())
    }
}

/// A wait for a log to be durable, from [`DurableLsn::reached`]: wait for it with [`wait`](Self::wait), or `.await` it. It can be
/// dropped at any time.
#[must_use = "nothing is waited for before this is waited for or awaited"]
pub struct LogWait<'a> {
    log: &'a DurableLsn,
    lsn: Lsn,
    /// Its number among the waiters.
    place: Option<u64>,
}

impl LogWait<'_> {
    /// Waits in the calling thread, and returns the position up to which the log is then durable. Example: [`DurableLsn`].
    ///
    /// # Errors
    /// The error with which the log [failed](DurableLsn::fail).
    pub fn wait(mut self) -> io::Result<Lsn> {
        wait::block_on(|waker| self.poll_with(waker))
    }

    fn poll_with(&mut self, waker: &Waker) -> Poll<io::Result<Lsn>> {
        let durable = self.log.get();
        if durable >= self.lsn {
            return Poll::Ready(Ok(durable));
        }
        // Made before the lock, and the waker that it replaces is dropped after it.
        let waker = StoredWaker::of(waker);
        let mut waiting = self.log.waiting.lock();
        let durable = self.log.get();
        if durable >= self.lsn && !seeded!("log_waiter_does_not_look_again") {
            return Poll::Ready(Ok(durable));
        }
        if let Some(failure) = &waiting.failed {
            // Neither its number nor its kind is the system's: the same error does not pass by itself here.
            return Poll::Ready(Err(io::Error::other(failure.clone())));
        }
        let number = *self.place.get_or_insert(waiting.next);
        waiting.next = waiting.next.max(number + 1);
        let replaced = waiting.wakers.insert((self.lsn, number), waker);
        drop(waiting);
        drop(replaced);
        Poll::Pending
    }
}

impl Future for LogWait<'_> {
    type Output = io::Result<Lsn>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll_budget::poll(cx, |waker| self.poll_with(waker))
    }
}

impl Drop for LogWait<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.place {
            let left = self.log.waiting.lock().wakers.remove(&(self.lsn, number));
            drop(left);
        }
    }
}

impl fmt::Debug for LogWait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogWait({} of {:?})", self.lsn, self.log)
    }
}

/// What a log failed with, for good.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the log has failed: {0}")]
struct LogFailure(#[source] Arc<io::Error>);

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        task::Wake,
        thread,
    };

    use super::*;
    use crate::error::Error;

    #[derive(Default)]
    struct Task(AtomicU32);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(wait: &mut LogWait<'_>, task: &Arc<Task>) -> Poll<io::Result<Lsn>> {
        wait.poll_with(&Waker::from(Arc::clone(task)))
    }

    #[test]
    fn each_waits_for_its_own_record_and_no_longer() {
        let log = DurableLsn::new(Lsn(10));
        assert_eq!(log.reached(Lsn(10)).wait().unwrap(), Lsn(10));
        let tasks: Vec<_> = (0..4).map(|_| Arc::new(Task::default())).collect();
        let mut waits: Vec<_> = [20, 30, 30, u64::MAX].map(|lsn| log.reached(Lsn(lsn))).into();
        let mut poll_all = || -> Vec<Option<Lsn>> {
            let polled = waits.iter_mut().zip(&tasks).map(|(wait, task)| poll(wait, task));
            polled.map(|poll| if let Poll::Ready(lsn) = poll { Some(lsn.unwrap()) } else { None }).collect()
        };
        let woken = || tasks.iter().map(|task| task.0.load(Ordering::SeqCst)).collect::<Vec<_>>();
        assert_eq!(poll_all(), [None; 4]);
        assert_eq!(log.waiters(), 4);
        log.advance(Lsn(29));
        assert_eq!(woken(), [1, 0, 0, 0]);
        // Polled more than once, each still waits once.
        assert_eq!(poll_all(), [Some(Lsn(29)), None, None, None]);
        assert_eq!(log.waiters(), 3);
        log.advance(Lsn(5));
        assert_eq!(log.get(), Lsn(29), "it never goes back");
        log.advance(Lsn(30));
        assert_eq!(woken(), [1, 1, 1, 0]);
        log.advance(Lsn(u64::MAX));
        assert_eq!((woken(), log.waiters()), (vec![1, 1, 1, 1], 0));
    }

    #[test]
    fn c10_a_wait_that_is_dropped_leaves_nothing() {
        let log = DurableLsn::new(Lsn(0));
        let task = Arc::new(Task::default());
        let mut wait = log.reached(Lsn(7));
        assert!(poll(&mut wait, &task).is_pending());
        drop(wait);
        assert_eq!((log.waiters(), Arc::strong_count(&task)), (0, 1));
        log.advance(Lsn(7));
        assert_eq!(task.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_log_that_failed_says_so_to_all_that_want_more_than_is_durable() {
        let log = DurableLsn::new(Lsn(7));
        let task = Arc::new(Task::default());
        let mut waiting = log.reached(Lsn(8));
        assert!(poll(&mut waiting, &task).is_pending());
        log.fail(io::Error::from_raw_os_error(5));
        log.fail(io::Error::other("a later one"));
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
        let Poll::Ready(Err(error)) = poll(&mut waiting, &task) else { panic!("it failed") };
        assert!(error.to_string().contains("os error 5"), "{error}");
        assert!(log.reached(Lsn(9)).wait().unwrap_err().to_string().contains("os error 5"));
        assert_eq!(log.reached(Lsn(7)).wait().unwrap(), Lsn(7), "what is durable stays so");
    }

    #[test]
    fn c4_a_log_that_failed_is_never_worth_another_try_whatever_it_failed_with() {
        const ENOSPC: i32 = 28;
        let log = DurableLsn::new(Lsn(7));
        log.fail(io::Error::from_raw_os_error(ENOSPC));
        let source = Arc::new(log.reached(Lsn(9)).wait().unwrap_err());
        let error = Error::Wal { lsn: Lsn(9), source: Arc::clone(&source) };
        assert_eq!((error.raw_os_error(), error.is_transient()), (None, false), "{error}");
        let failure = source.get_ref().and_then(|failure| failure.source()).expect("the log's own error");
        assert_eq!(failure.to_string(), io::Error::from_raw_os_error(ENOSPC).to_string());
    }

    /// The log's thread may go on with later records, though those in between are in no file.
    #[test]
    fn c8_a_log_that_failed_is_never_durable_any_further() {
        let log = DurableLsn::new(Lsn(7));
        log.fail(io::Error::from_raw_os_error(5));
        log.advance(Lsn(9));
        assert_eq!(log.get(), Lsn(7));
        assert!(log.reached(Lsn(8)).wait().is_err());
        assert_eq!(log.reached(Lsn(7)).wait().unwrap(), Lsn(7));
    }

    #[test]
    fn threads_and_tasks_wait_side_by_side() {
        let log = DurableLsn::new(Lsn(0));
        thread::scope(|scope| {
            for n in 1..=16 {
                let log = &log;
                scope.spawn(move || {
                    let wait = log.reached(Lsn(n));
                    let durable = if n % 2 == 0 { wait.wait() } else { pollster::block_on(wait) };
                    assert!(durable.unwrap() >= Lsn(n));
                });
            }
            (1..=16).for_each(|n| log.advance(Lsn(n)));
        });
        assert_eq!(log.waiters(), 0);
    }
}

/// Steps forward beside waits that begin, under every schedule.
#[cfg(all(test, shuttle))]
mod model_check {
    use super::*;

    #[test]
    fn no_wait_for_the_log_misses_the_step_that_serves_it() {
        shuttle::check_random(
            || {
                let log = Arc::new(DurableLsn::new(Lsn(0)));
                let waiting: Vec<_> = (1..=2)
                    .map(|n| {
                        let log = Arc::clone(&log);
                        shuttle::thread::spawn(move || assert!(log.reached(Lsn(n)).wait().unwrap() >= Lsn(n)))
                    })
                    .collect();
                (1..=2).for_each(|n| log.advance(Lsn(n)));
                waiting.into_iter().for_each(|thread| thread.join().unwrap());
                assert_eq!(log.waiters(), 0);
            },
            2000,
        );
    }
}
