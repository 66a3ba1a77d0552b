//! What an area holds after a crash: the newest copy of each page, as far as it can be told. Pure: from the units of an area to a
//! list.
//!
//! All that counts is numbered, and each record tells up to which number all were durable when it was made. So a number that is
//! missing among those, or a copy that is not whole there, was damaged later. All others that are missing were never finished,
//! and their pages were not touched. After damage the places may be newer than what is left of the copies:
//!
//! * If the copy of a page is damaged, older copies of it are *in doubt*, unless there is a later one.
//! * If a record is missing, it is unknown which pages it had, or whose copies it voided: all copies from before it are in doubt.
//!
//! A copy that is in doubt is put back only if a codec tells that the place is torn, and if exactly *one* newer version was lost.
//! The place was torn by a write that was never synced, and whose copy was durable. So it is the lost version's, and the copy is
//! the newest that was durable before. If two were lost, one of them may have been synced: then nothing is put back, and the page
//! stays torn.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    error::Result,
    io::doublewrite::layout::{HEADERS, HalfHeader, Kind, Record, checksum},
};

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) unit: u32,
    pub(super) checksum: u32,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Newest {
    /// As new as the page in its place, or newer.
    Copy(Copy),
    /// The page in its place may be newer than the last copy that is whole. The copy is given if exactly one newer version was
    /// lost.
    InDoubt(Option<Copy>),
}

/// What there is of a file's pages, by block.
pub(super) type Copies = BTreeMap<u32, Newest>;

#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) headers: [Option<HalfHeader>; 2],
    /// The first number that counts.
    pub(super) oldest: u64,
    /// All with smaller numbers are there, or were lost.
    pub(super) durable: u64,
    /// Greater than all numbers.
    pub(super) next: u64,
    /// Whether a record that was durable is missing.
    pub(super) is_damaged: bool,
    /// The newest copies, by their files' tags. No list is empty.
    pub(super) copies: BTreeMap<u64, Copies>,
    /// The units of the records that count, in ascending order.
    pub(super) used: Vec<Range<u32>>,
}

/// Reads units of the area, from this one on.
pub(super) type ReadUnits<'a> = dyn FnMut(u32, &mut [u8]) -> Result<()> + 'a;

/// Plays all records of an area that has `units` units, oldest first.
pub(super) fn play(
    headers: [Option<HalfHeader>; 2],
    area_units: u32,
    page_size: usize,
    read: &mut ReadUnits<'_>,
) -> Result<Found> {
    let Some(newest) = headers.into_iter().flatten().max() else { return Ok(Found::default()) };
    let mut records = records(newest.salt, area_units, page_size, read)?;
    let numbering = || records.iter().map(|(_, record)| record.numbering);
    // If the newest header is damaged, what was written under it tells that there was one.
    let oldest = numbering().map(|numbering| numbering.oldest).fold(newest.oldest, u64::max);
    let durable = numbering().map(|numbering| numbering.durable).fold(oldest, u64::max);
    let durable = if seeded!("lost_record_taken_for_an_unfinished_one") { oldest } else { durable };
    let next = numbering().map(|numbering| numbering.number + 1).fold(newest.number.max(durable), u64::max);
    records.retain(|(_, record)| record.numbering.number >= oldest);

    let mut found = Found { headers, oldest, durable, next, ..Found::default() };
    found.used = used(&records, page_size);
    records.sort_by_key(|(_, record)| record.numbering.number);
    // The first number that was not seen yet.
    let mut expected = oldest;
    for (unit, record) in records {
        let number = record.numbering.number;
        found.doubt_all(number.min(durable).saturating_sub(expected));
        expected = number + 1;
        let is_whole = found.play(unit, &record, number < durable, page_size, read)?;
        // A record that is whole is durable when this life has written it again.
        found.durable += u64::from(is_whole && found.durable == number);
    }
    found.doubt_all(durable.saturating_sub(expected));
    found.copies.retain(|_, copies| !copies.is_empty());
    Ok(found)
}

impl Found {
    /// Plays one record, which was durable once or may be unfinished. Returns whether all of its copies are whole.
    fn play(
        &mut self,
        unit: u32,
        record: &Record,
        was_durable: bool,
        page_size: usize,
        read: &mut ReadUnits<'_>,
    ) -> Result<bool> {
        let mut page = vec![0; page_size];
        let mut is_whole = true;
        for (entry, unit) in record.entries.iter().zip(record.first_copy(unit, page_size)..) {
            let copies = self.copies.entry(entry.tag).or_default();
            if record.kind == Kind::Forget {
                copies.retain(|&block, _| block < entry.block);
                continue;
            }
            read(unit, &mut page)?;
            if checksum(&page) == entry.checksum {
                copies.insert(entry.block, Newest::Copy(Copy { unit, checksum: entry.checksum }));
                continue;
            }
            is_whole = false;
            // If it was never durable its page was not touched: the older copy holds.
            if was_durable && !seeded!("damaged_copy_taken_for_an_unfinished_one") {
                let newest = copies.entry(entry.block).or_insert(Newest::InDoubt(None));
                *newest = newest.in_doubt();
            }
        }
        Ok(is_whole)
    }

