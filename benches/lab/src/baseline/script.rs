//! What a [`BareRing`](super::ring::BareRing) does with its slots: read, write, or both by turns.

use std::slice;

use crate::places::Place;

/// One request: which way, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) way: Way,
    pub(super) place: Place,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Read,
    Write,
}

/// The work of a run. The ring asks for a slot's next transfer when its last one is done.
pub(super) trait Script {
    /// The way that the sample counts and times.
    const COUNTED: Way;

    /// Returns what `slot` does next, or `None` when nothing is left for it. A write leaves its bytes in `buffer`.
    fn next(&mut self, slot: usize, buffer: &mut [u8]) -> Option<Transfer>;

    /// Looks at the bytes of a read that is done.
    fn seen(&mut self, _place: Place, _bytes: &[u8]) {}
}

/// Reads every place.
pub(super) struct Reads<'a, V> {
    pub(super) places: slice::Iter<'a, Place>,
    pub(super) visit: V,
}

impl<V: FnMut(Place, &[u8])> Script for Reads<'_, V> {
    const COUNTED: Way = Way::Read;

    fn next(&mut self, _slot: usize, _buffer: &mut [u8]) -> Option<Transfer> {
        self.places.next().map(|&place| Transfer { way: Way::Read, place })
    }

    fn seen(&mut self, place: Place, bytes: &[u8]) {
        (self.visit)(place, bytes);
    }
}

/// Writes every place.
pub(super) struct Writes<'a, F> {
    pub(super) places: slice::Iter<'a, Place>,
    pub(super) fill: F,
}

impl<F: FnMut(Place, &mut [u8])> Script for Writes<'_, F> {
    const COUNTED: Way = Way::Write;

    fn next(&mut self, _slot: usize, buffer: &mut [u8]) -> Option<Transfer> {
        let &place = self.places.next()?;
        (self.fill)(place, buffer);
        Some(Transfer { way: Way::Write, place })
    }
}

/// Has every slot read a page, then write another one, and so on: what a pool that is full of dirty pages does for every miss.
pub(super) struct Updates<'a, F> {
    pub(super) pairs: slice::Iter<'a, (Place, Place)>,
    pub(super) fill: F,
    /// By slot: what it writes when its read is done.
    pub(super) owed: Vec<Option<Place>>,
}

impl<F: FnMut(Place, &mut [u8])> Script for Updates<'_, F> {
    const COUNTED: Way = Way::Read;

    fn next(&mut self, slot: usize, buffer: &mut [u8]) -> Option<Transfer> {
        if let Some(place) = self.owed[slot].take() {
            (self.fill)(place, buffer);
            return Some(Transfer { way: Way::Write, place });
        }
        let &(place, owed) = self.pairs.next()?;
        self.owed[slot] = Some(owed);
        Some(Transfer { way: Way::Read, place })
    }
}
