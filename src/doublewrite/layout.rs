//! The bytes of a doublewrite area, and nothing else: no files, no clocks.
//!
//! An area is two *halves* of equally many *units*, each as large as a page. The first unit of a half is its header; behind it
//! lie *records*, each a header of one or more units and then a unit for every copy that it announces.
//!
//! ```text
//! half header     magic 8 | version 4 | page size 4 | epoch 8 | salt 8 | checksum 4
//! record header   magic 8 | salt 8 | unit 4 | kind 4 | entries 4 | checksum 4 | entry ...
//! entry           tag 8 | block 4 | checksum of the page 4
//! ```
//!
//! All numbers are little-endian, all checksums CRC32C. A record is true only in the half with its salt and at the unit that it
//! names: a new header voids all records of a half at once. A checksum covers its header, and a record's all of its entries.

use std::ops::Range;

/// The version of the layout.
const VERSION: u32 = 1;

const HALF_MAGIC: [u8; 8] = *b"ringdblw";
const RECORD_MAGIC: [u8; 8] = *b"ringcopy";

const HALF_HEADER: usize = 36;
const RECORD_HEADER: usize = 32;
/// Where a record header has its checksum; the entries follow.
const RECORD_CHECKSUM: Range<usize> = 28..32;
const ENTRY: usize = 16;

pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// What the first unit of a half says.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HalfHeader {
    /// Grows with every half that is begun: the greater one is the younger.
    pub(super) epoch: u64,
    /// What the half's records are known by.
    pub(super) salt: u64,
}

/// What the first unit of a half turned out to be.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum HalfFound {
    /// Nothing: never written, or torn.
    Void,
    Header(HalfHeader),
    /// A header of pages of this size.
    OtherPageSize(u32),
    /// A header of this version.
    OtherVersion(u32),
}

impl HalfHeader {
    /// Writes the header to the beginning of a unit.
    pub(super) fn encode(self, page_size: usize, unit: &mut [u8]) {
        unit[..8].copy_from_slice(&HALF_MAGIC);
        put_u32(unit, 8, VERSION);
        put_u32(unit, 12, page_size as u32);
        put_u64(unit, 16, self.epoch);
        put_u64(unit, 24, self.salt);
        let sum = checksum(&unit[..HALF_HEADER - 4]);
        put_u32(unit, HALF_HEADER - 4, sum);
    }

    pub(super) fn decode(unit: &[u8], page_size: usize) -> HalfFound {
        if unit.len() < HALF_HEADER
            || unit[..8] != HALF_MAGIC
            || u32_at(unit, HALF_HEADER - 4) != checksum(&unit[..HALF_HEADER - 4])
        {
            return HalfFound::Void;
        }
        match (u32_at(unit, 8), u32_at(unit, 12)) {
            (VERSION, size) if size as usize == page_size => {
                HalfFound::Header(Self { epoch: u64_at(unit, 16), salt: u64_at(unit, 24) })
            }
            (VERSION, size) => HalfFound::OtherPageSize(size),
            (version, _) => HalfFound::OtherVersion(version),
        }
    }
}

/// What a record is about.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its entries are pages, whose copies follow.
    Copies,
    /// Its entries are files: all earlier copies of them from that block on are void.
    Forget,
}

/// A page of a file; for [`Kind::Forget`], all pages from this one on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tag: u64,
    pub(super) block: u32,
    pub(super) checksum: u32,
}

/// A record's header. The copies are where [`copies`](Self::copies) says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) entries: Vec<Entry>,
}

/// How many units the header of so many entries takes.
pub(super) fn header_units(entries: usize, page_size: usize) -> usize {
    (RECORD_HEADER + entries * ENTRY).div_ceil(page_size)
}

impl Record {
    /// How many units the record takes.
    pub(super) fn units(&self, page_size: usize) -> usize {
        let copies = if self.kind == Kind::Copies { self.entries.len() } else { 0 };
        header_units(self.entries.len(), page_size) + copies
    }

