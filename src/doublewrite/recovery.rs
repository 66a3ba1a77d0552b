//! What an area holds after a crash: of each page the newest copy that is whole. Pure: from the units of an area to a list.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    doublewrite::layout::{HalfHeader, Kind, Record, checksum, records_of, tail_behind},
    error::Result,
};

/// A copy in the area.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// The unit in which it lies.
    pub(super) unit: u32,
    pub(super) checksum: u32,
}

/// The newest copies of a file's pages, by block.
pub(super) type Copies = BTreeMap<u32, Copy>;

/// What lies in an area.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) headers: [Option<HalfHeader>; 2],
    /// The newest copies, by their files' tags. No list is empty.
    pub(super) copies: BTreeMap<u64, Copies>,
    /// What has records: of each half, and of the tail.
    pub(super) used: Vec<Range<u32>>,
}

/// Reads units of the area, from this one on.
pub(super) type ReadUnits<'a> = dyn FnMut(u32, &mut [u8]) -> Result<()> + 'a;

/// Plays all records of an area that has so many units, oldest first.
pub(super) fn play(
    headers: [Option<HalfHeader>; 2],
    area_units: u32,
    page_size: usize,
    read: &mut ReadUnits<'_>,
) -> Result<Found> {
    let mut found = Found { headers, ..Found::default() };
    let mut halves: Vec<_> =
        headers.into_iter().enumerate().filter_map(|(half, header)| Some((half, header?))).collect();
    halves.sort_by_key(|(_, header)| header.epoch);
    for (half, HalfHeader { salt, units, .. }) in halves {
        for part in [records_of(half, units), tail_behind(units)..area_units] {
            let part = part.start..part.end.min(area_units);
            let end = play_part(part.clone(), salt, page_size, &mut found.copies, read)?;
            found.used.push(part.start..end);
        }
    }
    found.copies.retain(|_, copies| !copies.is_empty());
    Ok(found)
}

