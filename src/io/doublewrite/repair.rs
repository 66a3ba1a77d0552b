//! After a crash: which files' pages may be torn, and putting them right.

use crate::{
    error::{Callback, ConfigError, Error, IoOp, Result},
    events,
    id::{BlockNo, PageAddress, PageId},
    io::{
        doublewrite::{
            DoubleWrite,
            layout::checksum,
            recovery::{Copy, Newest},
        },
        file::{File, plain_transfer},
    },
    observe::Counter,
    sync::callback,
};

impl DoubleWrite {
    /// Admits a file: puts right what a crash has torn, before any caller sees the file, and voids the copies for good. From then
    /// on the file may be changed in any way. No other file that is written, and open or being opened, has its tag.
    ///
    /// # Errors
    /// The file cannot be used: it would have to be written to, or that failed.
    pub(crate) fn admit(&self, file: &File) -> Result<()> {
        if file.identity == self.area.file.identity {
            let advice = "this file is the pool's doublewrite area: open another, or move the area";
            return Err(ConfigError::unset("torn_pages", advice).at(&file.path).into());
        }
        let writing = self.writing.lock();
        // Another file that is open under this tag is only read, or this one is.
        if writing.files.contains_key(&file.tag) || !writing.ledger.holds(file.tag) {
            return Ok(());
        }
        self.area.check()?;
        let (copies, held) = match writing.ledger.pending.get(&file.tag).cloned() {
            // As long as they are pending no half is begun anew, so other threads need not wait for this file's disk.
            Some(copies) => {
                drop(writing);
                (copies, None)
            }
            // Held until they are back in their places, for the same reason.
            None => {
                let mut found = self.found(&writing)?;
                (found.copies.remove(&file.tag).unwrap_or_default(), Some(writing))
            }
        };
        if file.read_only {
            let why = "the file may have torn pages that are to be restored: open it once without read_only";
            let refused = || ConfigError::new("read_only", true, why).at(&file.path).into();
            return if copies.is_empty() { Ok(()) } else { Err(refused()) };
        }
        // What lies behind the end was lost with its length, or cut.
        let restored = self.put_back(file, copies.range(..file.blocks()))?;
        let mut writing = held.unwrap_or_else(|| self.writing.lock());
        self.void(&mut writing, file.tag, BlockNo(0))?;
        drop(writing);
        self.area.counters.add(Counter::Restored, restored);
        if restored > 0 {
            events::pages_restored(&self.area.counters.pool, &file.path, restored);
        }
        Ok(())
    }

    /// Returns the tags of the files that must be opened, or given up: at once, or before the half with their copies is begun
    /// anew.
    pub(crate) fn pending(&self) -> Vec<u64> {
        self.writing.lock().closed()
    }

    /// Discards the copies of a file that is not open, for good: the file may be changed now, or be another's.
    pub(crate) fn give_up(&self, tag: u64) -> Result<()> {
        let mut writing = self.writing.lock();
        let is_open = writing.files.contains_key(&tag);
        if is_open || !writing.ledger.holds(tag) { Ok(()) } else { self.void(&mut writing, tag, BlockNo(0)) }
    }

    /// Writes the copies to their places, and syncs the file. Returns how many places differed.
    ///
    /// All of them lie within the file as it is on disk, wherever the pool has it end: what is cut off is forgotten before. A
    /// place is written even if it is already right: after a sync that failed it may be so in the system's cache alone, for good.
    ///
    /// # Errors
    /// A copy is in doubt and the file has no codec; a read, a write or the sync failed.
    pub(super) fn put_back<'a>(
        &self,
        file: &File,
        copies: impl IntoIterator<Item = (&'a u32, &'a Newest)> + Clone,
    ) -> Result<u64> {
        let in_doubt = |(_, newest): &(&u32, &Newest)| matches!(newest, Newest::InDoubt(_));
        if file.codec.is_none()
            && let Some((&block, _)) = copies.clone().into_iter().find(in_doubt)
        {
            return Err(self.area.damaged(Some(PageAddress::new(file.tag, block))));
        }
        let mut pages = self.area.zeros(2);
        let mut restored = 0;
        for (&block, newest) in copies {
            let (page, place) = pages.as_mut_slice().split_at_mut(self.area.page_size);
            let offset = file.page_size.offset_of(BlockNo(block));
            place.fill(0);
            plain_transfer::read(file, place, offset, &self.area.counters)
                .map_err(|error| file.error(IoOp::Read, error))?;
            let whole = match newest {
                Newest::InDoubt(_) if self.is_whole(file, BlockNo(block), place, page)? => &*place,
                // A page that is torn stays so, and is found by the codec when it is read.
                Newest::InDoubt(None) => continue,
                Newest::Copy(copy) | Newest::InDoubt(Some(copy)) => {
                    self.read_copy(page, copy)?;
                    restored += u64::from(page != place);
                    page
                }
            };
            plain_transfer::write(file, &[whole], offset, &self.area.counters)
                .map_err(|error| file.error(IoOp::Write, error))?;
        }
        file.sync(&self.area.counters)?;
        Ok(restored)
    }

    /// Returns whether the page in its place is whole, which only a codec can tell. The codec opens a copy, in `scratch`: the
    /// bytes that are written back are the sealed ones.
    fn is_whole(&self, file: &File, block: BlockNo, place: &mut [u8], scratch: &mut [u8]) -> Result<bool> {
        let Some(codec) = &file.codec else { return Ok(false) };
        if file.sparse && place.iter().all(|&byte| byte == 0) {
            return Ok(true);
        }
        scratch.copy_from_slice(place);
        let opened = if seeded!("opened_page_written_back") { place } else { scratch };
        let at = PageAddress::new(file.tag, block);
        let verdict = callback::contained(|| codec.open(at, opened)).map_err(|_| {
            Error::panicked_over(Callback::CodecOpen, PageId::new(file.id, block), &file.path)
        })?;
        Ok(verdict.is_ok())
    }

    fn read_copy(&self, page: &mut [u8], copy: &Copy) -> Result<()> {
        self.area.read(copy.unit, page)?;
        if checksum(page) == copy.checksum {
            Ok(())
        } else {
            let changed =
                std::io::Error::other("a copy that was whole is not any more: does another pool use it?");
            Err(self.area.file.error(IoOp::Read, changed))
        }
    }
}
