//! Loom as a witness of what is done to the bytes of pages.
//!
//! Loom sees only its own cells. Real code that copies pages by their addresses says so here, models say when they read and change
//! them, and for each address there is a cell that stands for the page there: so loom stops at every access that another is not
//! ordered against. Outside loom nothing of this is left.

use std::ptr::NonNull;

#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn copied(_from: NonNull<u8>, _to: NonNull<u8>) {}

#[cfg(loom)]
pub(crate) use cells::*;

#[cfg(loom)]
#[allow(unsafe_code)]
mod cells {
    use super::*;
    use crate::sync::{Arc, uncontrolled::Mutex};
    use loom::cell::UnsafeCell;
    use std::collections::BTreeMap;

    /// What stands for a page: the version that was written there.
    #[derive(Default)]
    struct Cell(UnsafeCell<u32>);

    // SAFETY: loom stops at each access that another is not ordered against; to find those is what it is for.
    unsafe impl Send for Cell {}
    // SAFETY: as above.
    unsafe impl Sync for Cell {}

    loom::lazy_static! {
        static ref CELLS: Mutex<BTreeMap<usize, Arc<Cell>>> = Mutex::new(BTreeMap::new());
    }

    fn cell(of: NonNull<u8>) -> Arc<Cell> {
        Arc::clone(CELLS.lock().entry(of.addr().get()).or_default())
    }

    /// For the thread that makes the others: what they find was there before them.
    pub(crate) fn swear_in() {
        CELLS.lock().clear();
    }

    pub(crate) fn read(of: NonNull<u8>) -> u32 {
        // SAFETY: loom stops where another thread may write meanwhile.
        cell(of).0.with(|version| unsafe { *version })
    }

    pub(crate) fn written(of: NonNull<u8>, version: u32) {
        // SAFETY: loom stops where another thread may use it meanwhile.
        cell(of).0.with_mut(|old| unsafe { *old = version });
    }

    /// The page at one address now is at the other too.
    pub(crate) fn copied(from: NonNull<u8>, to: NonNull<u8>) {
        written(to, read(from));
    }
}
