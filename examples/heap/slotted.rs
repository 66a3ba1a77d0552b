//! A page of records: a header, records from the front, their lengths from the back.
//!
//! ```text
//! | records: u16 | end of the bytes: u16 | bytes of record 0 | bytes of record 1 | ... free ... | length 1 | length 0 |
//! ```
//!
//! A length's highest bit says that the record goes on in the next record of the file: a line may be longer than a page.
//! A page of zeros is an empty page, so a page that was just added to the file needs no set-up.

const HEADER: usize = 4;
const SLOT: usize = 2;
const CONTINUES: u16 = 1 << 15;

fn u16_at(page: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([page[at], page[at + 1]])
}

fn put_u16(page: &mut [u8], at: usize, value: u16) {
    page[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn count(page: &[u8]) -> usize {
    usize::from(u16_at(page, 0))
}

fn end(page: &[u8]) -> usize {
    usize::from(u16_at(page, 2)).max(HEADER)
}

/// Returns how long a record may be to fit now; `None` where not even an empty one does.
pub(crate) fn room(page: &[u8]) -> Option<usize> {
    page.len().checked_sub(end(page) + SLOT * (count(page) + 1))
}

/// Appends as much of `line` as fits and returns what is left; `None` where the line is in.
pub(crate) fn append<'l>(page: &mut [u8], line: &'l [u8]) -> Option<&'l [u8]> {
    let Some(room) = room(page) else { return Some(line) };
    let (count, end) = (count(page), end(page));
    let (now, rest) = line.split_at(line.len().min(room));
    page[end..end + now.len()].copy_from_slice(now);
    let continues = if rest.is_empty() { 0 } else { CONTINUES };
    let slot = page.len() - SLOT * (count + 1);
    put_u16(page, slot, now.len() as u16 | continues);
    put_u16(page, 0, count as u16 + 1);
    put_u16(page, 2, (end + now.len()) as u16);
    (!rest.is_empty()).then_some(rest)
}

/// Returns the page's records, each with whether it goes on in the next.
pub(crate) fn records(page: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let mut at = HEADER;
    (1..=count(page)).map(move |n| {
        let slot = u16_at(page, page.len() - SLOT * n);
        let record = &page[at..at + usize::from(slot & !CONTINUES)];
        at += record.len();
        (record, slot & CONTINUES != 0)
    })
}
