//! Copies on their way into the area, and what voids them again.

use crate::{
    doublewrite::{
        DoubleWrite, KeptCopies, Run, Writing,
        found::{self, Found},
        layout::{Entry, HalfHeader, Kind, Record, checksum, header_units},
        ring::{Place, Ring},
        under_way::OnItsWay,
    },
    error::{Error, IoOp, Result},
    events,
    id::BlockNo,
    io::{file::File, plain, zeros::AlignedZeros},
    sync::{Arc, random_seed},
};

impl DoubleWrite {
    /// Makes copies of the pages durable. They may be written to their places from here on; what comes back, one for each run, is
    /// kept until that is over.
    ///
    /// # Errors
    /// Nothing may be written: the area could not be, or files with copies from before a crash were not opened yet.
    pub(crate) fn protect(&self, runs: &[Run<'_>]) -> Result<Vec<KeptCopies>> {
        self.check_settled()?;
        let page = self.page_size;
        let entries = runs.iter().flat_map(|run| {
            let pages = run.pieces.iter().flat_map(|piece| piece.chunks_exact(page));
            (run.first.0..).zip(pages).map(|(block, bytes)| Entry {
                tag: run.file.tag,
                block,
                checksum: checksum(bytes),
            })
        });
        let record = Record { kind: Kind::Copies, entries: entries.collect() };
        let copies: Vec<&[u8]> = runs.iter().flat_map(|run| run.pieces.iter().copied()).collect();
        let files = runs.iter().map(|run| run.file);
        let on_its_way = self.write(&record, &copies, files)?;
        Ok(runs.iter().map(|run| on_its_way.keep_copies(run.file)).collect())
    }

    /// Makes a record durable, in the half in which there is room.
    fn write<'a>(
        &self,
        record: &Record,
        copies: &[&[u8]],
        files: impl Iterator<Item = &'a Arc<File>>,
    ) -> Result<OnItsWay> {
        let header_len = header_units(record.entries.len(), self.page_size) * self.page_size;
        let mut header = AlignedZeros::new(header_len, self.page_size.max(4096));
        let (place, salt, on_its_way) = self.take_room(record.units(self.page_size) as u32, files)?;
        record.encode(salt, place.unit, header.as_mut_slice());
        let pieces: Vec<&[u8]> = std::iter::once(header.as_slice()).chain(copies.iter().copied()).collect();
        self.write_durably(&pieces, place.at)?;
        Ok(on_its_way)
    }

    /// Writes the pieces from a unit of the area on, and syncs them: one sync for all who come together.
    fn write_durably(&self, pieces: &[&[u8]], unit: u64) -> Result<()> {
        plain::write(&self.area, pieces, unit * self.page_size as u64, &self.counters)
            .map_err(|error| self.area.error(IoOp::Write, error))?;
        match self.area.sync(&self.counters) {
            Ok(_) => Ok(()),
            // The area is no file that the engine could open anew.
            Err(Error::SyncPoisoned { source, .. }) => Err(self.area.error(IoOp::Sync, source)),
            Err(error) => Err(error),
        }
    }

    /// Room for so many units, where that takes it by beginning the other half anew.
    fn take_room<'a>(
        &self,
        units: u32,
        files: impl Iterator<Item = &'a Arc<File>>,
    ) -> Result<(Place, u64, OnItsWay)> {
        let mut writing = self.writing.lock();
        let place = match writing.ring.place(units) {
            Some(place) => place,
            None => {
                self.begin_other_half(&mut writing)?;
                writing.ring.place(units).expect("a half has room for the largest batch")
            }
        };
        let half = writing.ring.half();
        let half = &mut writing.halves[half];
        half.files.extend(files.map(|file| (file.tag, Some(Arc::clone(file)))));
        Ok((place, half.header.salt, half.under_way.begin()))
    }

    /// Voids the other half, when what it holds is durable in its places, and goes on there.
    fn begin_other_half(&self, writing: &mut Writing) -> Result<()> {
        let epoch = writing.halves[writing.ring.half()].header.epoch + 1;
        let other = writing.ring.other();
        writing.halves[other].under_way.wait();
        self.send_once_more(writing, other)?;
        let half = &mut writing.halves[other];
        for file in half.files.values().flatten() {
            // The file whose sync fails says so from now on, for ever (C4). Its copies are given up: other files go on.
            let _ = file.sync(&self.counters).inspect_err(|error| events::poisoned(file.id, error));
        }
        half.files.clear();
        half.under_way.is_settled();
        // Never one that stale records in this half have.
        let header = HalfHeader { epoch, salt: random_seed().wrapping_add(epoch) };
        let mut unit = AlignedZeros::new(self.page_size, self.page_size.max(4096));
        header.encode(self.page_size, unit.as_mut_slice());
        self.write_durably(&[unit.as_slice()], writing.ring.begin_of(other))?;
        half.header = header;
        writing.ring.turn();
        Ok(())
    }

    /// Repeats the writes of a half that have failed: they may have come half the way, and the copies are about to go.
    fn send_once_more(&self, writing: &Writing, half: usize) -> Result<()> {
        let tags = writing.halves[half].under_way.fell_short();
        if tags.is_empty() {
            return Ok(());
        }
        // From here on nobody writes to a place: what was under way is over, and nobody gets room.
        writing.halves.iter().for_each(|half| half.under_way.wait());
        let found = Found::in_area(&self.area, self.page_size, &self.counters)?;
        for tag in tags {
            if let (Some(copies), Some(Some(file))) =
                (found.copies.get(&tag), writing.halves[half].files.get(&tag))
            {
                // What fails once more is given up: other files go on.
                let _ = self
                    .put_back(file, copies)
                    .inspect_err(|error| events::copies_given_up(&file.path, error));
            }
        }
        Ok(())
    }

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

    /// Voids the file's copies from block `from` on, durably. To be called when no write of these pages is under way, or will
    /// be, before they are cut off; and when they are durable in their places, should they be wanted after a crash.
    pub(crate) fn forget(&self, file: &File, from: BlockNo) -> Result<()> {
        self.check_settled()?;
        if !self.has_copies(file) {
            return Ok(());
        }
        self.forget_tag(file.tag, from)
    }

    pub(super) fn forget_tag(&self, tag: u64, from: BlockNo) -> Result<()> {
        let entry = Entry { tag, block: from.0, checksum: 0 };
        self.write(&Record { kind: Kind::Forget, entries: vec![entry] }, &[], std::iter::empty()).map(drop)
    }

    /// Lets go of a file that is being closed. One that is synced has no copies from then on; those of one that cannot be are
    /// kept until it is opened anew.
    pub(crate) fn let_go(&self, file: &File, is_synced: bool) -> Result<()> {
        if !self.has_copies(file) {
            return Ok(());
        }
        if is_synced {
            self.forget(file, BlockNo(0))?;
        }
        for half in &mut self.writing.lock().halves {
            if is_synced {
                half.files.remove(&file.tag);
            } else if let Some(entry) = half.files.get_mut(&file.tag) {
                *entry = None;
            }
        }
        Ok(())
    }

    fn has_copies(&self, file: &File) -> bool {
        self.writing.lock().halves.iter().any(|half| half.files.contains_key(&file.tag))
    }
}
