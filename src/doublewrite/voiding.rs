//! What voids copies: a half that is begun anew, and files that are cut, closed or removed. Never before the pages are whole and
//! durable in their places without them.

use crate::{
    doublewrite::{
        DoubleWrite, Writing,
        found::{self, Found},
        layout::{Entry, HalfHeader, Kind, Record},
        ring::Ring,
    },
    error::Result,
    events,
    id::BlockNo,
    io::{file::File, zeros::AlignedZeros},
    sync::random_seed,
};

impl DoubleWrite {
    /// Begins with an area that has nothing to put back, whatever is in it.
    pub(super) fn start(&self) -> Result<()> {
        if self.area.blocks() != 2 * self.units {
            found::remake(&self.area, 2 * self.units, self.page_size, &self.counters)?;
            let mut writing = self.writing.lock();
            writing.ring = Ring::full(self.units, writing.ring.half());
        }
        self.settle()
    }

    /// Voids both halves, once what they hold is durable in its places: after this the area has nothing to put back.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut writing = self.writing.lock();
        self.begin_other_half(&mut writing)?;
        self.begin_other_half(&mut writing)
    }

    /// Voids the other half, when what it holds is durable in its places, and goes on there.
    pub(super) fn begin_other_half(&self, writing: &mut Writing) -> Result<()> {
        let epoch = writing.halves[writing.ring.half()].header.epoch + 1;
        let other = writing.ring.other();
        writing.halves[other].under_way.wait();
        self.settle_half(writing, other)?;
        // Never one that stale records in this half have.
        let header = HalfHeader { epoch, salt: random_seed().wrapping_add(epoch) };
        let mut unit = AlignedZeros::new(self.page_size, self.page_size.max(4096));
        header.encode(self.page_size, unit.as_mut_slice());
        self.write_durably(&[unit.as_slice()], writing.ring.begin_of(other))?;
        // Not before: until then its copies are found after a crash.
        let half = &mut writing.halves[other];
        half.header = header;
        half.files.clear();
        writing.ring.turn();
        Ok(())
    }

    /// Makes the pages of a half whole and durable in their places. The copies of a file with which that cannot be done are given
    /// up, so that other files go on.
    fn settle_half(&self, writing: &Writing, half: usize) -> Result<()> {
        let half = &writing.halves[half];
        let fell_short = half.under_way.all_that_fell_short();
        if !fell_short.is_empty() {
            let found = self.found_at_rest(writing)?;
            for tag in fell_short {
                if let Some(Some(file)) = half.files.get(&tag) {
                    let _ = self
                        .mend(writing, &found, file)
                        .inspect_err(|error| events::copies_given_up(&file.path, error));
                }
                half.under_way.is_settled(tag);
            }
        }
        for file in half.files.values().flatten() {
            // The file whose sync fails says so from now on, for ever (C4).
            let _ = file.sync(&self.counters).inspect_err(|error| events::poisoned(file.id, error));
        }
        Ok(())
    }

    /// Makes the file's pages whole and durable in their places, as far as there are copies of them and nobody writes to them.
    fn settle_file(&self, file: &File) -> Result<()> {
        let writing = self.writing.lock();
        if writing.halves.iter().any(|half| half.under_way.fell_short(file.tag)) {
            self.mend(&writing, &self.found_at_rest(&writing)?, file)?;
        }
        drop(writing);
        file.sync(&self.counters).map(drop)
    }

    /// Repeats the file's writes, from the copies that were found at rest: some have failed, and may have come half the way.
    fn mend(&self, writing: &Writing, found: &Found, file: &File) -> Result<()> {
        if let Some(copies) = found.copies.get(&file.tag) {
            self.put_back(file, copies)?;
        }
        writing.halves.iter().for_each(|half| half.under_way.is_settled(file.tag));
        Ok(())
    }

    /// What the area holds when nobody writes to a place: what was under way is over, and nobody gets room.
    fn found_at_rest(&self, writing: &Writing) -> Result<Found> {
        writing.halves.iter().for_each(|half| half.under_way.wait());
        Found::in_area(&self.area, self.page_size, &self.counters)
    }

    /// Voids the file's copies from block `from` on, durably, once the pages are durable in their places without them: whatever
    /// becomes of what the copies go for, and if a crash undoes it, no page is torn. To be called when no write of these pages is
    /// under way, or will be, and before they are gone.
    ///
    /// # Errors
    /// All copies are there as before: a page that is half written cannot be written, the file not be synced, or the area not be
    /// written.
    pub(crate) fn forget(&self, file: &File, from: BlockNo) -> Result<()> {
        if !self.has_copies(file) {
            return Ok(());
        }
        self.settle_file(file)?;
        self.forget_tag(file.tag, from)?;
        if from == BlockNo(0) {
            self.writing.lock().halves.iter_mut().for_each(|half| drop(half.files.remove(&file.tag)));
        }
        Ok(())
    }

    pub(super) fn forget_tag(&self, tag: u64, from: BlockNo) -> Result<()> {
        let entry = Entry { tag, block: from.0, checksum: 0 };
        self.write(&Record { kind: Kind::Forget, entries: vec![entry] }, &[], std::iter::empty()).map(drop)
    }

    /// Keeps the copies of a file that is being closed as it is, until it is opened anew or [given up](Self::give_up).
    pub(crate) fn leave(&self, file: &File) {
        for half in &mut self.writing.lock().halves {
            if let Some(entry) = half.files.get_mut(&file.tag) {
                *entry = None;
            }
        }
    }

    fn has_copies(&self, file: &File) -> bool {
        self.writing.lock().halves.iter().any(|half| half.files.contains_key(&file.tag))
    }
}
