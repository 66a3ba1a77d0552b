//! Whether a frame's bytes are on its shadow page, and how that changes when they are lent to the device.

use super::{CLAIMED, EXCLUSIVE, LENT, SHADOWED, State, WRITING};

impl State {
    #[inline]
    pub(crate) const fn is_shadowed(self) -> bool {
        self.has(SHADOWED)
    }

    /// Returns whether the device reads the frame's bytes where they are.
    pub(crate) const fn is_lent(self) -> bool {
        self.has(LENT)
    }

    /// Begins a write as [`begin_write`](Self::begin_write) does, in which the device reads what is in the frame. If the bytes
    /// are there they are lent: a change from here on goes to a shadow page.
    pub(crate) fn begin_lending(self) -> Option<Self> {
        let lent = if self.is_shadowed() { 0 } else { LENT };
        self.begin_write().map(|s| s.with(lent))
    }

    /// Notes that the bytes were copied to a shadow page and are changed there. `None` where the device no longer reads them.
    pub(crate) fn move_to_shadow(self) -> Option<Self> {
        debug_assert!(self.has(EXCLUSIVE) && !self.is_shadowed());
        self.has(LENT).then(|| self.without(LENT).with(SHADOWED))
    }

    /// Notes that the bytes that the write found on the shadow page are in the frame too, where the device reads them, and belong
    /// there again. `None` where another thread reads them on the shadow page: the caller holds a share latch.
    pub(crate) fn lend_copied_back(self) -> Option<Self> {
        debug_assert!(self.has(WRITING) && self.is_shadowed() && self.shares() > 0);
        (self.shares() == 1).then(|| self.without(SHADOWED).with(LENT))
    }

    /// Notes that the bytes were copied back into the frame, or are not wanted. The caller holds the exclusive latch or the claim.
    pub(crate) fn move_back(self) -> Self {
        debug_assert!(self.has(EXCLUSIVE | CLAIMED) && !self.has(LENT));
        self.without(SHADOWED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_FRAME: u64 = 0;
    const PLACES: [u64; 2] = [IN_FRAME, SHADOWED];

    /// Makes a page whose bytes are in that place.
    fn page(place: u64) -> State {
        State::FREE.claim().unwrap().begin_read(false).end_read(true).with(place)
    }

    fn dirty(place: u64) -> State {
        page(place).latch_exclusive().unwrap().unlatch_exclusive(true)
    }

    #[test]
    fn bytes_in_the_frame_are_lent_and_those_on_a_shadow_page_are_not() {
        let lent = dirty(IN_FRAME).begin_lending().unwrap();
        assert!(lent.is_lent() && lent.is_writing() && !lent.is_dirty());
        let shadowed = dirty(SHADOWED).begin_lending().unwrap();
        assert!(
            !shadowed.is_lent() && shadowed.is_writing() && !shadowed.is_dirty() && shadowed.is_shadowed()
        );
        for place in PLACES {
            assert_eq!(page(place).begin_lending(), None, "it is clean");
        }
        assert_eq!(lent.begin_lending(), None, "it is being written");
    }

    #[test]
    fn lent_bytes_move_as_long_as_they_are_lent() {
        let latched = dirty(IN_FRAME).begin_lending().unwrap().latch_exclusive().unwrap();
        let moved = latched.move_to_shadow().unwrap();
        assert!(!moved.is_lent() && moved.is_writing() && moved.is_shadowed());
        assert_eq!(latched.end_write(true).move_to_shadow(), None);
        assert_eq!(moved.move_back(), latched.without(LENT));
    }

    #[test]
    fn bytes_that_were_copied_back_for_the_device_are_there_if_no_other_thread_reads_them_elsewhere() {
        let alone = dirty(SHADOWED).latch_shared().unwrap().begin_lending().unwrap();
        let lent = alone.lend_copied_back().unwrap();
        assert!(lent.is_lent() && !lent.is_shadowed() && lent.unlatch_shared().is_writing());
        assert_eq!(alone.latch_shared().unwrap().lend_copied_back(), None);
    }
}
