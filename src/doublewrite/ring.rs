//! Where in an area the next record goes: a half is filled from its first unit on, then the other one. Pure.

/// A record's place.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The unit in the half that is being filled.
    pub(super) unit: u32,
    /// The unit in the area.
    pub(super) at: u64,
}

#[derive(Debug)]
pub(super) struct Ring {
    units: u32,
    half: usize,
    next: u32,
}

impl Ring {
    /// Halves of so many units, the first of which are headers. This one is the one to be filled, and is taken for full.
    pub(super) fn full(units: u32, half: usize) -> Self {
        Self { units, half, next: units }
    }

    /// The half that is being filled.
    pub(super) fn half(&self) -> usize {
        self.half
    }

    /// The half that is to be begun when this one is full.
    pub(super) fn other(&self) -> usize {
        1 - self.half
    }

    /// Room for so many units, or none in this half.
    pub(super) fn place(&mut self, units: u32) -> Option<Place> {
        let unit = self.next;
        self.next = unit.checked_add(units).filter(|&next| next <= self.units)?;
        Some(Place { unit, at: self.begin_of(self.half) + u64::from(unit) })
    }

    /// The first unit of a half, in the area.
    pub(super) fn begin_of(&self, half: usize) -> u64 {
        half as u64 * u64::from(self.units)
    }

    /// The other half has been begun anew.
    pub(super) fn turn(&mut self) {
        (self.half, self.next) = (self.other(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_filled_in_turn_and_their_headers_left_alone() {
        let mut ring = Ring::full(10, 1);
        assert_eq!((ring.place(1), ring.other()), (None, 0));
        ring.turn();
        assert_eq!(ring.place(4), Some(Place { unit: 1, at: 1 }));
        assert_eq!(ring.place(5), Some(Place { unit: 5, at: 5 }));
        assert_eq!((ring.place(1), ring.half()), (None, 0));
        ring.turn();
        assert_eq!(ring.place(9), Some(Place { unit: 1, at: 11 }));
    }

    #[test]
    fn what_does_not_fit_takes_no_room() {
        let mut ring = Ring::full(10, 1);
        ring.turn();
        assert_eq!((ring.place(10), ring.place(u32::MAX)), (None, None));
        assert_eq!(ring.place(9), Some(Place { unit: 1, at: 1 }));
    }
}
