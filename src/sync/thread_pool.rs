//! Threads on demand, for the [jobs](crate::runtime::jobs) of a pool and for [transfers](crate::io::method::threads): started when
//! work comes and none sleeps, up to a limit, and ended after a while without work. A [`Workload`] has what waits for them, and
//! decides in which order it begins, and when no more comes.
//!
//! Invariants:
//! 1. while work may begin and there are threads, one is awake to begin it: a caller that brings work [calls](ThreadPool::call) a
//!    thread for each piece that may begin, and a thread that takes a piece and leaves another calls one more, as does a caller that
//!    has [helped out](ThreadPool::help_out);
//! 2. a sleeping thread that was called counts as awake at once, so no two calls count on the same one;
//! 3. a thread that the system refuses is tried again after a [pause](Pause); if there is no thread at all, the caller does the
//!    work;
//! 4. a panic ends with the piece of work in which it began;
//! 5. when the workload is finished all threads end, and what was taken is done.
//!
//! Lock order: the pool's lock is a leaf, except that a thread is started with it held: so each thread that is counted exists.

use std::io;

use crate::sync::{
    Arc, Condvar, Mutex, MutexGuard, callback,
    pause::Pause,
    thread::{self, ThreadId},
    time::{self, Duration},
};

pub(crate) trait Workload: Send + Sync + Sized + 'static {
    /// The waiting work, under the pool's lock.
    type Queue: Send;
    type Work;

    /// Takes the next piece that may begin.
    fn next(&self, queue: &mut Self::Queue) -> Option<Self::Work>;

    /// Returns whether there is a piece that may begin.
    fn has_next(&self, queue: &mut Self::Queue) -> bool;

    /// Returns whether nothing waits and nothing will. Once true it stays true.
    fn is_finished(&self, queue: &Self::Queue) -> bool;

    /// Does a piece of work. Pieces that may begin by its end need no call: this thread looks for the next piece.
    fn carry_out(&self, work: Self::Work, pool: &ThreadPool<Self>);
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct ThreadLimits {
    pub(crate) name: &'static str,
    pub(crate) most: usize,
    /// How long a thread stays without work; `None`: for ever.
    pub(crate) idle: Option<Duration>,
}

pub(crate) struct ThreadPool<W: Workload>(Arc<ThreadPoolShared<W>>);

struct ThreadPoolShared<W: Workload> {
    workload: W,
    limits: ThreadLimits,
    state: Mutex<ThreadPoolState<W::Queue>>,
    /// A sleeping thread was called, or the workload may be finished.
    called: Condvar,
    gone: Condvar,
}

pub(crate) struct ThreadPoolState<Q> {
    pub(crate) queue: Q,
    /// Threads that were started and have not ended, whether they sleep or not.
    threads: Vec<ThreadId>,
    /// The number of them that sleep and were not called.
    sleeping: usize,
    /// The number that were called and have not woken yet.
    called: usize,
    /// Why the system refused the last thread that was wanted.
    refused: Option<String>,
    /// The pause before another one is tried.
    pause: Pause,
}

impl<Q> ThreadPoolState<Q> {
    /// Returns whether the system refused the last thread that was wanted.
    pub(crate) fn was_refused_one(&self) -> bool {
        self.refused.is_some()
    }
}

impl<W: Workload> ThreadPool<W> {
    /// Makes a pool without threads: they are started when there is work.
    pub(crate) fn new(limits: ThreadLimits, workload: W, queue: W::Queue) -> Self {
        let (threads, refused, pause) = (Vec::new(), None, Pause::default());
        let state = Mutex::new(ThreadPoolState { queue, threads, sleeping: 0, called: 0, refused, pause });
        let (called, gone) = (Condvar::new(), Condvar::new());
        Self(Arc::new(ThreadPoolShared { workload, limits, state, called, gone }))
    }

    pub(crate) fn workload(&self) -> &W {
        &self.0.workload
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ThreadPoolState<W::Queue>> {
        self.0.state.lock()
    }

    /// Calls a thread for each of `pieces` pieces of work that may begin: wakes sleeping threads, and starts others. Returns
    /// whether there is any thread; if there is none, the caller must do the work.
    pub(crate) fn call(&self, state: &mut ThreadPoolState<W::Queue>, pieces: usize) -> bool {
        let woken = pieces.min(state.sleeping);
        state.sleeping -= if seeded!("sleeper_called_twice") { 0 } else { woken };
        state.called += woken;
        (0..woken).for_each(|_| self.0.called.notify_one());
        let started = (pieces - woken).min(self.0.limits.most - state.threads.len());
        if started > 0 && state.pause.is_over(time::now()) {
            // The first refusal ends it: further threads would be refused as well, and a try takes time.
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

    /// Does the waiting work in the calling thread, as long as there is no thread at all. `each` is called for each piece.
    pub(crate) fn help_out(&self, each: impl Fn()) {
        loop {
            let mut state = self.lock();
            if !state.threads.is_empty() {
                // A thread that has started meanwhile may have looked before the last piece ended, and sleep.
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
        // No thread is between its look and its sleep.
        drop(self.lock());
        self.0.called.notify_all();
    }

    /// Waits until all threads except the calling one have ended, when the workload is finished and they were
    /// [woken](Self::wake_all).
    pub(crate) fn wait_until_gone(&self) {
        let own = thread::current().id();
        let mut state = self.lock();
        while state.threads.iter().any(|&thread| thread != own) {
            state = self.0.gone.wait(state);
        }
    }

    pub(crate) fn has(&self, thread: ThreadId) -> bool {
        self.lock().threads.contains(&thread)
    }

    /// Returns why there is no thread, if the system has refused the last one that was wanted.
    pub(crate) fn refusal(&self) -> Option<String> {
        let state = self.lock();
        let reason = state.refused.as_ref().filter(|_| state.threads.is_empty())?;
        Some(format!("no {} thread can be started: {reason}", self.0.limits.name))
    }

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
                if self.workload().is_finished(&state.queue) || leave_at.is_some_and(|at| time::now() >= at) {
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
        // The hook has reported a panic, and the work reports it to the threads and tasks that wait for it.
        let _ = callback::contained(|| self.workload().carry_out(work, self));
    }

    /// Takes the calling thread, which sleeps, out of the pool.
    fn leave(&self, mut state: MutexGuard<'_, ThreadPoolState<W::Queue>>) {
        let own = thread::current().id();
        state.threads.retain(|&thread| thread != own);
        state.sleeping -= 1;
        if state.threads.is_empty() {
            // The last thread ends for lack of work. Whether another can be had is not known.
            state.refused = None;
        }
        // If the workload is finished, the other threads may not have seen it.
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
