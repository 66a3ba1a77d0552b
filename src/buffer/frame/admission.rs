//! Fetches of many pages, let in as far as there are frames for all of their pages, in order of arrival.
//!
//! A call that has some of its pages pinned and waits for frames for the others keeps what it has from calls that wait for the
//! same: many of them together would each hold a part, and none get on. So a call asks for as many frames as it has pages before
//! its first pin, and counts as let in until it has all pins, has failed, or is dropped. Those that are let in need no more
//! frames together than there are, less those that look-ahead holds; one that alone needs more is let in alone.
//!
//! A call that is let in does not have its frames yet: others may have them pinned, so it waits for them as a fetch does.
//!
//! A call in line looks again when it is woken, and every [`RETRY`] in any case: threads by themselves, tasks by the pool's
//! [ticker](crate::buffer::frame::ticker). One that does not, as a task that is not polled, is passed over after a moment, and holds up no other.
//!
//! Lock order: the line's lock is taken alone; wakers are made, called and dropped without it.

use std::{collections::VecDeque, mem, task::Waker};

use crate::sync::{
    Mutex,
    time::{self, Duration, Instant},
    wait::RETRY,
    waking::{StoredWaker, Wakers},
};

/// When a call that has not looked again is passed over.
const LATE: Duration = Duration::from_millis(5 * RETRY.as_millis() as u64);

#[derive(Default)]
pub(crate) struct Admission {
    line: Mutex<CallQueue>,
}

#[derive(Default)]
struct CallQueue {
    /// The frames that the calls need which are let in.
    admitted: usize,
    /// When a call that was let in last got all its pages.
    moved: Option<Instant>,
    /// When a call that was let in was last over, with or without.
    ended: Option<Instant>,
    waiting: VecDeque<QueuedCall>,
    next: u64,
}

struct QueuedCall {
    number: u64,
    need: usize,
    /// Taken by a wake-up.
    waker: Option<StoredWaker>,
    /// When it last looked.
    seen: Instant,
}

/// A place in the line. To be [given up](Admission::leave) if it is not needed any more.
#[derive(Debug)]
pub(crate) struct CallPlace(u64);

impl Admission {
    /// Lets a call in that needs `need` of `frames` frames; or it is in line at `place`, and to ask again when it is woken or
    /// after [`RETRY`]. Gives whether it is in. With `at_once` it is let in whether or not the others leave it room.
    pub(crate) fn enter(
        &self,
        need: usize,
        frames: usize,
        at_once: bool,
        place: &mut Option<CallPlace>,
        waker: &Waker,
    ) -> bool {
        let now = time::now();
        // What is dropped here, is dropped without the lock.
        let (mut own_waker, mut former_entry) = (Some(StoredWaker::of(waker)), None);
        let mut wakers = Wakers::new();
        let is_in = {
            let mut line = self.line.lock();
            let at = place.as_ref().and_then(|place| line.position(place)).unwrap_or(line.waiting.len());
            let is_in = at_once || line.may_enter(at, need, frames, now);
            if is_in {
                former_entry = line.waiting.remove(at);
                line.admitted += need;
                line.call(frames, now, &mut wakers);
            } else if let Some(entry) = line.waiting.get_mut(at) {
                entry.seen = now;
                mem::swap(&mut entry.waker, &mut own_waker);
            } else {
                let number = line.next;
                line.next += 1;
                line.waiting.push_back(QueuedCall { number, need, waker: own_waker.take(), seen: now });
                *place = Some(CallPlace(number));
            }
            is_in
        };
        if is_in {
            *place = None;
        }
        drop(former_entry);
        drop(wakers);
        is_in
    }

    /// A call that was let in has its pins, or is over without.
    pub(crate) fn end(&self, need: usize, frames: usize, has_pages: bool) {
        self.move_on(frames, |line| {
            line.admitted -= need;
            line.ended = Some(time::now());
            if has_pages {
                line.moved = line.ended;
            }
        });
    }

    /// Gives up a place in the line.
    pub(crate) fn leave(&self, place: &CallPlace, frames: usize) {
        let mut entry = None;
        self.move_on(frames, |line| {
            entry = line.position(place).and_then(|at| line.waiting.remove(at));
        });
        drop(entry);
    }

