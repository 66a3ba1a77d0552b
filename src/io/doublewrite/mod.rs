//! Torn-page protection: copies of pages go to an area of their own, and are durable there, before the pages go to their places.
//! Whatever a crash tears can be put right from its copy. PostgreSQL keeps whole pages in its log for that; this is InnoDB's way, for engines
//! whose log says what changed *in* a page, and has none.
//!
//! The [area](layout) has two halves, which are filled in turn; the [ledger] knows what they hold and what may come next. A batch
//! of pages is one write, however many runs it has, and shares its sync with other batches that come at the same time. The area and
//! the place get the same bytes, although a page that is written has no latch: its bytes are sealed copies, or lent
//! (`buffer/frame/shadow`).
//!
//! Not protected: lost writes; damage of files that comes later (nothing in the area is that old); files that another program, or
//! a pool without the area, changes between a crash and the next opening.
//!
//! Lock order: a file's `size` (while it is cut, closed or removed), `writing`, then a file's `sync`. None is taken to finish a
//! transfer, so a thread that has `writing` may wait for transfers.

mod area;
mod layout;
mod ledger;
pub(crate) mod options;
mod recovery;
mod repair;
mod under_way;
mod voiding;

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::{
    error::{ConfigError, Result},
    id::{BlockNo, PageSize},
    io::{
        doublewrite::{
            area::Area,
            layout::{CopyEntry, Kind, Numbering, Record, checksum, header_units},
            ledger::{Ledger, Room},
            options::DoubleWriteArea,
            under_way::{NotDurable, UnderWay},
        },
        file::File,
        storage::Storage,
    },
    observe::Counters,
    sync::{Arc, Mutex},
};

pub(crate) use under_way::KeptCopies;

/// Pages that are one behind the other in their file: what one write brings there.
pub(crate) struct Run<'a> {
    pub(crate) file: &'a Arc<File>,
    pub(crate) first: BlockNo,
    /// Their bytes, in pieces of one or more pages.
    pub(crate) pieces: SmallVec<[&'a [u8]; 16]>,
}

/// The doublewrite area of a pool, in use.
///
/// # Why a copy never brings back an older page
///
/// When a file is opened, each place that differs from the newest whole copy of its page is written over with it. No checksum
/// in the page is needed, since the place is never newer:
///
/// 1. *Copies first.* A page goes to its place only when its copy is durable. So what lies there, whole or in part, has a
///    copy that was whole, in a half that was not yet void.
/// 2. *Void only what is settled.* Copies are voided only when their pages are whole and durable in their places. A write
///    that failed may have come half the way: it is repeated from its copy first, and then the file is synced. What lies in a
///    place without having a copy any more is therefore all there.
/// 3. *A half goes as a whole.* The new header is durable before any copy behind it is destroyed, so no crash can destroy a
///    newer copy and leave an older one of the same half. If the header itself is torn, all that the half had is still there.
/// 4. *The older half goes first.* If the half with a page's copy is void, what the other half has was written after it. So
///    the newest whole copy of a page is as new as its place, or newer, and its log was durable before it was made.
/// 5. *Other changes of a file are recorded.* Cutting, closing and removing a file puts a record into the area that voids the
///    file's earlier copies from some block on. The record lies behind them, so by 3 and 4 it goes no sooner than they do. By
///    2 it does no harm: if the cut cannot be made after all, or a crash undoes it, the pages are whole without their copies.
/// 6. *An open file has no copies from before it was opened.* Putting them back ends with such a record, before any caller
///    sees the file. So no other part of the pool need ask: a file may be extended, cut and written atomically whatever else
///    is pending.
///
/// # After a crash
///
/// Files with copies are pending (see [`ledger`]) until they are [opened](DoubleWrite::admit) or [given up](DoubleWrite::give_up). Both
/// halves are begun then, also where they get another size, each with a sync of its own, so by 4 a crash in between leaves what is newer. A
/// life begins by writing once more what it has read in the area: after a sync that failed, what is read may be in the system's cache
/// alone, and then the next power cut shows what was there before.
///
/// # After failures
///
/// A file whose sync failed, or with a page that cannot be written, is never settled (2), whether it is open or was closed as it is. When
/// the half without its copies is full, writes that need copies are refused with the name of that file, until it was opened anew, given
/// up, or can be written again.
///
/// A sync of the area that fails leaves copies that are read and are on no disk. So from then on this pool neither writes nor
/// reads it; and what is read in the life in which it was written is synced first, since a batch that was refused may have
/// left such copies too. What damage of the area means is said in [`recovery`].
pub(crate) struct DoubleWrite {
    area: Area,
    has_codec: bool,
    writing: Mutex<Writing>,
    not_durable: NotDurable,
}

/// Held while a half is begun anew, or writes of a file that failed are repeated: a batch that needs room waits for that.
struct Writing {
    ledger: Ledger,
    /// The writes that are under way from each half to the places of the pages.
    under_way: [Arc<UnderWay>; 2],
    /// The open files that the area has copies of, by tag. If it has copies of other files, those were closed as they were, and
    /// what was written to them may not be durable.
    files: BTreeMap<u64, Arc<File>>,
}

impl Writing {
    /// Returns the tags of the files that are not open and that the area has copies of: they may be torn without those.
    fn closed(&self) -> Vec<u64> {
        self.ledger.held().into_iter().filter(|tag| !self.files.contains_key(tag)).collect()
    }
}

impl DoubleWrite {
    /// Opens the area, or makes it, and reads what it holds. A batch may have up to `largest_batch` pages.
    ///
    /// # Errors
    /// It cannot be used, or is damaged, and no codec can tell which pages are torn.
    pub(crate) fn open(
        disk: &dyn Storage,
        options: &DoubleWriteArea,
        page_size: PageSize,
        largest_batch: usize,
        has_codec: bool,
        counters: &Arc<Counters>,
    ) -> Result<Self> {
        let page = page_size.bytes();
        let smallest = header_units(largest_batch, page) + largest_batch;
        let units = u32::try_from((options.bytes / 2 / page).max(smallest))
            .ok()
            .filter(|&units| ledger::area_units(units).is_some())
            .ok_or_else(|| {
                let advice = "more than a doublewrite area can have: choose fewer";
                ConfigError::new("bytes", options.bytes, advice).at(&options.path)
            })?;
        let area = Area::open(disk, &options.path, page_size, counters)?;
        let found = area.play(area.headers()?)?;
        if found.is_damaged && !has_codec {
            return Err(area.damaged(None));
        }
        if found.headers != [None; 2] {
            area.write_again(&found)?;
        }
        let not_durable = NotDurable::default();
        if found.durable < found.next {
            not_durable.add(found.durable);
        }
        let writing = Writing {
            ledger: Ledger::new(units, found),
            under_way: Default::default(),
            files: BTreeMap::new(),
        };
        let opened = Self { area, has_codec, writing: Mutex::new(writing), not_durable };
        let mut writing = opened.writing.lock();
        if writing.closed().is_empty() {
            opened.settle(&mut writing)?;
        }
        drop(writing);
        Ok(opened)
    }

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
    fn room(&self, writing: &mut Writing, mut ask: impl FnMut(&mut Ledger) -> Option<Room>) -> Result<Room> {
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

    /// Returns the next number for a record that gets this room.
    fn number(&self, room: Room) -> Numbering {
        let Room { number, oldest, .. } = room;
        Numbering { number, oldest, durable: self.not_durable.add(number) }
    }
}
