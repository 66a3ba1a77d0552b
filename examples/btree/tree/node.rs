//! A node: how a page of the tree is laid out, and how it is read.
//!
//! ```text
//! | LSN: u64 | right: u32 | level: u16 | entries: u16 | begin of the bytes: u16 | high key: u16 | slot 0 | slot 1 | ...
//!                                                   ... free ... | entry | entry | entry |
//! ```
//!
//! A slot is where its entry begins (u16); slots are in the order of the keys. An entry is `| length: u8 | key | value: u64 |`. In a
//! leaf (level 0) the value is the user's, above it the block of a node one level below, whose keys are not lower than the entry's.
//!
//! A node that has a right neighbour also has a **high key** (where its bytes are): all its keys are lower, and all keys from that on
//! are to its right. So a search that comes to a node that was split since learns it from the node itself (Lehman and Yao, 1981).
//!
//! A page of zeros is an empty leaf without neighbours, so a page that was just added to the file needs no set-up.

use std::cmp::Ordering;

use ringpool::PageLsn;

/// The root's block, for ever: when it is split, its entries move to new pages. So no node has it as its right neighbour.
pub(crate) const ROOT: u32 = 0;

/// Where the LSN is, for the pool, which reads it when the page is read, and writes it there.
pub(crate) const PAGE_LSN: PageLsn = PageLsn::at(0);

pub(super) const RIGHT: usize = 8;
pub(super) const LEVEL: usize = 12;
pub(super) const ENTRIES: usize = 14;
pub(super) const BEGIN: usize = 16;
pub(super) const HIGH: usize = 18;
pub(super) const HEADER: usize = 20;
pub(super) const SLOT: usize = 2;
pub(super) const VALUE: usize = 8;

/// Returns the longest key in pages of this size: five entries and a high key always fit, so every split succeeds.
pub(crate) fn longest_key(page_size: usize) -> usize {
    ((page_size - HEADER) / 6 - SLOT - 1 - VALUE).min(u8::MAX as usize)
}

/// Where a search goes on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The key belongs into this node, which is on the level that was asked for (or is the root, where the tree is lower).
    Here,
    /// To the right neighbour: the node was split since its parent was read.
    Right(u32),
    /// To a child, which is on this level.
    Down { child: u32, level: u16 },
}

/// A node to be read.
pub(crate) struct Node<'a>(pub(crate) &'a [u8]);

impl Node<'_> {
    pub(super) fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        *self.0[at..].first_chunk().expect("a node's places lie in its page")
    }

    pub(super) fn u16_at(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes(self.bytes(at)))
    }

    pub(crate) fn level(&self) -> u16 {
        u16::from_le_bytes(self.bytes(LEVEL))
    }

    /// Returns the right neighbour, if there is one.
    pub(crate) fn right(&self) -> Option<u32> {
        let right = u32::from_le_bytes(self.bytes(RIGHT));
        (right != ROOT).then_some(right)
    }

    pub(crate) fn entries(&self) -> usize {
        self.u16_at(ENTRIES)
    }

    /// Returns where the bytes of the slot's key are, and how many.
    pub(super) fn key_place(&self, slot: usize) -> (usize, usize) {
        let at = self.u16_at(HEADER + SLOT * slot);
        let [len] = self.bytes(at);
        (at + 1, usize::from(len))
    }

    pub(crate) fn value(&self, slot: usize) -> u64 {
        let (at, len) = self.key_place(slot);
        u64::from_le_bytes(self.bytes(at + len))
    }

    /// Returns the slot that has the key, or the one before which it belongs.
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.entries());
        while low < high {
            let middle = (low + high) / 2;
            let (at, len) = self.key_place(middle);
            match self.0[at..][..len].cmp(key) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Returns where a search for `key` on `level` goes on from this node.
    pub(crate) fn step(&self, key: &[u8], level: u16) -> Step {
        let high = self.u16_at(HIGH);
        if let (Some(right), [len]) = (self.right(), self.bytes(high))
            && self.0[high + 1..][..usize::from(len)] <= *key
        {
            return Step::Right(right);
        }
        let own = self.level();
        if own <= level {
            return Step::Here;
        }
        // The first entry above the leaves has the empty key: there is always one that is not higher.
        let slot = self.search(key).unwrap_or_else(|next| next - 1);
        Step::Down { child: self.value(slot) as u32, level: own - 1 }
    }
}

/// Returns the entries of a latched node from this slot on.
pub(crate) fn entries_from(page: &[u8], slot: usize) -> impl Iterator<Item = (&[u8], u64)> {
    (slot..Node(page).entries()).map(|slot| {
        let (at, len) = Node(page).key_place(slot);
        (&page[at..][..len], Node(page).value(slot))
    })
}
