//! The sleep of a thread that has nothing to do, while other threads bring it work.
//!
//! **No wake-up is lost, and few are paid for.** The sleeper announces that it is going to sleep, and looks once more for work. A
//! thread that brings work stores it, and then looks whether the sleeper sleeps. In the one order of `SeqCst` one of them sees
//! the other. The thread that finds it asleep clears the flag, so that only one of many wakes it.
//!
//! How it sleeps is up to the sleeper; but a wake-up that comes just before must end the sleep, too.

use crate::sync::atomic::{AtomicBool, Ordering, fence};

#[derive(Debug, Default)]
pub(crate) struct Sleeper {
    is_asleep: AtomicBool,
}

impl Sleeper {
    /// Notes that the sleeper is going to sleep. It may if this returns true: by the time that all threads see it nothing has
    /// come.
    pub(crate) fn may_sleep(&self, has_news: impl FnOnce() -> bool) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        !has_news()
    }

    pub(crate) fn wake_up(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Returns whether the caller has to wake the sleeper. Asked when the work has been stored.
    pub(crate) fn must_be_woken(&self) -> bool {
        fence(Ordering::SeqCst);
        self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::SeqCst)
    }
}

/// A wake-up that is lost is a deadlock, which loom reports.
#[cfg(all(test, loom))]
mod loom_models {
    use std::mem;

    use super::*;
    use crate::sync::{
        Arc, Condvar, Mutex,
        every_schedule::{check, spawn},
    };

    /// A sleeper with its work, and its waker, which keeps what it was told.
    #[derive(Default)]
    struct Door<W> {
        sleeper: Sleeper,
        work: W,
        is_rung: Mutex<bool>,
        rung: Condvar,
    }

    impl<W> Door<W> {
        fn ring(&self) {
            if self.sleeper.must_be_woken() {
                *self.is_rung.lock() = true;
                self.rung.notify_one();
            }
        }

        /// Sleeps, if there is nothing else to do, until `work` has returned `all` that there is.
        fn work(&self, mut all: usize, mut work: impl FnMut() -> usize, has_news: impl Fn() -> bool) {
            loop {
                all -= work();
                if all == 0 {
                    return;
                }
                if self.sleeper.may_sleep(&has_news) {
                    let mut is_rung = self.is_rung.lock();
                    while !mem::take(&mut *is_rung) {
                        is_rung = self.rung.wait(is_rung);
                    }
                }
                self.sleeper.wake_up();
            }
        }
    }

    #[test]
    fn what_two_put_into_a_queue_is_found() {
        check(2, || {
            let door = Arc::new(Door::<Mutex<usize>>::default());
            let bringing = [(), ()].map(|()| {
                let door = Arc::clone(&door);
                spawn(move || {
                    *door.work.lock() += 1;
                    door.ring();
                })
            });
            door.work(2, || mem::take(&mut *door.work.lock()), || *door.work.lock() > 0);
            bringing.into_iter().for_each(|bringing| bringing.join().unwrap());
        });
    }

    /// Work stored without a lock: nothing beside the sleeper orders the thread that brings it and the one that
    /// works.
    #[test]
    fn what_is_put_down_without_a_lock_is_found() {
        check(3, || {
            let door = Arc::new(Door::<AtomicBool>::default());
            let bringing = {
                let door = Arc::clone(&door);
                spawn(move || {
                    door.work.store(true, Ordering::Relaxed);
                    door.ring();
                })
            };
            let is_there = || door.work.load(Ordering::Relaxed);
            door.work(1, || usize::from(is_there()), is_there);
            bringing.join().unwrap();
        });
    }
}
