//! Admission of calls for many pages: as far as there are frames for all of their pages, in order of arrival.
//!
//! Calls that each hold a part of their pages and wait for frames for the rest would keep one another from finishing. So a call asks
//! for as many frames as it has pages before its first pin, and is in until it has all pins, has failed, or is dropped. Those that are in
//! need no more frames together than there are, less those that look-ahead holds. One that alone needs more is let in alone.
//!
//! Calls that are in may share pages, or wait for a disk that does not answer. So a call that has waited for its patience is let in
//! [beside](Beside) them, if it has seen frames enough that neither users nor the disk have, after the others had the time to take theirs.
//!
//! The frames may become fewer. So a call that is in and waits for a frame asks whether it [still has room](Admission::still_has_room)
//! beside those that came before it. If not, it releases its pins and [goes back](Admission::go_back) to its old place in line. The
//! first to come always stays, so one call at least gets its pages.
//!
//! A call in line looks again when it is woken, and every [`RETRY`]: threads by themselves, tasks by the pool's
//! [ticker](crate::buffer::frame::ticker). One that does not, such as a task that is not polled, is passed over after a moment.
//!
//! Lock order: the line's lock is a leaf; wakers are made, called and dropped without it.

use std::{collections::BTreeMap, mem, task::Waker};

use rustc_hash::FxHashMap;

use crate::sync::{
    Mutex,
    time::{self, Duration, Instant},
    wait::RETRY,
    waking::{StoredWaker, Wakers},
};

/// The time after which a call that has not looked again is passed over.
const LATE: Duration = Duration::from_millis(5 * RETRY.as_millis() as u64);

#[derive(Default)]
pub(crate) struct Admission {
    line: Mutex<CallQueue>,
}

/// All calls, by their numbers, which rise.
#[derive(Default)]
struct CallQueue {
    inside: FxHashMap<u64, AdmittedCall>,
    /// The frames that those inside need together.
    admitted: usize,
    /// When a call that was let in in its turn last got all its pages.
    moved: Option<Instant>,
    /// When a call that was let in last ended, with its pages or without.
    ended: Option<Instant>,
    waiting: BTreeMap<u64, QueuedCall>,
    next: u64,
}

struct AdmittedCall {
    need: usize,
    /// How many frames there were when it was let in.
    frames: usize,
    /// It came past those before it, so its success is no progress for them.
    is_beside: bool,
    /// When it was let in, or last took a frame by itself.
    stirred: Instant,
}

struct QueuedCall {
    need: usize,
    /// Taken when it is woken.
    waker: Option<StoredWaker>,
    seen: Instant,
}

/// A call that is in line or let in, until it [leaves](Admission::leave).
#[derive(Debug)]
pub(crate) struct CallPlace(u64);

/// What lets a call in beside those for which there is no room: a look that has found frames enough for it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Beside {
    /// When the look at the frames began.
    pub(crate) looked: Instant,
    /// How long before the look the others must have been let in, so that they had time to take theirs.
    pub(crate) patience: Duration,
}

impl Admission {
    /// Lets a call in that needs `need` of `frames` frames, or puts it in line, to ask again when it is woken or after [`RETRY`].
    /// Returns whether it is in; either way it has a `place`.
    pub(crate) fn enter(
        &self,
        need: usize,
        frames: usize,
        beside: Option<Beside>,
        place: &mut Option<CallPlace>,
        waker: &Waker,
    ) -> bool {
        // Dropped after the lock, which comes later.
        let (mut own_waker, mut former_entry) = (Some(StoredWaker::of(waker)), None);
        let (now, mut wakers) = (time::now(), Wakers::new());
        let mut line = self.line.lock();
        let new_place = || {
            line.next += 1;
            CallPlace(line.next)
        };
        let number = place.get_or_insert_with(new_place).0;
        let is_beside = !line.may_enter(number, need, frames, now);
        let is_in = !is_beside || beside.is_some_and(|beside| line.may_enter_beside(beside));
        if is_in {
            former_entry = line.waiting.remove(&number);
            line.admitted += need;
            line.inside.insert(number, AdmittedCall { need, frames, is_beside, stirred: now });
            line.call(frames, now, &mut wakers);
        } else {
            let new = QueuedCall { need, waker: None, seen: now };
            let entry = line.waiting.entry(number).or_insert(new);
            entry.seen = now;
            mem::swap(&mut entry.waker, &mut own_waker);
        }
        drop(line);
        drop(former_entry);
        is_in
    }

