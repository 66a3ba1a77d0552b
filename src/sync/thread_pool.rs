//! Threads on demand: started when work comes and none sleeps, up to a limit, and gone after a while without work.
//!
//! A [`ThreadPool`] is used twice: for the [jobs](crate::runtime::jobs) of a pool, and for [transfers](crate::io::method::threads). What
//! waits for the threads, in which order it begins, and when nothing more comes, is up to a [`Workload`].
//!
//! Invariants:
//! 1. while work may begin and there are threads, one is awake to begin it: a caller that brings work [calls](ThreadPool::call) a thread
//!    for each piece that may begin, and a thread that takes a piece and leaves another calls one more, as does a caller that has
//!    [helped out](ThreadPool::help_out);
//! 2. a sleeper that was called counts as awake at once, so no two calls count on the same one;
//! 3. a thread that the system refuses is tried again after a [pause](Pause); work for which there is no thread at all is its caller's;
//! 4. a panic ends with the piece of work that it comes from;
//! 5. when the workload is finished all threads go, and what was taken is done.
//!
//! Lock order: the pool's lock is a leaf, but that a thread is started with it held: so what is counted as a thread is one.

use std::io;

use crate::sync::{
    Arc, Condvar, Mutex, MutexGuard, callback,
    pause::Pause,
    thread::{self, ThreadId},
    time::{self, Duration, Instant},
};

/// What the threads of a pool do.
pub(crate) trait Workload: Send + Sync + Sized + 'static {
    /// What waits for them, under the pool's lock.
    type Queue: Send;
    /// A piece of work.
    type Work;

    /// Takes the next piece that may begin.
    fn next(&self, queue: &mut Self::Queue) -> Option<Self::Work>;

    /// Returns whether there is one.
    fn has_next(&self, queue: &mut Self::Queue) -> bool;

    /// Returns whether nothing waits and nothing will. Once true it stays so.
    fn is_finished(&self, queue: &Self::Queue) -> bool;

    /// Does a piece of work. What may begin by its end does so in the thread that is here, which looks next.
    fn carry_out(&self, work: Self::Work, pool: &ThreadPool<Self>);
}

/// Which threads there are.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ThreadLimits {
    pub(crate) name: &'static str,
    /// The most at once.
    pub(crate) most: usize,
    /// How long a thread stays without work; for ever unless set.
    pub(crate) idle: Option<Duration>,
}

/// A pool of threads, as its users and its threads share it.
pub(crate) struct ThreadPool<W: Workload>(Arc<ThreadPoolShared<W>>);

struct ThreadPoolShared<W: Workload> {
    workload: W,
    limits: ThreadLimits,
    state: Mutex<ThreadPoolState<W::Queue>>,
    /// A sleeper was called, or the workload may be finished.
    called: Condvar,
    /// A thread is gone.
    gone: Condvar,
}

/// What is under the lock of a pool of threads.
pub(crate) struct ThreadPoolState<Q> {
    pub(crate) queue: Q,
    /// Started and not gone, asleep or not.
    threads: Vec<ThreadId>,
    /// So many of them sleep and were not called.
    sleeping: usize,
    /// So many were called and are not up yet.
    called: usize,
    /// Why the last thread that was wanted could not be had.
    refused: Option<String>,
    /// Before another one is tried.
    pause: Pause,
}

impl<Q> ThreadPoolState<Q> {
    /// Returns whether the last thread that was wanted could not be had.
    pub(crate) fn was_refused_one(&self) -> bool {
        self.refused.is_some()
    }
}

impl<W: Workload> ThreadPool<W> {
    /// None to begin with: threads are started when there is work.
    pub(crate) fn new(limits: ThreadLimits, workload: W, queue: W::Queue) -> Self {
        let state = ThreadPoolState {
            queue,
            threads: Vec::new(),
            sleeping: 0,
            called: 0,
            refused: None,
            pause: Pause::default(),
        };
        let (state, called, gone) = (Mutex::new(state), Condvar::new(), Condvar::new());
        Self(Arc::new(ThreadPoolShared { workload, limits, state, called, gone }))
    }

