//! The bounded queue between those who submit and a method's own threads, and how those threads sleep.
//!
//! **No item is lost at the end.** Whoever pushes looks afterwards whether the queue is closed, and takes out what is
//! there if it is; whoever closes takes out what is there afterwards too. Each does its own write before its look, in the
//! one order of `SeqCst`, so one of the two sees the other, and everything is taken out by somebody.
//!
//! **No wake-up is lost.** The same pattern twice: a thread says that it sleeps and then looks at the queue once more; a
//! submitter pushes and then looks whether somebody sleeps. One of them sees the other. The price of a submission to a
//! method that is awake is a fence and a load.
//!
//! Lock order: [`Sleepers`] has one lock, taken last; nothing is called with it held.

use crossbeam_queue::ArrayQueue;

use crate::sync::{
    Condvar, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};

/// A bounded queue that can be closed.
pub(crate) struct Queue<T> {
    items: ArrayQueue<T>,
    closed: AtomicBool,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { items: ArrayQueue::new(capacity), closed: AtomicBool::new(false) }
    }

    /// Appends `item`, or gives it back when the queue is full. Afterwards, and before it counts on somebody to take the
    /// item out, the caller looks at [`is_closed`](Self::is_closed).
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        self.items.push(item)
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.items.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many more would fit now; none when closed.
    pub(crate) fn room(&self) -> usize {
        if self.is_closed() { 0 } else { self.items.capacity() - self.items.len() }
    }

    /// From now on nobody may count on an item being taken out. The caller takes out what is there.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        fence(Ordering::SeqCst);
        self.closed.load(Ordering::SeqCst)
    }
}

/// Threads that sleep until there is work.
#[derive(Debug, Default)]
pub(crate) struct Sleepers {
    /// How many say that they sleep. Changed under the lock, read without.
    count: AtomicUsize,
    lock: Mutex<()>,
    called: Condvar,
}

impl Sleepers {
    /// Sleeps unless `has_work`; may return for no reason, so the caller looks again.
    pub(crate) fn sleep_unless(&self, has_work: impl FnOnce() -> bool) {
        let guard = self.lock.lock();
        self.count.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // A call between this look and the wait is not missed: callers need the lock.
        if !has_work() {
            drop(self.called.wait(guard));
        } else {
            drop(guard);
        }
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes as many sleepers as there are for `work` new items. Called after they are in the queue.
    pub(crate) fn call(&self, work: usize) {
        fence(Ordering::SeqCst);
        let sleeping = self.count.load(Ordering::Relaxed);
        if sleeping == 0 || work == 0 {
            return;
        }
        let _held = self.lock.lock();
        if work >= sleeping {
            self.called.notify_all();
        } else {
            (0..work).for_each(|_| self.called.notify_one());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_queue_holds_what_it_says_and_no_more() {
        let queue = Queue::new(2);
        assert_eq!((queue.push(1), queue.push(2), queue.push(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!((queue.room(), queue.pop(), queue.room()), (0, Some(1), 1));
        queue.close();
        assert_eq!((queue.room(), queue.is_closed(), queue.pop()), (0, true, Some(2)));
    }

    #[test]
    fn nobody_sleeps_while_there_is_work() {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            Sleepers::default().sleep_unless(|| true);
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(10)).expect("it sleeps for ever");
    }

    #[test]
    fn every_item_wakes_somebody() {
        const ITEMS: usize = 20_000;
        let queue = Arc::new(Queue::new(4));
        let sleepers = Arc::new(Sleepers::default());
        let (done, all_done) = std::sync::mpsc::channel();
        for _ in 0..3 {
            let (queue, sleepers, done) = (Arc::clone(&queue), Arc::clone(&sleepers), done.clone());
            std::thread::spawn(move || {
                loop {
                    match queue.pop() {
                        Some(item) => done.send(item).unwrap(),
                        None if queue.is_closed() => return,
                        None => sleepers.sleep_unless(|| !queue.is_empty() || queue.is_closed()),
                    }
                }
            });
        }
        let mut taken = 0;
        for item in 0..ITEMS {
            let mut item = item;
            while let Err(back) = queue.push(item) {
                item = back;
                std::thread::yield_now();
            }
            sleepers.call(1);
            // Now and then the queue runs dry, so that a lost call is a hang.
            if item % 64 == 0 {
                while taken <= item {
                    all_done.recv_timeout(Duration::from_secs(10)).expect("a call was lost");
                    taken += 1;
                }
            }
        }
        queue.close();
        sleepers.call(usize::MAX);
        drop(done);
        assert_eq!(taken + all_done.iter().count(), ITEMS);
    }
}