    /// Puts all copies in doubt: `missing` records are missing that were durable, and each may have had a newer copy of any page,
    /// or voided any copy.
    fn doubt_all(&mut self, missing: u64) {
        self.is_damaged |= missing > 0;
        for _ in 0..missing.min(2) {
            let copies = self.copies.values_mut().flat_map(BTreeMap::values_mut);
            copies.for_each(|newest| *newest = newest.in_doubt());
        }
    }
}

impl Newest {
    fn in_doubt(self) -> Self {
        match self {
            Self::Copy(copy) => Self::InDoubt(Some(copy)),
            // If two were lost, the older one may have been synced: what is left is older than that.
            Self::InDoubt(older) => {
                Self::InDoubt(older.filter(|_| seeded!("copy_put_back_that_is_two_versions_old")))
            }
        }
    }
}

/// Returns all records that are whole but for their copies, and the units where they begin, in ascending order.
///
/// Every unit is checked: a unit that is no record may be one that was never finished, with a finished one behind it, and one
/// that does not count any more may have been written over in part. A record whose copies lie behind the end of the area counts
/// too: it has its number, which is given to no other.
fn records(
    salt: u64,
    area_units: u32,
    page_size: usize,
    read: &mut ReadUnits<'_>,
) -> Result<Vec<(u32, Record)>> {
    let mut records = Vec::new();
    let mut page = vec![0; page_size];
    for unit in HEADERS..area_units {
        read(unit, &mut page)?;
        let room = if seeded!("record_cut_off_is_none") { area_units } else { u32::MAX } - unit;
        if let Some(units) = Record::announced(&page, salt, unit, room, page_size) {
            let mut header = vec![0; units * page_size];
            read(unit, &mut header)?;
            records.extend(Record::decode(&header).map(|record| (unit, record)));
        }
    }
    Ok(records)
}

