//! Records that are written to the area: copies, and records that void copies.

use crate::{
    error::Result,
    io::doublewrite::{
        DoubleWrite, KeptCopies, Run, Writing,
        layout::{CopyEntry, Kind, Numbering, Record, checksum, header_units},
        ledger::{Ledger, Room},
    },
};

impl DoubleWrite {
    /// Makes copies of the pages durable. The pages may be written to their places from here on; the returned values, one for
    /// each run, are kept until that is over.
    ///
    /// # Errors
    /// Nothing may be written: the area could not be, now or earlier, or files need the copies that would have to go.
    pub(crate) fn protect(&self, runs: &[Run<'_>]) -> Result<Vec<KeptCopies>> {
        let page = self.area.page_size;
        let entries = runs.iter().flat_map(|run| {
            let pages = run.pieces.iter().flat_map(|piece| piece.chunks_exact(page));
            (run.first.0..).zip(pages).map(|(block, bytes)| CopyEntry {
                tag: run.file.tag,
                block,
                checksum: checksum(bytes),
            })
        });
        let mut record =
            Record { numbering: Numbering::default(), kind: Kind::Copies, entries: entries.collect() };
        let units = record.units(page) as u32;
        let mut header = self.area.zeros(header_units(record.entries.len(), page));
        let (room, on_its_way) = {
            let mut writing = self.writing.lock();
            let tags = || runs.iter().map(|run| run.file.tag);
            let room = self.room(&mut writing, |ledger| ledger.room_for_copies(units, tags()))?;
            // Under the lock, so that numbers are added in their order.
            record.numbering = self.number(room);
            writing.files.extend(runs.iter().map(|run| (run.file.tag, run.file.clone())));
            (room, writing.under_way[room.half].begin())
        };
        record.encode(room.salt, room.unit, header.as_mut_slice());
        let copies = runs.iter().flat_map(|run| run.pieces.iter().copied());
        let pieces: Vec<&[u8]> = std::iter::once(header.as_slice()).chain(copies).collect();
        self.area.write(room.unit, &pieces)?;
        self.not_durable.remove(room.number);
        Ok(runs.iter().map(|run| on_its_way.keep_copies(run.file)).collect())
    }

    /// Takes the room that is asked for, and begins a half anew where that is needed.
    pub(super) fn room(
        &self,
        writing: &mut Writing,
        mut ask: impl FnMut(&mut Ledger) -> Option<Room>,
    ) -> Result<Room> {
        self.area.check()?;
        if let Some(room) = ask(&mut writing.ledger) {
            return Ok(room);
        }
        if writing.ledger.is_in_use {
            self.begin_other_half(writing)?;
        } else {
            self.settle(writing)?;
        }
        Ok(ask(&mut writing.ledger).expect("a half has room for the largest batch"))
    }
}
