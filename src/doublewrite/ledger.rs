//! What the pool knows of its area, and what may come next: the rules, without I/O, clocks or locks.
//!
//! A life of an area begins with what was [found](Ledger::new). As long as files with copies from before were neither opened nor given
//! up, they are *pending*: no half is begun, no copy gets room, and what voids copies goes to the tail. Then both halves are begun,
//! one after the other, the older one first. From there on records fill the halves in turn.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    doublewrite::{
        layout::{HEADERS, HalfHeader, records_of, tail_behind},
        recovery::{Copies, Found},
    },
    sync::Arc,
};

/// Units of the tail that every area has, so that an ordinary number of files can be opened on a full disk. More are added.
const TAIL: u32 = 16;

#[derive(Debug)]
pub(super) struct Ledger {
    /// How many units each half is to have, once they are begun.
    units: u32,
    halves: [HalfLedger; 2],
    /// The younger half.
    current: usize,
    /// Where the next record goes: in the younger half, or in the tail as long as the halves are as they were found.
    next: u32,
    /// Whether both halves were begun in this life.
    is_in_use: bool,
    /// The newest copies from before, of the files that were neither opened nor given up since, by tag.
    pending: BTreeMap<u64, Copies>,
}

#[derive(Debug, Default)]
struct HalfLedger {
    header: Option<HalfHeader>,
    /// The files that this life has put copies of into it.
    tags: BTreeSet<u64>,
}

/// Where a record goes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) half: usize,
    pub(super) unit: u32,
    pub(super) salt: u64,
}

/// A half that is to be begun: when its header is durable, and not before, [`Ledger::has_begun`] is told.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) half: usize,
    pub(super) header: HalfHeader,
}

/// How long an area is whose halves have so many units.
pub(super) fn area_units(units: u32) -> Option<u32> {
    units.checked_mul(2)?.checked_add(HEADERS + TAIL)
}

impl Ledger {
    /// What was found in an area whose halves are to have so many units.
    pub(super) fn new(units: u32, found: Found) -> Self {
        let halves = found.headers.map(|header| HalfLedger { header, tags: BTreeSet::new() });
        let epoch = |half: usize| halves[half].header.map(|header| header.epoch);
        let current = usize::from(epoch(1) >= epoch(0));
        let tail = tail_behind(halves[current].header.map_or(0, |header| header.units));
        let next = found.used.iter().filter(|used| used.start == tail).map(|used| used.end).max();
        let next = next.unwrap_or(tail);
        Self { units, halves, current, next, is_in_use: false, pending: found.copies }
    }

    pub(super) fn headers(&self) -> [Option<HalfHeader>; 2] {
        [0, 1].map(|half| self.halves[half].header)
    }

    /// How long the area is to be.
    pub(super) fn area_units(&self) -> u32 {
        area_units(self.units).expect("the length was checked when the area was opened")
    }

    /// Whether both halves were begun, and the area is as long as it is to be: from then on copies get room.
    pub(super) fn is_in_use(&self) -> bool {
        self.is_in_use
    }

    pub(super) fn set_in_use(&mut self, is_in_use: bool) {
        self.is_in_use = is_in_use;
    }

    /// The tags of the files that are pending.
    pub(super) fn pending(&self) -> Arc<[u64]> {
        self.pending.keys().copied().collect()
    }

    /// The copies of a pending file.
    pub(super) fn pending_copies(&self, tag: u64) -> Option<&Copies> {
        self.pending.get(&tag)
    }

    /// Whether the area has copies of the file, from before or from this life.
    pub(super) fn holds(&self, tag: u64) -> bool {
        self.pending.contains_key(&tag) || self.halves.iter().any(|half| half.tags.contains(&tag))
    }

    /// The files that this life has put copies of into a half.
    pub(super) fn tags_in(&self, half: usize) -> impl Iterator<Item = u64> {
        self.halves[half].tags.iter().copied()
    }

    /// Room for a record with copies of these files, or none before the other half is begun.
    pub(super) fn room_for_copies(&mut self, units: u32, tags: impl Iterator<Item = u64>) -> Option<Room> {
        let room = self.room_in_half(units)?;
        self.halves[room.half].tags.extend(tags);
        Some(room)
    }

    /// Room for a record that voids copies, or none before the other half is begun.
    pub(super) fn room_to_void(&mut self) -> Option<Room> {
        if self.pending.is_empty() {
            return self.room_in_half(1);
        }
        self.next += 1;
        Some(self.room_at(self.next - 1))
    }

    fn room_in_half(&mut self, units: u32) -> Option<Room> {
        if !self.is_in_use {
            return None;
        }
        let unit = self.next;
        self.next =
            unit.checked_add(units).filter(|&next| next <= records_of(self.current, self.units).end)?;
        Some(self.room_at(unit))
    }

    fn room_at(&self, unit: u32) -> Room {
        let salt = self.halves[self.current].header.map_or(0, |header| header.salt);
        Room { half: self.current, unit, salt }
    }

    /// Copies of the file from this block on were voided, durably.
    pub(super) fn has_voided(&mut self, tag: u64, from: u32) {
        if from == 0 {
            self.pending.remove(&tag);
            for half in &mut self.halves {
                half.tags.remove(&tag);
            }
        }
    }

    /// What it takes to begin the older half. `random` makes its records differ from all that lie there.
    ///
    /// # Errors
    /// The tags of the files that are pending.
    pub(super) fn begin(&self, random: u64) -> Result<Beginning, Arc<[u64]>> {
        if !self.pending.is_empty() {
            return Err(self.pending());
        }
        let epoch = 1 + self.halves[self.current].header.map_or(0, |header| header.epoch);
        let header = HalfHeader { epoch, salt: random.wrapping_add(epoch), units: self.units };
        Ok(Beginning { half: 1 - self.current, header })
    }

