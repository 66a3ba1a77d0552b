//! A B+tree that any number of threads read and change at once: a B-link tree (Lehman and Yao, 1981).
//!
//! * **Nodes know their right neighbour** and the lowest key that is not theirs any more. So a split needs no latch on the parent:
//!   a thread that comes to a node too late goes on to the right. No thread ever holds latches on two nodes that other threads can
//!   reach.
//! * **Every search begins at the root**, which all threads can read at once: a [read](BufferPool::read) of a page that is used all
//!   the time writes nothing that another thread writes.
//! * **Every change is in the log first** ([`log`]), by whole nodes for a split and by entry otherwise; [`recovery`](Tree::open)
//!   does those again that a crash kept from the pages. The pool keeps the order, since it knows the log.
//! * Entries are not deleted. So nodes are never removed, and no search has to begin again.
//!
//! Latch order: a node before the new ones made of it, which no other thread knows yet. No page is fetched under any other latch.

mod change;
mod edit;
pub(crate) mod log;
mod node;
mod scan;

use std::{num::NonZeroU32, sync::Arc};

use ringpool::{BufferPool, CheckpointOptions, FileId, LogRecord, Lsn, OwnedPageWrite, PageId};

use self::{
    change::Change,
    edit::Halves,
    node::{Node, ROOT, Step},
};
pub(crate) use self::{
    log::{Log, LogFirst, Records},
    node::PAGE_LSN,
};
use super::recorder::Recorder;

/// A key is too long, the pool has failed, or the log.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// An ordered map of keys to numbers, in the pages of a file.
pub(crate) struct Tree {
    pool: BufferPool,
    file: FileId,
    log: Arc<Log>,
    recorder: Recorder,
}

impl Tree {
    /// Opens the tree in this file, which may be empty, and redoes all that its log says. The pool was built with [`LogFirst`] of
    /// the same log, and with [`PAGE_LSN`].
    pub(crate) fn open(pool: &BufferPool, file: FileId, log: &Arc<Log>, survived: &Records) -> Result<Self> {
        let tree = Self { pool: pool.clone(), file, log: Arc::clone(log), recorder: Recorder::default() };
        tree.grow_to(1)?;
        for (record, changes) in survived.each() {
            changes.iter().try_for_each(|(block, change)| tree.redo(*block, change, record))?;
        }
        Ok(tree)
    }

    /// Has the tree note the pages that it uses.
    pub(crate) fn recorded(self, recorder: &Recorder) -> Self {
        Self { recorder: recorder.clone(), ..self }
    }

