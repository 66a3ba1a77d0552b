//! A few threads that run what tasks cannot wait for themselves: checkpoints, flushes, truncations.
//!
//! They own nothing: a job brings what it needs. When the pool ends no new job is taken, and jobs that were taken are done.
//!
//! **Jobs that wait for one thing never have all threads** (C6). A job that waits for a caller's latch may wait for a task that
//! waits for another job: the task splits a node, and extends the file with the node latched, while a checkpoint waits for that
//! latch. And a file whose disk does not answer keeps all jobs that wait for it, as does a folder in which files are opened. So at
//! most three jobs run that wait for the same thing. The oldest job that may begin is the next.

use std::collections::VecDeque;

use crate::{
    id::FileId,
    sync::{
        Arc, callback,
        pool_end::{EndStage, PoolEnd},
        thread_pool::{ThreadLimits, ThreadPool, Workload},
        time::Duration,
    },
};

/// The most jobs that run at once: enough for four files, each with as many jobs as it can keep.
pub(crate) const THREADS_MAX: usize = 32;

/// The most of them that wait for the same thing.
const FOR_THE_SAME_MAX: usize = 3;

/// The most jobs that wait for a thread.
const QUEUE_MAX: usize = 1024;

const LIMITS: ThreadLimits =
    ThreadLimits { name: "ringpool-jobs", most: THREADS_MAX, idle: Some(Duration::from_secs(5)) };

pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The callers that use the pool: a latch or a pin of any page, or a turn.
    Callers,
    /// The callers that use this file, for a latch or a pin of its pages; and its disk.
    CallersOf(FileId),
    /// The disk of this file, however callers use the pool.
    Disk(FileId),
    /// The disk of the folder with this hash, in which a file is opened.
    Folder(u64),
    /// The disks of several files, however callers use the pool.
    Disks,
}

pub(crate) struct JobPool {
    pub(crate) threads: ThreadPool<JobWorkload>,
}

pub(crate) struct JobWorkload {
    end: Arc<PoolEnd>,
}

#[derive(Default)]
pub(crate) struct JobQueue {
    waiting: VecDeque<(WaitsFor, Job)>,
    /// What the jobs that have begun wait for.
    begun: Vec<WaitsFor>,
}

impl JobPool {
    /// Makes a pool of threads that takes jobs until the `end` begins.
    pub(crate) fn new(end: Arc<PoolEnd>) -> Self {
        Self { threads: ThreadPool::new(LIMITS, JobWorkload { end }, JobQueue::default()) }
    }

    /// Has a thread of the pool run the job. Returns the job if that is not possible: too many jobs are waiting already, the system
    /// gives no thread, or the pool ends.
    pub(crate) fn submit(&self, wait: WaitsFor, job: Job) -> Result<(), Job> {
        let mut state = self.threads.lock();
        if self.threads.workload().end.has_begun() || state.queue.waiting.len() == QUEUE_MAX {
            return Err(job);
        }
        let has_room = state.queue.with(wait) < FOR_THE_SAME_MAX;
        state.queue.waiting.push_back((wait, job));
        // For the jobs that wait since a thread was refused, no thread was called.
        let may_begin = has_room || state.was_refused_one() && state.queue.next().is_some();
        if self.threads.call(&mut state, usize::from(may_begin)) {
            return Ok(());
        }
        state.queue.waiting.pop_back().map_or(Ok(()), |(_, job)| Err(job))
    }
}

impl Drop for JobPool {
    fn drop(&mut self) {
        self.threads.workload().end.reach(EndStage::Ending);
        self.threads.wake_all();
    }
}

impl JobQueue {
    /// Returns how many jobs wait, or will wait, for this.
    fn with(&self, wait: WaitsFor) -> usize {
        let waiting = self.waiting.iter().map(|(other, _)| other);
        waiting.chain(&self.begun).filter(|&&other| other == wait).count()
    }

    /// Returns the place of the next job that may begin.
    fn next(&self) -> Option<usize> {
        let has_room = |wait| {
            self.begun.iter().filter(|&&other| other == wait).count() < FOR_THE_SAME_MAX
                || seeded!("one_file_has_all_job_threads")
        };
        self.waiting.iter().position(|&(wait, _)| has_room(wait))
    }

    fn end(&mut self, wait: WaitsFor) {
        let at = self.begun.iter().position(|&begun| begun == wait);
        self.begun.swap_remove(at.expect("it was begun"));
    }
}

impl Workload for JobWorkload {
    type Queue = JobQueue;
    type Work = (WaitsFor, Job);

    fn next(&self, queue: &mut JobQueue) -> Option<Self::Work> {
        let (wait, job) = queue.waiting.remove(queue.next()?)?;
        queue.begun.push(wait);
        Some((wait, job))
    }

    fn has_next(&self, queue: &mut JobQueue) -> bool {
        queue.next().is_some()
    }

    fn is_finished(&self, queue: &JobQueue) -> bool {
        self.end.has_begun() && queue.waiting.is_empty()
    }