/// Plays the records that lie in these units under this salt. Gives the unit behind the last of them.
fn play_part(
    part: Range<u32>,
    salt: u64,
    page_size: usize,
    newest: &mut BTreeMap<u64, Copies>,
    read: &mut ReadUnits<'_>,
) -> Result<u32> {
    let mut page = vec![0; page_size];
    let (mut unit, mut end) = (part.start, part.start);
    while unit < part.end {
        read(unit, &mut page)?;
        let announced = Record::announced(&page, salt, unit, part.end - unit, page_size);
        let record = announced.map(|units| {
            let mut header = vec![0; units * page_size];
            read(unit, &mut header).map(|()| Record::decode(&header))
        });
        // What is no record may be one that was never finished, with a finished one behind it: they are written side by side.
        let Some(record) = record.transpose()?.flatten() else {
            unit += 1;
            continue;
        };
        end = unit + record.units(page_size) as u32;
        match record.kind {
            Kind::Copies => {
                for (entry, unit) in record.entries.iter().zip(record.first_copy(unit, page_size)..) {
                    read(unit, &mut page)?;
                    // One that is not whole was not durable, so its page was not touched: the older copy holds.
                    if checksum(&page) == entry.checksum {
                        let copy = Copy { unit, checksum: entry.checksum };
                        newest.entry(entry.tag).or_default().insert(entry.block, copy);
                    }
                }
            }
            Kind::Forget => {
                for entry in &record.entries {
                    newest.entry(entry.tag).or_default().retain(|&block, _| block < entry.block);
                }
            }
        }
        unit = end;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doublewrite::layout::Entry;

    const PAGE: usize = 512;
    const UNITS: u32 = 24;
    const TAG: u64 = 7;

    /// An area in the making, with a place for the next record in each half and in the tail.
    struct Making {
        headers: [Option<HalfHeader>; 2],
        bytes: Vec<u8>,
        next: [u32; 3],
    }

    impl Making {
        /// Halves of these epochs.
        fn new(epochs: [u64; 2]) -> Self {
            let header = |epoch| Some(HalfHeader { epoch, salt: epoch * 1000, units: UNITS });
            let next = [records_of(0, UNITS).start, records_of(1, UNITS).start, tail_behind(UNITS)];
            Self { headers: epochs.map(header), bytes: vec![0; (next[2] as usize + 8) * PAGE], next }
        }

        /// Puts a record into this part, under the salt of this half.
        fn put(&mut self, part: usize, half: usize, record: &Record) -> u32 {
            let unit = self.next[part];
            record.encode(self.headers[half].unwrap().salt, unit, &mut self.bytes[unit as usize * PAGE..]);
            self.next[part] += record.units(PAGE) as u32;
            unit
        }

        /// Adds copies of (block, version) to a half; gives the unit where the record begins.
        fn copies(&mut self, half: usize, pages: &[(u32, u8)]) -> u32 {
            let entry = |&(block, version): &(u32, u8)| {
                let checksum = checksum(&[version; PAGE]);
                Entry { tag: TAG, block, checksum }
            };
            let record = Record { kind: Kind::Copies, entries: pages.iter().map(entry).collect() };
            let unit = self.put(half, half, &record);
            for (unit, (_, version)) in (record.first_copy(unit, PAGE) as usize..).zip(pages) {
                self.bytes[unit * PAGE..(unit + 1) * PAGE].fill(*version);
            }
            unit
        }

        fn forget(&mut self, part: usize, half: usize, from: u32) {
            let entry = Entry { tag: TAG, block: from, checksum: 0 };
            self.put(part, half, &Record { kind: Kind::Forget, entries: vec![entry] });
        }

        fn found(&self) -> Found {
            let mut read = |unit: u32, into: &mut [u8]| {
                into.copy_from_slice(&self.bytes[unit as usize * PAGE..][..into.len()]);
                Ok(())
            };
            play(self.headers, (self.bytes.len() / PAGE) as u32, PAGE, &mut read).unwrap()
        }

        /// The versions that would be put back, by block.
        fn versions(&self) -> Vec<(u32, u8)> {
            let version = |copy: &Copy| self.bytes[copy.unit as usize * PAGE];
            let found = self.found();
            found
                .copies
                .get(&TAG)
                .into_iter()
                .flatten()
                .map(|(&block, copy)| (block, version(copy)))
                .collect()
        }
    }

    #[test]
    fn the_newest_copy_counts_in_a_half_and_over_both() {
        let mut area = Making::new([5, 4]);
        area.copies(1, &[(1, 1), (2, 1)]);
        area.copies(1, &[(2, 2), (3, 2)]);
        area.copies(0, &[(3, 3)]);
        assert_eq!(area.versions(), [(1, 1), (2, 2), (3, 3)]);
    }

    #[test]
    fn a_copy_that_is_not_whole_does_not_count_and_the_older_one_does() {
        let mut area = Making::new([4, 0]);
        area.copies(0, &[(1, 1), (2, 1)]);
        let unit = area.copies(0, &[(1, 2), (2, 2)]);
        area.bytes[(unit as usize + 2) * PAGE - 1] ^= 1;
        assert_eq!(area.versions(), [(1, 1), (2, 2)]);
    }

    #[test]
    fn a_record_that_is_not_whole_hides_none_behind_it() {
        let mut area = Making::new([4, 0]);
        area.copies(0, &[(1, 1)]);
        let torn = area.copies(0, &[(1, 2), (2, 2)]);
        area.copies(0, &[(3, 3)]);
        area.bytes[torn as usize * PAGE + 8] ^= 1;
        assert_eq!(area.versions(), [(1, 1), (3, 3)]);
    }

    #[test]
    fn what_was_forgotten_stays_so_until_there_is_a_later_copy() {
        let mut area = Making::new([4, 5]);
        area.copies(0, &[(1, 1), (5, 1), (9, 1)]);
        area.forget(1, 1, 5);
        area.copies(1, &[(9, 2)]);
        assert_eq!(area.versions(), [(1, 1), (9, 2)]);
        area.forget(2, 1, 0);
        assert_eq!(area.versions(), []);
        assert_eq!(area.found().used[3], tail_behind(UNITS)..area.next[2]);
    }

    #[test]
    fn the_tail_goes_with_the_half_that_it_goes_on_from() {
        let mut area = Making::new([4, 5]);
        area.copies(0, &[(1, 1)]);
        area.copies(1, &[(2, 1)]);
        area.forget(2, 1, 0);
        // The older half is begun anew: still the tail voids what the other one has.
        area.headers[0] = Some(HalfHeader { epoch: 6, salt: 6000, units: UNITS });
        area.next[0] = records_of(0, UNITS).start;
        assert_eq!(area.versions(), []);
        area.copies(0, &[(2, 2)]);
        assert_eq!(area.versions(), [(2, 2)], "made after it");
    }

    #[test]
    fn records_from_before_the_half_was_begun_anew_are_void() {
        let mut area = Making::new([4, 0]);
        area.copies(0, &[(1, 1), (2, 1), (3, 1)]);
        area.copies(0, &[(4, 1)]);
        area.headers[0] = Some(HalfHeader { epoch: 6, salt: 6000, units: UNITS });
        area.next[0] = records_of(0, UNITS).start;
        area.copies(0, &[(7, 2)]);
        assert_eq!(area.versions(), [(7, 2)]);
    }

    #[test]
    fn a_half_that_says_that_it_is_longer_than_its_area_ends_with_it() {
        let mut area = Making::new([4, 0]);
        area.copies(0, &[(1, 1)]);
        area.headers[0] = Some(HalfHeader { units: u32::MAX, ..area.headers[0].unwrap() });
        assert_eq!(area.versions(), [(1, 1)]);
    }
}
