//! Content latches: the rights to read and to change a pinned page's bytes.
//!
//! Share and exclusive, in the frame's state word, and always through a pin. To take a free latch, or to release one for which no
//! waiter stands in line, is a single compare-and-swap; the rest goes through [`waiters`](crate::buffer::frame::waiters).
//!
//! A thread spins for about a microsecond before it gets in line, and again when it was called: a running holder releases sooner
//! than the system puts a thread to sleep and wakes it. A task does not spin: its thread has others to run.

use std::{
    mem,
    task::{Poll, Waker},
};

use crate::{
    buffer::frame::{
        pin::Pin,
        state::State,
        waiters::{Ticket, want::Want},
    },
    error::Result,
    observe::Measure,
    sync::{
        spin_until, time,
        wait::{self, Drive},
        waking::Wakers,
    },
};

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Latch {
    Shared,
    Exclusive,
}

impl Latch {
    fn take(self, state: State) -> Option<State> {
        match self {
            Self::Shared => state.latch_shared(),
            Self::Exclusive => state.latch_exclusive(),
        }
    }

    const fn want(self) -> Want {
        match self {
            Self::Shared => Want::Shared,
            Self::Exclusive => Want::Exclusive,
        }
    }
}

impl Pin {
    #[inline]
    pub(crate) fn try_latch(&self, latch: Latch) -> bool {
        if latch == Latch::Shared && self.latch_in_slot() {
            return true;
        }
        let take = || self.frame().state.try_update(|s| latch.take(s));
        match take() {
            Ok(_) => true,
            Err(state) if latch == Latch::Exclusive && state.refuses_writer_for_bias() => {
                self.revoke_bias();
                // Once: readers may bias the page again each time, unless a thread waits in line.
                take().is_ok()
            }
            Err(_) => false,
        }
    }

    /// Takes a share latch, past waiters in line, unless the page is being changed. The caller releases it within a moment.
    pub(crate) fn try_latch_past_the_line(&self) -> bool {
        let take =
            if seeded!("write_out_waits_in_line") { State::latch_shared } else { State::hand_over_shared };
        self.frame().state.try_update(take).is_ok()
    }

    /// Takes the latch, or gets in line for it: `ticket` keeps the place from one call to the next.
    pub(crate) fn poll_latch(
        &self,
        latch: Latch,
        ticket: &mut Option<Ticket>,
        drive: Drive,
        waker: &Waker,
    ) -> Poll<()> {
        let waiters = &self.frames().waiters;
        let polled = loop {
            if let Some(place) = ticket {
                self.must_be_in_its_process();
                self.revoke_for(latch);
                let served = waiters.poll(place, self.frame(), drive, waker).map(drop);
                if let (Poll::Ready(()), Some(since)) = (served, place.since) {
                    self.frames().counters.measures.add_time(Measure::LatchWait, time::now() - since);
                }
                break served.map(|()| *ticket = None);
            }
            if self.try_latch(latch) {
                return Poll::Ready(());
            }
            self.must_be_in_its_process();
            let since = time::now();
            *ticket = waiters.get_in_line(self.frame(), latch.want(), drive, waker);
            if let Some(place) = ticket {
                place.since = Some(since);
                break Poll::Pending;
            }
        };
        if polled.is_pending() {
            // Since it is in line the page is not biased again. The holders wake it.
            self.revoke_for(latch);
        }
        polled
    }

    /// Revokes the bias for a waiter: then the state word knows all holders, and they pass the latch on.
    fn revoke_for(&self, latch: Latch) {
        if latch == Latch::Exclusive && !seeded!("writer_waits_for_slots") {
            self.revoke_bias();
        }
    }

    /// Panics in a forked process, which has no threads that end waits and release locks.
    fn must_be_in_its_process(&self) {
        assert!(
            self.frames().process.is_current(),
            "the page was latched when this process was forked: it stays so here"
        );
    }

    /// Sleeps until the I/O of the frame is over, however it ends.
    pub(crate) fn wait_for_io(&self, want: Want) {
        self.frames().waiters.wait(self.frame(), want);
    }

    /// Gets in line for the end of a read. Returns `None` where it is over: the caller looks again.
    pub(crate) fn enlist_for_read(&self, waker: &Waker) -> Option<Ticket> {
        self.frames().waiters.get_in_line(self.frame(), Want::ReadDone, Drive::Task, waker)
    }