    /// The header is durable: what the half held is void, and records go there.
    #[allow(clippy::needless_pass_by_value)] // It is true only once.
    pub(super) fn has_begun(&mut self, begun: Beginning) {
        let Beginning { half, header } = begun;
        self.current = half;
        self.next = records_of(half, self.units).start;
        self.halves[half] = HalfLedger { header: Some(header), tags: BTreeSet::new() };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::doublewrite::{
        layout::{Entry, Kind, Record, checksum},
        recovery,
    };

    const PAGE: usize = 512;
    const UNITS: usize = 80;

    /// An area, and the versions of pages that are durable in their places: what a crash leaves. Each step of it is durable at once; the
    /// process dies before the step after the last.
    struct Disk {
        headers: [Option<HalfHeader>; 2],
        area: Vec<u8>,
        places: BTreeMap<(u64, u32), u8>,
        steps: usize,
    }

    impl Disk {
        fn step(&mut self) -> Option<()> {
            self.steps = self.steps.checked_sub(1)?;
            Some(())
        }

        fn recover(&self) -> Found {
            let mut read = |unit: u32, into: &mut [u8]| {
                into.copy_from_slice(&self.area[unit as usize * PAGE..][..into.len()]);
                Ok(())
            };
            let found = recovery::play(self.headers, UNITS as u32, PAGE, &mut read).unwrap();
            for (&tag, copies) in &found.copies {
                for (&block, copy) in copies {
                    let (copied, place) =
                        (self.area[copy.unit as usize * PAGE], self.places.get(&(tag, block)));
                    assert!(
                        place.is_none_or(|&place| copied >= place),
                        "{copied} goes over {place:?} of {tag}:{block}"
                    );
                }
            }
            found
        }

        /// Begins the older half; not where that is refused.
        fn begin(&mut self, ledger: &mut Ledger) -> Option<bool> {
            let Ok(beginning) = ledger.begin(99) else { return Some(false) };
            self.step()?;
            self.headers[beginning.half] = Some(beginning.header);
            ledger.has_begun(beginning);
            Some(true)
        }

        fn room(
            &mut self,
            ledger: &mut Ledger,
            ask: impl Fn(&mut Ledger) -> Option<Room>,
        ) -> Option<Option<Room>> {
            let room = ask(ledger);
            if room.is_some() || !self.begin(ledger)? {
                return Some(room);
            }
            if !ledger.is_in_use() {
                self.begin(ledger)?;
                ledger.set_in_use(true);
            }
            Some(ask(ledger))
        }

        fn put(&mut self, room: Room, kind: Kind, entry: Entry, version: u8) -> Option<()> {
            self.step()?;
            let record = Record { kind, entries: vec![entry] };
            record.encode(room.salt, room.unit, &mut self.area[room.unit as usize * PAGE..]);
            if kind == Kind::Copies {
                let at = record.first_copy(room.unit, PAGE) as usize * PAGE;
                self.area[at..at + PAGE].fill(version);
            }
            Some(())
        }

        /// Opens a file, or gives it up.
        fn void(&mut self, ledger: &mut Ledger, tag: u64, is_opened: bool) -> Option<()> {
            if !ledger.holds(tag) {
                return Some(());
            }
            for (&block, copy) in ledger.pending_copies(tag).into_iter().flatten().filter(|_| is_opened) {
                self.step()?;
                self.places.insert((tag, block), self.area[copy.unit as usize * PAGE]);
            }
            let room = self.room(ledger, Ledger::room_to_void)??;
            self.put(room, Kind::Forget, Entry { tag, block: 0, checksum: 0 }, 0)?;
            ledger.has_voided(tag, 0);
            Some(())
        }

        /// Writes a page, atomically or with a copy first, unless that is refused.
        fn write(
            &mut self,
            ledger: &mut Ledger,
            page: (u64, u32),
            is_atomic: bool,
            version: u8,
        ) -> Option<()> {
            if !is_atomic {
                let ask = |ledger: &mut Ledger| ledger.room_for_copies(2, [page.0].into_iter());
                let Some(room) = self.room(ledger, ask)? else { return Some(()) };
                let entry = Entry { tag: page.0, block: page.1, checksum: checksum(&[version; PAGE]) };
                self.put(room, Kind::Copies, entry, version)?;
            }
            self.step()?;
            self.places.insert(page, version);
            Some(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn c9_no_life_puts_an_older_page_back(
            lives in proptest::collection::vec((3_u32..9, 0_usize..40, proptest::collection::vec(0_u8..60, 1..30)), 1..6),
        ) {
            let mut disk = Disk { headers: [None; 2], area: vec![0; UNITS * PAGE], places: BTreeMap::new(), steps: 0 };
            let mut version = 0_u8;
            for (units, steps, what) in lives {
                disk.steps = steps;
                let mut ledger = Ledger::new(units, disk.recover());
                let mut open = BTreeSet::new();
                let _ = what.into_iter().try_for_each(|what| {
                    // Each file is written atomically in a life, or with copies.
                    let (tag, block, is_atomic) = (u64::from(what % 3), u32::from(what / 3 % 2), (units + u32::from(what % 3)).is_multiple_of(3));
                    if open.insert(tag) {
                        disk.void(&mut ledger, tag, what % 5 > 0)?;
                    }
                    if what % 7 == 0 {
                        open.remove(&tag);
                        return disk.void(&mut ledger, tag, false);
                    }
                    version += 1;
                    disk.write(&mut ledger, (tag, block), is_atomic, version)
                });
            }
            disk.recover();
        }
    }
}
