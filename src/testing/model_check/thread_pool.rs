//! Threads on demand: each piece of work is done once, no call is lost, and the end waits for all that was taken.

use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler};

use super::{join, run, schedules, spawn};
use crate::sync::{
    Arc, Condvar, Mutex,
    thread_pool::{ThreadLimits, ThreadPool, Workload},
};

/// Pieces of work of which the first is done by itself, and the others meet in twos: neither is done before the other has begun.
#[derive(Default)]
struct Meetings {
    begun: Mutex<usize>,
    met: Condvar,
}

#[derive(Default)]
struct Pieces {
    waiting: usize,
    taken: usize,
    is_closed: bool,
}

impl Workload for Meetings {
    type Queue = Pieces;
    /// How many have begun when this may end.
    type Work = usize;

    fn next(&self, queue: &mut Pieces) -> Option<usize> {
        queue.waiting = queue.waiting.checked_sub(1)?;
        queue.taken += 1;
        Some(queue.taken | 1)
    }

    fn has_next(&self, queue: &mut Pieces) -> bool {
        queue.waiting > 0
    }

    fn is_finished(&self, queue: &Pieces) -> bool {
        queue.is_closed && queue.waiting == 0
    }

    fn carry_out(&self, enough: usize, _: &ThreadPool<Self>) {
        let mut begun = self.begun.lock();
        *begun += 1;
        self.met.notify_all();
        while *begun < enough {
            begun = self.met.wait(begun);
        }
    }
}

/// Two threads bring three pieces and two, one by one, and then the pool of two threads ends. With `idle`, threads may go in between.
fn check_meetings(idle: Option<Duration>) {
    const BROUGHT: [usize; 2] = [3, 2];
    let scenario = move || {
        let limits = ThreadLimits { name: "meetings", most: 2, idle };
        let pool = Arc::new(ThreadPool::new(limits, Meetings::default(), Pieces::default()));
        join(BROUGHT.map(|pieces| {
            let pool = Arc::clone(&pool);
            spawn(move || {
                for _ in 0..pieces {
                    let mut state = pool.lock();
                    state.queue.waiting += 1;
                    assert!(pool.call(&mut state, 1), "no thread is refused here");
                }
            })
        }));
        pool.lock().queue.is_closed = true;
        pool.wake_all();
        pool.wait_until_gone();
        assert_eq!(*pool.workload().begun.lock(), BROUGHT.iter().sum::<usize>());
    };
    run(RandomScheduler::new(schedules() / 2), scenario);
    run(PctScheduler::new(3, schedules() / 2), scenario);
}

#[test]
fn no_call_for_a_thread_is_lost() {
    check_meetings(None);
}

#[test]
fn threads_that_go_for_want_of_work_leave_none_behind() {
    check_meetings(Some(Duration::from_millis(3)));
}