    /// Asks whether the read that the ticket is for has ended, and how.
    pub(crate) fn poll_read(&self, ticket: &Ticket, waker: &Waker) -> Poll<Result<()>> {
        self.frames().waiters.poll(ticket, self.frame(), Drive::Task, waker)
    }

    pub(crate) fn cancel_wait(&self, ticket: &Ticket) {
        if self.frames().process.is_current() && self.frames().waiters.cancel(ticket, self.frame()) {
            self.attend();
        }
    }

    #[inline]
    pub(crate) fn latch(&self, latch: Latch) {
        if !self.try_latch(latch) {
            self.wait_for_latch(latch);
        }
    }

    #[cold]
    fn wait_for_latch(&self, latch: Latch) {
        let (mut ticket, state) = (None, self.frame().state);
        wait::block_on(|waker| {
            match &ticket {
                None => spin_until(|| latch.take(state.load()).is_some()),
                Some(ticket) if self.frames().waiters.is_called(ticket) => {
                    spin_until(|| latch.want().latched(state.load()).is_some());
                }
                Some(_) => {}
            }
            self.poll_latch(latch, &mut ticket, Drive::Thread, waker)
        });
    }

    #[inline]
    pub(crate) fn unlatch_shared(&self) {
        if !self.unlatch_in_slot() {
            self.unlatch_shared_in_word();
        }
    }

    #[inline(never)] // So that a latch in a slot is released without the stack and the registers that only this needs.
    fn unlatch_shared_in_word(&self) {
        let state = self.frame().state.update(State::unlatch_shared);
        if state.has_latch_waiters() && !seeded!("latch_not_handed_on") {
            self.hand_on(&mut Wakers::new());
        }
    }

    #[inline(always)] // The half of a hit, which a call would make longer by the registers that it saves.
    pub(crate) fn unlatch_and_unpin(self) {
        if self.slot().is_some() {
            // The slot holds both.
            return self.let_go_of_slot();
        }
        self.unlatch_and_unpin_in_word();
    }

    #[inline(never)] // So that a slot is let go of without registers that only this needs.
    fn unlatch_and_unpin_in_word(self) {
        let is_plain = !self.frames().frame_waiters.any();
        if is_plain && self.frame().state.try_update(State::unlatch_and_unpin).is_ok() {
            // Both were released.
            mem::forget(self);
        } else {
            self.unlatch_then_unpin();
        }
    }

    #[cold]
    fn unlatch_then_unpin(self) {
        self.unlatch_shared();
    }

    /// Releases the exclusive latch. `changed`: the page's bytes are newer than before, and from this very step on dirty.
    pub(crate) fn unlatch_exclusive(&self, changed: bool) {
        self.release_changed(|s| s.unlatch_exclusive(changed));
    }

    /// Releases the exclusive latch of a page that was not changed, with the waking left to the caller.
    pub(crate) fn unlatch_exclusive_with(&self, wakers: &mut Wakers) {
        if self.frame().state.update(|s| s.unlatch_exclusive(false)).has_latch_waiters() {
            self.hand_on(wakers);
        }
    }

    pub(crate) fn downgrade_latch(&self, changed: bool) {
        self.release_changed(|s| s.downgrade(changed));
    }

    /// Releases the exclusive latch, and counts the page if it is dirty from then on.
    #[inline]
    fn release_changed(&self, release: impl Fn(State) -> State) {
        let Ok((before, state)) = self.frame().state.try_change(|s| Some(release(s))) else { return };
        if state.is_dirty() && !before.is_dirty() && !before.is_writing() {
            self.frames().note_dirtied(self.frame().page().file);
        }
        if state.has_latch_waiters() && !seeded!("latch_not_handed_on") {
            self.hand_on(&mut Wakers::new());
        }
    }

    fn hand_on(&self, wakers: &mut Wakers) {
        let frames = self.frames();
        if frames.process.is_current() && frames.waiters.latch_released(self.frame(), wakers) {
            self.attend();
        }
    }

    /// Has the line looked after; or calls all in it, where the system gives no thread for that.
    fn attend(&self) {
        if !seeded!("called_tasks_are_not_looked_after")
            && let Some(frames) = self.keep_if(true)
            && !frames.keep_ticking()
        {
            frames.waiters.call_all(self.frame_no(), &frames.arrays);
        }
    }
}