    fn carry_out(&self, (wait, job): Self::Work, pool: &ThreadPool<Self>) {
        // A job reports its own panic to the threads and tasks that wait for it.
        let _ = callback::contained(job);
        pool.lock().queue.end(wait);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::sync::{Mutex, callback::tests::panicking_payload};
    #[cfg(not(any(loom, shuttle)))]
    use crate::sync::{thread, time};

    #[test]
    fn slow_jobs_do_not_stop_the_next_and_threads_are_few() {
        let jobs = JobPool::new(Arc::default());
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
            assert!(jobs.submit(WaitsFor::Callers, Box::new(job)).is_ok());
        }
        for quick in 100..110 {
            let done = done.clone();
            let job = move || done.send(quick).unwrap_or(());
            assert!(jobs.submit(WaitsFor::Disk(FileId(quick)), Box::new(job)).is_ok());
        }
        let first: Vec<_> = finished.iter().take(10).collect();
        assert!(first.iter().all(|&job| job >= 100), "{first:?}");
        assert!(jobs.threads.threads() <= THREADS_MAX);
        let begun = jobs.threads.lock().queue.begun.clone();
        assert_eq!(begun.iter().filter(|&&wait| wait == WaitsFor::Callers).count(), FOR_THE_SAME_MAX);
        drop(release);
        assert_eq!(finished.iter().take(10).count(), 10);
    }

    #[test]
    fn a_panicking_job_does_not_take_its_thread_along() {
        let jobs = JobPool::new(Arc::default());
        let (done, finished) = mpsc::channel();
        for _ in 0..2 * THREADS_MAX {
            let job = || std::panic::resume_unwind(panicking_payload());
            assert!(jobs.submit(WaitsFor::Callers, Box::new(job)).is_ok());
        }
        assert!(jobs.submit(WaitsFor::Callers, Box::new(move || done.send(()).unwrap_or(()))).is_ok());
        assert!(finished.recv().is_ok());
    }

    #[test]
    fn more_work_than_fits_comes_back() {
        let jobs = JobPool::new(Arc::default());
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let mut refused = 0;
        for _ in 0..QUEUE_MAX + THREADS_MAX + 5 {
            let wait = Arc::clone(&wait);
            refused += usize::from(
                jobs.submit(WaitsFor::Callers, Box::new(move || wait.lock().recv().unwrap_or(()))).is_err(),
            );
        }
        assert!(refused >= 5, "{refused}");
        drop(release);
    }

    #[test]
    #[cfg(not(any(loom, shuttle)))]
    fn c7_a_thread_that_is_refused_is_tried_again_after_a_pause() {
        let jobs = JobPool::new(Arc::default());
        let begun = time::now();
        thread::refused(0, 6, || while jobs.submit(WaitsFor::Callers, Box::new(|| ())).is_err() {});
        // The pauses of six refusals in milliseconds.
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(2 + 4 + 8 + 3 * 16), "{took:?}");
    }

    /// A job that runs may wait for a task that waits for one of the jobs in the queue.
    #[test]
    #[cfg(not(any(loom, shuttle)))]
    fn c6_jobs_that_wait_since_a_thread_was_refused_begin_when_a_further_one_comes_later() {
        let jobs = JobPool::new(Arc::default());
        let (held, hold) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        let begun = done.clone();
        let holds = move || {
            begun.send(()).unwrap_or(());
            hold.recv().unwrap_or(());
        };
        assert!(jobs.submit(WaitsFor::Disk(FileId(0)), Box::new(holds)).is_ok());
        assert!(is_done.recv().is_ok(), "the thread has seen what waits");
        let submit = || {
            let done = done.clone();
            assert!(jobs.submit(WaitsFor::Callers, Box::new(move || done.send(()).unwrap_or(()))).is_ok());
        };
        // As many as may run at once.
        thread::refused(0, u64::MAX, || (0..FOR_THE_SAME_MAX).for_each(|_| submit()));
        // The pause is over.
        std::thread::sleep(Duration::from_millis(30));
        submit();
        for _ in 0..=FOR_THE_SAME_MAX {
            assert!(
                is_done.recv_timeout(Duration::from_secs(5)).is_ok(),
                "they wait for a thread that is held"
            );
        }
        drop(held);
    }

    #[test]
    fn after_the_end_what_was_taken_is_done_and_nothing_more_is_taken() {
        let jobs = JobPool::new(Arc::default());
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let done = Arc::new(Mutex::new(0));
        for _ in 0..2 * THREADS_MAX {
            let (wait, done) = (Arc::clone(&wait), Arc::clone(&done));
            let job = move || {
                let _ = wait.lock().recv();
                *done.lock() += 1;
            };
            assert!(jobs.submit(WaitsFor::Callers, Box::new(job)).is_ok());
        }
        jobs.threads.workload().end.reach(EndStage::Ending);
        jobs.threads.wake_all();
        assert!(jobs.submit(WaitsFor::Callers, Box::new(|| ())).is_err());
        drop(release);
        jobs.threads.wait_until_gone();
        assert_eq!(*done.lock(), 2 * THREADS_MAX);
        assert!(jobs.submit(WaitsFor::Callers, Box::new(|| ())).is_err());
    }
}
