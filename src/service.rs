//! A few threads that run what tasks cannot wait for themselves: checkpoints, flushes, truncations.
//!
//! Started when there is work and gone after a while without, so a pool that is only used from threads, or is idle, has
//! none. They own nothing: a job brings what it needs. Lock order: the queue's lock is taken alone.

use std::collections::VecDeque;

use crate::sync::{
    Arc, Condvar, Mutex, thread,
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
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Service {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shop { state: Mutex::new(State::default()), work: Condvar::new() }))
    }

    /// Has the job run by a service thread. Comes back with it where that cannot be had: too much is waiting already, or
    /// the system gives no thread.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        let mut state = self.0.state.lock();
        if state.queue.len() == QUEUE_MAX {
            return Err(job);
        }
        if state.idle <= state.queue.len() && state.threads < THREADS_MAX {
            let shop = Arc::clone(&self.0);
            let started = thread::spawn("ringpool-service".to_owned(), move || shop.run());
            match started {
                Ok(_) => state.threads += 1,
                Err(_) if state.threads == 0 => return Err(job),
                Err(_) => {}
            }
        }
        state.queue.push_back(job);
        drop(state);
        self.0.work.notify_one();
        Ok(())
    }
}

impl Drop for Service {
    /// Ends the threads once the queue is empty. Jobs hold the pool, so none is left when the pool drops its service.
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.work.notify_all();
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
        state.threads -= 1;
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
        assert!(service.0.state.lock().threads <= THREADS_MAX);
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
}
