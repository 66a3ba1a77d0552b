//! Torn-page protection: copies of pages go to an area of their own, and are durable there, before the pages go to their
//! places. Whatever a crash tears can be put right from its copy.
//!
//! A disk writes sectors, a page has several, and a power cut may leave some of them old and some new. Recovery from a log
//! that says what changed *in* a page needs a page that is one or the other. PostgreSQL keeps whole pages in its log for that;
//! this is InnoDB's way, for engines whose log has none.
//!
//! # How it goes
//!
//! The [area](layout) has two halves, which are filled in turn. A batch of pages is one write, however many runs it has, and
//! shares its sync with the batches of others that come at the same time. When a half is full the other one is *begun anew*:
//! all batches in it must have arrived in their places, the files of their pages are synced, and a new header voids what it
//! held. Only then is anything behind the header written over.
//!
//! # Why a copy never brings back an older page
//!
//! When a file is opened, each place that differs from the newest whole copy of its page is written over with it. No checksum in
//! the page is needed, since the place is never newer:
//!
//! 1. *Copies first.* A page goes to its place only when its copy is durable. So what lies there, whole or in part, has a copy
//!    that was whole, in a half that was not yet void.
//! 2. *Void only what is settled.* A half is begun anew only when its pages are durable in their places. What lies in a
//!    place without having a copy any more is therefore all there.
//! 3. *A half goes as a whole.* The new header is durable before any copy behind it is destroyed, so no crash can destroy a
//!    newer copy and leave an older one of the same half. If the header itself is torn the half is void: by then it was settled.
//! 4. *The older half goes first.* If the half with a page's copy is void, what the other half has was written after it. So the
//!    newest whole copy of a page is as new as its place, or newer, and its log was durable before it was made.
//! 5. *What changes a file otherwise is told.* Cutting, closing and removing a file puts a record into the area that voids the
//!    file's earlier copies from some block on; it lies behind them, so by 3 and 4 it goes no sooner than they do.
//!
//! After a crash nothing is written before every file that has copies in the area [was opened](DoubleWrite::admit), or
//! [given up](DoubleWrite::give_up): the halves are begun anew only then.
//!
//! What this is no protection from: lost writes and damage that comes later (nothing in the area is that old); another
//! program, or a pool without the area, that changes the files between a crash and the next opening.
//!
//! Lock order: `pending`, `writing`, then a file's `sync`. None is taken by who finishes a transfer.

mod layout;
mod recovery;
mod ring;
mod under_way;

use std::collections::HashMap;

use crate::{
    config::{DoubleWriteArea, Fallback, OpenOptions},
    doublewrite::{
        layout::{Entry, HalfFound, HalfHeader, Kind, Record, checksum, header_units},
        recovery::{Copies, Half},
        ring::{Place, Ring},
        under_way::UnderWay,
    },
    error::{Error, IoOp, Result},
    events,
    id::{BlockNo, FileId, PageSize},
    io::{disk::Disk, file::File, plain, zeros::AlignedZeros},
    stats::{Counter, Counters},
    sync::{Arc, Mutex, random_seed},
};

pub(crate) use under_way::OnTheirWay;

/// Pages that are one behind the other, in their file and in memory.
pub(crate) struct Run<'a> {
    pub(crate) file: &'a Arc<File>,
    pub(crate) first: BlockNo,
    pub(crate) bytes: &'a [u8],
}

pub(crate) struct DoubleWrite {
    area: File,
    page_size: usize,
    /// Of each half.
    units: u32,
    counters: Arc<Counters>,
    /// The copies from before, of the files that were not opened since. While there are any, nothing is written.
    pending: Mutex<HashMap<u64, Copies>>,
    writing: Mutex<Writing>,
}

/// Held while a half is begun anew: who needs room waits for that in any case.
struct Writing {
    ring: Ring,
    halves: [HalfInUse; 2],
}

#[derive(Default)]
struct HalfInUse {
    header: HalfHeader,
    /// The files with pages in it, by tag. `None`: it was closed, but what was written to it may not be durable.
    files: HashMap<u64, Option<Arc<File>>>,
    under_way: Arc<UnderWay>,
}

