//! A thread that looks after tasks, which cannot look for themselves.
//!
//! A thread that waits for something that it may miss, or that another may take first, wakes up now and then and looks. For tasks there is
//! one thread a pool, which ticks every [`RETRY`] while there is such a task, and keeps the frames for at most one tick. It wakes the
//! tasks that wait for a frame, for room or to be let in, and looks after the lines for [latches](super::waiters) in which a task is
//! called and does not come.
//!
//! Lock order: the ticker's lock is taken before those of the lines, which it looks at.

use std::task::Waker;

use crate::{
    buffer::frame::frames::Frames,
    sync::{Arc, Weak, pause::Pause, thread, time, wait::RETRY, waking::StoredWaker},
};

/// The number of idle ticks after which the thread ends.
const IDLE_TICKS: u32 = if cfg!(any(loom, shuttle)) { 1 } else { 16 };

#[derive(Debug, Default)]
pub(super) struct Ticker {
    is_running: bool,
    /// The pause before the thread is tried again, after the system has refused it.
    pause: Pause,
}

impl Frames {
    /// Starts the thread that looks after tasks, unless it runs, for as long as any task needs it. Returns false where the system
    /// gives no thread for that.
    pub(super) fn keep_ticking(self: &Arc<Self>) -> bool {
        // Held while the thread is started, so that no other caller believes that it runs when the system is about to refuse it.
        let mut ticker = self.ticker.lock();
        if !ticker.is_running && ticker.pause.is_over(time::now()) {
            let frames = Arc::downgrade(self);
            ticker.is_running = thread::spawn("ringpool-tick".to_owned(), move || run(&frames)).is_ok();
            if ticker.is_running {
                ticker.pause.end();
            } else {
                ticker.pause.lengthen(time::now());
            }
        }
        ticker.is_running
    }

    /// Looks after a task whose wake-up can be missed. Where the system gives no thread for that, the task is woken at once, to look
    /// again whenever its runtime has time for it.
    pub(crate) fn look_after(self: &Arc<Self>, task: &Waker) {
        if !self.keep_ticking() && !seeded!("tasks_are_not_looked_after") {
            StoredWaker::of(task).wake();
        }
    }

    /// Returns whether any task had to be looked after.
    fn tick(&self) -> bool {
        let any_waits_for_frames =
            self.frame_waiters.wake_all() | self.held_back.wake_all() | self.admission.wake_all();
        self.waiters.look_after(&self.arrays) || any_waits_for_frames
    }

    fn needs_ticks(&self) -> bool {
        self.frame_waiters.is_felt_for_certain()
            || self.held_back.is_felt_for_certain()
            || self.admission.is_waited_for()
            || self.waiters.needs_attention()
    }
}

fn run(frames: &Weak<Frames>) {
    let mut idle_ticks = 0;
    loop {
        thread::park_timeout(RETRY);
        let Some(frames) = frames.upgrade() else { return };
        idle_ticks = if frames.tick() { 0 } else { idle_ticks + 1 };
        if idle_ticks >= IDLE_TICKS {
            // A task may have come since. It is seen here, or its caller finds afterwards that the thread has ended.
            let mut ticker = frames.ticker.lock();
            if !frames.needs_ticks() {
                ticker.is_running = false;
                return;
            }
            idle_ticks = 0;
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Wake, Waker},
        time::Duration,
    };

    use super::*;
    use crate::{
        BufferPool, Error, IoMethod, OpenOptions, PageId,
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
        let pool = builder.storage(disk).build().expect("options that work");
        let file = pool.open_file("data", OpenOptions::new()).expect("it was put there");
        (pool, [0, 1].map(|block| PageId::new(file, block)))
    }

    /// Where the system gives no thread that looks after tasks, they look for themselves.
    #[test]
    fn c6_a_task_sees_its_deadline_though_no_thread_can_be_had() {
        for method in [IoMethod::Sync, IoMethod::worker()] {
            let (pool, [first, second]) = pool(method);
            let pinned = pool.fetch(first).wait().unwrap();
            let options = Duration::from_millis(100);
            let fetched = thread::refused(0, u64::MAX, || run(pool.fetch(second).frame_wait(options)));
            assert!(matches!(fetched, Err(Error::AllPinned { .. })), "{fetched:?}");
            drop(pinned);
        }
    }

    /// Where the system gives no thread that looks after a line, all in it are called.
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
