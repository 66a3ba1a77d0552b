//! A thread that looks after tasks, which cannot look for themselves.
//!
//! A thread that sleeps for something that it may miss, or that another may take first, wakes up now and then and looks; a task
//! sleeps until it is woken. For tasks there is one thread a pool, which ticks every [`RETRY`]: it wakes the tasks that wait
//! for [a frame](super::supply::frame_waiters) or to be [let in](super::supply::admission), and looks after the lines for [latches](super::frame::waiters) in which a task is called and
//! does not come. It is started when there is such a task, and ends soon after the last; where no thread can be had, the caller is
//! told, and sees to it that the task does without.
//!
//! It keeps a pool's memory for a tick at the most.
//!
//! Lock order: the ticker's lock is taken before those of the lines, which it looks at.

use crate::{
    buffer::{pool::FramePool, supply::frame_waiters::RETRY},
    sync::{Arc, Mutex, Weak, pause::Pause, thread, time},
};

/// After so many ticks for nothing it goes.
const IDLE_TICKS: u32 = if cfg!(any(loom, shuttle)) { 1 } else { 16 };

#[derive(Debug, Default)]
pub(super) struct Ticker(Mutex<TickerState>);

#[derive(Debug, Default)]
struct TickerState {
    is_running: bool,
    /// Before the thread is tried again, where the system has refused it.
    pause: Pause,
}

impl FramePool {
    /// Starts the thread that looks after tasks, unless it runs, for as long as any task needs it. False where no thread can be had for that.
    pub(super) fn keep_ticking(self: &Arc<Self>) -> bool {
        // Held over the try, so that no other caller takes the thread for running that the system is about to refuse.
        let mut ticker = self.ticker.0.lock();
        if !ticker.is_running && ticker.pause.is_over(time::now()) {
            let pool = Arc::downgrade(self);
            ticker.is_running = thread::spawn("ringpool-tick".to_owned(), move || run(&pool)).is_ok();
            if ticker.is_running {
                ticker.pause.end();
            } else {
                ticker.pause.lengthen(time::now());
            }
        }
        ticker.is_running
    }

    /// Returns whether any task had to be looked after.
    fn tick(&self) -> bool {
        let any_starves = self.frame_waiters.wake_all() | self.admission.ticks.wake_all();
        self.waiters.look_after(|no| self.frame(no)) || any_starves
    }

    fn needs_ticks(&self) -> bool {
        self.frame_waiters.is_felt_for_certain()
            || self.admission.ticks.is_felt_for_certain()
            || self.waiters.needs_attention()
    }
}

fn run(pool: &Weak<FramePool>) {
    let mut idle_ticks = 0;
    loop {
        thread::park_timeout(RETRY);
        let Some(pool) = pool.upgrade() else { return };
        idle_ticks = if pool.tick() { 0 } else { idle_ticks + 1 };
        if idle_ticks >= IDLE_TICKS {
            // A task may have come since. It is seen here, or its caller finds afterwards that the thread has gone.
            let mut ticker = pool.ticker.0.lock();
            if !pool.needs_ticks() {
                ticker.is_running = false;
                return;
            }
            idle_ticks = 0;
        }
    }
}