impl DoubleWrite {
    /// Opens the area, or makes it, and looks what it holds. A batch may have up to `largest_batch` pages.
    pub(crate) fn open(
        disk: &dyn Disk,
        options: &DoubleWriteArea,
        page_size: PageSize,
        largest_batch: usize,
        counters: &Arc<Counters>,
    ) -> Result<Self> {
        let open = OpenOptions::new().create(true).direct(Fallback::Prefer);
        let area = File::open(disk, FileId(u32::MAX), &options.path, &open, page_size)?;
        let page_size = page_size.bytes();
        // The header of the half, and those of the largest batch should its pages lie in as many records.
        let smallest = 1 + header_units(largest_batch, page_size) + largest_batch;
        let wanted = (options.bytes / 2 / page_size).max(smallest);
        let wanted = u32::try_from(wanted).ok().filter(|units| units.checked_mul(2).is_some());
        let wanted = wanted.ok_or_else(|| {
            Error::config(format!(
                "{}: an area of {} bytes is too large",
                options.path.display(),
                options.bytes
            ))
        })?;
        let found = Found::in_area(&area, page_size, counters)?;
        // As long as there are copies the area stays as it is.
        if found.copies.is_empty() && area.blocks() != 2 * wanted {
            remake(&area, 2 * wanted, page_size, counters)?;
        }
        let half = |header: Option<HalfHeader>| HalfInUse {
            header: header.unwrap_or_default(),
            ..Default::default()
        };
        let halves = found.headers.map(half);
        let younger = usize::from(halves[1].header.epoch > halves[0].header.epoch);
        let units = area.blocks() / 2;
        let opened = Self {
            area,
            page_size,
            units,
            counters: Arc::clone(counters),
            pending: Mutex::new(found.copies),
            writing: Mutex::new(Writing { ring: Ring::full(units, younger), halves }),
        };
        if opened.pending.lock().is_empty() {
            opened.settle()?;
        }
        Ok(opened)
    }

    // ---- before pages are written --------------------------------------------------------------------------------------

    /// Makes copies of the pages durable. They may be written to their places from here on, and what comes back is kept until
    /// that is over.
    ///
    /// # Errors
    /// Nothing may be written: the area could not be, or files with copies from before a crash were not opened yet.
    pub(crate) fn protect(&self, runs: &[Run<'_>]) -> Result<Arc<OnTheirWay>> {
        self.check_settled()?;
        let page = self.page_size;
        let entries = runs.iter().flat_map(|run| {
            (run.first.0..).zip(run.bytes.chunks_exact(page)).map(|(block, bytes)| Entry {
                tag: run.file.tag,
                block,
                checksum: checksum(bytes),
            })
        });
        let record = Record { kind: Kind::Copies, entries: entries.collect() };
        let copies: Vec<&[u8]> = runs.iter().map(|run| run.bytes).collect();
        let files = runs.iter().map(|run| run.file);
        self.write(&record, &copies, files).map(Arc::new)
    }

    /// An error where nothing may be written, or thrown away, because the copies from before a crash may still be needed.
    pub(crate) fn check_settled(&self) -> Result<()> {
        let pending = self.pending.lock();
        if pending.is_empty() { Ok(()) } else { Err(Error::TornPages { tags: tags_of(&pending) }) }
    }

    /// Makes a record durable, in the half in which there is room.
    fn write<'a>(
        &self,
        record: &Record,
        copies: &[&[u8]],
        files: impl Iterator<Item = &'a Arc<File>>,
    ) -> Result<OnTheirWay> {
        let header_len = header_units(record.entries.len(), self.page_size) * self.page_size;
        let mut header = AlignedZeros::new(header_len, self.page_size.max(4096));
        let (place, salt, on_their_way) = self.take_room(record.units(self.page_size) as u32, files)?;
        record.encode(salt, place.unit, header.as_mut_slice());
        let pieces: Vec<&[u8]> = std::iter::once(header.as_slice()).chain(copies.iter().copied()).collect();
        plain::write(&self.area, &pieces, self.offset(place), &self.counters)
            .map_err(|error| self.area.error(IoOp::Write, error))?;
        self.sync()?;
        Ok(on_their_way)
    }

