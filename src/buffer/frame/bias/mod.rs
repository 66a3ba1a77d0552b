//! Pins and share latches that are held in slots of threads instead of the state word.
//!
//! Two threads that read one page pass its state word from core to core, twice for each read. So a page that is used all the time
//! is *biased* towards readers (BRAVO: Dice and Kogan, USENIX ATC 2019): a thread names its frame in a [slot](super::slots) of
//! its own, and loads the state word once more. If the page is biased then, the slot is a pin, and the share latch where it says
//! so.
//!
//! A thread that wants the page for itself, to change it or to claim the frame, *revokes* the bias. In one step it takes the mark
//! off the word, and a pin and a share latch for itself. Then it looks at all slots, and counts in the word those that name the
//! frame: first it adds to the word, then it marks the slot, so its holder releases both there. It waits for no holder. From
//! there on all is as without slots: the word knows its holders, and they wake the thread that waits.
//!
//! Why that is right: a holder writes its slot before it loads the word, and the revoking thread reads the slots after it took
//! the bias off, all in one sequentially consistent order. So it sees the slot, or the holder sees that the bias is gone. While
//! it looks, its own latch and pin keep exclusive latches and claims away, so what it adds is never added to a frame that has
//! another owner.
//!
//! What sets the bias: a [use of the page](super::state::State::pin_and_latch) that finds the usage count full. A sweep that
//! lowers the count leaves the bias, and new readers use the word until the count is full again: so a sweep looks at no slots,
//! and still sees which pages are used.

use std::mem::ManuallyDrop;

use crate::{
    buffer::frame::{
        pin::{FramesHandle, Pin},
        slots::{ReaderSlot, SlotWord},
        state::{AtomicState, State},
    },
    id::FrameNo,
};

impl FramesHandle {
    /// Pins the frame in a slot, `latched` for reading or not, if its page takes that.
    #[inline(always)]
    pub(crate) fn pin_in_slot(&self, no: FrameNo, latched: bool) -> Option<Pin> {
        let state = self.state_of(no);
        if !state.load().takes_slots() {
            return None;
        }
        let pin = self.adopt_slot(no, self.slots.take(SlotWord::new(no, latched))?);
        let holds = state.load_after_slot().is_biased() || seeded!("slot_taken_without_a_second_look");
        if holds { Some(pin) } else { let_go(pin) }
    }

    /// Takes the bias off the frame, if it has one, and has the state word count what slots hold. Returns the state a moment
    /// later: if a reader by the word has biased the page anew, slots may hold more of it than that says.
    pub(crate) fn revoke_bias(&self, no: FrameNo) -> State {
        let state = self.state_of(no);
        revoke(state, || self.adopt(no));
        state.load()
    }

    /// Claims the frame by `claim`, if that is allowed once all its holders are counted.
    pub(crate) fn claim_counted(&self, no: FrameNo, claim: impl Fn(State) -> Option<State>) -> bool {
        let state = self.state_of(no);
        if state.load().refuses_for_bias(&claim) {
            self.revoke_bias(no);
        }
        state.try_update(claim).is_ok()
    }
}

/// Lets go of a pin that may not have been held, but may have been counted.
#[cold]
fn let_go(pin: Pin) -> Option<Pin> {
    drop(pin);
    None
}

/// Releases what a slot held and the state word has counted. The slot is free, so the word holds the pin.
#[cold]
fn release_counted(pin: Pin, word: SlotWord) {
    if word.is_latched() {
        pin.unlatch_shared();
    }
    drop(pin);
}

/// Takes the bias off, if there is one, and has the word count what slots hold. `own` makes a value of the pin that comes with
/// that.
fn revoke(state: &AtomicState, own: impl FnOnce() -> Pin) {
    if state.load().is_biased() && state.revoke_bias() {
        count_slots(own());
    }
}

/// Has the state word count what slots hold on a frame. The pin `own` was taken, with a share latch, when the bias was taken off.
#[cold]
fn count_slots(own: Pin) {
    own.frames().slots.all().for_each(|slot| count_slot(slot, &own));
    if seeded!("bias_revoked_without_a_latch") {
        return drop(own);
    }
    own.unlatch_and_unpin();
}

/// Has the state word count the slot, if it holds the frame and is not counted yet.
fn count_slot(slot: &ReaderSlot, own: &Pin) {
    let state = own.frame().state;
    loop {
        let word = slot.load();
        if word.frame() != Some(own.frame_no()) || word.is_counted() {
            return;
        }
        let add = || {
            state.update(|state| state.counted(word.is_latched()));
        };
        if seeded!("holder_marked_before_it_is_counted") {
            if slot.change(word, word.counted()) {
                add();
            }
            return;
        }
        add();
        if slot.change(word, word.counted()) {
            return;
        }
        // Meanwhile its holder has released at least the latch, or another thread has counted it.
        state.update(|state| state.uncounted(word.is_latched()));
    }
}

