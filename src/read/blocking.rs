//! Running what must be waited for: as a thread that has nothing else to do, or as a task that must not block.
//!
//! Everything in `read` that can wait is a [`PollStep`]. A task's executor runs its steps; a thread runs them here.

use std::task::{Poll, Waker};

use crate::{
    buffer::supply::frame_waiters::RETRY,
    sync::{
        thread,
        time::{self, Instant},
        wait,
    },
};

pub(crate) use crate::sync::wait::Drive;

/// Work towards a result that may have to wait on its way.
pub(super) trait PollStep {
    type Output;

    /// Goes on until there is the result, or something to wait for that wakes `waker`.
    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Self::Output>;

    /// Whether the wake-up comes for certain, as at the end of a read. A frame that comes free may be missed, so who waits
    /// for one must also look for himself every [`RETRY`].
    fn is_sure_of_its_wake_up(&self) -> bool;
}

/// Runs the job in the calling thread.
pub(super) fn to_end<J: PollStep>(job: &mut J) -> J::Output {
    wait::with_thread_waker(|waker| {
        loop {
            if let Poll::Ready(output) = job.step(Drive::Thread, waker) {
                return output;
            }
            if job.is_sure_of_its_wake_up() { thread::park() } else { thread::park_timeout(RETRY) }
        }
    })
}

/// Runs the job in the calling thread, but not beyond `deadline`: so it cannot lend itself to a transfer.
pub(super) fn until<J: PollStep>(deadline: Instant, job: &mut J) -> Option<J::Output> {
    wait::with_thread_waker(|waker| {
        loop {
            if let Poll::Ready(output) = job.step(Drive::Task, waker) {
                return Some(output);
            }
            let left = deadline.saturating_duration_since(time::now());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(if job.is_sure_of_its_wake_up() { left } else { left.min(RETRY) });
        }
    })
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Wake},
        time::Duration,
    };

    use super::*;
    use crate::{
        BufferPool, Error, FetchOptions, IoMethod, OpenOptions, PageId,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        testing::SimDisk,
    };

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// Polls the future whenever it is woken, and gives up after a long time.
    fn run<F: Future + Unpin>(mut future: F) -> F::Output {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let deadline = time::now() + Duration::from_secs(20);
        let mut seen = None;
        loop {
            let calls = Some(woken.0.load(SeqCst));
            if seen != calls {
                seen = calls;
                let polled = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
                if let Poll::Ready(output) = polled {
                    return output;
                }
            }
            assert!(time::now() < deadline, "it was never woken");
            thread::park_timeout(Duration::from_micros(100));
        }
    }

    fn pool(method: IoMethod) -> (BufferPool, [PageId; 2]) {
        let disk = SimDisk::new();
        disk.put("data", vec![0; 2 * 8192]);
        let builder = BufferPool::builder().page_size(8192).frames(1).io_method(method);
        let pool = builder.disk(disk).build().expect("options that work");
        let file = pool.open_file("data", OpenOptions::new()).expect("it was put there");
        (pool, [0, 1].map(|block| PageId::new(file, block)))
    }

    /// Where no thread can be had that looks after tasks, they look for themselves.
    #[test]
    fn c6_a_task_sees_its_deadline_though_no_thread_can_be_had() {
        for method in [IoMethod::Sync, IoMethod::worker()] {
            let (pool, [first, second]) = pool(method);
            let pinned = pool.fetch(first).wait().unwrap();
            let options = FetchOptions::new().frame_wait(Duration::from_millis(100));
            let fetched = thread::refused(0, u64::MAX, || run(pool.fetch_with(second, options)));
            assert!(matches!(fetched, Err(Error::AllPinned { .. })), "{fetched:?}");
            drop(pinned);
        }
    }

    /// Where no thread can be had that looks after a line, all in it are called.
    #[test]
    fn c6_a_task_that_is_not_polled_holds_up_no_other_though_no_thread_can_be_had() {
        for method in [IoMethod::Sync, IoMethod::worker()] {
            let (pool, [page, _]) = pool(method);
            let page = pool.fetch(page).wait().unwrap();
            let held = page.write().unwrap();
            let woken = [(); 3].map(|()| Arc::new(Woken::default()));
            let mut writing: Vec<_> = woken
                .iter()
                .map(|woken| {
                    let mut writing = Box::pin(page.write_async());
                    let waker = Waker::from(Arc::clone(woken));
                    assert!(writing.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                    writing
                })
                .collect();
            thread::refused(0, u64::MAX, || drop(held));
            assert!(woken.iter().all(|woken| woken.0.load(SeqCst) > 0), "one was not called");
            let mut last = writing.pop().unwrap();
            let taken = last.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(taken, Poll::Ready(Ok(_))), "the others are not polled");
        }
    }
}
