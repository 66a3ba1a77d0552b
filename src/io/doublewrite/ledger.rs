//! What the pool knows of its area, and which step may come next: the rules, without I/O, clocks or locks.
//!
//! A life of an area begins with what was [found](Ledger::new). As long as files with copies from before were neither opened nor given up,
//! they are *pending*: no half is begun, and no copy gets room. Then both halves are begun, the older one first, and are filled in turn.
//!
//! A half is begun only when none of its copies is needed: no file is pending, and each file that has copies in it was *settled*, by a good
//! sync since its pages were written. A file whose sync failed never is. A record that voids copies gets room even then, in the tail:
//! otherwise the very file that keeps a half could not be opened.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    io::doublewrite::{
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
    current: usize,
    /// Where the next record goes in the younger half.
    next: u32,
    /// Where the next one goes in the tail, behind all that count there.
    tail: u32,
    /// The number of the last record there.
    last_in_tail: u64,
    /// The number of the next record, wherever it goes.
    number: u64,
    /// The first that counts.
    oldest: u64,
    /// Whether both halves were begun in this life, and the area is as long as it is to be: from then on copies get room.
    pub(super) is_in_use: bool,
    /// The newest copies from before, of the files that were neither opened nor given up since, by tag.
    pub(super) pending: BTreeMap<u64, Copies>,
}

#[derive(Debug, Default)]
struct HalfLedger {
    header: Option<HalfHeader>,
    /// The files of which this life has put copies into the area.
    tags: BTreeSet<u64>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) half: usize,
    pub(super) unit: u32,
    pub(super) salt: u64,
    /// The number of the record, and the first number that counts.
    pub(super) number: u64,
    pub(super) oldest: u64,
}

/// Returns how long an area is whose halves have `units` units.
pub(super) fn area_units(units: u32) -> Option<u32> {
    units.checked_mul(2)?.checked_add(HEADERS + TAIL)
}

impl Ledger {
    /// Makes a ledger of what was found in an area whose halves are to have `units` units.
    pub(super) fn new(units: u32, found: Found) -> Self {
        let halves = found.headers.map(|header| HalfLedger { header, tags: BTreeSet::new() });
        let current = usize::from(found.headers[1] >= found.headers[0]);
        let used = found.used.last().map_or(0, |used| used.end);
        Self {
            units,
            halves,
            current,
            next: 0,
            tail: tail_behind(units).max(used),
            last_in_tail: found.next.saturating_sub(1),
            number: found.next,
            oldest: found.oldest,
            is_in_use: false,
            pending: found.copies,
        }
    }

    pub(super) fn headers(&self) -> [Option<HalfHeader>; 2] {
        [0, 1].map(|half| self.halves[half].header)
    }

    pub(super) fn area_units(&self) -> u32 {
        area_units(self.units).expect("the length was checked when the area was opened")
    }

    /// Returns the tags of the files that the area has copies of, from before or from this life.
    pub(super) fn held(&self) -> BTreeSet<u64> {
        let of_this_life = self.halves.iter().flat_map(|half| &half.tags);
        self.pending.keys().chain(of_this_life).copied().collect()
    }

    pub(super) fn holds(&self, tag: u64) -> bool {
        self.pending.contains_key(&tag) || self.halves.iter().any(|half| half.tags.contains(&tag))
    }

    /// Returns the half that is to be begun next.
    pub(super) fn older(&self) -> usize {
        1 - self.current
    }

    /// Returns the files that this life has put copies of into a half.
    pub(super) fn tags_in(&self, half: usize) -> impl Iterator<Item = u64> {
        self.halves[half].tags.iter().copied()
    }

    /// Takes room for a record with copies of these files; `None` until the other half is begun.
    pub(super) fn room_for_copies(&mut self, units: u32, tags: impl Iterator<Item = u64>) -> Option<Room> {
        let room = self.room_in_half(units)?;
        self.halves[room.half].tags.extend(tags);
        Some(room)
    }

    /// Takes room for a record that voids copies, where the other half [cannot be begun](Self::begin).
    pub(super) fn room_in_tail(&mut self) -> Room {
        self.tail += 1;
        self.last_in_tail = self.number;
        self.room_at(self.tail - 1)
    }

    /// Takes room for a record; `None` until the other half is begun.
    pub(super) fn room_in_half(&mut self, units: u32) -> Option<Room> {
        if !self.is_in_use {
            return None;
        }
        let unit = self.next;
        self.next =
            unit.checked_add(units).filter(|&next| next <= records_of(self.current, self.units).end)?;
        Some(self.room_at(unit))
    }

