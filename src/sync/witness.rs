//! Loom as a witness of what is done to the bytes of pages. Outside loom all of this is empty.
//!
//! Loom sees only its own cells. So for each address that code copies pages from or to, or that a model reads or changes a page at,
//! there is a cell that stands for the page there, and loom stops at every access that is not ordered against another.

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

    /// The cell of a page: the version that was written there.
    #[derive(Default)]
    struct Cell(UnsafeCell<u32>);

    // SAFETY: loom stops at each access that is not ordered against another, and to find those is its purpose.
    unsafe impl Send for Cell {}
    // SAFETY: loom stops at each access that is not ordered against another.
    unsafe impl Sync for Cell {}

    loom::lazy_static! {
        static ref CELLS: Mutex<BTreeMap<usize, Arc<Cell>>> = Mutex::new(BTreeMap::new());
    }

    fn cell(of: NonNull<u8>) -> Arc<Cell> {
        Arc::clone(CELLS.lock().entry(of.addr().get()).or_default())
    }

    /// Clears all cells, for the thread that starts the others: what they find was there before them.
    pub(crate) fn swear_in() {
        CELLS.lock().clear();
    }

    pub(crate) fn read(of: NonNull<u8>) -> u32 {
        // SAFETY: loom stops if another thread may write meanwhile.
        cell(of).0.with(|version| unsafe { *version })
    }

    pub(crate) fn written(of: NonNull<u8>, version: u32) {
        // SAFETY: loom stops if another thread may use it meanwhile.
        cell(of).0.with_mut(|old| unsafe { *old = version });
    }

    /// Notes that the page at one address now is at the other too.
    pub(crate) fn copied(from: NonNull<u8>, to: NonNull<u8>) {
        written(to, read(from));
    }
}
