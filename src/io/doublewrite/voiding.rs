//! The steps that void copies: a half is begun anew, or a file is cut, closed or removed. Never before the pages are whole and
//! durable in their places without them.

use std::collections::BTreeSet;

use crate::{
    error::{Error, Result},
    events,
    id::BlockNo,
    io::{
        doublewrite::{
            DoubleWrite, Writing,
            layout::{CopyEntry, HEADERS, Kind, Record},
            recovery::Found,
        },
        file::File,
    },
    sync::random_seed,
};

impl DoubleWrite {
    /// Voids both halves, once what they hold is durable in its places: after this the area has nothing to put back, and has its
    /// intended length. The older one goes first, and each has a sync of its own: a crash never leaves the older one alone.
    pub(super) fn settle(&self, writing: &mut Writing) -> Result<()> {
        writing.ledger.is_in_use = false;
        let units = writing.ledger.area_units();
        // Not longer before there is a header: a file that is neither an area nor as good as empty is refused.
        self.area.grow(1)?;
        self.begin_other_half(writing)?;
        self.area.grow(units)?;
        self.begin_other_half(writing)?;
        self.area.cut(units)?;
        writing.ledger.is_in_use = true;
        Ok(())
    }

    /// Ends the area: it has nothing to put back, and no page in the clear, unless files that are not open need their copies. The
    /// pool writes no more.
    pub(crate) fn end(&self) -> Result<()> {
        let mut writing = self.writing.lock();
        if !writing.closed().is_empty() {
            return Ok(());
        }
        self.settle(&mut writing)?;
        writing.ledger.is_in_use = false;
        self.area.cut(HEADERS)
    }

    /// Voids the other half, when what it holds is durable in its places, and continues there.
    ///
    /// # Errors
    /// [`Error::TornPages`] with the files whose pages cannot be made durable; the half is as it was, and each call tries again.
    pub(super) fn begin_other_half(&self, writing: &mut Writing) -> Result<()> {
        let half = writing.ledger.older();
        writing.under_way[half].wait();
        let settled = self.settle_half(writing, half)?;
        let header = writing.ledger.begin(random_seed(), &settled);
        let header = header.map_err(|tags| Error::TornPages { tags })?;
        let mut unit = self.area.zeros(1);
        header.encode(self.area.page_size, unit.as_mut_slice());
        self.area.put(half as u32, &[unit.as_slice()])?;
        if writing.ledger.is_in_use || !seeded!("halves_voided_by_one_sync") {
            self.area.sync()?;
        }
        // Not before: until then its copies are found after a crash.
        let Writing { ledger, files, .. } = writing;
        self.not_durable.forget_before(header.oldest);
        ledger.has_begun(header);
        files.retain(|&tag, _| ledger.holds(tag));
        Ok(())
    }

    /// Makes the pages of a half whole and durable in their places. Returns the files with which that could be done.
    fn settle_half(&self, writing: &Writing, half: usize) -> Result<BTreeSet<u64>> {
        let under_way = &writing.under_way[half];
        let fell_short = under_way.fell_short();
        if !fell_short.is_empty() {
            let found = self.found_at_rest(writing)?;
            for file in fell_short.iter().filter_map(|tag| writing.files.get(tag)) {
                let _ = self
                    .mend(writing, &found, file)
                    .inspect_err(|error| events::copies_needed(&self.area.counters.pool, &file.path, error));
            }
        }
        // If its sync fails, the file reports that from now on, for ever (C4).
        let sync = |file: &File| file.sync(&self.area.counters);
        let is_settled = |tag: &u64| {
            writing
                .files
                .get(tag)
                .is_some_and(|file| !under_way.fell_short().contains(tag) && sync(file).is_ok())
        };
        Ok(writing.ledger.tags_in(half).filter(is_settled).collect())
    }

    /// Makes the file's pages whole and durable in their places, as far as there are copies of them and no write to them is under
    /// way.
    fn settle_file(&self, file: &File) -> Result<()> {
        let writing = self.writing.lock();
        if writing.under_way.iter().any(|half| half.fell_short().contains(&file.tag)) {
            self.mend(&writing, &self.found_at_rest(&writing)?, file)?;
        }
        drop(writing);
        file.sync(&self.area.counters).map(drop)
    }

    /// Repeats the file's writes, from the copies that were found while no write was under way: some have failed, and may have
    /// come half the way.
    fn mend(&self, writing: &Writing, found: &Found, file: &File) -> Result<()> {
        file.poison().map_or(Ok(()), Err)?;
        if let Some(copies) = found.copies.get(&file.tag) {
            self.put_back(file, copies)?;
        }
        writing.under_way.iter().for_each(|half| half.is_settled(file.tag));
        Ok(())
    }

    /// Returns what the area holds while no thread writes to a place: what was under way is over, and no batch gets room.
    fn found_at_rest(&self, writing: &Writing) -> Result<Found> {
        writing.under_way.iter().for_each(|half| half.wait());
        self.found(writing)
    }

    /// Returns what the area holds on disk. A batch that was refused, since the area could not be written, may have left copies
    /// that are read and are on no disk: what is put back from such a one has nothing behind it.
    pub(super) fn found(&self, writing: &Writing) -> Result<Found> {
        if !seeded!("copies_believed_that_are_on_no_disk") {
            self.area.sync()?;
        }
        let found = self.area.play(writing.ledger.headers())?;
        if found.is_damaged && !self.has_codec { Err(self.area.damaged(None)) } else { Ok(found) }
    }

    /// Voids the file's copies from block `from` on, durably, once the pages are durable in their places without them. So no page
    /// is torn, whatever becomes of the operation for which the copies go, and if a crash undoes it. To be called when no write
    /// of these pages is under way, or will be, and before they are gone.
    ///
    /// # Errors
    /// All copies are there as before: a page that is half written cannot be written, the file not be synced, or the area not be
    /// written.
    pub(crate) fn forget(&self, file: &File, from: BlockNo) -> Result<()> {
        if !self.writing.lock().ledger.holds(file.tag) {
            return Ok(());
        }
        self.settle_file(file)?;
        let mut writing = self.writing.lock();
        self.void(&mut writing, file.tag, from)?;
        if from == BlockNo(0) {
            writing.files.remove(&file.tag);
        }
        Ok(())
    }

    /// Voids the copies under this tag from block `from` on, durably.
    pub(super) fn void(&self, writing: &mut Writing, tag: u64, from: BlockNo) -> Result<()> {
        let room = match self.room(writing, |ledger| ledger.room_in_half(1)) {
            Err(Error::TornPages { .. }) => writing.ledger.room_in_tail(),
            room => room?,
        };
        let entries = vec![CopyEntry { tag, block: from.0, checksum: 0 }];
        let record = Record { numbering: self.number(room), kind: Kind::Forget, entries };
        let mut unit = self.area.zeros(1);
        record.encode(room.salt, room.unit, unit.as_mut_slice());
        self.area.grow(room.unit + 1)?;
        if !seeded!("copies_void_in_memory_alone") {
            self.area.write(room.unit, &[unit.as_slice()])?;
        }
        self.not_durable.remove(room.number);
        writing.ledger.has_voided(tag, from.0);
        if from == BlockNo(0) {
            writing.under_way.iter().for_each(|half| half.is_settled(tag));
        }
        Ok(())
    }

    /// Keeps the copies of a file that is being closed as it is, until it is opened anew or [given up](Self::give_up).
    pub(crate) fn leave(&self, file: &File) {
        self.writing.lock().files.remove(&file.tag);
    }
}