    /// Wakes all calls in line, to look for themselves. Returns whether there were any.
    pub(super) fn wake_all(&self) -> bool {
        let mut wakers = Wakers::new();
        let mut line = self.line.lock();
        wakers.extend(line.waiting.iter_mut().filter_map(|entry| entry.waker.take()));
        drop(line);
        !wakers.is_empty()
    }

    /// Returns whether any call in line has not been woken.
    pub(super) fn is_waited_for(&self) -> bool {
        self.line.lock().waiting.iter().any(|entry| entry.waker.is_some())
    }

    /// Returns when a call that was let in last got all its pages, and when one was last over, with or without; `since` where
    /// that was earlier.
    pub(crate) fn progress(&self, since: Instant) -> (Instant, Instant) {
        let line = self.line.lock();
        let or_since = |moment: Option<Instant>| moment.map_or(since, |moment| moment.max(since));
        (or_since(line.moved), or_since(line.ended))
    }

    fn move_on(&self, frames: usize, step: impl FnOnce(&mut CallQueue)) {
        let (now, mut wakers) = (time::now(), Wakers::new());
        {
            let mut line = self.line.lock();
            step(&mut line);
            line.call(frames, now, &mut wakers);
        }
        drop(wakers);
    }
}

impl CallQueue {
    fn position(&self, place: &CallPlace) -> Option<usize> {
        self.waiting.binary_search_by_key(&place.0, |entry| entry.number).ok()
    }

    fn fits(&self, need: usize, frames: usize) -> bool {
        self.admitted == 0 || self.admitted + need <= frames || seeded!("many_pages_let_in_unasked")
    }

    /// Whether the call that stands at `at` may enter: there is room, and no call before it that comes for it.
    fn may_enter(&self, at: usize, need: usize, frames: usize, now: Instant) -> bool {
        self.fits(need, frames) && self.waiting.iter().take(at).all(|entry| entry.is_late(now))
    }

    /// Wakes the calls that may enter now.
    fn call(&mut self, frames: usize, now: Instant, wakers: &mut Wakers) {
        let mut admitted = self.admitted;
        for entry in &mut self.waiting {
            if entry.is_late(now) {
                continue;
            }
            if admitted != 0 && admitted + entry.need > frames {
                break;
            }
            admitted += entry.need;
            wakers.extend(entry.waker.take());
        }
    }
}

impl QueuedCall {
    fn is_late(&self, now: Instant) -> bool {
        now - self.seen > LATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: usize = 10;

    fn enter(admission: &Admission, need: usize, place: &mut Option<CallPlace>) -> bool {
        admission.enter(need, FRAMES, false, place, Waker::noop())
    }

    #[test]
    fn calls_enter_in_order_of_arrival_as_far_as_there_are_frames() {
        let admission = Admission::default();
        let [mut large, mut small, mut last] = [None, None, None];
        assert!(enter(&admission, 6, &mut None));
        assert!(!enter(&admission, 8, &mut large) && !enter(&admission, 2, &mut small), "not past the first");
        admission.end(6, FRAMES, true);
        assert!(!enter(&admission, 2, &mut small), "it is not its turn");
        assert!(enter(&admission, 8, &mut large) && enter(&admission, 2, &mut small));
        assert!(large.is_none() && !enter(&admission, 3, &mut last));
        admission.end(8, FRAMES, true);
        admission.leave(&last.take().unwrap(), FRAMES);
        assert!(!enter(&admission, 20, &mut last));
        admission.end(2, FRAMES, true);
        assert!(enter(&admission, 20, &mut last), "what needs more than there is enters alone");
        assert!(!enter(&admission, 1, &mut None));
    }

    #[test]
    fn c10_a_call_that_nobody_polls_holds_up_no_other() {
        let admission = Admission::default();
        let (mut unpolled, mut other) = (None, None);
        assert!(enter(&admission, FRAMES, &mut None));
        assert!(!enter(&admission, FRAMES, &mut unpolled) && !enter(&admission, 1, &mut other));
        admission.end(FRAMES, FRAMES, true);
        let deadline = time::now() + Duration::from_secs(20);
        while !enter(&admission, 1, &mut other) {
            assert!(time::now() < deadline, "it is held up");
            std::thread::sleep(RETRY);
        }
        assert!(!enter(&admission, FRAMES, &mut unpolled), "it keeps its place for when there is room");
        admission.end(1, FRAMES, true);
        assert!(enter(&admission, FRAMES, &mut unpolled));
    }
}
