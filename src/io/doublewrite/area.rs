//! The area's file: which file may become one, and its units as they are read and written.

use std::path::Path;

use crate::{
    error::{ConfigError, Error, IoOp, Result},
    id::{FileId, PageAddress, PageSize},
    io::{
        aligned::AlignedZeros,
        doublewrite::{
            layout::{HEADERS, HalfHeader},
            recovery::{self, Found},
        },
        file::{File, open::wait_for_lock, open_options::OpenOptions, plain_transfer},
        options::Fallback,
        storage::Storage,
    },
    observe::Counters,
    sync::Arc,
};

/// How much is read at once in search of records.
const PIECE: usize = 1 << 18;

pub(super) struct Area {
    pub(super) file: File,
    pub(super) page_size: usize,
    pub(super) counters: Arc<Counters>,
}

impl Area {
    pub(super) fn open(
        disk: &dyn Storage,
        path: &Path,
        page_size: PageSize,
        counters: &Arc<Counters>,
    ) -> Result<Self> {
        // Only its owner may read it, as by the options' default: pages are in it in the clear.
        let options = OpenOptions::new().create(true).direct(Fallback::Prefer);
        let file = wait_for_lock(|| {
            let file = File::open(disk, FileId(u32::MAX), path, &options, page_size)?;
            file.check_lock().map(|()| file)
        })?;
        Ok(Self { file, page_size: page_size.bytes(), counters: Arc::clone(counters) })
    }

    /// Returns what its two halves say of themselves.
    ///
    /// # Errors
    /// The file may not be written over: it is neither an area of such pages nor empty.
    pub(super) fn headers(&self) -> Result<[Option<HalfHeader>; 2]> {
        let mut unit = self.zeros(1);
        let mut headers = [None; HEADERS as usize];
        // Like an area whose first header never reached the disk.
        let mut is_blank = self.file.blocks() <= 1;
        for (at, header) in (0..).zip(&mut headers) {
            self.read(at, unit.as_mut_slice())?;
            is_blank &= unit.as_slice().iter().all(|&byte| byte == 0);
            *header = HalfHeader::decode(unit.as_slice(), self.page_size).map_err(|why| self.unfit(&why))?;
        }
        if headers == [None; 2] && !is_blank && !seeded!("area_taken_whatever_it_holds") {
            let text = "it holds something, but is no doublewrite area: give the area a path of its own";
            return Err(self.unfit(text));
        }
        Ok(headers)
    }

    fn unfit(&self, why: &str) -> Error {
        ConfigError::unset("torn_pages", why).at(&self.file.path).into()
    }

    pub(super) fn play(&self, headers: [Option<HalfHeader>; 2]) -> Result<Found> {
        // Read in pieces, and only what the headers name: a file may be longer than the memory.
        let mut piece = self.piece();
        let units = (piece.as_slice().len() / self.page_size) as u32;
        let mut in_piece = 0..0;
        let mut read = |first: u32, into: &mut [u8]| {
            for (unit, into) in (first..).zip(into.chunks_exact_mut(self.page_size)) {
                if !in_piece.contains(&unit) {
                    self.read(unit, piece.as_mut_slice())?;
                    in_piece = unit..unit.saturating_add(units);
                }
                let at = (unit - in_piece.start) as usize * self.page_size;
                into.copy_from_slice(&piece.as_slice()[at..at + self.page_size]);
            }
            Ok(())
        };
        recovery::play(headers, self.file.blocks(), self.page_size, &mut read)
    }

    /// Writes once more what was read, and syncs it: after a sync that failed it may be in the system's cache alone.
    pub(super) fn write_again(&self, found: &Found) -> Result<()> {
        let mut piece = self.piece();
        let step = piece.as_slice().len() / self.page_size;
        for units in std::iter::once(&(0..HEADERS)).chain(&found.used) {
            for first in units.clone().step_by(step) {
                let count = step.min((units.end - first) as usize);
                let bytes = &mut piece.as_mut_slice()[..count * self.page_size];
                self.read(first, bytes)?;
                self.put(first, &[bytes])?;
            }
        }
        self.sync()
    }

    /// Makes the error that says that it is damaged: in the newest copy of this page, or where there is no telling what was.
    pub(super) fn damaged(&self, page: Option<PageAddress>) -> Error {
        Error::AreaDamaged { area: self.file.path.clone(), page }
    }

    fn piece(&self) -> AlignedZeros {
        self.zeros((PIECE / self.page_size).max(1))
    }

    /// Returns an error where a sync of it failed: what is read and what is written may be on no disk from then on, and this pool does neither.
    pub(super) fn check(&self) -> Result<()> {
        let failed = self.file.failed_sync().filter(|_| !seeded!("failed_area_in_use"));
        failed.map_or(Ok(()), |source| Err(self.file.error(IoOp::Sync, source)))
    }

    /// Fills the bytes from a unit on; behind the end of the file there are zeros.
    pub(super) fn read(&self, unit: u32, into: &mut [u8]) -> Result<()> {
        self.check()?;
        let read = plain_transfer::read(&self.file, into, self.offset(unit), &self.counters)
            .map_err(|error| self.file.error(IoOp::Read, error))?;
        into[read..].fill(0);
        Ok(())
    }

    /// Writes the pieces from a unit on, and syncs them: one sync for all threads that come together.
    pub(super) fn write(&self, unit: u32, pieces: &[&[u8]]) -> Result<()> {
        self.put(unit, pieces)?;
        self.sync()
    }

    pub(super) fn put(&self, unit: u32, pieces: &[&[u8]]) -> Result<()> {
        self.check()?;
        plain_transfer::write(&self.file, pieces, self.offset(unit), &self.counters)
            .map_err(|error| self.file.error(IoOp::Write, error))
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync(&self.counters).map(drop).map_err(|error| match error {
            // The engine cannot open the area anew, as it can a file.
            Error::SyncPoisoned { source, .. } => self.file.error(IoOp::Sync, source),
            error => error,
        })
    }

    pub(super) fn grow(&self, units: u32) -> Result<()> {
        let missing = units.saturating_sub(self.file.blocks());
        if missing > 0 {
            self.file.extend(missing, &self.counters)?;
        }
        Ok(())
    }

    pub(super) fn cut(&self, units: u32) -> Result<()> {
        let size = self.file.lock_size();
        if units < self.file.blocks() {
            let end = size.publish_end(units);
            size.cut()?;
            end.keep();
        }
        drop(size);
        self.sync()
    }

    pub(super) fn zeros(&self, units: usize) -> AlignedZeros {
        AlignedZeros::new(units * self.page_size, self.page_size.max(4096))
    }

    fn offset(&self, unit: u32) -> u64 {
        u64::from(unit) * self.page_size as u64
    }
}