    /// Notes that a call that is in has taken a frame, for which it had to wait.
    pub(crate) fn note_taken(&self, place: &CallPlace) {
        let now = time::now();
        if let Some(call) = self.line.lock().inside.get_mut(&place.0) {
            call.stirred = now;
        }
    }

    /// Notes that a call that is in needs no more than so many frames from here on.
    pub(crate) fn lower(&self, place: &CallPlace, need: usize, frames: usize) {
        let mut wakers = Wakers::new();
        let mut line = self.line.lock();
        if let Some(call) = line.inside.get_mut(&place.0) {
            let less = call.need.saturating_sub(need);
            call.need -= less;
            line.admitted -= less;
            line.call(frames, time::now(), &mut wakers);
        }
    }

    /// Returns whether a call that is in, and waits for a frame, may go on to wait with what it has pinned. It may not if there are
    /// fewer frames than when it was let in, and too few for it and those that came before it.
    pub(crate) fn still_has_room(&self, place: &CallPlace, frames: usize) -> bool {
        let line = self.line.lock();
        let Some(call) = line.inside.get(&place.0) else { return true };
        let before = line.inside.iter().filter(|&(&number, _)| number < place.0);
        let before: usize = before.map(|(_, call)| call.need).sum();
        frames >= call.frames
            || before == 0
            || before + call.need <= frames
            || seeded!("calls_stay_in_a_pool_that_shrinks")
    }

    /// Puts a call that is in back in line, where it stood: before all that came after it. It has released its pins.
    pub(crate) fn go_back(&self, place: &CallPlace, frames: usize, waker: &Waker) {
        let (now, mut wakers, waker) = (time::now(), Wakers::new(), StoredWaker::of(waker));
        let mut line = self.line.lock();
        if let Some(AdmittedCall { need, .. }) = line.inside.remove(&place.0) {
            line.admitted -= need;
            line.waiting.insert(place.0, QueuedCall { need, waker: Some(waker), seen: now });
            line.call(frames, now, &mut wakers);
        }
    }

    /// Ends a call, which has its pins if it `has_pages`, or is over without; or gives up its place in the line.
    pub(crate) fn leave(&self, place: &CallPlace, frames: usize, has_pages: bool) {
        let (now, mut wakers) = (time::now(), Wakers::new());
        let mut line = self.line.lock();
        let entry = line.waiting.remove(&place.0);
        if let Some(call) = line.inside.remove(&place.0) {
            line.admitted -= call.need;
            line.ended = Some(now);
            if has_pages && (!call.is_beside || seeded!("calls_beside_count_as_progress")) {
                line.moved = line.ended;
            }
        }
        line.call(frames, now, &mut wakers);
        drop(line);
        drop(entry);
    }

    /// Wakes all calls in line, so that each looks again. Returns whether there were any.
    pub(super) fn wake_all(&self) -> bool {
        let mut wakers = Wakers::new();
        wakers.extend(self.line.lock().waiting.values_mut().filter_map(|entry| entry.waker.take()));
        !wakers.is_empty()
    }

    /// Returns whether any call in line has not been woken.
    pub(super) fn is_waited_for(&self) -> bool {
        self.line.lock().waiting.values().any(|entry| entry.waker.is_some())
    }

    /// Returns when a call in its turn last got all its pages, and when one last ended; `since` where that was earlier.
    pub(crate) fn progress(&self, since: Instant) -> (Instant, Instant) {
        let line = self.line.lock();
        let or_since = |moment: Option<Instant>| moment.map_or(since, |moment| moment.max(since));
        (or_since(line.moved), or_since(line.ended))
    }
}

