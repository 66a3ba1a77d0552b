//! What an area holds after a crash: of each page the newest copy that is whole. Pure: from bytes to a list.

use std::collections::{BTreeMap, HashMap};

use crate::doublewrite::layout::{HalfHeader, Kind, Record, checksum};

/// A copy in the area.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// Where in the area it lies, in bytes.
    pub(super) offset: u64,
    pub(super) checksum: u32,
}

/// The newest copies of a file's pages, by block.
pub(super) type Copies = BTreeMap<u32, Copy>;

/// A half that has a header.
pub(super) struct Half<'a> {
    pub(super) header: HalfHeader,
    pub(super) bytes: &'a [u8],
    /// Where in the area it begins.
    pub(super) offset: u64,
}

/// The newest copies, by the files' tags.
pub(super) fn newest_copies(mut halves: Vec<Half<'_>>, page_size: usize) -> HashMap<u64, Copies> {
    let mut newest = HashMap::new();
    halves.sort_by_key(|half| half.header.epoch);
    for half in halves {
        take(&half, page_size, &mut newest);
    }
    newest.retain(|_, copies| !copies.is_empty());
    newest
}

/// Plays the records of a half, oldest first.
fn take(half: &Half<'_>, page_size: usize, newest: &mut HashMap<u64, Copies>) {
    let units = (half.bytes.len() / page_size) as u32;
    let mut unit = 1;
    while unit < units {
        // What is no record may be one that was never finished, with a finished one behind it: they are written side by side.
        let Some(record) = Record::decode(half.bytes, half.header.salt, unit, page_size) else {
            unit += 1;
            continue;
        };
        match record.kind {
            Kind::Copies => {
                for (entry, place) in record.copies(unit, page_size) {
                    // One that is not whole was not durable, so its page was not touched: the older copy holds.
                    if checksum(&half.bytes[place.clone()]) == entry.checksum {
                        let copy =
                            Copy { offset: half.offset + place.start as u64, checksum: entry.checksum };
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
        unit += record.units(page_size) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doublewrite::layout::Entry;

    const PAGE: usize = 512;
    const UNITS: usize = 24;
    const TAG: u64 = 7;

    /// A half in the making.
    struct Making {
        header: HalfHeader,
        bytes: Vec<u8>,
        unit: u32,
        offset: u64,
    }

    impl Making {
        fn new(epoch: u64, offset: u64) -> Self {
            let header = HalfHeader { epoch, salt: epoch * 1000 };
            Self { header, bytes: vec![0; UNITS * PAGE], unit: 1, offset }
        }

        fn put(&mut self, record: &Record) -> u32 {
            let unit = self.unit;
            record.encode(self.header.salt, unit, &mut self.bytes[unit as usize * PAGE..]);
            self.unit += record.units(PAGE) as u32;
            unit
        }

        /// Adds copies of (block, version); gives the unit where the record begins.
        fn copies(&mut self, pages: &[(u32, u8)]) -> u32 {
            let entry = |&(block, version): &(u32, u8)| Entry {
                tag: TAG,
                block,
                checksum: checksum(&[version; PAGE]),
            };
            let record = Record { kind: Kind::Copies, entries: pages.iter().map(entry).collect() };
            let unit = self.put(&record);
            for ((_, place), (_, version)) in record.copies(unit, PAGE).zip(pages) {
                self.bytes[place].fill(*version);
            }
            unit
        }

        fn forget(&mut self, from: u32) {
            let entry = Entry { tag: TAG, block: from, checksum: 0 };
            self.put(&Record { kind: Kind::Forget, entries: vec![entry] });
        }

        fn half(&self) -> Half<'_> {
            Half { header: self.header, bytes: &self.bytes, offset: self.offset }
        }
    }

    /// The versions that would be put back, by block.
    fn found(halves: &[&Making]) -> Vec<(u32, u8)> {
        let newest = newest_copies(halves.iter().map(|making| making.half()).collect(), PAGE);
        let version = |copy: &Copy| {
            let half = halves.iter().rev().find(|half| half.offset <= copy.offset).unwrap();
            half.bytes[(copy.offset - half.offset) as usize]
        };
        newest.get(&TAG).into_iter().flatten().map(|(&block, copy)| (block, version(copy))).collect()
    }

    #[test]
    fn the_newest_copy_counts_in_a_half_and_over_both() {
        let mut older = Making::new(4, (UNITS * PAGE) as u64);
        older.copies(&[(1, 1), (2, 1)]);
        older.copies(&[(2, 2), (3, 2)]);
        let mut younger = Making::new(5, 0);
        younger.copies(&[(3, 3)]);
        assert_eq!(found(&[&younger, &older]), [(1, 1), (2, 2), (3, 3)]);
    }

    #[test]
    fn a_copy_that_is_not_whole_does_not_count_and_the_older_one_does() {
        let mut making = Making::new(4, 0);
        making.copies(&[(1, 1), (2, 1)]);
        let unit = making.copies(&[(1, 2), (2, 2)]);
        making.bytes[(unit as usize + 2) * PAGE - 1] ^= 1;
        assert_eq!(found(&[&making]), [(1, 1), (2, 2)]);
    }

    #[test]
    fn a_record_that_is_not_whole_hides_none_behind_it() {
        let mut making = Making::new(4, 0);
        making.copies(&[(1, 1)]);
        let torn = making.copies(&[(1, 2), (2, 2)]);
        making.copies(&[(3, 3)]);
        making.bytes[torn as usize * PAGE + 8] ^= 1;
        assert_eq!(found(&[&making]), [(1, 1), (3, 3)]);
    }

    #[test]
    fn what_was_forgotten_stays_so_until_there_is_a_later_copy() {
        let mut older = Making::new(4, 0);
        older.copies(&[(1, 1), (5, 1), (9, 1)]);
        let mut younger = Making::new(5, (UNITS * PAGE) as u64);
        younger.forget(5);
        younger.copies(&[(9, 2)]);
        assert_eq!(found(&[&older, &younger]), [(1, 1), (9, 2)]);
        younger.forget(0);
        assert_eq!(found(&[&older, &younger]), []);
    }

    #[test]
    fn records_from_before_the_half_was_begun_anew_are_void() {
        let mut making = Making::new(4, 0);
        making.copies(&[(1, 1), (2, 1), (3, 1)]);
        making.copies(&[(4, 1)]);
        making.header = HalfHeader { epoch: 6, salt: 6000 };
        making.unit = 1;
        making.copies(&[(7, 2)]);
        assert_eq!(found(&[&making]), [(7, 2)]);
    }
}
