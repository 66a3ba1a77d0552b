//! A heap file: pages of records, one after another.

use std::{error::Error, num::NonZeroU32, ops::Range};

use ringpool::{BufferPool, FileId, PageId, PageWrite, PinnedPage};

use super::{recorder::Recorder, slotted};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// An append-only file of lines.
pub(crate) struct Heap {
    pool: BufferPool,
    file: FileId,
    recorder: Recorder,
    /// The page that is being filled.
    last: Option<PinnedPage>,
    /// Blocks that are added to the file, but empty yet.
    spare: Range<u32>,
}

impl Heap {
    /// Blocks by which the file grows: a larger step costs fewer metadata writes.
    const GROWTH: NonZeroU32 = NonZeroU32::new(128).unwrap();

    /// How far a scan reads ahead, and how many blocks it asks for at once.
    const AHEAD: u32 = 64;
    const BATCH: u32 = 16;

    /// Opens the heap in this file. Records are added at the end.
    pub(crate) fn open(pool: &BufferPool, file: FileId, recorder: &Recorder) -> Self {
        Self { pool: pool.clone(), file, recorder: recorder.clone(), last: None, spare: 0..0 }
    }

    /// Adds a line, and returns the block in which it ends.
    pub(crate) fn append(&mut self, line: &[u8]) -> Result<u32> {
        let mut rest = line;
        loop {
            let page = match self.last.take() {
                Some(page) => page,
                None => self.next_page()?,
            };
            // The guard is the exclusive latch. Touching its bytes marks the page dirty; dropping it unlatches the page.
            let mut bytes: PageWrite<'_> = page.write()?;
            let left = slotted::append(&mut bytes, rest);
            drop(bytes);
            match left {
                None => {
                    let block = page.id().block.0;
                    self.last = Some(page);
                    return Ok(block);
                }
                // The page is full: its pin goes, and with it its claim to a frame.
                Some(left) => rest = left,
            }
        }
    }

    fn next_page(&mut self) -> Result<PinnedPage> {
        if self.spare.is_empty() {
            let added = self.pool.extend(self.file, Self::GROWTH).wait()?;
            self.spare = added.first.0..added.first.0 + added.blocks;
        }
        let block = self.spare.next().ok_or("extend gives at least one block")?;
        self.page(block)
    }

    /// Fetches a page of the heap.
    pub(crate) fn page(&self, block: u32) -> Result<PinnedPage> {
        let page = PageId::new(self.file, block);
        self.recorder.note(page);
        Ok(self.pool.fetch(page).wait()?)
    }

    /// Shows every line in order, with the disk always some blocks ahead.
    pub(crate) fn scan(&self, mut show: impl FnMut(Vec<u8>)) -> Result<()> {
        let blocks = self.pool.blocks(self.file)?;
        let mut line = Vec::new();
        for block in 0..blocks {
            if block % Self::BATCH == 0 {
                let from = if block == 0 { 0 } else { block + Self::AHEAD };
                self.pool.prefetch(
                    self.file.pages((from..block + Self::AHEAD + Self::BATCH).take_while(|&b| b < blocks)),
                );
            }
            let page = self.page(block)?;
            for (record, continues) in slotted::records(&page.read()) {
                line.extend_from_slice(record);
                if !continues {
                    show(std::mem::take(&mut line));
                }
            }
        }
        Ok(())
    }
}
