//! Threads on demand: each piece of work is done once, no wake-up is lost, and the end waits for all that was taken.

use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler};

use super::{join, run, schedules, spawn};
use crate::sync::{
    Arc, Condvar, Mutex,
    thread_pool::{ThreadLimits, ThreadPool, Workload},
};

/// Pieces of work of which the first is done by itself, and the others meet in pairs: neither is done before the other has begun.
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

/// Pieces of work of which one is done at a time, as those of a file that has a share of one.
struct OneAtATime;

#[derive(Default)]
struct Line {
    waiting: usize,
    is_one_begun: bool,
    done: usize,
    is_closed: bool,
}

impl Workload for OneAtATime {
    type Queue = Line;
    type Work = ();

    fn next(&self, line: &mut Line) -> Option<()> {
        self.has_next(line).then(|| {
            line.waiting -= 1;
            line.is_one_begun = true;
        })
    }

    fn has_next(&self, line: &mut Line) -> bool {
        line.waiting > 0 && !line.is_one_begun
    }

    fn is_finished(&self, line: &Line) -> bool {
        line.is_closed && line.waiting == 0
    }

    fn carry_out(&self, (): (), pool: &ThreadPool<Self>) {
        let line = &mut pool.lock().queue;
        line.is_one_begun = false;
        line.done += 1;
    }
}

/// Has two threads submit three pieces and two, one by one, and then ends the pool of two threads. With `idle`, threads may end in
/// between.
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

/// The first caller was refused a thread and does the piece itself; for the next one a thread is started, which may find that it
/// cannot begin yet.
#[test]
fn a_caller_that_helps_out_leaves_no_piece_behind_when_a_thread_has_come() {
    let scenario = || {
        let limits = ThreadLimits { name: "one at a time", most: 2, idle: None };
        let pool = Arc::new(ThreadPool::new(limits, OneAtATime, Line { waiting: 1, ..Line::default() }));
        let (helped, called) = (Arc::clone(&pool), Arc::clone(&pool));
        let helps = spawn(move || helped.help_out(|| ()));
        let calls = spawn(move || {
            let mut state = called.lock();
            state.queue.waiting += 1;
            called.call(&mut state, 1);
        });
        join([helps, calls]);
        pool.lock().queue.is_closed = true;
        pool.wake_all();
        pool.wait_until_gone();
        assert_eq!(pool.lock().queue.done, 2);
    };
    run(RandomScheduler::new(schedules() / 2), scenario);
    run(PctScheduler::new(3, schedules() / 2), scenario);
}
