//! Frames that can be taken at once, and the sleep of the background writer, which keeps some here.
//!
//! A frame in this list was clean and unused when it was put there, and still has its page: a use saves the page. It is marked READY,
//! and only the mark counts, which is checked when the frame is taken.
//!
//! A thread that takes a frame wakes the background writer, if it sleeps, when fewer frames than the mark are left, here and
//! without a page. It may miss a sleep that begins just then; the next thread that takes a frame makes up for it. After the writer has
//! found nothing to clean for long, only a fetch that meets a dirty victim wakes it.
//!
//! Lock order: the lock of the sleep is a leaf.

use std::task::{Wake, Waker};

use crossbeam_queue::ArrayQueue;

use crate::{
    id::FrameNo,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        pool_end::PoolEnd,
        time::{self, Instant},
    },
};

pub(crate) struct CleanList {
    frames: ArrayQueue<FrameNo>,
    /// The writer is woken when fewer than this are left; 0 while there is no writer.
    mark: AtomicUsize,
    /// Frames wanted since the last [`take_demand`](Self::take_demand), whether there was one or not.
    demand: AtomicUsize,
    /// Pages that the writer has found clean, or has had written, so far: so a waiting fetch sees whether the writer is at work.
    made: AtomicUsize,
    /// The value of `made` when a fetch had waited in vain for more; `usize::MAX` where none has.
    stuck_at: AtomicUsize,
    asleep: AtomicBool,
    /// Whether no writer keeps frames ready, since there was nothing to clean lately.
    rests: AtomicBool,
    /// Whether a fetch has met dirty victims since this was last asked, beyond those kept ready.
    dirt_was_met: AtomicBool,
    alarm: Arc<Alarm>,
}

/// What ends the writer's sleep.
#[derive(Default)]
struct Alarm {
    is_called: Mutex<bool>,
    called: Condvar,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        *self.is_called.lock() = true;
        self.called.notify_all();
    }
}