    /// Returns the value of the key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<u64>> {
        let mut at = self.descend(key, 0)?;
        loop {
            let page = self.pool.read(self.page(at)).wait()?;
            let node = Node(&page);
            match node.step(key, 0) {
                Step::Here => {
                    let slot = node.search(key).ok();
                    return Ok(slot.map(|slot| node.value(slot)));
                }
                Step::Right(next) | Step::Down { child: next, .. } => at = next,
            }
        }
    }

    /// Sets the value of the key, and returns the former one. The change survives a crash once [`commit`](Self::commit) has
    /// returned.
    pub(crate) fn insert(&self, key: &[u8], value: u64) -> Result<Option<u64>> {
        let longest = node::longest_key(self.pool.page_size().bytes());
        if key.len() > longest {
            return Err(format!("a key of {} bytes, of {longest} at the most", key.len()).into());
        }
        self.insert_at(0, key, value)
    }

    /// Makes durable what was inserted so far.
    pub(crate) fn commit(&self) -> Result<()> {
        Ok(self.log.flush(self.log.end())?)
    }

    /// Writes all changed pages, so that recovery need not look at their changes any more.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let end = self.log.end();
        let report = self.pool.checkpoint(CheckpointOptions::new()).wait()?;
        Ok(self.log.start_redo_at(report.redo_lsn.map_or(end, |redo| redo.min(end)))?)
    }

    /// Returns the node on `level` to which the key belongs, or one to the left of it.
    fn descend(&self, key: &[u8], level: u16) -> Result<u32> {
        let mut at = ROOT;
        loop {
            let page = self.pool.read(self.page(at)).wait()?;
            match Node(&page).step(key, level) {
                Step::Here => return Ok(at),
                Step::Down { child, level: below } if below == level => return Ok(child),
                Step::Right(next) | Step::Down { child: next, .. } => at = next,
            }
        }
    }

    fn insert_at(&self, level: u16, key: &[u8], value: u64) -> Result<Option<u64>> {
        let mut at = self.descend(key, level)?;
        loop {
            let mut page = self.pool.write(self.page(at)).wait()?;
            match Node(&page).step(key, level) {
                Step::Right(next) | Step::Down { child: next, .. } => at = next,
                Step::Here if edit::has_room(&page, key) => {
                    let change = Change::Put { key, value };
                    let record = self.log.append(&[(at, change.clone())])?;
                    return Ok(apply(&mut page, &change, record));
                }
                Step::Here => return self.split(page, at, key, value).map(|()| None),
            }
        }
    }

    /// Makes two nodes of one that has no room for a new key, and adds the new node to the level above.
    fn split(&self, mut page: OwnedPageWrite, at: u32, key: &[u8], value: u64) -> Result<()> {
        let mut right = self.new_page()?;
        let right_block = right.id().block.0;
        let Halves { left, right: right_half, separator } = edit::split(&page, key, value, right_block);
        let right_half = Change::Whole(&right_half);
        if at != ROOT {
            let left_half = Change::Whole(&left);
            let record = self.log.append(&[(right_block, right_half.clone()), (at, left_half.clone())])?;
            apply(&mut right, &right_half, record);
            apply(&mut page, &left_half, record);
            let level = Node(&page).level();
            drop((page, right));
            return self.insert_at(level + 1, &separator, u64::from(right_block)).map(drop);
        }
        // The root stays where it is: both halves move to new pages.
        let mut moved = self.new_page()?;
        let moved_block = moved.id().block.0;
        let level = Node(&page).level() + 1;
        let root = edit::root(page.len(), level, moved_block, &separator, right_block);
        let (left_half, root) = (Change::Whole(&left), Change::Whole(&root));
        let changes =
            [(right_block, right_half.clone()), (moved_block, left_half.clone()), (ROOT, root.clone())];
        let record = self.log.append(&changes)?;
        apply(&mut right, &right_half, record);
        apply(&mut moved, &left_half, record);
        apply(&mut page, &root, record);
        Ok(())
    }

    /// Adds a page at the end of the file. A page that a crash takes before the tree refers to it stays empty.
    fn new_page(&self) -> Result<OwnedPageWrite> {
        let added = self.pool.extend(self.file, NonZeroU32::MIN).wait()?;
        let mut page = self.pool.overwrite(self.page(added.first.0)).wait()?;
        // Until it is in the tree it needs no record, and also where it never gets there.
        page.set_lsn(Lsn::UNLOGGED);
        Ok(page)
    }

    /// Does a change that is in the log, unless the page has it.
    fn redo(&self, block: u32, change: &Change<'_>, record: LogRecord) -> Result<()> {
        self.grow_to(block + 1)?;
        let mut page = self.pool.write(self.page(block)).wait()?;
        if page.lsn() < record.end {
            apply(&mut page, change, record);
        }
        Ok(())
    }

    fn grow_to(&self, blocks: u32) -> Result<()> {
        if let Some(missing) = NonZeroU32::new(blocks.saturating_sub(self.pool.blocks(self.file)?)) {
            self.pool.extend(self.file, missing).wait()?;
        }
        Ok(())
    }

    /// Returns the id of a page of the tree, and notes that the page is about to be used.
    fn page(&self, block: u32) -> PageId {
        let page = PageId::new(self.file, block);
        self.recorder.note(page);
        page
    }
}

/// Changes a page, and states to the pool the record of the change. The pool puts its end into the page.
fn apply(page: &mut OwnedPageWrite, change: &Change<'_>, record: LogRecord) -> Option<u64> {
    let before = change.apply(page);
    page.set_lsn(record);
    before
}