/// Returns the units of these records, without seams.
fn used(records: &[(u32, Record)], page_size: usize) -> Vec<Range<u32>> {
    let mut used: Vec<Range<u32>> = Vec::new();
    for (unit, record) in records {
        let end = unit + record.units(page_size) as u32;
        match used.last_mut() {
            Some(last) if last.end == *unit => last.end = end,
            _ => used.push(*unit..end),
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::doublewrite::layout::{CopyEntry, Numbering, records_of, tail_behind};

    const PAGE: usize = 512;
    const UNITS: u32 = 24;
    const TAG: u64 = 7;
    const SALT: u64 = 77;

    /// An area under construction, with a place for the next record in each half and in the tail. Each record is durable before
    /// the next one is made.
    struct Making {
        headers: [Option<HalfHeader>; 2],
        bytes: Vec<u8>,
        next: [u32; 3],
        numbering: Numbering,
    }

    impl Making {
        /// Makes an area whose second half is begun after the first.
        fn new() -> Self {
            let next = [records_of(0, UNITS).start, records_of(1, UNITS).start, tail_behind(UNITS)];
            let bytes = vec![0; (next[2] as usize + 8) * PAGE];
            let mut area = Self { headers: [None; 2], bytes, next, numbering: Numbering::default() };
            (0..2).for_each(|half| area.begin(half));
            area
        }

        fn begin(&mut self, half: usize) {
            let number = self.numbering.number;
            self.numbering.oldest = self.headers[1 - half].map_or(number, |other| other.number);
            let header = HalfHeader { number, oldest: self.numbering.oldest, salt: SALT };
            self.headers[half] = Some(header);
            self.next[half] = records_of(half, UNITS).start;
        }

        /// Puts a record into this part.
        fn put(&mut self, part: usize, kind: Kind, entries: Vec<CopyEntry>) -> u32 {
            let record = Record { numbering: self.numbering, kind, entries };
            let unit = self.next[part];
            record.encode(SALT, unit, &mut self.bytes[unit as usize * PAGE..]);
            self.next[part] += record.units(PAGE) as u32;
            self.numbering.number += 1;
            self.numbering.durable = self.numbering.number;
            unit
        }

        /// Adds copies of (block, version) to a half. Returns the unit where the record begins.
        fn copies(&mut self, half: usize, pages: &[(u32, u8)]) -> u32 {
            let entry = |&(block, version): &(u32, u8)| {
                let checksum = checksum(&[version; PAGE]);
                CopyEntry { tag: TAG, block, checksum }
            };
            let unit = self.put(half, Kind::Copies, pages.iter().map(entry).collect());
            for (unit, (_, version)) in (unit as usize + 1..).zip(pages) {
                self.bytes[unit * PAGE..(unit + 1) * PAGE].fill(*version);
            }
            unit
        }

        fn forget(&mut self, part: usize, from: u32) -> u32 {
            self.put(part, Kind::Forget, vec![CopyEntry { tag: TAG, block: from, checksum: 0 }])
        }

        fn damage(&mut self, unit: u32) {
            self.bytes[unit as usize * PAGE + 9] ^= 1;
        }

        fn found(&self) -> Found {
            let mut read = |unit: u32, into: &mut [u8]| {
                // Behind its end there are zeros.
                let bytes = self.bytes.get(unit as usize * PAGE..).unwrap_or_default();
                let there = bytes.len().min(into.len());
                into[..there].copy_from_slice(&bytes[..there]);
                into[there..].fill(0);
                Ok(())
            };
            play(self.headers, (self.bytes.len() / PAGE) as u32, PAGE, &mut read).unwrap()
        }

        /// Returns the versions that would be put back, by block; `None` where there is doubt, with the last version that is
        /// whole.
        fn newest(&self) -> Vec<(u32, Option<u8>, Option<u8>)> {
            let version = |copy: Copy| self.bytes[copy.unit as usize * PAGE];
            let found = self.found();
            let newest = |(&block, newest): (&u32, &Newest)| match *newest {
                Newest::Copy(copy) => (block, Some(version(copy)), None),
                Newest::InDoubt(older) => (block, None, older.map(version)),
            };
            found.copies.get(&TAG).into_iter().flatten().map(newest).collect()
        }

        /// Returns the versions that would be put back, by block, where nothing is in doubt.
        fn versions(&self) -> Vec<(u32, u8)> {
            assert!(!self.found().is_damaged);
            self.newest().into_iter().map(|(block, version, _)| (block, version.unwrap())).collect()
        }
    }

    #[test]
    fn the_newest_copy_counts_in_a_half_and_over_both() {
        let mut area = Making::new();
        area.copies(1, &[(1, 1), (2, 1)]);
        area.copies(1, &[(2, 2), (3, 2)]);
        area.begin(0);
        area.copies(0, &[(3, 3)]);
        assert_eq!(area.versions(), [(1, 1), (2, 2), (3, 3)]);
    }

    #[test]
    fn what_was_forgotten_stays_so_until_there_is_a_later_copy() {
        let mut area = Making::new();
        area.copies(1, &[(1, 1), (5, 1), (9, 1)]);
        area.begin(0);
        area.forget(0, 5);
        area.copies(0, &[(9, 2)]);
        assert_eq!(area.versions(), [(1, 1), (9, 2)]);
        area.forget(2, 0);
        assert_eq!(area.versions(), []);
        area.copies(0, &[(9, 3)]);
        assert_eq!(area.versions(), [(9, 3)], "behind it in time, although before it in the area");
    }

    #[test]
    fn the_tail_counts_for_as_long_as_what_it_may_void() {
        let mut area = Making::new();
        area.copies(1, &[(1, 1)]);
        area.begin(0);
        area.copies(0, &[(2, 1)]);
        let tail = area.forget(2, 0);
        area.begin(1);
        assert_eq!(area.versions(), []);
        assert_eq!(area.found().used.last(), Some(&(tail..tail + 1)));
        area.begin(0);
        assert_eq!(area.found().used, []);
    }

    #[test]
    fn records_from_before_the_half_was_begun_anew_are_void() {
        let mut area = Making::new();
        area.copies(1, &[(1, 1), (2, 1), (3, 1)]);
        area.copies(1, &[(4, 1)]);
        (0..2).for_each(|half| area.begin(half));
        area.copies(1, &[(7, 2)]);
        assert_eq!(area.versions(), [(7, 2)]);
    }

    #[test]
    fn what_was_never_durable_does_not_count_and_what_is_older_does() {
        for (damaged, left) in [(0, [(1, 1), (2, 1), (3, 3)]), (2, [(1, 2), (2, 1), (3, 3)])] {
            let mut area = Making::new();
            area.copies(1, &[(1, 1), (2, 1)]);
            // This one, and one that is written beside it.
            let not_durable = area.numbering.durable;
            let unit = area.copies(1, &[(1, 2), (2, 2)]);
            area.numbering.durable = not_durable;
            area.copies(1, &[(3, 3)]);
            area.damage(unit + damaged);
            assert_eq!(area.versions(), left);
            assert_eq!(area.found().durable, not_durable);
        }
    }

    #[test]
    fn no_older_copy_of_a_page_counts_whose_newest_was_damaged() {
        let mut area = Making::new();
        area.copies(1, &[(1, 1), (2, 1)]);
        let unit = area.copies(1, &[(1, 2), (2, 2), (3, 2)]);
        [2, 3].into_iter().for_each(|copy| area.damage(unit + copy));
        // It cannot be told from one that was never finished.
        assert_eq!(area.versions(), [(1, 2), (2, 1)]);
        area.copies(1, &[(4, 3)]);
        assert_eq!(
            area.newest(),
            [(1, Some(2), None), (2, None, Some(1)), (3, None, None), (4, Some(3), None)]
        );
        assert!(!area.found().is_damaged, "which pages are in doubt is known");
        area.copies(1, &[(2, 4)]);
        area.forget(1, 3);
        assert_eq!(area.versions(), [(1, 2), (2, 4)], "there is a newer one, or it has no use any more");
    }

    #[test]
    fn no_copy_counts_from_before_a_record_that_was_damaged() {
        for is_forget in [false, true] {
            let mut area = Making::new();
            area.copies(1, &[(1, 1), (2, 1)]);
            let damaged = if is_forget { area.forget(2, 0) } else { area.copies(1, &[(1, 2)]) };
            area.damage(damaged);
            assert_eq!(area.versions(), [(1, 1), (2, 1)], "as if it had never been finished");
            area.begin(0);
            area.copies(0, &[(2, 3), (3, 3)]);
            let left = [(1, None, Some(1)), (2, Some(3), None), (3, Some(3), None)];
            assert_eq!((area.newest(), area.found().is_damaged), (left.to_vec(), true));
            // What counts begins behind it now.
            area.begin(1);
            assert_eq!(area.versions(), [(2, 3), (3, 3)]);
        }
    }

    #[test]
    fn c9_no_copy_is_left_of_a_page_of_which_two_newer_ones_were_lost() {
        for lost in [[1, 1], [0, 0], [0, 1], [1, 0]] {
            let mut area = Making::new();
            area.copies(1, &[(1, 1), (2, 1)]);
            let newer = [2, 3].map(|version| area.copies(1, &[(1, version)]));
            area.copies(1, &[(3, 4)]);
            // The record's head, or its copy.
            area.damage(newer[1] + lost[1]);
            if lost[1] == 1 {
                assert_eq!(area.newest()[0], (1, None, Some(2)));
            }
            area.damage(newer[0] + lost[0]);
            assert_eq!(area.newest()[0], (1, None, None), "{lost:?}");
        }
    }

    #[test]
    fn c9_the_number_of_a_record_that_was_cut_off_is_given_to_no_other() {
        let mut area = Making::new();
        area.copies(1, &[(1, 1)]);
        let end = area.bytes.len();
        let cut = area.copies(1, &[(1, 2)]);
        area.bytes.truncate((cut as usize + 1) * PAGE);
        assert_eq!((area.versions(), area.found().durable, area.found().next), (vec![(1, 1)], 1, 2));
        // As after a start that filled the area up to its length.
        area.bytes.resize(end, 0);
        assert_eq!((area.versions(), area.found().durable, area.found().next), (vec![(1, 1)], 1, 2));
    }

    #[test]
    fn a_header_that_is_damaged_takes_nothing_along_that_was_written_under_it() {
        let mut area = Making::new();
        area.copies(1, &[(1, 1)]);
        area.begin(0);
        area.copies(0, &[(1, 2)]);
        for (half, left) in [(1, 2), (0, 2)] {
            let header = area.headers[half].take();
            assert_eq!(area.versions(), [(1, left)], "half {half}");
            area.headers[half] = header;
        }
        // One half, which was begun anew since.
        area.begin(1);
        area.headers[1] = None;
        assert_eq!(area.versions(), [(1, 2)], "nothing is there yet");
        area.copies(1, &[(3, 3)]);
        assert_eq!(area.versions(), [(1, 2), (3, 3)]);
    }

    #[test]
    fn numbers_go_on_behind_all_that_were_given() {
        let mut area = Making::new();
        assert_eq!((area.found().durable, area.found().next), (0, 0));
        area.copies(1, &[(1, 1)]);
        let damaged = area.copies(1, &[(1, 2)]);
        area.damage(damaged);
        area.copies(1, &[(1, 3)]);
        assert_eq!(
            (area.found().oldest, area.found().durable, area.found().next),
            (0, 3, 3),
            "lost or there"
        );
        area.numbering.number += 5;
        area.begin(0);
        area.headers[1] = None;
        assert_eq!((area.found().durable, area.found().next), (3, 8));
    }
}
