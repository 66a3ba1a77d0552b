//! Records on their way into the area: copies, and what voids them.

use crate::{
    doublewrite::{
        DoubleWrite, KeptCopies, Run,
        layout::{Entry, Kind, Record, checksum, header_units},
        ring::Place,
        under_way::OnItsWay,
    },
    error::{Error, IoOp, Result},
    io::{file::File, plain, zeros::AlignedZeros},
    sync::Arc,
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
    pub(super) fn write<'a>(
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
    pub(super) fn write_durably(&self, pieces: &[&[u8]], unit: u64) -> Result<()> {
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
}
