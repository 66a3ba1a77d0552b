//! Reading a range: the leaves in their order, by a read stream that learns from the nodes above which leaves come next.
//!
//! Leaves are a list, and a leaf names only the next one. But their parents name a hundred leaves ahead, and the stream reads as
//! many of them at once as pays. A leaf that was split after its parent was read has a neighbour that the stream does not know. The
//! list has it, and the scan follows the list. What the stream has is always further on in it.

use std::{collections::VecDeque, ops::ControlFlow};

use ringpool::{PinnedPage, StreamOptions};

use super::{
    Result, Tree,
    node::{Node, Step, entries_from},
};

impl Tree {
    /// Shows the entries with keys from `from` on, in their order, until `visit` breaks. `visit` runs under the latch of a leaf: it
    /// must not use the tree.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        mut visit: impl FnMut(&[u8], u64) -> ControlFlow<()>,
    ) -> Result<()> {
        let leaves = Leaves::from(self, from)?;
        let mut next = leaves.known.front().copied();
        let mut ahead = self.pool.read_stream(self.file.pages(leaves), StreamOptions::new()).peekable();
        while let Some(block) = next {
            let page = self.page(block);
            let is_it =
                |read: &ringpool::Result<PinnedPage>| read.as_ref().map_or(true, |read| read.id() == page);
            let pinned = ahead.next_if(is_it).unwrap_or_else(|| self.pool.fetch(page).wait())?;
            let bytes = pinned.read();
            let node = Node(&bytes);
            if let Step::Down { child, .. } = node.step(from, 0) {
                next = Some(child); // The root was lower a moment ago.
                continue;
            }
            let first = node.search(from).unwrap_or_else(|slot| slot);
            if entries_from(&bytes, first).try_for_each(|(key, value)| visit(key, value)).is_break() {
                break;
            }
            next = node.right();
        }
        Ok(())
    }
}

/// The leaves from some key on, as the nodes of the level above name them. Only the first is certain to exist: the others are
/// hints, and end where those nodes cannot be read.
struct Leaves<'a> {
    tree: &'a Tree,
    from: &'a [u8],
    known: VecDeque<u32>,
    parent: Option<u32>,
}

impl<'a> Leaves<'a> {
    fn from(tree: &'a Tree, from: &'a [u8]) -> Result<Self> {
        let mut leaves = Self { tree, from, known: VecDeque::new(), parent: None };
        leaves.look_at(tree.descend(from, 1)?)?;
        Ok(leaves)
    }

    /// Notes the leaves below this node and its right neighbour.
    fn look_at(&mut self, parent: u32) -> Result<()> {
        let page = self.tree.pool.read(self.tree.page(parent)).wait()?;
        let node = Node(&page);
        if node.level() == 0 {
            self.known.push_back(parent); // The root has nothing below it.
            return Ok(());
        }
        let first = node.search(self.from).unwrap_or_else(|next| next.saturating_sub(1));
        self.known.extend(entries_from(&page, first).map(|(_, child)| child as u32));
        self.parent = node.right();
        Ok(())
    }
}

impl Iterator for Leaves<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.known.is_empty() {
            let parent = self.parent.take()?;
            self.look_at(parent).ok()?;
        }
        self.known.pop_front()
    }
}