impl CallQueue {
    /// Returns whether the call may enter: there is room, and no call before it that comes for it.
    fn may_enter(&self, number: u64, need: usize, frames: usize, now: Instant) -> bool {
        let fits =
            self.admitted == 0 || self.admitted + need <= frames || seeded!("many_pages_let_in_unasked");
        fits && self.waiting.range(..number).all(|(_, entry)| now - entry.seen > LATE)
    }

    /// Returns whether a call for which there is no room may enter: those in have left the frames that it has seen.
    fn may_enter_beside(&self, Beside { looked, patience }: Beside) -> bool {
        let had_time = |call: &AdmittedCall| call.stirred + patience <= looked;
        !self.inside.is_empty()
            && (self.ended.is_none_or(|ended| ended <= looked) && self.inside.values().all(had_time)
                || seeded!("frames_about_to_be_taken_are_left"))
    }

    /// Wakes the calls that may enter now, once the caller has released the lock.
    fn call(&mut self, frames: usize, now: Instant, wakers: &mut Wakers) {
        let mut admitted = self.admitted;
        for entry in self.waiting.values_mut().filter(|entry| now - entry.seen <= LATE) {
            if admitted != 0 && admitted + entry.need > frames {
                break;
            }
            admitted += entry.need;
            wakers.extend(entry.waker.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: usize = 10;

    #[test]
    fn c6_what_a_call_needs_no_more_is_for_others() {
        let admission = Admission::default();
        let (mut first, mut second) = (None, None);
        assert!(enter(&admission, 8, &mut first));
        assert!(!enter(&admission, 6, &mut second));
        let place = first.as_ref().expect("it is in");
        admission.lower(place, 5, FRAMES);
        assert!(!enter(&admission, 6, &mut second), "eleven of ten");
        admission.lower(place, 4, FRAMES);
        admission.lower(place, 9, FRAMES);
        assert!(enter(&admission, 6, &mut second));
        [first, second].into_iter().flatten().for_each(|place| admission.leave(&place, FRAMES, true));
        assert_eq!(admission.line.lock().admitted, 0);
    }

    /// Returns whether the call is in.
    fn enter(admission: &Admission, need: usize, place: &mut Option<CallPlace>) -> bool {
        admission.enter(need, FRAMES, None, place, Waker::noop())
    }

    fn enter_new(admission: &Admission, need: usize) -> Option<CallPlace> {
        let mut place = None;
        enter(admission, need, &mut place).then(|| place.unwrap())
    }

    fn leave(admission: &Admission, place: Option<CallPlace>) {
        admission.leave(&place.unwrap(), FRAMES, true);
    }

    #[test]
    fn calls_enter_in_order_of_arrival_as_far_as_there_are_frames() {
        let admission = Admission::default();
        let [mut large, mut small, mut second_small, mut last] = [const { None }; 4];
        let first = enter_new(&admission, 6);
        assert!(!enter(&admission, 8, &mut large) && !enter(&admission, 2, &mut small), "not past the first");
        leave(&admission, first);
        assert!(!enter(&admission, 2, &mut second_small), "it is not its turn");
        leave(&admission, second_small);
        assert!(enter(&admission, 8, &mut large) && enter(&admission, 2, &mut small));
        assert!(!enter(&admission, 3, &mut last));
        leave(&admission, large);
        leave(&admission, last.take());
        assert!(!enter(&admission, 20, &mut last));
        leave(&admission, small);
        assert!(enter(&admission, 20, &mut last), "what needs more than there is enters alone");
        assert!(enter_new(&admission, 1).is_none());
    }

    #[test]
    fn c6_of_calls_in_a_pool_that_shrinks_those_that_came_first_stay_and_the_others_go_back_before_the_line()
    {
        const FEWER: usize = 5;
        let admission = Admission::default();
        let [mut first, mut second, mut third, mut late] = [const { None }; 4];
        assert!(
            [(3, &mut first), (4, &mut second), (2, &mut third)].map(|(n, at)| enter(&admission, n, at))
                == [true; 3]
        );
        assert!(!enter(&admission, 2, &mut late));
        let stay = |frames| {
            [&first, &second, &third].map(|place| admission.still_has_room(place.as_ref().unwrap(), frames))
        };
        assert_eq!(stay(FRAMES), [true; 3]);
        assert_eq!(stay(FRAMES - 2), [true, true, false]);
        assert_eq!(stay(FEWER), [true, false, false]);
        assert_eq!(stay(1), [true, false, false], "one goes on in any case");
        for place in [&third, &second] {
            admission.go_back(place.as_ref().unwrap(), FEWER, Waker::noop());
        }
        let enters =
            |need, place: &mut Option<CallPlace>| admission.enter(need, FEWER, None, place, Waker::noop());
        assert!(!enters(2, &mut late) && !enters(2, &mut third) && !enters(4, &mut second));
        admission.leave(&first.take().unwrap(), FEWER, true);
        assert!(!enters(2, &mut late) && !enters(2, &mut third), "it is not their turn");
        assert!(enters(4, &mut second) && !enters(2, &mut third));
        admission.leave(&second.take().unwrap(), FEWER, true);
        assert!(enters(2, &mut third) && enters(2, &mut late));
        let left = [third, late].map(Option::unwrap);
        assert!(left.iter().all(|place| admission.still_has_room(place, FEWER)));
        left.iter().for_each(|place| admission.leave(place, FEWER, true));
        assert_eq!(admission.line.lock().admitted, 0);
    }

    /// A look finds frames left that a call which was let in a moment ago is about to take.
    #[test]
    fn c6_a_call_enters_beside_others_by_what_was_seen_after_they_had_time_to_take_theirs() {
        const PATIENCE: Duration = Duration::from_secs(60);
        let admission = Admission::default();
        let enters = |looked: Instant, patience: Duration, place: &mut Option<CallPlace>| {
            admission.enter(2, FRAMES, Some(Beside { looked, patience }), place, Waker::noop())
        };
        let [mut next, mut small, mut last] = [const { None }; 3];
        let first = enter_new(&admission, FRAMES);
        assert!(!enter(&admission, FRAMES, &mut next));
        leave(&admission, first);
        assert!(
            !enters(time::now() + PATIENCE, PATIENCE, &mut small),
            "none is in: it is the next one's turn"
        );
        assert!(enter(&admission, FRAMES, &mut next));
        let before_it_took_one = time::now();
        assert!(!enters(before_it_took_one, PATIENCE, &mut small), "it had no time");
        std::thread::sleep(RETRY);
        admission.note_taken(next.as_ref().unwrap());
        assert!(!enters(before_it_took_one + PATIENCE, PATIENCE, &mut small), "nor since it took one");
        assert!(enters(time::now() + PATIENCE, PATIENCE, &mut small));
        let before_one_ended = time::now();
        std::thread::sleep(RETRY);
        leave(&admission, small);
        let (moved, ended) = admission.progress(before_it_took_one);
        assert_eq!(moved, before_it_took_one, "calls that come past others are no progress for those");
        assert!(ended > before_one_ended);
        assert!(!enters(before_one_ended, Duration::ZERO, &mut last), "it may have taken what was seen");
        assert!(enters(time::now(), Duration::ZERO, &mut last));
    }

    #[test]
    fn c10_a_call_that_no_task_polls_holds_up_no_other() {
        let admission = Admission::default();
        let (mut unpolled, mut other) = (None, None);
        let first = enter_new(&admission, FRAMES);
        assert!(!enter(&admission, FRAMES, &mut unpolled) && !enter(&admission, 1, &mut other));
        leave(&admission, first);
        let deadline = time::now() + Duration::from_secs(20);
        while !enter(&admission, 1, &mut other) {
            assert!(time::now() < deadline, "it is held up");
            std::thread::sleep(RETRY);
        }
        assert!(!enter(&admission, FRAMES, &mut unpolled), "it keeps its place for when there is room");
        leave(&admission, other);
        assert!(enter(&admission, FRAMES, &mut unpolled));
    }
}
