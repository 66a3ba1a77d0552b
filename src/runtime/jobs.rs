//! A few threads that run what tasks cannot wait for themselves: checkpoints, flushes, truncations.
//!
//! Started when there is work and gone after a while without, so a pool that is only used from threads, or is idle, has
//! none. They own nothing: a job brings what it needs. When the pool ends nothing new is taken, what was taken is done, and the threads
//! go at once.
//!
//! **Jobs that wait for one thing never have all threads** (C6). A job that waits for a caller's latch may wait for a task that waits for
//! another job: the task splits a node, and extends the file with the node latched, while a checkpoint waits for that latch. And a
//! file whose disk does not answer keeps all jobs that wait for it. So at most three jobs run that wait for the same, and the
//! threads are enough for several files that do not answer. The oldest job that may begin is the next.
//!
//! Lock order: the queue's lock is taken alone.

use std::collections::VecDeque;

use crate::{
    id::FileId,
    sync::{
        Arc, Condvar, Mutex, callback,
        pause::Pause,
        pool_end::{EndStage, PoolEnd},
        thread::{self, ThreadId},
        time::{self, Duration},
    },
};

/// At most this many jobs run at once: enough for four files of which each keeps as many jobs as it can.
pub(crate) const THREADS_MAX: usize = 32;

/// At most this many of them wait for the same.
const FOR_THE_SAME_MAX: usize = 3;

/// At most this many jobs wait for a thread.
const QUEUE_MAX: usize = 1024;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(5);

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// What a job may have to wait for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The callers that use the pool: a latch or a pin of any page, or a turn.
    Callers,
    /// The callers that use this file, for a latch or a pin of its pages; and its disk.
    CallersOf(FileId),
    /// The disk of this file, however callers use the pool.
    Disk(FileId),
    /// The disks of several files, however callers use the pool.
    Disks,
}

pub(crate) struct JobPool(Arc<Shop>);

struct Shop {
    end: Arc<PoolEnd>,
    state: Mutex<JobPoolState>,
    work: Condvar,
    /// A thread is gone.
    gone: Condvar,
}

#[derive(Default)]
struct JobPoolState {
    queue: VecDeque<(WaitsFor, Job)>,
    /// What the jobs that have begun wait for.
    begun: Vec<WaitsFor>,
    threads: Vec<ThreadId>,
    /// Before another thread is tried, where the system has refused one.
    pause: Pause,
    idle: usize,
}

impl JobPool {
    pub(crate) fn new(end: Arc<PoolEnd>) -> Self {
        Self(Arc::new(Shop {
            end,
            state: Mutex::new(JobPoolState::default()),
            work: Condvar::new(),
            gone: Condvar::new(),
        }))
    }

    /// Has the job run by a service thread. Comes back with it where that cannot be had: too much is waiting already, the
    /// system gives no thread, or the pool ends.
    pub(crate) fn submit(&self, wait: WaitsFor, job: Job) -> Result<(), Job> {
        let mut state = self.0.state.lock();
        if self.0.end.has_begun() || state.queue.len() == QUEUE_MAX {
            return Err(job);
        }
        let may_begin = state.with(wait) < FOR_THE_SAME_MAX;
        let is_wanted = may_begin && state.idle <= state.queue.len() && state.threads.len() < THREADS_MAX;
        if is_wanted && state.pause.is_over(time::now()) {
            let shop = Arc::clone(&self.0);
            let started = thread::spawn("ringpool-service".to_owned(), move || shop.run());
            match started {
                Ok(thread) => {
                    state.threads.push(thread.thread().id());
                    state.pause.end();
                }
                Err(_) => state.pause.lengthen(time::now()),
            }
        }
        if state.threads.is_empty() {
            return Err(job);
        }
        state.queue.push_back((wait, job));
        drop(state);
        self.0.work.notify_one();
        Ok(())
    }

    /// Has the threads that sleep see that the pool ends.
    pub(crate) fn wake_all(&self) {
        drop(self.0.state.lock());
        self.0.work.notify_all();
    }

    /// Waits until all jobs are done, when the pool ends and threads that slept [were woken](Self::wake_all). Not for a thread that [is one of these](Self::has).
    pub(crate) fn wait_until_gone(&self) {
        let mut state = self.0.state.lock();
        while !state.threads.is_empty() {
            state = self.0.gone.wait(state);
        }
    }

    /// Whether this is a service thread.
    pub(crate) fn has(&self, thread: ThreadId) -> bool {
        self.0.state.lock().threads.contains(&thread)
    }
}

impl Drop for JobPool {
    fn drop(&mut self) {
        self.0.end.reach(EndStage::Ending);
        self.wake_all();
    }
}

impl JobPoolState {
    /// Returns how many jobs wait, or will wait, for this.
    fn with(&self, wait: WaitsFor) -> usize {
        let queued = self.queue.iter().map(|(other, _)| other);
        queued.chain(&self.begun).filter(|&&other| other == wait).count()
    }

    /// Returns where in the queue the next job is.
    fn next(&self) -> Option<usize> {
        let has_room = |wait| {
            self.begun.iter().filter(|&&other| other == wait).count() < FOR_THE_SAME_MAX
                || seeded!("one_file_has_all_service_threads")
        };
        self.queue.iter().position(|&(wait, _)| has_room(wait))
    }

