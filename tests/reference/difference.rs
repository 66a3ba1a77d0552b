//! A comparison of two pages that names which page's bytes stand in the wrong place.

use crate::stamp::{SECTOR, Stamp};

/// Tells how two pages differ, in words; `None` where they are equal.
pub(crate) fn difference(expected: &[u8], found: &[u8]) -> Option<String> {
    if expected == found {
        return None;
    }
    if expected.len() != found.len() {
        return Some(format!("{} bytes expected, {} found", expected.len(), found.len()));
    }
    let sectors = expected.chunks(SECTOR).zip(found.chunks(SECTOR)).enumerate();
    let mut wrong = sectors.filter(|(_, (expected, found))| expected != found);
    let (at, (expected, found)) = wrong.next()?;
    let name = |sector| Stamp::of(sector).map_or("a mixture".to_owned(), |stamp| stamp.to_string());
    let more = wrong.count();
    Some(format!(
        "sector {at}: expected {}, found {}; {more} more sectors differ",
        name(expected),
        name(found)
    ))
}
