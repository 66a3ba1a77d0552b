//! A file under test: its model, what it really holds as a separate descriptor sees it, and whether it must be synced.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use ringpool::FileId;

use crate::{
    case::{Check, ensure},
    configuration::Configuration,
    difference::difference,
    mirror::Mirror,
    operation::Origin,
    stamp::stamp_sectors,
};

pub(crate) struct TestedFile {
    pub(crate) path: PathBuf,
    /// While a pool has it open.
    pub(crate) open_as: Option<FileId>,
    pub(crate) read_only: bool,
    pub(crate) mirror: Mirror,
    pub(crate) changed: Changed,
    page_size: usize,
    /// Plain reads, past the pool.
    plain: File,
}

/// What happened to a file since it was last made durable: it bounds what may and what must be synced.
#[derive(Copy, Clone, Default)]
pub(crate) struct Changed {
    /// Changed since everything was on disk and synced: a sync may have something to do.
    pub(crate) since_checkpoint: bool,
    /// Changed since the last sync: a checkpoint must sync.
    pub(crate) since_sync: bool,
    /// Certainly written since the last sync: a sync has something to do.
    pub(crate) written: bool,
}

impl Changed {
    pub(crate) const ON_DISK: Self = Self { since_checkpoint: true, since_sync: true, written: true };

    /// The process that had it open before may have been killed without a sync.
    pub(crate) const JUST_OPENED: Self = Self::ON_DISK;

    pub(crate) fn in_memory(&mut self) {
        self.since_checkpoint = true;
        self.since_sync = true;
    }
}

impl TestedFile {
    /// Makes a file with stamped pages, and perhaps a piece of one more at its end.
    pub(crate) fn create(
        dir: &Path,
        no: usize,
        origin: &Origin,
        configuration: &Configuration,
    ) -> io::Result<Self> {
        let page_size = configuration.page_size as usize;
        let blocks = origin.blocks as usize + 1;
        let mut bytes = vec![0; blocks * page_size];
        for (block, page) in bytes.chunks_exact_mut(page_size).enumerate() {
            stamp_sectors(page, no as u32, block as u32, 0, 1);
        }
        bytes.truncate((blocks - 1) * page_size + origin.tail as usize % page_size);
        let path = dir.join(format!("file-{no}"));
        std::fs::write(&path, &bytes)?;
        Ok(Self {
            mirror: Mirror::new(&dir.join(format!("mirror-{no}")), page_size, &bytes)?,
            plain: File::open(&path)?,
            path,
            open_as: None,
            read_only: false,
            changed: Changed::default(),
            page_size,
        })
    }

    pub(crate) fn id(&self) -> FileId {
        self.open_as.expect("a pool has it open between start and stop")
    }

    /// Reads the page as it is in the file; what lies behind the end counts as zeros.
    pub(crate) fn on_disk(&self, block: u32) -> io::Result<Box<[u8]>> {
        let mut page = vec![0; self.page_size].into_boxed_slice();
        let (mut at, offset) = (0, u64::from(block) * self.page_size as u64);
        while at < page.len() {
            match self.plain.read_at(&mut page[at..], offset + at as u64)? {
                0 => break,
                count => at += count,
            }
        }
        Ok(page)
    }

    /// Checks that this page is on disk, as the pool promised.
    pub(crate) fn must_be_on_disk(&mut self, block: u32) -> Check {
        let found = self.on_disk(block).map_err(|error| error.to_string())?;
        let differs = difference(&self.mirror.read(block), &found);
        ensure!(differs.is_none(), "block {block} on disk: {}", differs.unwrap_or_default());
        self.mirror.is_on_disk(block);
        Ok(())
    }

    /// Checks that all that was changed is on disk, as the pool promised.
    pub(crate) fn changes_must_be_on_disk(&mut self) -> Check {
        self.pages_that_may_be_dirty().into_iter().try_for_each(|block| self.must_be_on_disk(block))
    }

    /// Compares the file in full.
    pub(crate) fn all_must_be_on_disk(&mut self) -> Check {
        self.check_length()?;
        (0..self.mirror.blocks()).try_for_each(|block| self.must_be_on_disk(block))
    }

    /// Checks, after a pool that ended without a promise, that every page is one of the versions that may be on disk, and takes it
    /// over.
    pub(crate) fn fall_back_to_disk(&mut self) -> Check {
        self.check_length()?;
        for block in 0..self.mirror.blocks() {
            let found = self.on_disk(block).map_err(|error| error.to_string())?;
            let versions = self.mirror.versions(block);
            if !versions.contains(&found) {
                let newest = versions.last().expect("a block has versions");
                let how = difference(newest, &found).unwrap_or_default();
                return Err(format!(
                    "block {block} is none of its {} versions; the newest: {how}",
                    versions.len()
                ));
            }
            if self.mirror.may_be_dirty(block) {
                self.mirror.fall_back_to(block, &found);
            }
        }
        Ok(())
    }

    pub(crate) fn pages_that_may_be_dirty(&self) -> Vec<u32> {
        (0..self.mirror.blocks()).filter(|&block| self.mirror.may_be_dirty(block)).collect()
    }

    fn check_length(&self) -> Check {
        let len = self.plain.metadata().map_err(|error| error.to_string())?.len();
        let blocks = len.div_ceil(self.page_size as u64);
        ensure!(
            blocks == u64::from(self.mirror.blocks()),
            "{blocks} blocks on disk, {} expected",
            self.mirror.blocks()
        );
        Ok(())
    }
}
