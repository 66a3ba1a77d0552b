//! Pages that are lent to SQLite: `xFetch` and `xUnfetch`.
//!
//! SQLite gets the address of the frame and reads the page there, without a copy. While it does, the connection keeps a guard of the
//! page: the pin keeps the page in its frame, the share latch keeps its bytes as they are. So a page that is lent cannot change,
//! whatever happens: `xWrite` needs the exclusive latch, waits for it for a bounded time, and fails if it does not get it.
//!
//! One connection lends few pages at a time: those on the paths of its cursors. They are found by their offset, from the newest back.

use ringpool::OwnedPageRead;

/// The pages that one connection has borrowed.
#[derive(Debug)]
pub struct Lent {
    pages: Vec<(u64, OwnedPageRead)>,
    most: usize,
}

impl Lent {
    /// Makes one for at most so many pages at a time.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { pages: Vec::new(), most }
    }

    /// Returns whether another page may be lent: else lent pages could take all frames of the pool.
    #[must_use]
    #[inline]
    pub fn has_room(&self) -> bool {
        self.pages.len() < self.most
    }

    /// Keeps the page until it is given back. Returns the address of its first byte.
    #[inline]
    pub fn lend(&mut self, offset: u64, page: OwnedPageRead) -> *const u8 {
        let address = page.as_ptr();
        self.pages.push((offset, page));
        address
    }

    /// Takes back a page that was lent for this offset. Returns whether there was one.
    #[inline]
    pub fn give_back(&mut self, offset: u64) -> bool {
        let found = self.pages.iter().rposition(|(of, _)| *of == offset);
        found.map(|at| self.pages.swap_remove(at)).is_some()
    }

    /// Returns whether one of these bytes is in a page that is lent.
    #[must_use]
    pub fn has_any_of(&self, from: u64, to: u64) -> bool {
        self.pages.iter().any(|(offset, page)| {
            let begin = offset - offset % page.len() as u64;
            begin < to && from < begin + page.len() as u64
        })
    }

    /// Returns how many pages are lent.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pages.len()
    }
}
