//! Lookups: from a page to its pinned frame, without a lock.
//!
//! The page table finds a frame, or a hint names one. Either may be out of date, so the frame is pinned first, and then must have
//! the page; otherwise the pin is taken off again. If the page can be used, the frame's page name, which lies beside its state,
//! is compared. If the page is still being read, the [table](super::page_table) is asked once more: a read that fails leaves its
//! name.

use crate::{
    buffer::{
        frame::{
            header::Frame,
            pin::Pin,
            state::{Phase, State},
        },
        memory::prefetch::prefetch,
        page_table::{Span, Translation, are_in_one_cluster, in_one_cluster},
        residency::Residency,
    },
    id::{FrameNo, PageId},
};

/// Lookups that overlap: as many cache misses as a core has under way.
const LOOKUPS_TOGETHER: usize = 16;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotPinned {
    /// It is not there, as far as a look without a lock tells: only [`Residency::map`] knows for certain.
    Gone,
    /// It may be there, and is seized. A lookup finds it gone.
    Seized,
    /// It may be there, and cannot be pinned once more.
    TooManyPins,
}

impl Residency {
    /// Pins the page's frame if it has one: no lock, and one compare-and-swap on that frame. The page may still be being read.
    #[inline]
    pub(crate) fn lookup(&self, page: PageId) -> Result<Pin, NotPinned> {
        self.lookup_by(page, State::pin)
    }

    #[inline]
    pub(crate) fn lookup_by(
        &self,
        page: PageId,
        pin: impl Fn(State) -> Option<State>,
    ) -> Result<Pin, NotPinned> {
        self.pin_found(page, self.table.find(page), pin)
    }