    fn room_at(&mut self, unit: u32) -> Room {
        let salt = self.halves[self.current].header.map_or(0, |header| header.salt);
        self.number += 1;
        Room { half: self.current, unit, salt, number: self.number - 1, oldest: self.oldest }
    }

    /// Notes that copies of the file from this block on were voided, durably.
    pub(super) fn has_voided(&mut self, tag: u64, from: u32) {
        if from == 0 {
            self.pending.remove(&tag);
            for half in &mut self.halves {
                half.tags.remove(&tag);
            }
        }
    }

    /// Returns the next header of the older half, whose files are settled as far as they are named here. `random` makes the records of a new
    /// area differ from all that lie there. When the header is durable, and not before, [`has_begun`](Self::has_begun) is told.
    ///
    /// # Errors
    /// The tags of the files whose copies are needed.
    pub(super) fn begin(&self, random: u64, settled: &BTreeSet<u64>) -> Result<HalfHeader, Arc<[u64]>> {
        let unsettled = self.tags_in(self.older()).filter(|tag| !settled.contains(tag));
        let unsettled = unsettled.filter(|_| !seeded!("poisoned_copies_voided"));
        let needed: BTreeSet<u64> = self.pending.keys().copied().chain(unsettled).collect();
        if !needed.is_empty() {
            return Err(needed.into_iter().collect());
        }
        let number = self.number;
        let other = self.halves[self.current].header;
        let (oldest, salt) = other.map_or((number, random), |other| (other.number, other.salt));
        Ok(HalfHeader { number, oldest, salt })
    }