impl Pin {
    /// Revokes the bias of the pinned frame, as [`FramesHandle::revoke_bias`] does.
    pub(super) fn revoke_bias(&self) {
        revoke(self.frame().state, || self.beside());
    }

    /// Adds a share latch to a pin that a slot holds. Returns false where the state word has to hold it.
    #[inline]
    pub(super) fn latch_in_slot(&self) -> bool {
        let state = self.frame().state;
        let Some(slot) = self.slot().filter(|_| state.load().takes_slots()) else { return false };
        let [pinned, latched] = self.slot_words();
        // If the bias is gone, and the thread that revokes it has not counted the latch, the latch is taken back.
        slot.change(pinned, latched) && (state.load_after_slot().is_biased() || !slot.change(latched, pinned))
    }

    /// Releases the share latch that a slot holds. Returns false where the state word holds it.
    #[inline]
    pub(super) fn unlatch_in_slot(&self) -> bool {
        let [pinned, latched] = self.slot_words();
        let Some(slot) = self.slot() else { return false };
        // Of several latches through one pin the slot holds one, no matter which: those that the word holds are like it.
        let is_off = slot.change(latched, pinned);
        if !is_off {
            slot.change(latched.counted(), pinned.counted());
        }
        is_off
    }

    fn slot_words(&self) -> [SlotWord; 2] {
        [false, true].map(|latched| SlotWord::new(self.frame_no(), latched))
    }

    /// Frees the slot that holds it, with all that it holds.
    #[inline(always)] // The half of a hit.
    pub(super) fn let_go_of_slot(self) {
        let mut pin = ManuallyDrop::new(self);
        if let Some(word) = pin.take_slot()
            && word.is_counted()
        {
            release_counted(ManuallyDrop::into_inner(pin), word);
        }
    }

    /// Brings pin and share latch to one place, if only the state word holds the latch.
    pub(crate) fn into_one_place(self) -> Self {
        let in_slot = self.slot().is_none_or(|slot| slot.load().is_latched());
        if in_slot { self } else { self.into_counted() }
    }

    /// Has the state word hold the pin, whatever held it before. All guards of the page are held by the state word.
    #[must_use]
    pub(crate) fn into_counted(self) -> Self {
        if self.slot().is_some() {
            let counted = self.beside();
            counted.frame().state.update(|state| state.counted(false));
            self.let_go_of_slot();
            return counted;
        }
        self
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::mem;

    use crate::{
        buffer::{
            frame::latch::Latch,
            small_pools::{fill, page, pool_of},
        },
        sync::Arc,
    };

    /// Otherwise each try would send all readers to the state word once more.
    #[test]
    fn a_writer_that_only_tries_leaves_the_bias_where_the_word_has_a_reader() {
        let pool = pool_of(1);
        let no = fill(&pool, page(1));
        let writer = pool.pin_unused(no, page(1)).unwrap();
        let reader = pool.pin_unused(no, page(1)).unwrap();
        reader.latch(Latch::Shared);
        (0..5).for_each(|_| pool.look_at(page(1)).unwrap().unlatch_and_unpin());
        assert!(!writer.try_latch(Latch::Exclusive) && pool.frame(no).state.load().is_biased());
        reader.unlatch_shared();
        drop((reader, writer));
        let in_slot = pool.lookup_valid(page(1)).unwrap();
        assert_eq!((in_slot.slot().is_some(), pool.frame(no).state.load().pins()), (true, 0));
        assert!(in_slot.try_latch(Latch::Exclusive), "the bias alone refuses nothing");
        in_slot.unlatch_exclusive(false);
    }

    #[test]
    fn c5_a_slot_keeps_the_memory_of_a_pool_that_is_dropped() {
        let pool = pool_of(1);
        fill(&pool, page(1));
        (0..5).for_each(|_| pool.look_at(page(1)).unwrap().unlatch_and_unpin());
        let (held, counters) = (pool.look_at(page(1)).unwrap(), Arc::clone(&pool.counters));
        assert!(held.slot().is_some());
        drop(pool);
        let is_kept = Arc::strong_count(&counters) > 1;
        if !is_kept {
            mem::forget(held);
            panic!("the memory is gone");
        }
        held.unlatch_and_unpin();
        assert_eq!(Arc::strong_count(&counters), 1, "the pool is gone with its counters");
    }
}

/// Under every schedule and every reordering that the memory model allows.
#[cfg(all(test, loom))]
#[path = "models.rs"]
mod loom_models;

/// Under many schedules, where the seeded bugs are.
#[cfg(all(test, shuttle))]
#[path = "models.rs"]
mod model_check;