    /// Writes the header for the record that begins at `unit` of the half with this salt.
    pub(super) fn encode(&self, salt: u64, unit: u32, into: &mut [u8]) {
        into[..8].copy_from_slice(&RECORD_MAGIC);
        put_u64(into, 8, salt);
        put_u32(into, 16, unit);
        put_u32(into, 20, self.kind.number());
        put_u32(into, 24, self.entries.len() as u32);
        for (index, entry) in self.entries.iter().enumerate() {
            let at = RECORD_HEADER + index * ENTRY;
            put_u64(into, at, entry.tag);
            put_u32(into, at + 8, entry.block);
            put_u32(into, at + 12, entry.checksum);
        }
        let sum = self.sum(into);
        put_u32(into, RECORD_CHECKSUM.start, sum);
    }

    fn sum(&self, header: &[u8]) -> u32 {
        let end = RECORD_HEADER + self.entries.len() * ENTRY;
        crc32c::crc32c_append(checksum(&header[..RECORD_CHECKSUM.start]), &header[RECORD_CHECKSUM.end..end])
    }

    /// The record that begins at `unit` of a half with this salt, if one does that fits into the half.
    pub(super) fn decode(half: &[u8], salt: u64, unit: u32, page_size: usize) -> Option<Self> {
        let header = half.get(unit as usize * page_size..)?;
        if header.len() < RECORD_HEADER
            || header[..8] != RECORD_MAGIC
            || (u64_at(header, 8), u32_at(header, 16)) != (salt, unit)
        {
            return None;
        }
        let kind = Kind::of_number(u32_at(header, 20))?;
        let count = u32_at(header, 24) as usize;
        let entries = header.get(RECORD_HEADER..)?.get(..count.checked_mul(ENTRY)?)?;
        let entry = |bytes: &[u8]| Entry {
            tag: u64_at(bytes, 0),
            block: u32_at(bytes, 8),
            checksum: u32_at(bytes, 12),
        };
        let record = Self { kind, entries: entries.chunks_exact(ENTRY).map(entry).collect() };
        let fits = record.units(page_size) * page_size <= header.len();
        (fits && record.sum(header) == u32_at(header, RECORD_CHECKSUM.start)).then_some(record)
    }

    /// Where in the half each of the copies lies, for the record that begins at `unit`.
    pub(super) fn copies(&self, unit: u32, page_size: usize) -> impl Iterator<Item = (&Entry, Range<usize>)> {
        let count = if self.kind == Kind::Copies { self.entries.len() } else { 0 };
        let first = (unit as usize + header_units(self.entries.len(), page_size)) * page_size;
        let place = move |index: usize| first + index * page_size..first + (index + 1) * page_size;
        self.entries[..count].iter().enumerate().map(move |(index, entry)| (entry, place(index)))
    }
}

impl Kind {
    fn number(self) -> u32 {
        match self {
            Self::Copies => 1,
            Self::Forget => 2,
        }
    }

    fn of_number(number: u32) -> Option<Self> {
        [Self::Copies, Self::Forget].into_iter().find(|kind| kind.number() == number)
    }
}