    #[inline]
    fn pin_found<'a>(
        &'a self,
        page: PageId,
        found: Result<Translation<'a>, Span>,
        pin: impl Fn(State) -> Option<State>,
    ) -> Result<Pin, NotPinned> {
        if let Ok(seen) = &found
            && let Ok(pin) = self.pin_if(self.frame(seen.frame()), &pin, drop, |_| seen.still_holds())
        {
            return Ok(pin);
        }
        self.lookup_again(page, found, pin)
    }

    /// Pins the page's frame if the page can be used now. `thread` is the [number](crate::observe::thread_index) of the calling thread.
    #[inline(always)]
    pub(crate) fn lookup_valid(&self, page: PageId, thread: usize) -> Option<Pin> {
        match self.table.find(page) {
            Ok(seen) => match self.pin_in(seen.frame(), page, thread) {
                Some(pin) => Some(pin),
                // Looked up anew, so that a hit need not keep what the table said.
                None => self.lookup_by(page, State::pin_valid).ok(),
            },
            Err(span) => self.lookup_again(page, Err(span), State::pin_valid).ok(),
        }
    }

    /// Looks again, after nothing was found, or what was found was refused or has another page by now.
    #[cold]
    fn lookup_again<'a>(
        &'a self,
        page: PageId,
        found: Result<Translation<'a>, Span>,
        pin: impl Fn(State) -> Option<State>,
    ) -> Result<Pin, NotPinned> {
        let mut found = match found {
            Ok(found) => Some(found),
            Err(span) => self.table.find_again(page, span),
        };
        while let Some(seen) = found {
            match self.pin_if(self.frame(seen.frame()), &pin, drop, |_| seen.still_holds()) {
                Ok(pin) => return Ok(pin),
                Err(state) if seen.still_holds() && state.pins_are_exhausted() => {
                    return Err(NotPinned::TooManyPins);
                }
                Err(_) if seen.still_holds() => return Err(NotPinned::Gone),
                Err(_) => found = self.table.find_locked(page),
            }
        }
        Err(NotPinned::Gone)
    }

    /// Pins this frame if it holds the page, and the page can be used now.
    #[inline(always)]
    pub(crate) fn pin_in(&self, no: FrameNo, page: PageId, thread: usize) -> Option<Pin> {
        self.prefetch_bytes(no);
        let frame = self.frame(no);
        match self.pin_in_slot(frame, false, thread) {
            Some(pin) => frame.is_of(page).then_some(pin),
            None => self.pin_if(frame, State::pin_valid, drop, |_| frame.is_of(page)).ok(),
        }
    }

    /// Pins the page's frame if the page can be used now, by the state word: no slot, and no bias towards readers, which the exclusive
    /// latch that the caller is about to take would have to revoke. With a hint, in that frame first.
    #[inline]
    pub(crate) fn pin_to_change(&self, page: PageId, hint: Option<FrameNo>) -> Option<Pin> {
        let hinted = hint.and_then(|no| {
            let frame = self.frame(no);
            self.pin_if(frame, State::pin_to_change, drop, |_| frame.is_of(page)).ok()
        });
        hinted.or_else(|| self.lookup_by(page, State::pin_to_change).ok())
    }

    /// Pins the page's frame and latches it for reading, in one step, in the plain case only: the page is here and no thread
    /// changes it. `thread` is the [number](crate::observe::thread_index) of the calling thread.
    #[inline(always)] // With the table's part of it, of which the processor then sees the next beside it.
    pub(crate) fn latch_at(&self, page: PageId, thread: usize) -> Option<Pin> {
        self.latch_in(self.table.find(page).ok()?.frame(), page, thread)
    }

    /// Pins this frame and latches it for reading, in one step, if the page is in it and no thread changes it.
    #[inline(always)]
    pub(crate) fn latch_in(&self, no: FrameNo, page: PageId, thread: usize) -> Option<Pin> {
        self.prefetch_bytes(no);
        let frame = self.frame(no);
        match self.pin_in_slot(frame, true, thread) {
            Some(pin) => (frame.is_of(page) || seeded!("page_not_compared_after_the_slot")).then_some(pin),
            None => {
                let is_it = |_: &Pin| frame.is_of(page);
                self.pin_if(frame, State::pin_and_latch, Pin::unlatch_and_unpin, is_it).ok()
            }
        }
    }

    /// Pins the frame, and lets it go as if nothing had been unless `is_it` then says that it holds the wanted page. Otherwise
    /// returns the state that forbade it, or that of a frame without a page.
    #[inline(always)]
    fn pin_if(
        &self,
        frame: Frame<'_>,
        pin: impl Fn(State) -> Option<State>,
        let_go: fn(Pin),
        is_it: impl Fn(&Pin) -> bool,
    ) -> Result<Pin, State> {
        let (before, pinned) = frame.state.try_change(pin)?;
        let pin = self.adopt(frame.no);
        // From here on the frame cannot change its page.
        if is_it(&pin) || seeded!("page_not_compared_after_the_pin") {
            return Ok(pin);
        }
        take_back(pin, before, pinned, let_go);
        Err(State::FREE)
    }

    /// Pins this very frame if it still holds `page`; for housekeeping, so the usage count stays.
    pub(crate) fn pin_unused(&self, no: FrameNo, page: PageId) -> Result<Pin, NotPinned> {
        let frame = self.frame(no);
        let pinned = self.pin_if(frame, State::pin_unused, drop, |_| frame.is_of(page));
        pinned.map_err(|state| match state {
            state if state.is_seized() => NotPinned::Seized,
            state if state.pins_are_exhausted() => NotPinned::TooManyPins,
            _ => NotPinned::Gone,
        })
    }

    /// Looks the pages up, in their order: of a group of them the table's lines are loaded side by side, then states and first bytes.
    pub(crate) fn lookup_each(&self, pages: &[PageId], mut found: impl FnMut(Result<Pin, NotPinned>)) {
        for group in pages.chunks(LOOKUPS_TOGETHER) {
            group.iter().for_each(|&page| self.table.prefetch(page));
            let mut seen = [const { None }; LOOKUPS_TOGETHER];
            for (seen, &page) in seen.iter_mut().zip(group) {
                let translation = self.table.find(page);
                if let Ok(translation) = &translation {
                    let no = translation.frame();
                    prefetch(self.state_of(no));
                    self.prefetch_bytes(no);
                }
                *seen = Some(translation);
            }
            for (&page, seen) in group.iter().zip(seen) {
                found(self.pin_found(page, seen.expect("each of the group was looked for"), State::pin));
            }
        }
    }

    /// Counts the pages at the beginning of `pages` that have no frame, as a look without a lock finds it: one look for all of a
    /// cluster that has no page in a frame. What looks begin with, these and those under the lock, is loaded side by side.
    pub(crate) fn absent(&self, pages: &[PageId]) -> usize {
        let clusters = pages.chunk_by(|&one, &next| are_in_one_cluster(one, next));
        clusters.for_each(|pages| self.table.prefetch(pages[0]));
        let mut absent = 0;
        while let Some(&first) = pages.get(absent) {
            if !self.table.has_any_of_cluster(first) {
                absent += in_one_cluster(pages[absent..].iter().copied());
            } else if self.is_mapped(first) {
                break;
            } else {
                absent += 1;
            }
        }
        absent
    }

    /// Returns whether the page has a frame, or had one a moment ago.
    pub(crate) fn is_mapped(&self, page: PageId) -> bool {
        self.find(page, |state| !matches!(state.phase(), Phase::Free | Phase::Claimed)).is_some()
    }

    /// Returns the page's frame, if it is in such a state. Pins nothing, and is no use of the page.
    pub(crate) fn find(&self, page: PageId, is_such: fn(State) -> bool) -> Option<FrameNo> {
        let mut found = self.table.find_at_rest(page)?;
        loop {
            let state = self.state_of(found.frame()).load();
            if found.still_holds() {
                return is_such(state).then_some(found.frame());
            }
            found = self.table.find_locked(page)?;
        }
    }
}