impl CleanList {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            frames: ArrayQueue::new(capacity.max(1)),
            mark: AtomicUsize::new(0),
            demand: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
            stuck_at: AtomicUsize::new(usize::MAX),
            asleep: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            dirt_was_met: AtomicBool::new(false),
            alarm: Arc::default(),
        }
    }

    pub(crate) fn pop(&self) -> Option<FrameNo> {
        self.frames.pop()
    }

    /// Notes that `wanted` frames are wanted, and wakes the writer, if few are left here and of the `free` ones.
    pub(crate) fn note_demand(&self, wanted: usize, free: usize) {
        let mark = self.mark.load(Ordering::Relaxed);
        if mark > 0 && !self.rests() {
            self.demand.fetch_add(wanted, Ordering::Relaxed);
            if free.saturating_add(self.frames.len()) < mark {
                self.call();
            }
        }
    }

    /// Notes that a fetch has met a dirty victim, so the writer has work: in turn, or `beyond` those.
    pub(crate) fn note_dirt(&self, beyond: bool) {
        if self.rests() {
            self.rests.store(false, Ordering::Relaxed);
            self.call();
        }
        if beyond {
            self.dirt_was_met.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn take_dirt_met_by_demand(&self) -> bool {
        self.dirt_was_met.swap(false, Ordering::Relaxed)
    }

    /// Stops keeping frames ready: from here on only [dirt](Self::note_dirt) wakes the writer.
    pub(crate) fn rest(&self) {
        self.rests.store(true, Ordering::Relaxed);
    }

    pub(crate) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    /// Adds a frame; returns false where there is no room. Any thread may: it does not show that the writer works.
    pub(crate) fn push(&self, frame: FrameNo) -> bool {
        if seeded!("freed_frame_taken_for_the_writers") {
            self.note_made(1);
        }
        self.frames.push(frame).is_ok()
    }

    pub(crate) fn note_made(&self, pages: usize) {
        self.made.fetch_add(pages, Ordering::Relaxed);
    }

    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn memory(&self) -> usize {
        // The queue keeps a word beside each item.
        self.frames.capacity() * 2 * size_of::<usize>()
    }

    pub(crate) fn take_demand(&self) -> usize {
        self.demand.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn set_mark(&self, mark: usize) {
        self.mark.store(mark, Ordering::Relaxed);
    }

    /// Returns whether frames are kept ready: there is a writer, and it is not known to be stuck.
    pub(crate) fn is_kept(&self) -> bool {
        self.mark.load(Ordering::Relaxed) > 0 && self.stuck_at.load(Ordering::Relaxed) != self.made()
    }

    /// Notes that the writer is stuck at `made` pages: until it makes another one, fetches do not count on it.
    pub(crate) fn note_stuck(&self, made: usize) {
        self.stuck_at.store(made, Ordering::Relaxed);
    }

    /// Wakes the writer, if it sleeps for want of work.
    pub(super) fn call(&self) {
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.look_again();
        }
    }

    /// Sleeps until frames are wanted. Returns false once the pool ends.
    pub(crate) fn sleep(&self, end: &PoolEnd) -> bool {
        self.sleep_while(None, true, true, end)
    }

    /// Sleeps until it is woken or `deadline` has come; if it `is_short`, also until frames are wanted.
    pub(crate) fn sleep_until(&self, deadline: Instant, is_short: bool, end: &PoolEnd) {
        self.sleep_while(Some(deadline), is_short, true, end);
    }

    /// Sleeps until `deadline`, however much is wanted. Returns false once the pool ends.
    pub(crate) fn rest_until(&self, deadline: Instant, end: &PoolEnd) -> bool {
        self.sleep_while(Some(deadline), false, false, end)
    }

    fn sleep_while(
        &self,
        deadline: Option<Instant>,
        is_short: bool,
        heeds_calls: bool,
        end: &PoolEnd,
    ) -> bool {
        self.asleep.store(is_short, Ordering::SeqCst);
        let Alarm { is_called, called } = &*self.alarm;
        let mut is_called = is_called.lock();
        while !(end.has_begun() || heeds_calls && *is_called)
            && deadline.is_none_or(|deadline| time::now() < deadline)
        {
            is_called = match deadline {
                Some(deadline) => called.wait_until(is_called, deadline),
                None => called.wait(is_called),
            };
        }
        *is_called &= !heeds_calls;
        self.asleep.store(false, Ordering::Relaxed);
        !end.has_begun()
    }

    /// Ends the sleep, or the next one.
    pub(crate) fn look_again(&self) {
        self.alarm.wake_by_ref();
    }

    /// Returns a waker that ends the sleep, or the next one.
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.alarm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::pool_end::EndStage;

    /// Takes a frame from a list that is the only source of frames.
    fn take(ready: &CleanList) -> Option<FrameNo> {
        let taken = ready.pop();
        ready.note_demand(1, 0);
        taken
    }

    fn ready(frames: u32, mark: usize) -> CleanList {
        let ready = CleanList::new(frames as usize);
        (0..frames).for_each(|no| assert!(ready.push(FrameNo(no))));
        ready.set_mark(mark);
        ready
    }

    #[test]
    fn frames_come_out_in_the_order_in_which_they_were_put_in() {
        let kept = ready(3, 1);
        assert!(!kept.push(FrameNo(9)), "there is no room");
        assert_eq!((take(&kept), take(&kept), kept.take_demand()), (Some(FrameNo(0)), Some(FrameNo(1)), 2));
        assert_eq!((take(&kept), take(&kept), kept.take_demand()), (Some(FrameNo(2)), None, 2));
        let left_alone = ready(1, 0);
        assert_eq!(
            (take(&left_alone), take(&left_alone)),
            (Some(FrameNo(0)), None),
            "what is left is used up"
        );
        assert_eq!(left_alone.take_demand(), 0, "but no thread is to replace it");
    }

    #[test]
    fn a_taker_of_a_frame_wakes_the_writer_only_below_the_mark() {
        let ready = Arc::new(ready(4, 3));
        let sleeping = std::thread::spawn({
            let ready = Arc::clone(&ready);
            move || ready.sleep(&PoolEnd::default())
        });
        while !ready.asleep.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        take(&ready);
        assert!(ready.asleep.load(Ordering::SeqCst), "three are left");
        ready.pop();
        ready.note_demand(1, 1);
        assert!(ready.asleep.load(Ordering::SeqCst), "two, and one that has no page");
        ready.note_demand(1, 0);
        assert!(!ready.asleep.load(Ordering::SeqCst));
        assert!(sleeping.join().unwrap());
    }

    #[test]
    fn a_writer_that_rests_is_woken_by_dirt_and_by_nothing_else() {
        let ready = Arc::new(ready(1, 3));
        ready.rest();
        let sleeping = std::thread::spawn({
            let ready = Arc::clone(&ready);
            move || ready.sleep(&PoolEnd::default())
        });
        while !ready.asleep.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        assert_eq!((take(&ready), take(&ready), ready.take_demand()), (Some(FrameNo(0)), None, 0));
        assert!(ready.asleep.load(Ordering::SeqCst) && ready.is_kept());
        ready.note_dirt(false);
        assert!(!ready.asleep.load(Ordering::SeqCst) && !ready.rests());
        assert!(sleeping.join().unwrap());
    }

    #[test]
    fn a_writer_that_is_told_to_end_sleeps_no_more() {
        let (ready, end) = (ready(1, 1), PoolEnd::default());
        let tomorrow = time::now() + std::time::Duration::from_secs(86_400);
        std::thread::scope(|scope| {
            let sleeping = scope.spawn(|| ready.sleep(&end));
            end.reach(EndStage::Ending);
            ready.look_again();
            assert!(!sleeping.join().unwrap());
        });
        ready.sleep_until(tomorrow, false, &end);
        assert!(!ready.sleep(&end) && !ready.rest_until(tomorrow, &end));
    }
}
