//! Which pages an engine uses: to find out how large its pool should be, by `ringpool::testing::Replay` or
//! `cargo bench --bench miss_ratios`.

use std::{
    fs, io, mem,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use ringpool::PageId;

/// Notes pages where that is asked for, and costs nothing otherwise. All clones note into one list, which grows for as long as the
/// engine runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Option<Arc<Mutex<Vec<PageId>>>>);

impl Recorder {
    /// Makes a recorder that notes pages. (The default does not.)
    pub(crate) fn new() -> Self {
        Self(Some(Arc::default()))
    }

    /// Notes that the engine is about to use the page.
    #[inline]
    pub(crate) fn note(&self, page: PageId) {
        if let Some(pages) = &self.0 {
            pages.lock().unwrap_or_else(PoisonError::into_inner).push(page);
        }
    }

    /// Returns what was noted so far, and forgets it.
    pub(crate) fn take(&self) -> Vec<PageId> {
        let take = |pages: &Mutex<_>| mem::take(&mut *pages.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.as_deref().map_or(Vec::new(), take)
    }

    /// Writes what was noted: a page a line, as a number whose upper half is the file's and whose lower one the block's.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let number = |page: PageId| u64::from(page.file.get()) << 32 | u64::from(page.block.0);
        let lines: Vec<String> = self.take().into_iter().map(|page| number(page).to_string()).collect();
        fs::write(path, lines.join("\n") + "\n")
    }
}
