//! Reader slots: where a thread notes that it holds a page, by a store to a line of its own.
//!
//! Each thread with an [index](crate::observe::thread_index) has a line of [`SLOTS`] slots, for the pages of all pools. A slot is
//! free, or names a frame of a pool on which it is a pin, perhaps with a share latch: [`bias`](super::bias) says what that counts for.
//!
//! * Only the thread whose line it is **takes** a slot. The value that holds the page may be in another thread, and outlive the
//!   thread: it is freed from there.
//! * Beside it is its **mark**: another thread is about to count its pin and latch in the frame's state word, or has done so. A slot
//!   that is marked is not taken.
//! * Slots are never freed memory: their thread looks at the mark after it has let go of the page, when the pool may be gone.
//!
//! Threads without an index, those whose line is full, and all threads where the system has no [asymmetric
//! fence](crate::sync::asymmetric) use the state word.

use crate::{
    id::FrameNo,
    observe::thread_index::{self, THREADS},
    sync::{
        asymmetric,
        atomic::{AtomicU64, Ordering},
        thread,
    },
};

/// How many slots a thread has: pages that it holds at once.
const SLOTS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 8 };

/// How many lines there are: as many as threads with an index, of which the highest has none, since the first line is not used: so
/// no slot has the number 0. The model checkers' threads share one line.
const LINES: usize = if cfg!(any(loom, shuttle)) { 2 } else { THREADS };

#[repr(align(128))] // A line of slots; and processors load lines of 64 bytes in pairs.
struct AllSlots([ReaderSlot; SLOTS * LINES]);

/// The slots, as a pool uses them.
#[derive(Copy, Clone)]
pub(crate) struct ReaderSlots {
    /// The slots of one run of a model. Others belong to the process.
    #[cfg(any(loom, shuttle))]
    all: &'static AllSlots,
    /// Not 0 where no slot can be taken. A number, so that a hit asks for it in one step with the words of the slot.
    closed: u64,
    /// The words of the frame 0, without and with a latch. They tell the words of this pool from those of all others.
    of_first_frame: [SlotWord; 2],
}

pub(crate) struct ReaderSlot {
    /// A [`SlotWord`]: what it holds.
    held: AtomicU64,
    /// A [`SlotWord`]: none, PENDING, or what the state word counts.
    mark: AtomicU64,
}

/// A slot's number, or none.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotNo(u32);

impl SlotNo {
    pub(crate) const NONE: Self = Self(0);
}

/// A frame, and the slot that holds it: in one word, so that a pin is two words and stays in registers.
#[derive(Copy, Clone, Debug)]
pub(crate) struct HeldFrame(u64);

impl HeldFrame {
    #[inline]
    pub(crate) fn new(frame: FrameNo, slot: SlotNo) -> Self {
        Self(u64::from(frame.0) | u64::from(slot.0) << 32)
    }

    #[inline]
    pub(crate) fn frame(self) -> FrameNo {
        FrameNo(self.0 as u32)
    }

    #[inline]
    pub(crate) fn slot(self) -> SlotNo {
        SlotNo((self.0 >> 32) as u32)
    }
}

/// A pin on a frame of a pool, perhaps with a share latch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotWord(u64);

/// It is a share latch too.
const LATCHED: u64 = 1 << 32;
/// In a mark: a thread is about to count it.
const PENDING: u64 = 1 << 33;
/// Where the pool's number begins.
const POOL_SHIFT: u32 = 34;
/// The highest number, in the words of pools whose slots are closed: no slot holds it. Numbers are not used again, since a process that
/// is forked has copies of slots that are never freed.
const NO_POOL: u64 = u64::MAX >> POOL_SHIFT;

impl SlotWord {
    const NONE: Self = Self(0);

    /// Returns whether both are of one frame of one pool.
    #[inline]
    pub(crate) fn is_of_frame_of(self, other: Self) -> bool {
        (self.0 ^ other.0) & !(LATCHED | PENDING) == 0
    }

    pub(crate) fn frame(self) -> FrameNo {
        FrameNo(self.0 as u32)
    }

    #[inline]
    pub(crate) fn is_latched(self) -> bool {
        self.0 & LATCHED != 0
    }

    pub(crate) fn unlatched(self) -> Self {
        Self(self.0 & !LATCHED)
    }

    fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }
}