fn put_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = 512;

    fn record(kind: Kind, entries: u32) -> Record {
        let entry = |n: u32| Entry { tag: u64::from(n) << 40 | 5, block: n * 3, checksum: !n };
        Record { kind, entries: (0..entries).map(entry).collect() }
    }

    #[test]
    fn a_half_header_is_read_as_it_was_written_and_garbage_is_void() {
        let header = HalfHeader { epoch: 77, salt: 0x0123_4567_89ab_cdef };
        let mut unit = vec![0; PAGE];
        header.encode(PAGE, &mut unit);
        assert_eq!(HalfHeader::decode(&unit, PAGE), HalfFound::Header(header));
        assert_eq!(
            HalfHeader::decode(&unit[..HALF_HEADER], PAGE),
            HalfFound::Header(header),
            "no longer than it is"
        );
        assert_eq!(HalfHeader::decode(&unit, 2 * PAGE), HalfFound::OtherPageSize(PAGE as u32));
        for bit in 0..HALF_HEADER * 8 {
            unit[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(HalfHeader::decode(&unit, PAGE), HalfFound::Void, "bit {bit}");
            unit[bit / 8] ^= 1 << (bit % 8);
        }
        for nothing in [&[][..], &[0; PAGE], &[0xff; PAGE], &unit[..HALF_HEADER - 1]] {
            assert_eq!(HalfHeader::decode(nothing, PAGE), HalfFound::Void);
        }
        put_u32(&mut unit, 8, VERSION + 1);
        let sum = checksum(&unit[..HALF_HEADER - 4]);
        put_u32(&mut unit, HALF_HEADER - 4, sum);
        assert_eq!(HalfHeader::decode(&unit, PAGE), HalfFound::OtherVersion(VERSION + 1));
    }

    #[test]
    fn a_record_is_true_only_where_it_was_put() {
        let record = record(Kind::Copies, 3);
        let mut half = vec![0; 10 * PAGE];
        record.encode(9, 4, &mut half[4 * PAGE..]);
        assert_eq!(Record::decode(&half, 9, 4, PAGE), Some(record.clone()));
        assert_eq!(Record::decode(&half, 8, 4, PAGE), None, "of another half, or of one that is over");
        half.copy_within(4 * PAGE..5 * PAGE, 5 * PAGE);
        assert_eq!(Record::decode(&half, 9, 5, PAGE), None, "elsewhere");
        assert_eq!(Record::decode(&half[..8 * PAGE], 9, 4, PAGE), Some(record));
        assert_eq!(Record::decode(&half[..8 * PAGE - 1], 9, 4, PAGE), None, "its copies are not in the half");
        assert_eq!(Record::decode(&half, 9, 10, PAGE), None);
    }

    #[test]
    fn copies_lie_behind_a_header_of_as_many_units_as_it_needs() {
        assert_eq!([1, 30, 31, 62, 63].map(|entries| header_units(entries, PAGE)), [1, 1, 2, 2, 3]);
        let places: Vec<_> = record(Kind::Copies, 31).copies(4, PAGE).map(|(_, place)| place).collect();
        assert_eq!((places.len(), &places[0]), (31, &(6 * PAGE..7 * PAGE)));
        assert_eq!(places[30], 36 * PAGE..37 * PAGE);
        assert_eq!(record(Kind::Copies, 31).units(PAGE), 33);
        assert_eq!(record(Kind::Forget, 31).units(PAGE), 2);
        assert_eq!(record(Kind::Forget, 31).copies(4, PAGE).count(), 0);
    }

    proptest! {
        #[test]
        fn records_survive_the_way_and_no_flipped_bit_passes(
            entries in 0_u32..70, is_copies: bool, salt: u64, unit in 0_u32..5, flip: usize,
        ) {
            let record = record(if is_copies { Kind::Copies } else { Kind::Forget }, entries);
            let mut half = vec![0; (unit as usize + record.units(PAGE)) * PAGE];
            record.encode(salt, unit, &mut half[unit as usize * PAGE..]);
            prop_assert_eq!(Record::decode(&half, salt, unit, PAGE), Some(record));
            let flip = flip % ((RECORD_HEADER + entries as usize * ENTRY) * 8);
            half[unit as usize * PAGE + flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(Record::decode(&half, salt, unit, PAGE), None);
        }

        #[test]
        fn garbage_is_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..2048), unit in 0_u32..5, magic: bool) {
            let mut bytes = bytes;
            let at = unit as usize * PAGE;
            if magic && bytes.len() >= at + 8 {
                bytes[at..at + 8].copy_from_slice(&RECORD_MAGIC);
            }
            prop_assert_eq!(Record::decode(&bytes, 1, unit, PAGE), None);
        }
    }
}
