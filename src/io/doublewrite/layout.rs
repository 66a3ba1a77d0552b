//! The bytes of a doublewrite area, and nothing else: no files, no clocks.
//!
//! An area is a row of *units*, each as large as a page. The first two are the headers of its two *halves*; then come the records of
//! the first half, those of the second, and the *tail*, which goes on where the younger half ends. A record is a header of one or
//! more units and then a unit for every copy that it announces.
//!
//! ```text
//! half header     magic 8 | version 4 | page size 4 | number 8 | oldest 8 | salt 8 | checksum 4
//! record header   magic 8 | salt 8 | number 8 | oldest 8 | durable 8 | unit 4 | kind 4 | entries 4 | checksum 4 | entry ...
//! entry           tag 8 | block 4 | checksum of the page 4
//! ```
//!
//! All integers are little-endian, all checksums CRC32C. Records are *numbered* in the order in which they got their room, in
//! both halves and the tail, through all lives of the area; a half's header has the number of the first record that goes there. A
//! record counts only under the salt of its area, at the unit that it names, and if its number is not below the *oldest* that
//! counts. That is the number of the older half's header, which both headers and records tell, so a new header voids all records
//! of a half at once. What counts does not depend on where it lies, so areas of any size are read alike. A record also tells up
//! to which number all were *durable* when it was made. A checksum covers its header, and that of a record also all of its
//! entries.

use std::ops::Range;

const VERSION: u32 = 3;

const HALF_MAGIC: [u8; 8] = *b"ringdblw";
const RECORD_MAGIC: [u8; 8] = *b"ringcopy";

const HALF_HEADER: usize = 44;
/// Records have numbers up to this one, far more than can be written; a header that has a greater one was never written.
const LAST_NUMBER: u64 = u64::MAX / 2;
const RECORD_HEADER: usize = 56;
/// Where a record header has its checksum; the entries follow.
const RECORD_CHECKSUM: Range<usize> = 52..56;
const ENTRY: usize = 16;
/// More than any batch has: a header that announces more was never written.
const MOST_ENTRIES: usize = 1 << 16;

pub(super) const HEADERS: u32 = 2;

pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The content of a half's first unit. The greater one is the younger.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HalfHeader {
    /// The number of the first record that goes into this half.
    pub(super) number: u64,
    /// The first number that counts from now on: that of the half's predecessor.
    pub(super) oldest: u64,
    /// By this the area's records are known.
    pub(super) salt: u64,
}

impl HalfHeader {
    pub(super) fn encode(self, page_size: usize, unit: &mut [u8]) {
        unit[..8].copy_from_slice(&HALF_MAGIC);
        put_u32(unit, 8, VERSION);
        put_u32(unit, 12, page_size as u32);
        put_u64(unit, 16, self.number);
        put_u64(unit, 24, self.oldest);
        put_u64(unit, 32, self.salt);
        let sum = checksum(&unit[..HALF_HEADER - 4]);
        put_u32(unit, HALF_HEADER - 4, sum);
    }

    /// Returns the header that a half's first unit has; `None` if it was never written, or is torn.
    ///
    /// # Errors
    /// It is one of another size of pages, or of another version: the text says so.
    pub(super) fn decode(unit: &[u8], page_size: usize) -> Result<Option<Self>, String> {
        if unit.len() < HALF_HEADER
            || unit[..8] != HALF_MAGIC
            || u32_at(unit, HALF_HEADER - 4) != checksum(&unit[..HALF_HEADER - 4])
        {
            return Ok(None);
        }
        let (version, size) = (u32_at(unit, 8), u32_at(unit, 12));
        if version != VERSION {
            return Err(format!(
                "the doublewrite area has version {version} of its layout, which this library does not know"
            ));
        }
        if size as usize != page_size {
            return Err(format!(
                "the doublewrite area was made for pages of {size} bytes; remove it only if no pool of such pages may have \
                 crashed with it"
            ));
        }
        let header = Self { number: u64_at(unit, 16), oldest: u64_at(unit, 24), salt: u64_at(unit, 32) };
        Ok(Some(header).filter(|it| it.oldest <= it.number && it.number <= LAST_NUMBER))
    }
}