    /// Room for so many units, where that takes it by beginning the other half anew.
    fn take_room<'a>(
        &self,
        units: u32,
        files: impl Iterator<Item = &'a Arc<File>>,
    ) -> Result<(Place, u64, OnTheirWay)> {
        let mut writing = self.writing.lock();
        let place = match writing.ring.place(units) {
            Some(place) => place,
            None => {
                self.begin_other_half(&mut writing)?;
                writing.ring.place(units).expect("a half has room for the largest batch")
            }
        };
        let half = &mut writing.halves[place.half];
        half.files.extend(files.map(|file| (file.tag, Some(Arc::clone(file)))));
        Ok((place, half.header.salt, half.under_way.begin()))
    }

    /// Voids the other half, when what it holds is durable in its places, and goes on there.
    fn begin_other_half(&self, writing: &mut Writing) -> Result<()> {
        let epoch = writing.halves[writing.ring.half()].header.epoch + 1;
        let other = writing.ring.other();
        let half = &mut writing.halves[other];
        half.under_way.wait();
        for file in half.files.values().flatten() {
            // The file whose sync fails says so from now on, for ever (C4). Its copies are given up: other files go on.
            let _ = file.sync(&self.counters).inspect_err(|error| events::poisoned(file.id, error));
        }
        half.files.clear();
        // Never one that stale records in this half have.
        let header = HalfHeader { epoch, salt: random_seed().wrapping_add(epoch) };
        let mut unit = AlignedZeros::new(self.page_size, self.page_size.max(4096));
        header.encode(self.page_size, unit.as_mut_slice());
        let place = Place { half: other, unit: 0 };
        plain::write(&self.area, &[unit.as_slice()], self.offset(place), &self.counters)
            .map_err(|error| self.area.error(IoOp::Write, error))?;
        self.sync()?;
        half.header = header;
        writing.ring.turn();
        Ok(())
    }

    /// Voids both halves, once what they hold is durable in its places: after this the area has nothing to put back.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut writing = self.writing.lock();
        self.begin_other_half(&mut writing)?;
        self.begin_other_half(&mut writing)
    }

    /// Makes durable what was written to the area before; one sync for all who come together.
    fn sync(&self) -> Result<()> {
        match self.area.sync(&self.counters) {
            Ok(_) => Ok(()),
            // The area is no file that the engine could open anew.
            Err(Error::SyncPoisoned { source, .. }) => Err(self.area.error(IoOp::Sync, source)),
            Err(error) => Err(error),
        }
    }

    fn offset(&self, Place { half, unit }: Place) -> u64 {
        (half as u64 * u64::from(self.units) + u64::from(unit)) * self.page_size as u64
    }

    // ---- when a file changes otherwise -----------------------------------------------------------------------------------

    /// Voids the file's copies from block `from` on, durably. To be called when no write of these pages is under way, or will
    /// be, before they are cut off; and when they are durable in their places, should they be wanted after a crash.
    pub(crate) fn forget(&self, file: &File, from: BlockNo) -> Result<()> {
        self.check_settled()?;
        if !self.has_copies(file) {
            return Ok(());
        }
        let entry = Entry { tag: file.tag, block: from.0, checksum: 0 };
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

    // ---- after a crash -----------------------------------------------------------------------------------------------------

    /// Takes a file in: puts right what a crash has torn, before anybody sees it. `others` are the open files.
    ///
    /// # Errors
    /// The file cannot be used: its tag is another's, it would have to be written to, or that failed.
    pub(crate) fn admit<'a>(
        &self,
        file: &File,
        mut others: impl Iterator<Item = &'a Arc<File>>,
    ) -> Result<()> {
        if file.identity == self.area.identity {
            return Err(Error::config(format!("{} is the pool's doublewrite area", file.path.display())));
        }
        let same_tag = |other: &&Arc<File>| other.tag == file.tag && !other.read_only;
        if !file.read_only
            && let Some(other) = others.find(same_tag)
        {
            return Err(Error::TagTaken { path: file.path.clone(), tag: file.tag, file: other.id });
        }
        let pending = self.pending.lock().get(&file.tag).cloned();
        // Held until they are back in their places: no half is begun anew meanwhile.
        let writing = self.writing.lock();
        let copies = match pending {
            Some(copies) => copies,
            None => self.copies_left(&writing, file.tag)?,
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
        let restored = self.put_back(file, &copies)?;
        drop(writing);
        events::restored(&file.path, restored);
        self.counters.add(Counter::Restored, restored);
        self.give_up(file.tag)
    }

    /// The tags of the files that must be opened, or given up, before anything is written.
    pub(crate) fn pending(&self) -> Arc<[u64]> {
        tags_of(&self.pending.lock())
    }

    /// Has no use any more for what the area held of this file before it was opened.
    pub(crate) fn give_up(&self, tag: u64) -> Result<()> {
        for half in &mut self.writing.lock().halves {
            half.files.remove(&tag);
        }
        let mut pending = self.pending.lock();
        if pending.len() == 1 && pending.contains_key(&tag) {
            // The last one. Nobody writes before this is over, and should it fail, it is still pending.
            self.settle()?;
        }
        pending.remove(&tag);
        Ok(())
    }

    /// The newest copies of a file that was closed without having been synced.
    fn copies_left(&self, writing: &Writing, tag: u64) -> Result<Copies> {
        if !writing.halves.iter().any(|half| half.files.contains_key(&tag)) {
            return Ok(Copies::new());
        }
        let mut found = Found::in_area(&self.area, self.page_size, &self.counters)?;
        Ok(found.copies.remove(&tag).unwrap_or_default())
    }

    /// Writes the copies over places that differ, and syncs the file. Gives how many did.
    fn put_back(&self, file: &File, copies: &Copies) -> Result<u64> {
        let mut pages = AlignedZeros::new(2 * self.page_size, self.page_size.max(4096));
        let mut restored = 0;
        // What lies behind the end was lost with its length, or cut.
        for (&block, copy) in copies.range(..file.blocks()) {
            let (page, place) = pages.as_mut_slice().split_at_mut(self.page_size);
            let offset = file.page_size.offset_of(BlockNo(block));
            self.read_copy(page, copy)?;
            place.fill(0);
            plain::read(file, place, offset, &self.counters)
                .map_err(|error| file.error(IoOp::Open, error))?;
            if page != place {
                plain::write(file, &[page], offset, &self.counters)
                    .map_err(|error| file.error(IoOp::Open, error))?;
                restored += 1;
            }
        }
        // Even what was found as it should be may be so in the system's cache only.
        file.note_written();
        file.sync(&self.counters)?;
        Ok(restored)
    }

    fn read_copy(&self, page: &mut [u8], copy: &recovery::Copy) -> Result<()> {
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

/// What lies in an area.
struct Found {
    headers: [Option<HalfHeader>; 2],
    /// The newest copies, by their files' tags.
    copies: HashMap<u64, Copies>,
}

impl Found {
    fn in_area(area: &File, page_size: usize, counters: &Counters) -> Result<Self> {
        let half_len = area.blocks() as usize / 2 * page_size;
        let mut memory = [0, 1].map(|_| AlignedZeros::new(half_len, page_size.max(4096)));
        let mut headers = [None; 2];
        for (half, bytes) in memory.iter_mut().enumerate() {
            let bytes = bytes.as_mut_slice();
            plain::read(area, bytes, (half * half_len) as u64, counters)
                .map_err(|error| area.error(IoOp::Read, error))?;
            headers[half] = match HalfHeader::decode(bytes, page_size) {
                HalfFound::Void => None,
                HalfFound::Header(header) => Some(header),
                HalfFound::OtherPageSize(size) => {
                    return Err(Error::config(format!(
                        "the doublewrite area {} was made for pages of {size} bytes; remove it only if no pool of such \
                         pages may have crashed with it",
                        area.path.display()
                    )));
                }
                HalfFound::OtherVersion(version) => {
                    return Err(Error::config(format!(
                        "the doublewrite area {} has version {version} of its layout, which this library does not know",
                        area.path.display()
                    )));
                }
            };
        }
        let halves = headers.iter().enumerate().filter_map(|(half, header)| {
            let offset = (half * half_len) as u64;
            header.map(|header| Half { header, bytes: memory[half].as_slice(), offset })
        });
        Ok(Self { headers, copies: recovery::newest_copies(halves.collect(), page_size) })
    }
}

/// Makes an area of this many units of one that has no copies.
fn remake(area: &File, units: u32, page_size: usize, counters: &Counters) -> Result<()> {
    // Voided first: with the halves elsewhere, one might be found without what the other says about it.
    let void = AlignedZeros::new(page_size, page_size.max(4096));
    for first in [0, area.blocks() / 2].into_iter().filter(|&unit| unit < area.blocks()) {
        plain::write(area, &[void.as_slice()], u64::from(first) * page_size as u64, counters)
            .map_err(|error| area.error(IoOp::Write, error))?;
    }
    area.sync(counters)?;
    if let Some(missing) = units.checked_sub(area.blocks()).filter(|&missing| missing > 0) {
        area.extend(missing, counters)?;
    } else {
        let size = area.lock_size();
        size.publish_end(units);
        size.cut()?;
    }
    area.sync(counters).map(drop)
}

fn tags_of(pending: &HashMap<u64, Copies>) -> Arc<[u64]> {
    let mut tags: Vec<u64> = pending.keys().copied().collect();
    tags.sort_unstable();
    tags.into()
}
