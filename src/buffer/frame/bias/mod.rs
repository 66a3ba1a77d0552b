//! Pins and share latches that are held in slots of threads instead of the state word.
//!
//! Two threads that read one page pass its state word from core to core, twice for each read. So a page that is used all the time
//! is *biased* towards readers (BRAVO: Dice and Kogan, USENIX ATC 2019): a thread names its frame in a [slot](super::slots) of
//! its own, and loads the state word once more. If the page is biased then, the slot is a pin, and the share latch where it says
//! so. All that are plain stores: the other side passes the heavy half of an [asymmetric fence](crate::sync::asymmetric).
//!
//! A thread that wants the page for itself *revokes* the bias. In one step it takes the mark off the word, and a pin and a share latch
//! for itself. Then it passes the fence, and marks the slots that name the frame as PENDING. If there are any it passes the fence once
//! more, looks what each of them holds now, adds that to the word, and says so in the mark. A holder lets go of its slot, looks at the
//! mark, and releases in the word what is counted there. So the thread waits for no holder, and from there on all is as without slots.
//!
//! Why that is right: after the first fence the thread sees the slot, or the holder sees that the bias is gone. After the second
//! one the thread sees that the holder has let go, or the holder sees the mark. Meanwhile COUNTING in the word keeps the page from
//! being biased anew, and the thread's own latch and pin keep exclusive latches and claims away.
//!
//! What sets the bias: a [use of the page](super::state::State::pin_and_latch) that finds the usage count full, but for a pin [to
//! change](super::state::State::pin_to_change) it. A sweep that lowers the count leaves it, and new readers use the word until the
//! count is full again: so a sweep looks at no slots.

use std::mem::ManuallyDrop;

use crate::{
    buffer::frame::{
        header::Frame,
        pin::{FramesHandle, Pin},
        slots::{ReaderSlot, SlotWord},
        state::{AtomicState, State},
    },
    id::FrameNo,
    sync::asymmetric,
};

impl FramesHandle {
    /// Pins the frame in a slot of the calling thread, which has that number, `latched` for reading or not, if its page takes that.
    /// A page that a slot holds is in its frame, not on a shadow page.
    #[inline(always)]
    pub(crate) fn pin_in_slot(
        &self,
        Frame { no, state, .. }: Frame<'_>,
        latched: bool,
        thread: usize,
    ) -> Option<Pin> {
        if !state.load().takes_slots() {
            return None;
        }
        let pin = self.adopt_slot(no, self.slots.take(thread, self.slots.word(no, latched))?);
        let holds = state.load().is_biased() || seeded!("slot_taken_without_a_second_look");
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

/// Takes the bias off, if there is one, and has the word count what slots hold. `own` makes a value of the pin that comes with
/// that.
fn revoke(state: &AtomicState, own: impl FnOnce() -> Pin) {
    if state.load().is_biased() && state.try_update(State::revoke_bias).is_ok() {
        count_slots(own());
    }
}

/// Has the state word count what slots hold on a frame. The pin `own` was taken, with a share latch, when the bias was taken off.
#[cold]
fn count_slots(own: Pin) {
    let (slots, name) = (own.frames().slots, own.slot_word());
    asymmetric::heavy();
    // Not `any`, which would leave the slots behind the first one unmarked.
    if slots.all().filter(|slot| slot.mark_holder(name)).count() > 0 {
        asymmetric::heavy();
        slots.all().filter(|slot| slot.is_pending(name)).for_each(|slot| count_slot(slot, name, &own));
    }
    own.frame().state.update(State::all_counted);
    if seeded!("bias_revoked_without_a_latch") {
        return drop(own);
    }
    own.unlatch_and_unpin();
}

fn count_slot(slot: &ReaderSlot, name: SlotWord, own: &Pin) {
    // Its holder may have let go, or released the latch, since it was marked.
    let held = Some(slot.load()).filter(|held| held.is_of_frame_of(name));
    let held = if seeded!("holder_counted_that_has_let_go") { Some(name) } else { held };
    if seeded!("holder_marked_before_it_is_counted") {
        slot.end_pending(held);
    }
    if let Some(held) = held {
        own.frame().state.update(|state| state.counted(held.is_latched()));
    }
    slot.end_pending(held);
}

impl Pin {
    pub(super) fn revoke_bias(&self) {
        revoke(self.frame().state, || self.beside());
    }

    /// Adds a share latch to a pin that a slot holds. Returns false where the state word has to hold it.
    #[inline]
    pub(super) fn latch_in_slot(&self) -> bool {
        let state = self.frame().state;
        let Some(slot) = self.slot().filter(|_| state.load().takes_slots()) else { return false };
        if !slot.latch() {
            return false;
        }
        let holds = state.load().is_biased() && !slot.is_marked();
        // Otherwise it is taken back, but for one that is counted: then the word has it.
        holds || !slot.unlatch() || self.has_counted_latch(slot)
    }

    /// Releases the share latch that a slot holds. Returns false where the state word holds it.
    #[inline]
    pub(super) fn unlatch_in_slot(&self) -> bool {
        // Of several latches through one pin the slot holds one, no matter which: those that the word holds are like it.
        let Some(slot) = self.slot().filter(|slot| slot.unlatch()) else { return false };
        !(slot.is_marked() && self.has_counted_latch(slot))
    }

    /// Returns whether the state word counts the share latch that this slot no longer holds. Then it is the word's alone.
    #[cold]
    fn has_counted_latch(&self, slot: &ReaderSlot) -> bool {
        slot.settled_count(self.slot_word()).is_some_and(|counted| slot.forget_counted_latch(counted))
    }

    fn slot_word(&self) -> SlotWord {
        self.frames().slots.word(self.frame_no(), false)
    }

    /// Frees the slot that holds it, with all that it holds.
    #[inline(always)] // The half of a hit.
    pub(super) fn let_go_of_slot(self) {
        let pin = ManuallyDrop::new(self);
        if let Some(slot) = pin.slot() {
            // From here on the pool may be gone, unless the state word counts the pin.
            let (held, is_marked) = slot.free();
            if is_marked {
                ManuallyDrop::into_inner(pin).release_counted(slot, held);
            }
        }
    }

    #[cold]
    fn release_counted(self, slot: &ReaderSlot, held: SlotWord) {
        let pin = ManuallyDrop::new(self);
        if let Some(counted) = slot.take_count(held) {
            let pin = pin.beside();
            if counted.is_latched() {
                pin.unlatch_shared();
            }
            drop(pin);
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
        let in_slot = pool.pin_at(page(1)).unwrap();
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