    /// Notes that the header is durable: what the half held is void, and records go there.
    pub(super) fn has_begun(&mut self, header: HalfHeader) {
        let half = self.older();
        self.current = half;
        self.next = records_of(half, self.units).start;
        self.oldest = header.oldest;
        // What counts in the tail may void copies that are still there.
        if self.last_in_tail < self.oldest || seeded!("tail_written_over") {
            self.tail = tail_behind(self.units);
        }
        self.halves[half] = HalfLedger { header: Some(header), tags: BTreeSet::new() };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::io::doublewrite::{
        layout::{CopyEntry, Kind, Numbering, Record, checksum},
        recovery::{self, Newest},
    };

    const PAGE: usize = 512;
    const UNITS: usize = 400;

    /// What lies in the place of a page. Unless it is durable, a crash may leave it torn.
    struct ModelPlace {
        version: u8,
        is_durable: bool,
    }

    /// An area, and the places of pages: what a crash leaves. Each step of the area is durable at once; the process dies before the
    /// step after the last.
    struct ModelDisk {
        headers: [Option<HalfHeader>; 2],
        area: Vec<u8>,
        places: BTreeMap<(u64, u32), ModelPlace>,
        steps: usize,
        /// The files that are open in this life, and those of them of which a sync failed.
        open: BTreeSet<u64>,
        poisoned: BTreeSet<u64>,
        syncs: usize,
        /// Each sync fails whose number is a multiple of this.
        failing: usize,
    }

    impl ModelDisk {
        fn step(&mut self) -> Option<()> {
            self.steps = self.steps.checked_sub(1)?;
            Some(())
        }

        fn found(&self) -> Found {
            let mut read = |unit: u32, into: &mut [u8]| {
                into.copy_from_slice(&self.area[unit as usize * PAGE..][..into.len()]);
                Ok(())
            };
            recovery::play(self.headers, UNITS as u32, PAGE, &mut read).unwrap()
        }

        fn version(&self, copy: &recovery::Copy) -> u8 {
            self.area[copy.unit as usize * PAGE]
        }

        fn recover(&mut self) -> Found {
            let found = self.found();
            assert!(!found.is_damaged);
            let copied = |&(tag, block): &(u64, u32)| match found.copies.get(&tag)?.get(&block)? {
                Newest::Copy(copy) => Some(self.version(copy)),
                Newest::InDoubt(_) => panic!("nothing was damaged"),
            };
            for (page, place) in &self.places {
                let (copied, there) = (copied(page), place.version);
                assert!(
                    copied.is_none_or(|copied| copied >= there),
                    "{copied:?} goes over {there} of {page:?}"
                );
                assert!(place.is_durable || copied.is_some(), "{there} of {page:?} is torn and has no copy");
            }
            self.open.clear();
            self.poisoned.clear();
            found
        }

        /// Checks this for each unit that may be damaged, except what was written last, a record or a header: that may be
        /// unfinished.
        fn assert_that_no_damage_puts_an_older_page_back(&mut self) {
            let next = self.found().next;
            let last = next.wrapping_sub(1);
            let used = self.found().used.into_iter().flatten().map(|unit| unit as usize);
            for unit in (0..2).chain(used) {
                let (at, headers) = (unit * PAGE + 9, self.headers);
                // Its copy is one unit, and lies behind it.
                let record = |unit: usize| Record::decode(&self.area[unit * PAGE..][..PAGE]);
                let is_last = |record: Record| record.numbering.number == last;
                let is_last_header = headers
                    .get(unit)
                    .is_some_and(|header| header.is_some_and(|header| header.number == next));
                let in_last = is_last_header
                    || [unit, unit.saturating_sub(1)].into_iter().filter_map(record).any(is_last);
                self.area[at] ^= 1;
                if let Some(header) = self.headers.get_mut(unit) {
                    *header = None;
                }
                let found = self.found();
                for (&(tag, block), place) in self.places.iter().filter(|_| !in_last) {
                    let newest = found.copies.get(&tag).and_then(|copies| copies.get(&block));
                    if let Some(Newest::Copy(copy)) = newest {
                        let copied = self.version(copy);
                        assert!(
                            copied >= place.version,
                            "{unit}: {copied} goes over {} of {tag}:{block}",
                            place.version
                        );
                    }
                }
                (self.headers, self.area[at]) = (headers, self.area[at] ^ 1);
            }
        }

        /// Syncs an open file. Returns whether its pages are durable.
        fn sync(&mut self, tag: u64) -> bool {
            self.syncs += 1;
            if self.syncs.is_multiple_of(self.failing) {
                self.poisoned.insert(tag);
            }
            if !self.open.contains(&tag) || self.poisoned.contains(&tag) {
                return false;
            }
            self.places.range_mut((tag, 0)..=(tag, u32::MAX)).for_each(|(_, place)| place.is_durable = true);
            true
        }

        /// Begins the older half; not where that is refused.
        fn begin(&mut self, ledger: &mut Ledger) -> Option<bool> {
            let files: Vec<u64> = ledger.tags_in(ledger.older()).collect();
            let settled = files.into_iter().filter(|&tag| self.sync(tag)).collect();
            let Ok(header) = ledger.begin(99, &settled) else { return Some(false) };
            self.step()?;
            self.headers[ledger.older()] = Some(header);
            ledger.has_begun(header);
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
            if !ledger.is_in_use {
                self.begin(ledger)?;
                ledger.is_in_use = true;
            }
            Some(ask(ledger))
        }

        fn put(&mut self, room: Room, kind: Kind, entry: CopyEntry, version: u8) -> Option<()> {
            self.step()?;
            let Room { number, oldest, .. } = room;
            let record = Record {
                numbering: Numbering { number, oldest, durable: number },
                kind,
                entries: vec![entry],
            };
            record.encode(room.salt, room.unit, &mut self.area[room.unit as usize * PAGE..]);
            if kind == Kind::Copies {
                let at = record.first_copy(room.unit, PAGE) as usize * PAGE;
                self.area[at..at + PAGE].fill(version);
            }
            Some(())
        }

        fn void(&mut self, ledger: &mut Ledger, tag: u64) -> Option<()> {
            if ledger.holds(tag) {
                let room = self.room(ledger, |ledger| ledger.room_in_half(1))?;
                let room = room.unwrap_or_else(|| ledger.room_in_tail());
                self.put(room, Kind::Forget, CopyEntry { tag, block: 0, checksum: 0 }, 0)?;
                ledger.has_voided(tag, 0);
            }
            Some(())
        }

        /// Opens a file.
        fn open(&mut self, ledger: &mut Ledger, tag: u64) -> Option<()> {
            for (block, newest) in self.found().copies.remove(&tag).into_iter().flatten() {
                let Newest::Copy(copy) = newest else { panic!("nothing was damaged") };
                self.step()?;
                let place = ModelPlace { version: self.version(&copy), is_durable: false };
                self.places.insert((tag, block), place);
            }
            self.step()?;
            self.open.insert(tag);
            self.places.range_mut((tag, 0)..=(tag, u32::MAX)).for_each(|(_, place)| place.is_durable = true);
            self.void(ledger, tag)
        }

        /// Closes a file: as it is, if a sync of it failed.
        fn close(&mut self, ledger: &mut Ledger, tag: u64) -> Option<()> {
            if self.sync(tag) {
                self.void(ledger, tag)?;
            }
            self.open.remove(&tag);
            self.poisoned.remove(&tag);
            Some(())
        }

        /// Gives a file up, in whose place there is another.
        fn give_up(&mut self, ledger: &mut Ledger, tag: u64) -> Option<()> {
            self.places.range_mut((tag, 0)..=(tag, u32::MAX)).for_each(|(_, place)| place.is_durable = true);
            self.void(ledger, tag)
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
                let entry = CopyEntry { tag: page.0, block: page.1, checksum: checksum(&[version; PAGE]) };
                self.put(room, Kind::Copies, entry, version)?;
            }
            self.step()?;
            self.places.insert(page, ModelPlace { version, is_durable: is_atomic });
            Some(())
        }
    }

