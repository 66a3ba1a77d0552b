//! What is in the pool, frame by frame, as PostgreSQL shows it in `pg_buffercache`.

use crate::{
    buffer::{frame::state::Phase, residency::Residency},
    id::PageId,
};

/// A page that is in the pool, or on its way there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resident {
    /// The page.
    pub page: PageId,
    /// Whether it has changes that are not on their way to disk.
    pub dirty: bool,
    /// Whether it is being read, and cannot be used yet.
    pub reading: bool,
    /// Whether it is being written.
    pub writing: bool,
    /// How many pins it has, those of its I/O included.
    pub pins: u32,
    /// Its usage count, 0 to 3: how often it was used since it came in, or since it was last considered for eviction; it is spared
    /// that often.
    pub usage: u8,
}

/// Returns what each frame holds, in the order of the frames.
pub(crate) fn residency(pool: &Residency) -> impl Iterator<Item = Resident> {
    let in_slots = pool.slots.holds();
    pool.frames.iter().filter_map(move |(no, frame)| {
        let (page, state) = frame.glance()?;
        Some(Resident {
            page,
            dirty: state.is_dirty(),
            reading: state.phase() == Phase::Reading,
            writing: state.is_writing(),
            pins: (state.pins() + in_slots.of(no)) as u32,
            usage: state.usage() as u8,
        })
    })
}

/// Returns the pages that can be used now, sorted.
pub(crate) fn resident_pages(pool: &Residency) -> Vec<PageId> {
    let mut pages: Vec<PageId> =
        residency(pool).filter(|resident| !resident.reading).map(|resident| resident.page).collect();
    pages.sort_unstable();
    pages
}