/// Returns a number that no other pool has, and not 0.
fn next_pool() -> u64 {
    use crate::sync::uncontrolled::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl ReaderSlots {
    pub(crate) fn new() -> Self {
        let pool = next_pool();
        if asymmetric::is_available() && pool < NO_POOL { Self::of_pool(pool, 0) } else { Self::closed() }
    }

    fn closed() -> Self {
        Self::of_pool(NO_POOL, 1)
    }

    fn of_pool(pool: u64, closed: u64) -> Self {
        let unlatched = pool << POOL_SHIFT;
        Self {
            #[cfg(any(loom, shuttle))]
            all: AllSlots::of_model(),
            closed,
            of_first_frame: [unlatched, unlatched | LATCHED].map(SlotWord),
        }
    }

    #[cfg(not(any(loom, shuttle)))]
    #[inline]
    #[allow(clippy::unused_self)] // The model checkers' slots are in it.
    fn slots(&self) -> &'static [ReaderSlot; SLOTS * LINES] {
        static ALL: AllSlots = AllSlots([const { ReaderSlot::new() }; SLOTS * LINES]);
        &ALL.0
    }

    #[cfg(any(loom, shuttle))]
    fn slots(&self) -> &'static [ReaderSlot; SLOTS * LINES] {
        &self.all.0
    }

    #[inline]
    pub(crate) fn word(&self, no: FrameNo, latched: bool) -> SlotWord {
        SlotWord(self.of_first_frame[usize::from(latched)].0 | u64::from(no.0))
    }

    /// Takes a slot of the calling thread, which has that number, if there is a free one. The caller loads the state word next,
    /// which is ordered after that.
    #[inline(always)]
    pub(crate) fn take(&self, thread: usize, word: SlotWord) -> Option<SlotNo> {
        let thread = if cfg!(any(loom, shuttle)) { 0 } else { thread };
        if thread >= LINES - 1 {
            return None;
        }
        let first = (thread + 1) * SLOTS;
        let at =
            if self.slots()[first].take(word, self.closed) { first } else { self.take_further(first, word)? };
        asymmetric::light();
        Some(SlotNo(at as u32))
    }

    /// Takes another slot than the first, which is nearly always enough: a thread seldom holds several pages.
    #[inline(never)]
    fn take_further(&self, first: usize, word: SlotWord) -> Option<usize> {
        (first + 1..first + SLOTS).find(|&at| self.slots()[at].take(word, self.closed))
    }

    #[inline]
    pub(crate) fn at(&self, no: SlotNo) -> Option<&'static ReaderSlot> {
        // A remainder, so that it is not compared with their count.
        (no != SlotNo::NONE).then(|| &self.slots()[no.0 as usize % (SLOTS * LINES)])
    }

    /// Returns all slots that were ever used.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static ReaderSlot> + use<> {
        self.slots().iter().skip(SLOTS).take(thread_index::ever_used() * SLOTS)
    }

    /// Returns the frames that slots hold and state words do not count, in order, each as often as slots hold it.
    pub(crate) fn holds(&self) -> Holds {
        let pool = self.of_first_frame[0].0 >> POOL_SHIFT;
        let of_pool = |&word: &SlotWord| word.0 >> POOL_SHIFT == pool && word != SlotWord::NONE;
        let mut frames: Vec<_> =
            self.all().filter_map(ReaderSlot::uncounted).filter(of_pool).map(SlotWord::frame).collect();
        frames.sort_unstable();
        Holds(frames)
    }
}

#[cfg(any(loom, shuttle))]
impl AllSlots {
    /// Makes slots for one run of a model, which are never freed either.
    fn of_model() -> &'static Self {
        let slot = |_| ReaderSlot { held: AtomicU64::new(0), mark: AtomicU64::new(0) };
        Box::leak(Box::new(Self(std::array::from_fn(slot))))
    }
}

impl ReaderSlot {
    #[cfg(not(any(loom, shuttle)))]
    const fn new() -> Self {
        Self { held: AtomicU64::new(0), mark: AtomicU64::new(0) }
    }