/// Returns the units of an area in which the records of this half lie, if halves have `units` units.
pub(super) fn records_of(half: usize, units: u32) -> Range<u32> {
    let first = HEADERS.saturating_add(units.saturating_mul(half as u32));
    first..first.saturating_add(units)
}

/// Returns the first unit of the tail behind halves of `units` units.
pub(super) fn tail_behind(units: u32) -> u32 {
    records_of(1, units).end
}

/// What a record is about, with its number in the header.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its entries are pages, whose copies follow.
    Copies = 1,
    /// Its entries are files: all earlier copies of them from that block on are void.
    Forget = 2,
}

/// A page of a file; for [`Kind::Forget`], all pages from this one on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct CopyEntry {
    pub(super) tag: u64,
    pub(super) block: u32,
    pub(super) checksum: u32,
}

/// The numbers at the time when a record was made.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbering {
    pub(super) number: u64,
    /// The first that counted then: those with smaller numbers were void.
    pub(super) oldest: u64,
    /// All with smaller numbers were durable then, or void.
    pub(super) durable: u64,
}

/// A record's header. The copies lie one behind the other from the [first](Self::first_copy) on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) numbering: Numbering,
    pub(super) kind: Kind,
    pub(super) entries: Vec<CopyEntry>,
}

pub(super) fn header_units(entries: usize, page_size: usize) -> usize {
    (RECORD_HEADER + entries * ENTRY).div_ceil(page_size)
}

impl Record {
    pub(super) fn units(&self, page_size: usize) -> usize {
        let copies = if self.kind == Kind::Copies { self.entries.len() } else { 0 };
        header_units(self.entries.len(), page_size) + copies
    }

    /// Writes the header for the record that begins at `unit` of the area, under this salt.
    pub(super) fn encode(&self, salt: u64, unit: u32, into: &mut [u8]) {
        into[..8].copy_from_slice(&RECORD_MAGIC);
        put_u64(into, 8, salt);
        put_u64(into, 16, self.numbering.number);
        put_u64(into, 24, self.numbering.oldest);
        put_u64(into, 32, self.numbering.durable);
        put_u32(into, 40, unit);
        put_u32(into, 44, self.kind as u32);
        put_u32(into, 48, self.entries.len() as u32);
        for (index, entry) in self.entries.iter().enumerate() {
            let at = RECORD_HEADER + index * ENTRY;
            put_u64(into, at, entry.tag);
            put_u32(into, at + 8, entry.block);
            put_u32(into, at + 12, entry.checksum);
        }
        let sum = self.sum(into);
        put_u32(into, RECORD_CHECKSUM.start, sum);
    }

    pub(super) fn first_copy(&self, unit: u32, page_size: usize) -> u32 {
        unit + header_units(self.entries.len(), page_size) as u32
    }

    fn sum(&self, header: &[u8]) -> u32 {
        let end = RECORD_HEADER + self.entries.len() * ENTRY;
        crc32c::crc32c_append(checksum(&header[..RECORD_CHECKSUM.start]), &header[RECORD_CHECKSUM.end..end])
    }

    /// Returns how many units the header has whose first unit this is, if a record of no more than `room` units begins here under
    /// this salt.
    pub(super) fn announced(
        first: &[u8],
        salt: u64,
        unit: u32,
        room: u32,
        page_size: usize,
    ) -> Option<usize> {
        if first.len() < RECORD_HEADER
            || first[..8] != RECORD_MAGIC
            || (u64_at(first, 8), u32_at(first, 40)) != (salt, unit)
        {
            return None;
        }
        let entries = u32_at(first, 48) as usize;
        let copies = match Kind::of_code(u32_at(first, 44))? {
            Kind::Copies => entries,
            Kind::Forget => 0,
        };
        let header = header_units(entries.min(MOST_ENTRIES), page_size);
        (entries <= MOST_ENTRIES && header + copies <= room as usize).then_some(header)
    }