/// Lets go of a frame that holds another page, as if nothing had been.
#[cold]
fn take_back(pin: Pin, before: State, pinned: State, let_go: fn(Pin)) {
    pin.frame().state.update(|state| state.take_back_use(before, pinned));
    let_go(pin);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buffer::{
            frame::{latch::Latch, state::MAX_USAGE},
            small_pools::{fill, page, pool_of},
        },
        observe::thread_index,
    };

    #[test]
    fn c1_a_stale_entry_never_passes_another_page_off_for_the_one_wanted() {
        let pool = pool_of(1);
        for (old, new) in [(1, 2), (2, 33)] {
            let no = if old == 1 { fill(&pool, page(1)) } else { FrameNo(0) };
            let found = pool.table.find(page(old)).unwrap();
            // The frame changes its page between the look at the table and the pin.
            fill(&pool, page(new));
            // With the highest usage count.
            (0..5).for_each(|_| pool.look_at(page(new)).unwrap().unlatch_and_unpin());
            assert!(pool.pin_if(pool.frame(no), State::pin, drop, |_| found.still_holds()).is_err());
            assert!(
                pool.latch_in(no, page(old), thread_index::current()).is_none()
                    && pool.pin_in(no, page(old), thread_index::current()).is_none()
            );
            assert_eq!(pool.frame(no).state.load().pins(), 0, "the pin for the look was taken off");
            assert!(matches!(pool.lookup(page(old)), Err(NotPinned::Gone)) && !pool.is_mapped(page(old)));
            assert!(pool.lookup(page(new)).is_ok());
        }
    }

    #[test]
    fn a_page_that_goes_and_comes_back_while_it_is_looked_up_is_found() {
        let pool = pool_of(2);
        let no = fill(&pool, page(1));
        let found = pool.table.find(page(1)).unwrap();
        drop(pool.claim(no));
        let other = fill(&pool, page(2));
        let now = fill(&pool, page(1));
        assert_eq!((other, now == no), (no, false));
        match pool.lookup_again(page(1), Ok(found), State::pin) {
            Ok(pin) => assert_eq!(pin.frame_no(), now),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pages_are_absent_up_to_the_first_that_has_a_frame() {
        let pool = pool_of(4);
        let pages: Vec<_> = (0..64).map(page).collect();
        assert_eq!((pool.absent(&pages), pool.absent(&[])), (64, 0));
        for (block, absent) in [(40, 40), (39, 39), (17, 17), (0, 0)] {
            fill(&pool, page(block));
            assert_eq!(pool.absent(&pages), absent);
            assert_eq!(
                pool.absent(&pages[block as usize + 1..]),
                [23, 0, 21, 16][[40, 39, 17, 0].iter().position(|&at| at == block).unwrap()]
            );
        }
    }

    #[test]
    fn a_look_that_meets_another_page_is_no_use_of_that() {
        let pool = pool_of(2);
        let no = fill(&pool, page(1));
        for _ in 0..3 {
            let before = pool.frame(no).state.load();
            assert!(pool.pin_if(pool.frame(no), State::pin, drop, |_| false).is_err());
            assert!(
                pool.pin_in(no, page(3), thread_index::current()).is_none(),
                "a hint that is out of date"
            );
            assert!(pool.latch_in(no, page(3), thread_index::current()).is_none());
            assert_eq!(pool.frame(no).state.load(), before);
            let _ = pool.lookup(page(1));
        }
    }

    /// Each bias would have to be revoked again, at the price of a fence on all cores.
    #[test]
    fn a_page_that_is_only_changed_is_not_biased_towards_readers() {
        let pool = pool_of(1);
        let no = fill(&pool, page(1));
        for hint in [None, Some(no), None, Some(no), None] {
            let pin = pool.pin_to_change(page(1), hint).unwrap();
            assert!(!pool.frame(no).state.load().is_biased());
            assert!(pin.try_latch(Latch::Exclusive));
            pin.unlatch_exclusive(false);
        }
        assert_eq!(pool.frame(no).state.load().usage(), MAX_USAGE);
        drop(pool.pin_at(page(1)).unwrap());
        assert!(pool.frame(no).state.load().is_biased(), "a reader biases it");
        assert!(pool.pin_to_change(page(2), Some(no)).is_none(), "a hint that is out of date");
    }
}
