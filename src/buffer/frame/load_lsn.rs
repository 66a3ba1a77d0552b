//! The LSN that a page keeps in its bytes, read when they have come from the disk.
//!
//! It is put there when a change is made known. The one thread that has the bytes does both: at the end of the read, after a
//! codec has opened them; and under the exclusive latch, as the last step before its release. So while no thread changes the
//! page, the frame's page LSN is the one in its bytes, and what is written, lent or copied and sealed, carries it.
//!
//! PostgreSQL's counterparts: `PageGetLSN`, `PageSetLSN`.

#![allow(unsafe_code)]

use std::slice;

use crate::buffer::frame::{page_lsn::PageLsn, pin::Pin};

impl Pin {
    /// Returns where the page keeps its LSN, if it does.
    #[inline]
    pub(crate) fn place_of_lsn(&self) -> Option<PageLsn> {
        self.frames().page_lsn.filter(|_| self.frame().state.load().keeps_lsn())
    }

    /// Loads the LSN from the bytes that have come from the disk, as they will be shown. The caller ends the read to which this
    /// pin belongs.
    pub(crate) fn load_lsn(&self) {
        let frames = self.frames();
        let Some(place) = self.place_of_lsn() else { return };
        let address = frames.address_of(self.frame_no()).as_ptr();
        // SAFETY: 1. `page_size` bytes from `address` on are this frame's, initialised since the arena was mapped; 2. the frame is READING
        // by the read that the caller ends, whose transfer is over, so no other thread has them.
        let bytes = unsafe { slice::from_raw_parts(address, frames.page_size().bytes()) };
        self.frame().set_lsn(place.read(bytes));
    }
}