    /// Takes the next job.
    fn begin(&mut self) -> Option<(WaitsFor, Job)> {
        let (wait, job) = self.queue.remove(self.next()?)?;
        self.begun.push(wait);
        Some((wait, job))
    }

    /// A job is done.
    fn end(&mut self, wait: WaitsFor) {
        let at = self.begun.iter().position(|&begun| begun == wait);
        self.begun.swap_remove(at.expect("it was begun"));
    }
}

impl Shop {
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some((wait, job)) = state.begin() {
                if state.idle > 0 && state.next().is_some() {
                    // It has become possible with the end of another.
                    self.work.notify_one();
                }
                drop(state);
                // A job reports its own panic to whoever waits for it; the thread goes on with the next.
                let _ = callback::contained(job);
                state = self.state.lock();
                state.end(wait);
                continue;
            }
            if self.end.has_begun() {
                break;
            }
            let leave_at = time::now() + IDLE;
            state.idle += 1;
            while state.next().is_none() && !self.end.has_begun() && time::now() < leave_at {
                state = self.work.wait_until(state, leave_at);
            }
            state.idle -= 1;
            if state.next().is_none() {
                // What cannot begin yet is for those whose jobs keep it from that.
                break;
            }
        }
        let own = thread::current().id();
        state.threads.retain(|&thread| thread != own);
        self.gone.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::sync::callback::tests::panicking_payload;

    #[test]
    fn slow_jobs_do_not_stop_the_next_and_threads_are_few() {
        let service = JobPool::new(Arc::default());
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let (done, finished) = mpsc::channel();
        for slow in 0..10 {
            let wait = Arc::clone(&wait);
            let done = done.clone();
            let job = move || {
                let _ = wait.lock().recv();
                let _ = done.send(slow);
            };
            assert!(service.submit(WaitsFor::Callers, Box::new(job)).is_ok());
        }
        for quick in 100..110 {
            let done = done.clone();
            let job = move || done.send(quick).unwrap_or(());
            assert!(service.submit(WaitsFor::Disk(FileId(quick)), Box::new(job)).is_ok());
        }
        let first: Vec<_> = finished.iter().take(10).collect();
        assert!(first.iter().all(|&job| job >= 100), "{first:?}");
        assert!(service.0.state.lock().threads.len() <= THREADS_MAX);
        let begun = service.0.state.lock().begun.clone();
        assert_eq!(begun.iter().filter(|&&wait| wait == WaitsFor::Callers).count(), FOR_THE_SAME_MAX);
        drop(release);
        assert_eq!(finished.iter().take(10).count(), 10);
    }

    #[test]
    fn a_panicking_job_does_not_take_its_thread_along() {
        let service = JobPool::new(Arc::default());
        let (done, finished) = mpsc::channel();
        for _ in 0..2 * THREADS_MAX {
            let job = || std::panic::resume_unwind(panicking_payload());
            assert!(service.submit(WaitsFor::Callers, Box::new(job)).is_ok());
        }
        assert!(service.submit(WaitsFor::Callers, Box::new(move || done.send(()).unwrap_or(()))).is_ok());
        assert!(finished.recv().is_ok());
    }

    #[test]
    fn more_work_than_fits_comes_back() {
        let service = JobPool::new(Arc::default());
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let mut refused = 0;
        for _ in 0..QUEUE_MAX + THREADS_MAX + 5 {
            let wait = Arc::clone(&wait);
            refused += usize::from(
                service
                    .submit(WaitsFor::Callers, Box::new(move || wait.lock().recv().unwrap_or(())))
                    .is_err(),
            );
        }
        assert!(refused >= 5, "{refused}");
        drop(release);
    }

    #[test]
    #[cfg(not(any(loom, shuttle)))]
    fn c7_a_thread_that_is_refused_is_tried_again_after_a_pause() {
        let service = JobPool::new(Arc::default());
        let begun = time::now();
        thread::refused(0, 6, || while service.submit(WaitsFor::Callers, Box::new(|| ())).is_err() {});
        // The pauses of six refusals in milliseconds.
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(2 + 4 + 8 + 3 * 16), "{took:?}");
    }

    #[test]
    fn after_the_end_what_was_taken_is_done_and_nothing_more_is_taken() {
        let service = JobPool::new(Arc::default());
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let done = Arc::new(Mutex::new(0));
        for _ in 0..2 * THREADS_MAX {
            let (wait, done) = (Arc::clone(&wait), Arc::clone(&done));
            let job = move || {
                let _ = wait.lock().recv();
                *done.lock() += 1;
            };
            assert!(service.submit(WaitsFor::Callers, Box::new(job)).is_ok());
        }
        service.0.end.reach(EndStage::Ending);
        service.wake_all();
        assert!(service.submit(WaitsFor::Callers, Box::new(|| ())).is_err());
        drop(release);
        service.wait_until_gone();
        assert_eq!(*done.lock(), 2 * THREADS_MAX);
        assert!(service.submit(WaitsFor::Callers, Box::new(|| ())).is_err());
    }
}