    /// Returns the record with this header, all of whose units were [announced](Self::announced).
    pub(super) fn decode(header: &[u8]) -> Option<Self> {
        let kind = Kind::of_code(u32_at(header, 44))?;
        let entries = header.get(RECORD_HEADER..)?.get(..u32_at(header, 48) as usize * ENTRY)?;
        let numbering =
            Numbering { number: u64_at(header, 16), oldest: u64_at(header, 24), durable: u64_at(header, 32) };
        let entry = |bytes: &[u8]| CopyEntry {
            tag: u64_at(bytes, 0),
            block: u32_at(bytes, 8),
            checksum: u32_at(bytes, 12),
        };
        let record = Self { numbering, kind, entries: entries.chunks_exact(ENTRY).map(entry).collect() };
        let is_one =
            numbering.oldest.max(numbering.durable) <= numbering.number && numbering.number <= LAST_NUMBER;
        (is_one && record.sum(header) == u32_at(header, RECORD_CHECKSUM.start)).then_some(record)
    }
}

impl Kind {
    fn of_code(code: u32) -> Option<Self> {
        [Self::Copies, Self::Forget].into_iter().find(|kind| *kind as u32 == code)
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
        let entry = |n: u32| CopyEntry { tag: u64::from(n) << 40 | 5, block: n * 3, checksum: !n };
        let numbering = Numbering { number: 9, oldest: 3, durable: 8 };
        Record { numbering, kind, entries: (0..entries).map(entry).collect() }
    }

