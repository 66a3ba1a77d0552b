//! What each page of a file must hold.
//!
//! Every sector of a page says which page and which version it belongs to. Beside the pool the ledger has, for each block, the
//! version whose change is **done** and the one that is **begun**. Both are written only by the worker that has the page pinned. A
//! cut waits for pins, so a pinned page is never cut meanwhile: the worker must see a version from what was done when it had pinned
//! the page to what is begun once it has looked.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use ringpool::{FileId, PageId};

use crate::stamp;

pub(crate) const PAGE: usize = 8192;

/// A file, and what is known of it.
pub(crate) struct Ledger {
    pub(crate) path: PathBuf,
    /// Changes when the file is opened anew, while no worker uses it.
    id: RwLock<FileId>,
    /// What marks the pages of this file.
    mark: u32,
    /// Whether faults strike it.
    pub(crate) exposed: bool,
    /// Its length when nothing of it is cut; the blocks from the floor on are cut and added again now and then.
    pub(crate) blocks: u32,
    pub(crate) floor: u32,
    begun: Vec<AtomicU32>,
    done: Vec<AtomicU32>,
    /// The versions that were known to be in the file when it was last looked at.
    kept: Vec<AtomicU32>,
    /// Whether the blocks from the floor on are cut; held by the worker that cuts and grows.
    pub(crate) is_cut: Mutex<bool>,
}

impl Ledger {
    pub(crate) fn new(path: PathBuf, id: FileId, exposed: bool, blocks: u32) -> Self {
        let versions = || (0..blocks).map(|_| AtomicU32::new(0)).collect();
        Self {
            path,
            id: RwLock::new(id),
            mark: 77 + u32::from(exposed),
            exposed,
            blocks,
            floor: blocks - blocks / 8,
            begun: versions(),
            done: versions(),
            kept: versions(),
            is_cut: Mutex::new(false),
        }
    }

    /// Notes the file's new id after it was opened anew.
    pub(crate) fn reopened(&self, id: FileId) {
        *self.id.write().expect("no thread panics with it") = id;
    }

    pub(crate) fn id(&self) -> FileId {
        *self.id.read().expect("no thread panics with it")
    }

    pub(crate) fn page(&self, block: u32) -> PageId {
        PageId::new(self.id(), block)
    }

    /// Returns the least version that a worker with the block pinned may find in it now.
    pub(crate) fn done(&self, block: u32) -> u32 {
        self.done[block as usize].load(SeqCst)
    }

    /// Compares a page that is pinned and latched. Returns the version that it has.
    pub(crate) fn compare(&self, block: u32, least: u32, bytes: &[u8]) -> Result<u32, String> {
        let version = self.version_of(block, bytes)?;
        let most = self.begun[block as usize].load(SeqCst);
        self.demand(block, version, least, most)
    }

    /// Stamps the next version on a page that is pinned and exclusively latched.
    pub(crate) fn change(&self, block: u32, version: u32, bytes: &mut [u8]) {
        self.begun[block as usize].store(version, SeqCst);
        stamp::stamp_sectors(bytes, self.mark, block, 0, version);
    }

    /// Notes that the change is done. The caller still has the page pinned.
    pub(crate) fn change_is_done(&self, block: u32, version: u32) {
        self.done[block as usize].fetch_max(version, SeqCst);
    }

    /// Notes that the blocks from the floor on are cut, and are zeros when they are added again.
    pub(crate) fn was_cut(&self) {
        for versions in [&self.begun, &self.done, &self.kept] {
            versions[self.floor as usize..].iter().for_each(|version| version.store(0, SeqCst));
        }
    }

    /// Compares the file as another program reads it, while no worker changes a page. Where changes may have been `discarded`, the
    /// versions that are found count from now on.
    pub(crate) fn compare_on_disk(&self, discarded: bool) -> Result<(), String> {
        let file = File::open(&self.path).map_err(|error| error.to_string())?;
        let len = file.metadata().map_err(|error| error.to_string())?.len();
        if len != u64::from(self.blocks) * PAGE as u64 {
            return Err(format!("{}: {len} bytes, and not {} blocks", self.path.display(), self.blocks));
        }
        let mut bytes = vec![0; PAGE];
        for block in 0..self.blocks {
            file.read_exact_at(&mut bytes, u64::from(block) * PAGE as u64)
                .map_err(|error| error.to_string())?;
            let version = self.version_of(block, &bytes)?;
            let now = self.done(block);
            let least = if discarded { self.kept[block as usize].load(SeqCst) } else { now };
            self.demand(block, version, least, now).map_err(|difference| format!("on disk: {difference}"))?;
            for versions in [&self.begun, &self.done, &self.kept] {
                versions[block as usize].store(version, SeqCst);
            }
        }
        Ok(())
    }

    fn version_of(&self, block: u32, bytes: &[u8]) -> Result<u32, String> {
        stamp::version_of(bytes, self.mark, block)
            .map_err(|difference| format!("{}: {difference}", self.path.display()))
    }

    fn demand(&self, block: u32, found: u32, least: u32, most: u32) -> Result<u32, String> {
        if (least..=most).contains(&found) {
            return Ok(found);
        }
        let path = self.path.display();
        Err(format!("{path}: block {block} shows version {found}; it must be one of {least}..={most}"))
    }
}