    pub(crate) fn workload(&self) -> &W {
        &self.0.workload
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ThreadPoolState<W::Queue>> {
        self.0.state.lock()
    }

    /// Calls a thread for each of so many pieces of work that may begin: wakes those that sleep, and starts others. Returns whether there
    /// is any thread; where there is none, the work is the caller's.
    pub(crate) fn call(&self, state: &mut ThreadPoolState<W::Queue>, pieces: usize) -> bool {
        let woken = pieces.min(state.sleeping);
        state.sleeping -= if seeded!("sleeper_called_twice") { 0 } else { woken };
        state.called += woken;
        (0..woken).for_each(|_| self.0.called.notify_one());
        let started = (pieces - woken).min(self.0.limits.most - state.threads.len());
        if started > 0 && state.pause.is_over(time::now()) {
            // The first refusal ends it: the others would be refused as well, and a try takes its time.
            let _ = (0..started).try_for_each(|_| self.start(state));
        }
        !state.threads.is_empty()
    }

    /// Starts as many threads as there may be, or as the system gives; an error if that is none.
    pub(crate) fn start_all(&self) -> io::Result<()> {
        let mut state = self.lock();
        let all = (0..self.0.limits.most).try_for_each(|_| self.start(&mut state));
        if state.threads.is_empty() { all } else { Ok(()) }
    }

    fn start(&self, state: &mut ThreadPoolState<W::Queue>) -> io::Result<()> {
        let pool = Self(Arc::clone(&self.0));
        match thread::spawn(self.0.limits.name.to_owned(), move || pool.run()) {
            Ok(started) => {
                state.threads.push(started.thread().id());
                state.refused = None;
                state.pause.end();
                Ok(())
            }
            Err(error) => {
                state.refused = Some(error.to_string());
                state.pause.lengthen(time::now());
                Err(error)
            }
        }
    }

    /// Does what waits in the calling thread, as long as there is no thread at all. `each` is told of each piece.
    pub(crate) fn help_out(&self, each: impl Fn()) {
        loop {
            let mut state = self.lock();
            if !state.threads.is_empty() {
                // One that has come meanwhile may have looked before the last piece ended, and sleep.
                if self.workload().has_next(&mut state.queue) && !seeded!("helper_leaves_a_piece_behind") {
                    self.call(&mut state, 1);
                }
                return;
            }
            let Some(work) = self.workload().next(&mut state.queue) else { return };
            drop(state);
            each();
            self.carry_out(work);
        }
    }

    /// Has the threads that sleep look again: the workload may be finished.
    pub(crate) fn wake_all(&self) {
        // None is between its look and its sleep.
        drop(self.lock());
        self.0.called.notify_all();
    }

    /// Waits until all threads are gone, but for the calling one, when the workload is finished and they were [woken](Self::wake_all).
    pub(crate) fn wait_until_gone(&self) {
        let own = thread::current().id();
        let mut state = self.lock();
        while state.threads.iter().any(|&thread| thread != own) {
            state = self.0.gone.wait(state);
        }
    }

    /// Returns whether this is one of the threads.
    pub(crate) fn has(&self, thread: ThreadId) -> bool {
        self.lock().threads.contains(&thread)
    }

    /// Returns why there is no thread, where the system has refused the last one that was wanted.
    pub(crate) fn refusal(&self) -> Option<String> {
        let state = self.lock();
        let reason = state.refused.as_ref().filter(|_| state.threads.is_empty())?;
        Some(format!("no {} thread can be started: {reason}", self.0.limits.name))
    }

    /// What each thread does.
    fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some(work) = self.workload().next(&mut state.queue) {
                if self.workload().has_next(&mut state.queue) {
                    self.call(&mut state, 1);
                }
                drop(state);
                self.carry_out(work);
                state = self.lock();
                continue;
            }
            let leave_at = self.0.limits.idle.map(|idle| time::now() + idle);
            state.sleeping += 1;
            while state.called == 0 {
                if self.is_to_leave(&state, leave_at) {
                    return self.leave(state);
                }
                state = match leave_at {
                    Some(leave_at) => self.0.called.wait_until(state, leave_at),
                    None => self.0.called.wait(state),
                };
            }
            state.called -= 1;
        }
    }

    fn carry_out(&self, work: W::Work) {
        // The hook has reported a panic, and the work tells those that wait for it.
        let _ = callback::contained(|| self.workload().carry_out(work, self));
    }

    fn is_to_leave(&self, state: &ThreadPoolState<W::Queue>, leave_at: Option<Instant>) -> bool {
        self.workload().is_finished(&state.queue) || leave_at.is_some_and(|leave_at| time::now() >= leave_at)
    }

    /// Takes the calling thread, which sleeps, out of the pool.
    fn leave(&self, mut state: MutexGuard<'_, ThreadPoolState<W::Queue>>) {
        let own = thread::current().id();
        state.threads.retain(|&thread| thread != own);
        state.sleeping -= 1;
        if state.threads.is_empty() {
            // The last one goes for want of work. Whether another can be had is not known.
            state.refused = None;
        }
        // Where the workload is finished, the others may not have seen it.
        self.0.called.notify_all();
        self.0.gone.notify_all();
    }
}

#[cfg(test)]
impl<W: Workload> ThreadPool<W> {
    pub(crate) fn threads(&self) -> usize {
        self.lock().threads.len()
    }

    pub(crate) fn awake(&self) -> usize {
        let state = self.lock();
        state.threads.len() - state.sleeping
    }
}