    #[test]
    fn what_voids_copies_lies_in_the_tail_as_long_as_they_are_there() {
        let begin =
            |ledger: &mut Ledger| ledger.begin(0, &BTreeSet::new()).map(|begun| ledger.has_begun(begun));
        let fill = |ledger: &mut Ledger, tags: [u64; 2]| {
            let rooms = tags.map(|tag| ledger.room_for_copies(2, [tag].into_iter()));
            assert!(rooms.iter().all(Option::is_some) && ledger.room_in_half(1).is_none());
        };
        let void = |ledger: &mut Ledger, tag: u64| {
            let room = ledger.room_in_tail();
            ledger.has_voided(tag, 0);
            room.unit
        };
        let mut ledger = Ledger::new(4, Found::default());
        (0..2).for_each(|_| begin(&mut ledger).unwrap());
        ledger.is_in_use = true;
        fill(&mut ledger, [1, 1]);
        begin(&mut ledger).unwrap();
        fill(&mut ledger, [1, 3]);
        assert_eq!(*begin(&mut ledger).unwrap_err(), [1]);
        let first = void(&mut ledger, 1);
        begin(&mut ledger).unwrap();
        fill(&mut ledger, [4, 4]);
        // The other half still has copies of the first file.
        assert_eq!(*begin(&mut ledger).unwrap_err(), [3]);
        let second = void(&mut ledger, 3);
        begin(&mut ledger).unwrap();
        fill(&mut ledger, [5, 5]);
        assert_eq!(*begin(&mut ledger).unwrap_err(), [4]);
        let third = void(&mut ledger, 4);
        assert_eq!([second, third], [first + 1, first + 2]);
        // When no record counts there any more, it begins anew.
        begin(&mut ledger).unwrap();
        fill(&mut ledger, [6, 6]);
        void(&mut ledger, 5);
        begin(&mut ledger).unwrap();
        void(&mut ledger, 6);
        (0..2).for_each(|_| begin(&mut ledger).unwrap());
        assert_eq!(void(&mut ledger, 7), first);
    }

    /// A life: how long its halves are, after how many steps the power fails, which syncs fail, and what is done.
    type Life = (u32, usize, usize, Vec<u8>);

    /// Goes through the lives. Returns the disk as the last recovery leaves it.
    fn live(lives: Vec<Life>) -> ModelDisk {
        let mut disk = ModelDisk {
            headers: [None; 2],
            area: vec![0; UNITS * PAGE],
            places: BTreeMap::new(),
            steps: 0,
            open: BTreeSet::new(),
            poisoned: BTreeSet::new(),
            syncs: 0,
            failing: 1,
        };
        let mut version = 0_u8;
        for (units, steps, failing, what) in lives {
            (disk.steps, disk.failing) = (steps, failing);
            let mut ledger = Ledger::new(units, disk.recover());
            let _ = what.into_iter().try_for_each(|what| {
                // Each file is written atomically in a life, or with copies.
                let (tag, block, is_atomic) = (
                    u64::from(what % 3),
                    u32::from(what / 3 % 2),
                    (units + u32::from(what % 3)).is_multiple_of(3),
                );
                if !disk.open.contains(&tag) {
                    if what % 5 == 0 {
                        disk.give_up(&mut ledger, tag)?;
                    }
                    disk.open(&mut ledger, tag)?;
                }
                if what % 7 == 0 {
                    return disk.close(&mut ledger, tag);
                }
                version += 1;
                disk.write(&mut ledger, (tag, block), is_atomic, version)
            });
        }
        disk.recover();
        disk
    }

    fn lives() -> impl Strategy<Value = Vec<Life>> {
        proptest::collection::vec(
            (3_u32..9, 0_usize..60, 2_usize..12, proptest::collection::vec(0_u8..60, 1..40)),
            1..6,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn c9_no_life_tears_a_page_or_puts_an_older_one_back(lives in lives()) {
            live(lives);
        }

        #[test]
        fn c9_no_damage_puts_an_older_page_back(lives in lives()) {
            live(lives).assert_that_no_damage_puts_an_older_page_back();
        }
    }
}
