//! After a crash: whose pages may be torn, and putting them right.

use std::collections::HashMap;

use crate::{
    doublewrite::{
        DoubleWrite, Writing,
        found::Found,
        layout::checksum,
        recovery::{Copies, Copy},
    },
    error::{Error, IoOp, Result},
    events,
    id::BlockNo,
    io::{file::File, plain, zeros::AlignedZeros},
    stats::Counter,
    sync::Arc,
};

impl DoubleWrite {
    /// An error where nothing may be written, or thrown away, because the copies from before a crash may still be needed.
    pub(crate) fn check_settled(&self) -> Result<()> {
        let pending = self.pending.lock();
        if pending.is_empty() { Ok(()) } else { Err(Error::TornPages { tags: tags_of(&pending) }) }
    }

    /// An error where the two cannot be open at once, because the copies of their pages could not be told apart.
    pub(crate) fn check_tags(file: &File, other: &File) -> Result<()> {
        if file.tag == other.tag && !file.read_only && !other.read_only {
            return Err(Error::TagTaken { path: file.path.clone(), tag: file.tag, file: other.id });
        }
        Ok(())
    }

    /// Takes a file in: puts right what a crash has torn, before anybody sees it. No other that is open, or is being opened,
    /// has [its tag](Self::check_tags).
    ///
    /// # Errors
    /// The file cannot be used: it would have to be written to, or that failed.
    pub(crate) fn admit(&self, file: &File) -> Result<()> {
        if file.identity == self.area.identity {
            return Err(Error::config(format!("{} is the pool's doublewrite area", file.path.display())));
        }
        let pending = self.pending.lock().get(&file.tag).cloned();
        let (copies, writing) = match pending {
            // As long as they are pending no half is begun anew: no need to hold up others for as long as this file's disk takes.
            Some(copies) => (copies, None),
            // Held until they are back in their places, for the same reason.
            None => {
                let writing = self.writing.lock();
                (self.copies_left(&writing, file.tag)?, Some(writing))
            }
        };
        if copies.is_empty() {
            return Ok(());
        }
        if file.read_only {
            return Err(Error::config(format!(
                "{} may have torn pages that are to be restored: open it once without read_only",
                file.path.display()
            )));
        }
        // What lies behind the end was lost with its length, or cut.
        let restored = self.put_back(file, copies.range(..file.blocks()))?;
        drop(writing);
        events::restored(&file.path, restored);
        self.counters.add(Counter::Restored, restored);
        // They are back in their places.
        self.give_up(file.tag)
    }

    /// The tags of the files that must be opened, or given up, before anything is written.
    pub(crate) fn pending(&self) -> Arc<[u64]> {
        tags_of(&self.pending.lock())
    }

    /// Does without the copies of a file that is not open, and has no use any more for those that were left for it.
    pub(crate) fn give_up(&self, tag: u64) -> Result<()> {
        if self.is_left(&self.writing.lock(), tag) {
            // For good: it may be cut now, or be another's.
            self.forget_tag(tag, BlockNo(0))?;
        }
        for half in &mut self.writing.lock().halves {
            half.files.retain(|&of, file| of != tag || file.is_some());
        }
        let mut pending = self.pending.lock();
        if pending.len() == 1 && pending.contains_key(&tag) {
            // The last one. Nobody writes before this is over, and should it fail, it is still pending.
            self.start()?;
        }
        pending.remove(&tag);
        Ok(())
    }

    /// Whether a file was closed without having been synced, and left copies.
    fn is_left(&self, writing: &Writing, tag: u64) -> bool {
        writing.halves.iter().any(|half| matches!(half.files.get(&tag), Some(None)))
    }

    /// Those copies, the newest of each page.
    fn copies_left(&self, writing: &Writing, tag: u64) -> Result<Copies> {
        if !self.is_left(writing, tag) {
            return Ok(Copies::new());
        }
        let mut found = Found::in_area(&self.area, self.page_size, &self.counters)?;
        Ok(found.copies.remove(&tag).unwrap_or_default())
    }

    /// Writes the copies over places that differ, and syncs the file. Gives how many did.
    ///
    /// All of them lie within the file as it is on disk, wherever the pool has it end: what is cut off is forgotten before.
    pub(super) fn put_back<'a>(
        &self,
        file: &File,
        copies: impl IntoIterator<Item = (&'a u32, &'a Copy)>,
    ) -> Result<u64> {
        let mut pages = AlignedZeros::new(2 * self.page_size, self.page_size.max(4096));
        let mut restored = 0;
        for (&block, copy) in copies {
            let (page, place) = pages.as_mut_slice().split_at_mut(self.page_size);
            let offset = file.page_size.offset_of(BlockNo(block));
            self.read_copy(page, copy)?;
            place.fill(0);
            plain::read(file, place, offset, &self.counters)
                .map_err(|error| file.error(IoOp::Read, error))?;
            if page != place {
                plain::write(file, &[page], offset, &self.counters)
                    .map_err(|error| file.error(IoOp::Write, error))?;
                restored += 1;
            }
        }
        // Even what was found as it should be may be so in the system's cache only.
        file.note_written();
        file.sync(&self.counters)?;
        Ok(restored)
    }

    fn read_copy(&self, page: &mut [u8], copy: &Copy) -> Result<()> {
        plain::read(&self.area, page, copy.offset, &self.counters)
            .map_err(|error| self.area.error(IoOp::Read, error))?;
        if checksum(page) == copy.checksum {
            Ok(())
        } else {
            let changed =
                std::io::Error::other("a copy that was whole is not any more: does another pool use it?");
            Err(self.area.error(IoOp::Read, changed))
        }
    }
}

fn tags_of(pending: &HashMap<u64, Copies>) -> Arc<[u64]> {
    let mut tags: Vec<u64> = pending.keys().copied().collect();
    tags.sort_unstable();
    tags.into()
}
