//! A few threads that run what tasks cannot wait for themselves: checkpoints, flushes, truncations.
//!
//! Started when there is work and gone after a while without, so a pool that is only used from threads, or is idle, has
//! none. They own nothing: a job brings what it needs. After [`close`](Service::close) nothing new is taken, what was taken is
//! done, and the threads go at once. Lock order: the queue's lock is taken alone.

use std::collections::VecDeque;

use crate::sync::{
    Arc, Condvar, Mutex,
    thread::{self, ThreadId},
    time::{self, Duration},
};

/// At most this many jobs run at once; one that syncs a slow file does not keep the others waiting.
const THREADS_MAX: usize = 4;

/// At most this many jobs wait for a thread.
const QUEUE_MAX: usize = 1024;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(5);

pub(crate) type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Service(Arc<Shop>);

struct Shop {
    state: Mutex<State>,
    work: Condvar,
    /// A thread is gone.
    gone: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: Vec<ThreadId>,
    idle: usize,
    closed: bool,
}

impl Service {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shop {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            gone: Condvar::new(),
        }))
    }

    /// Has the job run by a service thread. Comes back with it where that cannot be had: too much is waiting already, the
    /// system gives no thread, or the service is closed.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        let mut state = self.0.state.lock();
        if state.closed || state.queue.len() == QUEUE_MAX {
            return Err(job);
        }
        if state.idle <= state.queue.len() && state.threads.len() < THREADS_MAX {
            let shop = Arc::clone(&self.0);
            let started = thread::spawn("ringpool-service".to_owned(), move || shop.run());
            match started {
                Ok(thread) => state.threads.push(thread.thread().id()),
                Err(_) if state.threads.is_empty() => return Err(job),
                Err(_) => {}
            }
        }
        state.queue.push_back(job);
        drop(state);
        self.0.work.notify_one();
        Ok(())
    }

    /// Takes no more jobs, and has the threads go when those that were taken are done. Idempotent.
    pub(crate) fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.work.notify_all();
    }

    /// Waits until all jobs are done, after it was [closed](Self::close). Not for a thread that [is one of these](Self::has).
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

impl Drop for Service {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shop {
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                // A job reports its own panic to whoever waits for it; the thread goes on with the next.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                state = self.state.lock();
                continue;
            }
            if state.closed {
                break;
            }
            let leave_at = time::now() + IDLE;
            state.idle += 1;
            while state.queue.is_empty() && !state.closed && time::now() < leave_at {
                state = self.work.wait_until(state, leave_at);
            }
            state.idle -= 1;
            if state.queue.is_empty() {
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

    #[test]
    fn slow_jobs_do_not_stop_the_next_and_threads_are_few() {
        let service = Service::new();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let (done, finished) = mpsc::channel();
        for slow in 0..THREADS_MAX - 1 {
            let wait = Arc::clone(&wait);
            let done = done.clone();
            let job = move || {
                let _ = wait.lock().recv();
                let _ = done.send(slow);
            };
            assert!(service.submit(Box::new(job)).is_ok());
        }
        for quick in 100..110 {
            let done = done.clone();
            assert!(service.submit(Box::new(move || done.send(quick).unwrap_or(()))).is_ok());
        }
        let first: Vec<_> = finished.iter().take(10).collect();
        assert!(first.iter().all(|&job| job >= 100), "{first:?}");
        assert!(service.0.state.lock().threads.len() <= THREADS_MAX);
        drop(release);
        assert_eq!(finished.iter().take(THREADS_MAX - 1).count(), THREADS_MAX - 1);
    }

    #[test]
    fn a_panicking_job_does_not_take_its_thread_along() {
        let service = Service::new();
        let (done, finished) = mpsc::channel();
        for _ in 0..2 * THREADS_MAX {
            assert!(service.submit(Box::new(|| std::panic::resume_unwind(Box::new("job")))).is_ok());
        }
        assert!(service.submit(Box::new(move || done.send(()).unwrap_or(()))).is_ok());
        assert!(finished.recv().is_ok());
    }

    #[test]
    fn more_work_than_fits_comes_back() {
        let service = Service::new();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let mut refused = 0;
        for _ in 0..QUEUE_MAX + THREADS_MAX + 5 {
            let wait = Arc::clone(&wait);
            refused +=
                usize::from(service.submit(Box::new(move || wait.lock().recv().unwrap_or(()))).is_err());
        }
        assert!(refused >= 5, "{refused}");
        drop(release);
    }
    #[test]
    fn after_the_close_what_was_taken_is_done_and_nothing_more_is_taken() {
        let service = Service::new();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let done = Arc::new(Mutex::new(0));
        for _ in 0..2 * THREADS_MAX {
            let (wait, done) = (Arc::clone(&wait), Arc::clone(&done));
            let job = move || {
                let _ = wait.lock().recv();
                *done.lock() += 1;
            };
            assert!(service.submit(Box::new(job)).is_ok());
        }
        service.close();
        assert!(service.submit(Box::new(|| ())).is_err());
        drop(release);
        service.wait_until_gone();
        assert_eq!(*done.lock(), 2 * THREADS_MAX);
        assert!(service.submit(Box::new(|| ())).is_err());
    }
}