    #[test]
    fn a_half_header_is_read_as_it_was_written_and_garbage_is_void() {
        let header = HalfHeader { number: 77, oldest: 66, salt: 0x0123_4567_89ab_cdef };
        let mut unit = vec![0; PAGE];
        header.encode(PAGE, &mut unit);
        assert_eq!(HalfHeader::decode(&unit, PAGE), Ok(Some(header)));
        assert_eq!(HalfHeader::decode(&unit[..HALF_HEADER], PAGE), Ok(Some(header)), "no longer than it is");
        let other_size = HalfHeader::decode(&unit, 2 * PAGE).unwrap_err();
        assert!(other_size.contains("made for pages of 512 bytes"), "{other_size}");
        for bit in 0..HALF_HEADER * 8 {
            unit[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(HalfHeader::decode(&unit, PAGE), Ok(None), "bit {bit}");
            unit[bit / 8] ^= 1 << (bit % 8);
        }
        for nothing in [&[][..], &[0; PAGE], &[0xff; PAGE], &unit[..HALF_HEADER - 1]] {
            assert_eq!(HalfHeader::decode(nothing, PAGE), Ok(None));
        }
        put_u32(&mut unit, 8, VERSION + 1);
        let sum = checksum(&unit[..HALF_HEADER - 4]);
        put_u32(&mut unit, HALF_HEADER - 4, sum);
        let other_version = HalfHeader::decode(&unit, PAGE).unwrap_err();
        assert!(other_version.contains(&format!("version {}", VERSION + 1)), "{other_version}");
    }

    /// Returns the record that begins at a unit of these bytes.
    fn read(bytes: &[u8], salt: u64, unit: u32) -> Option<Record> {
        let begin = bytes.get(unit as usize * PAGE..)?;
        let units = Record::announced(begin, salt, unit, (begin.len() / PAGE) as u32, PAGE)?;
        Record::decode(&begin[..units * PAGE])
    }

    #[test]
    fn numbers_that_cannot_have_come_about_are_no_header_and_no_record() {
        let mut unit = vec![0; PAGE];
        for (number, oldest, is_one) in [
            (0, 0, true),
            (5, 6, false),
            (LAST_NUMBER, 0, true),
            (LAST_NUMBER, LAST_NUMBER, true),
            (LAST_NUMBER + 1, 0, false),
            (u64::MAX, u64::MAX, false),
        ] {
            let header = HalfHeader { number, oldest, salt: 1 };
            header.encode(PAGE, &mut unit);
            let found = if is_one { Ok(Some(header)) } else { Ok(None) };
            assert_eq!(HalfHeader::decode(&unit, PAGE), found, "{header:?}");
            for (oldest, durable) in [(oldest, 0), (0, oldest)] {
                let record =
                    Record { numbering: Numbering { number, oldest, durable }, ..record(Kind::Copies, 0) };
                record.encode(1, 0, &mut unit);
                assert_eq!(Record::decode(&unit), is_one.then_some(record));
            }
        }
    }

    #[test]
    fn a_record_is_true_only_where_it_was_put() {
        let record = record(Kind::Copies, 3);
        let mut area = vec![0; 10 * PAGE];
        record.encode(9, 4, &mut area[4 * PAGE..]);
        assert_eq!(read(&area, 9, 4), Some(record.clone()));
        assert_eq!(read(&area, 8, 4), None, "of another area");
        area.copy_within(4 * PAGE..5 * PAGE, 5 * PAGE);
        assert_eq!(read(&area, 9, 5), None, "elsewhere");
        assert_eq!(read(&area[..8 * PAGE], 9, 4), Some(record));
        assert_eq!(read(&area[..8 * PAGE - 1], 9, 4), None, "its copies are not there");
        assert_eq!(read(&area, 9, 10), None);
    }

    #[test]
    fn copies_lie_behind_a_header_of_as_many_units_as_it_needs() {
        assert_eq!([1, 28, 29, 60, 61].map(|entries| header_units(entries, PAGE)), [1, 1, 2, 2, 3]);
        assert_eq!(record(Kind::Copies, 31).first_copy(4, PAGE), 6);
        assert_eq!(record(Kind::Copies, 31).units(PAGE), 33);
        assert_eq!(record(Kind::Forget, 31).units(PAGE), 2);
    }

    #[test]
    fn halves_and_tail_lie_one_behind_the_other() {
        assert_eq!((records_of(0, 10), records_of(1, 10), tail_behind(10)), (2..12, 12..22, 22));
        assert_eq!((records_of(1, u32::MAX).start, tail_behind(u32::MAX)), (u32::MAX, u32::MAX));
    }

    #[test]
    fn more_than_any_batch_has_is_not_believed() {
        let mut unit = vec![0; PAGE];
        record(Kind::Forget, 1).encode(1, 0, &mut unit);
        for entries in [MOST_ENTRIES as u32 + 1, u32::MAX] {
            put_u32(&mut unit, 48, entries);
            assert_eq!(Record::announced(&unit, 1, 0, u32::MAX, PAGE), None, "{entries}");
        }
    }

    proptest! {
        #[test]
        fn records_survive_the_way_and_no_flipped_bit_passes(
            entries in 0_u32..70, is_copies: bool, salt: u64, unit in 0_u32..5, flip: usize,
        ) {
            let record = record(if is_copies { Kind::Copies } else { Kind::Forget }, entries);
            let mut area = vec![0; (unit as usize + record.units(PAGE)) * PAGE];
            record.encode(salt, unit, &mut area[unit as usize * PAGE..]);
            prop_assert_eq!(read(&area, salt, unit), Some(record));
            let flip = flip % ((RECORD_HEADER + entries as usize * ENTRY) * 8);
            area[unit as usize * PAGE + flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(read(&area, salt, unit), None);
        }

        #[test]
        fn garbage_is_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..2048), unit in 0_u32..5, magic: bool) {
            let mut bytes = bytes;
            let at = unit as usize * PAGE;
            if magic && bytes.len() >= at + 8 {
                bytes[at..at + 8].copy_from_slice(&RECORD_MAGIC);
            }
            prop_assert_eq!(read(&bytes, 1, unit), None);
        }
    }
}
