//! Where a frame's bytes are, and how that changes when they are lent to the device.

use super::{CLAIMED, EXCLUSIVE, LENT, PLACE, PLACE_SHIFT, State, WRITING};

/// The most spare pages: a frame's state word has so many names for them.
pub(crate) const SPARE_PAGES_MAX: usize = 254;

/// Where a frame's bytes are: at home, or elsewhere since somebody wanted to change them while the device read them at home.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum BytesPlace {
    Home,
    /// On the spare page of this number.
    Spare(u8),
    /// On the frame's own extra page.
    Extra,
}

/// The last value of the field; the first means home, and all between have names for spare pages.
const EXTRA: u64 = PLACE >> PLACE_SHIFT;
const _: () = assert!(SPARE_PAGES_MAX as u64 + 1 == EXTRA);

impl BytesPlace {
    pub(in crate::buffer::frame) fn spare(number: usize) -> Self {
        assert!(number < SPARE_PAGES_MAX, "spare page {number} has no name");
        Self::Spare(number as u8)
    }

    const fn bits(self) -> u64 {
        let value = match self {
            Self::Home => 0,
            Self::Spare(number) => number as u64 + 1,
            Self::Extra => EXTRA,
        };
        value << PLACE_SHIFT
    }
}

impl State {
    #[inline]
    pub(crate) const fn place(self) -> BytesPlace {
        match (self.0 & PLACE) >> PLACE_SHIFT {
            0 => BytesPlace::Home,
            EXTRA => BytesPlace::Extra,
            value => BytesPlace::Spare(value as u8 - 1),
        }
    }

    /// Whether the frame's bytes are elsewhere than at home.
    #[inline]
    pub(crate) const fn is_away(self) -> bool {
        self.has(PLACE)
    }

    /// Whether the device reads the frame's bytes where they are.
    pub(crate) const fn is_lent(self) -> bool {
        self.has(LENT)
    }

    /// As [`begin_write`](Self::begin_write), but the device reads the bytes at home. If that is where they are they are lent: a
    /// change from here on goes elsewhere.
    pub(crate) fn begin_lending(self) -> Option<Self> {
        let lent = if self.is_away() { 0 } else { LENT };
        self.begin_write().map(|s| s.with(lent))
    }

    /// The bytes were copied to another place and are changed there. `None` where the device has done with them meanwhile.
    pub(crate) fn move_lent(self, to: BytesPlace) -> Option<Self> {
        debug_assert!(self.has(EXCLUSIVE) && !self.is_away());
        self.has(LENT).then(|| self.without(LENT).at(to))
    }

    /// The bytes that the write found away are at home too, where the device reads them, and have their place there again. `None`
    /// where somebody else reads them where they were: the caller holds a share latch.
    pub(crate) fn lend_home(self) -> Option<Self> {
        debug_assert!(self.has(WRITING) && self.is_away() && self.shares() > 0);
        (self.shares() == 1).then(|| self.at(BytesPlace::Home).with(LENT))
    }

    /// The bytes were copied home, where no device reads. By who holds the exclusive latch or the claim.
    pub(crate) fn move_home(self) -> Self {
        debug_assert!(self.has(EXCLUSIVE | CLAIMED) && !self.has(LENT));
        self.at(BytesPlace::Home)
    }

    const fn at(self, place: BytesPlace) -> Self {
        Self(self.0 & !PLACE | place.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page as such, at that place.
    fn page(place: BytesPlace) -> State {
        State::FREE.claim().unwrap().begin_read(false).end_read(true).at(place)
    }

    fn dirty(place: BytesPlace) -> State {
        page(place).latch_exclusive().unwrap().unlatch_exclusive(true)
    }

    const AWAY: [BytesPlace; 4] =
        [BytesPlace::Spare(0), BytesPlace::Spare(1), BytesPlace::Spare(253), BytesPlace::Extra];

    #[test]
    fn every_place_has_its_own_name_and_touches_nothing_else() {
        let home = page(BytesPlace::Home);
        assert_eq!((home.place(), home.is_away()), (BytesPlace::Home, false));
        for place in AWAY {
            let away = home.at(place);
            assert_eq!((away.place(), away.is_away()), (place, true));
            assert_eq!((away.0 ^ home.0) & !PLACE, 0);
            assert_eq!(away.at(BytesPlace::Home), home);
        }
        let names: std::collections::HashSet<_> =
            (0..SPARE_PAGES_MAX).map(|number| BytesPlace::spare(number).bits()).collect();
        assert_eq!(names.len(), SPARE_PAGES_MAX);
        assert!(!names.contains(&BytesPlace::Extra.bits()) && !names.contains(&BytesPlace::Home.bits()));
    }

    #[test]
    fn bytes_at_home_are_lent_and_bytes_that_are_away_are_not() {
        let lent = dirty(BytesPlace::Home).begin_lending().unwrap();
        assert!(lent.is_lent() && lent.is_writing() && !lent.is_dirty());
        for place in AWAY {
            let away = dirty(place).begin_lending().unwrap();
            assert!(!away.is_lent() && away.is_writing() && !away.is_dirty() && away.place() == place);
        }
        assert_eq!(page(BytesPlace::Home).begin_lending(), None, "it is clean");
        assert_eq!(lent.begin_lending(), None, "it is being written");
    }

    #[test]
    fn lent_bytes_move_as_long_as_they_are_lent() {
        for place in AWAY {
            let latched = dirty(BytesPlace::Home).begin_lending().unwrap().latch_exclusive().unwrap();
            let moved = latched.move_lent(place).unwrap();
            assert!(!moved.is_lent() && moved.is_writing() && moved.place() == place);
            assert_eq!(latched.end_write(true).move_lent(place), None);
            assert_eq!(moved.move_home(), latched.without(LENT));
        }
    }

    #[test]
    fn bytes_that_were_copied_home_for_the_device_are_there_if_nobody_reads_them_elsewhere() {
        let alone = dirty(BytesPlace::Extra).latch_shared().unwrap().begin_lending().unwrap();
        let lent = alone.lend_home().unwrap();
        assert!(lent.is_lent() && !lent.is_away() && lent.unlatch_shared().is_writing());
        assert_eq!(alone.latch_shared().unwrap().lend_home(), None);
    }
}