    /// Takes the slot if it is free and not marked, and `closed` is 0.
    #[inline(always)]
    fn take(&self, word: SlotWord, closed: u64) -> bool {
        if self.held.load(Ordering::Acquire) | self.mark.load(Ordering::Acquire) | closed != 0 {
            return false;
        }
        if cfg!(any(loom, shuttle)) {
            // There several threads have one line.
            let free = SlotWord::NONE.0;
            return self.held.compare_exchange(free, word.0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        }
        // Release, so that what comes after the former holder's end also comes after this.
        self.held.store(word.0, Ordering::Release);
        true
    }

    /// Frees the slot, and returns what it held, and whether it is marked: then [its holder](Self::take_count) asks once more.
    #[inline(always)]
    pub(crate) fn free(&self) -> (SlotWord, bool) {
        let held = SlotWord(self.held.load(Ordering::Relaxed));
        self.held.store(SlotWord::NONE.0, Ordering::Release);
        asymmetric::light();
        (held, self.is_marked())
    }

    /// Adds a share latch to the pin that it holds, if it holds none, and returns whether it did. The caller may load the state
    /// word or the mark next, which is ordered after that.
    #[inline]
    pub(crate) fn latch(&self) -> bool {
        self.change(|held| !held.is_latched())
    }

    /// Takes the share latch from the pin that it holds, if it holds one, and returns whether it did. What the caller loads next is
    /// ordered after that.
    #[inline]
    pub(crate) fn unlatch(&self) -> bool {
        self.change(SlotWord::is_latched)
    }

    #[inline]
    fn change(&self, may_change: impl Fn(SlotWord) -> bool) -> bool {
        // Not a store: several threads may latch and unlatch through one pin.
        let held = self.load();
        let is_changed = may_change(held)
            && self
                .held
                .compare_exchange(held.0, held.0 ^ LATCHED, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        asymmetric::light();
        is_changed
    }

    #[inline]
    pub(crate) fn load(&self) -> SlotWord {
        SlotWord(self.held.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn is_marked(&self) -> bool {
        self.mark.load(Ordering::Acquire) != 0
    }

    fn uncounted(&self) -> Option<SlotWord> {
        let held = self.load();
        let is_counted = self.counted(held).is_some();
        (held != SlotWord::NONE && !is_counted).then_some(held)
    }

    fn counted(&self, name: SlotWord) -> Option<SlotWord> {
        let mark = SlotWord(self.mark.load(Ordering::Acquire));
        (mark.is_of_frame_of(name) && !mark.is_pending() && mark != SlotWord::NONE).then_some(mark)
    }
}

/// What a thread does that counts holders.
impl ReaderSlot {
    /// Marks the slot PENDING, if it holds the frame and is not counted. Returns whether it is so.
    pub(crate) fn mark_holder(&self, name: SlotWord) -> bool {
        loop {
            let held = self.load();
            if !held.is_of_frame_of(name) || self.counted(name).is_some() {
                return false;
            }
            let pending = name.unlatched().0 | PENDING;
            if self.mark.compare_exchange(0, pending, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return true;
            }
            // The slot has changed hands while another thread counts its former holder, which takes a system call at the most.
            thread::yield_now();
        }
    }

    pub(crate) fn is_pending(&self, name: SlotWord) -> bool {
        self.mark.load(Ordering::Relaxed) == name.unlatched().0 | PENDING
    }

    /// Ends PENDING: the state word counts what is `counted`, or nothing.
    pub(crate) fn end_pending(&self, counted: Option<SlotWord>) {
        self.mark.store(counted.unwrap_or(SlotWord::NONE).0, Ordering::Release);
    }
}

/// What a holder does whose slot is marked.
impl ReaderSlot {
    /// Returns what the state word counts of this holder, for good: it waits while a thread is about to count it.
    pub(crate) fn settled_count(&self, name: SlotWord) -> Option<SlotWord> {
        for _ in 0..Self::YIELDS_MAX {
            let mark = SlotWord(self.mark.load(Ordering::Acquire));
            if !mark.is_pending() {
                break;
            }
            thread::yield_now();
        }
        self.counted(name)
    }

    /// How often a holder looks again: for about a second where threads have a core each. A thread that counts holders makes one
    /// system call meanwhile. Only a process that was forked just then has no such thread.
    const YIELDS_MAX: u32 = 1 << 20;

    /// Takes the mark off a slot that is free, and returns what the state word counts of its last holder. That must be released
    /// there.
    #[cold]
    pub(crate) fn take_count(&self, name: SlotWord) -> Option<SlotWord> {
        let counted = self.settled_count(name)?;
        let is_taken = self.mark.compare_exchange(counted.0, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        is_taken.then_some(counted)
    }

    /// Notes that of what the state word counts the share latch belongs to no slot any more. Returns false where it did not count
    /// one.
    pub(crate) fn forget_counted_latch(&self, counted: SlotWord) -> bool {
        let unlatched = counted.unlatched();
        counted.is_latched()
            && self.mark.compare_exchange(counted.0, unlatched.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Frames that slots hold, as of a moment ago.
pub(crate) struct Holds(Vec<FrameNo>);

impl Holds {
    pub(crate) fn frames(&self) -> impl Iterator<Item = FrameNo> {
        self.0.iter().copied()
    }

    pub(crate) fn of(&self, no: FrameNo) -> u64 {
        if self.0.is_empty() {
            return 0;
        }
        let first = self.0.partition_point(|&held| held < no);
        self.0[first..].iter().take_while(|&&held| held == no).count() as u64
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const NO: FrameNo = FrameNo(7);

    /// Takes a slot of the calling thread.
    fn take(slots: &ReaderSlots, word: SlotWord) -> Option<SlotNo> {
        slots.take(thread_index::current(), word)
    }

    #[test]
    fn a_word_says_what_it_was_made_of() {
        let [slots, others] = [(); 2].map(|()| ReaderSlots::new());
        for frame in [0, 1, u32::MAX].map(FrameNo) {
            for latched in [false, true] {
                let word = slots.word(frame, latched);
                assert_eq!((word.frame(), word.is_latched()), (frame, latched));
                assert!(word != SlotWord::NONE && word.is_of_frame_of(slots.word(frame, !latched)));
                assert_eq!(word.unlatched(), slots.word(frame, false));
                assert!(!word.is_of_frame_of(slots.word(NO, latched)));
                assert!(!word.is_of_frame_of(others.word(frame, latched)), "the frame of another pool");
            }
        }
    }

    #[test]
    fn a_thread_has_so_many_slots_and_each_is_had_again_when_it_is_freed() {
        let slots = ReaderSlots::new();
        let word = slots.word(NO, true);
        let taken: Vec<_> = std::iter::from_fn(|| take(&slots, word)).collect();
        let of_another_pool = ReaderSlots::new();
        assert_eq!(
            take(&of_another_pool, of_another_pool.word(NO, true)),
            None,
            "a thread has one line for all pools"
        );
        assert_eq!(of_another_pool.holds().frames().count(), 0);
        assert_eq!(
            (taken.len(), slots.holds().of(NO), slots.holds().of(FrameNo(6))),
            (SLOTS, SLOTS as u64, 0)
        );
        assert_eq!(slots.at(taken[3]).unwrap().free(), (word, false));
        assert_eq!(take(&slots, word), Some(taken[3]));
        let of_another = std::thread::scope(|scope| scope.spawn(|| take(&slots, word)).join().unwrap());
        assert!(of_another.is_some_and(|no| !taken.contains(&no)), "a thread has slots of its own");
        for no in taken.into_iter().chain(of_another) {
            assert_eq!(slots.at(no).unwrap().free(), (word, false), "freed by any thread");
        }
        assert_eq!(slots.holds().of(NO), 0);
    }

    #[test]
    fn what_is_counted_in_the_word_is_not_held_by_a_slot_and_is_released_once() {
        let slots = ReaderSlots::new();
        let word = slots.word(NO, true);
        let slot = slots.at(take(&slots, word).unwrap()).unwrap();
        assert!(slots.all().any(|seen| std::ptr::eq(seen, slot)));
        assert!(!slot.mark_holder(slots.word(FrameNo(8), false)));
        assert!(slot.mark_holder(word.unlatched()));
        assert!(slot.is_pending(word) && slots.holds().of(NO) == 1, "not counted yet");
        slot.end_pending(Some(word));
        assert_eq!((slots.holds().of(NO), slot.mark_holder(word)), (0, false), "counted already");
        assert_eq!(slot.free(), (word, true));
        assert!(!slot.take(word, 0), "its holder has not asked yet");
        assert_eq!((slot.take_count(word), slot.take_count(word)), (Some(word), None));
        assert!(slot.take(word, 0));
        assert_eq!(slot.free(), (word, false));
    }

    #[test]
    fn a_counted_latch_is_forgotten_once() {
        let slots = ReaderSlots::new();
        let word = slots.word(NO, true);
        let slot = slots.at(take(&slots, word).unwrap()).unwrap();
        slot.mark_holder(word);
        slot.end_pending(Some(word));
        assert_eq!(slot.settled_count(word), Some(word));
        assert!(slot.forget_counted_latch(word) && !slot.forget_counted_latch(word));
        assert_eq!(slot.settled_count(word), Some(word.unlatched()));
        slot.free();
        assert_eq!(slot.take_count(word), Some(word.unlatched()));
    }

    /// As where the system has no asymmetric fence.
    #[test]
    fn c7_slots_that_are_closed_are_never_taken_and_hold_nothing() {
        let slots = ReaderSlots::closed();
        for no in [FrameNo(0), NO] {
            assert_eq!(take(&slots, slots.word(no, true)), None);
            assert_eq!(slots.holds().frames().count(), 0);
            // A free slot, above all, is not taken for one that holds the frame.
            assert!(!slots.all().any(|slot| slot.mark_holder(slots.word(no, false))));
        }
    }
}
