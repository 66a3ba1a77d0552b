//! The model of one file: a second file that is read and written with plain `pread` and `pwrite`, in step with the pool.
//!
//! What the pool's file holds on disk is known only where the pool promised it; in between it may have written a page at any time.
//! So the model keeps, for each page, the versions that may be on disk: the one that certainly was last, and each version since.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

pub(crate) struct Mirror {
    file: File,
    page_size: usize,
    blocks: u32,
    /// For each block what may be on disk, the oldest first, the current one last.
    versions: Vec<Vec<Box<[u8]>>>,
}

impl Mirror {
    /// Makes a model of a file that holds these bytes; the rest of its last block counts as zeros.
    pub(crate) fn new(path: &Path, page_size: usize, bytes: &[u8]) -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let blocks = bytes.len().div_ceil(page_size);
        file.write_all_at(bytes, 0)?;
        file.set_len((blocks * page_size) as u64)?;
        let mut mirror = Self { file, page_size, blocks: blocks as u32, versions: vec![Vec::new(); blocks] };
        (0..mirror.blocks).for_each(|block| mirror.is_on_disk(block));
        Ok(mirror)
    }

    pub(crate) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Returns what the page holds now.
    pub(crate) fn read(&self, block: u32) -> Box<[u8]> {
        let mut bytes = vec![0; self.page_size].into_boxed_slice();
        self.file.read_exact_at(&mut bytes, self.offset(block)).expect("the model's own file is good");
        bytes
    }

    /// Changes a part of the page.
    pub(crate) fn write(&mut self, block: u32, from: usize, bytes: &[u8]) {
        let offset = self.offset(block) + from as u64;
        self.file.write_all_at(bytes, offset).expect("the model's own file is good");
        let now = self.read(block);
        self.versions[block as usize].push(now);
    }

    /// Adds blocks, which are zeros, on disk as well.
    pub(crate) fn extend(&mut self, blocks: u32) {
        let from = self.blocks;
        self.set_blocks(from + blocks);
        (from..self.blocks).for_each(|block| self.is_on_disk(block));
    }

    pub(crate) fn truncate(&mut self, blocks: u32) {
        if blocks < self.blocks {
            self.set_blocks(blocks);
        }
    }

    /// Notes that the pool promised that the page is on disk as it is now.
    pub(crate) fn is_on_disk(&mut self, block: u32) {
        self.versions[block as usize] = vec![self.read(block)];
    }

    /// Returns the versions that may be on disk now.
    pub(crate) fn versions(&self, block: u32) -> &[Box<[u8]>] {
        &self.versions[block as usize]
    }

    /// Returns whether the page was changed since it was last known to be on disk.
    pub(crate) fn may_be_dirty(&self, block: u32) -> bool {
        self.versions(block).len() > 1
    }

    /// Sets the page to what is on disk, after the pool was thrown away.
    pub(crate) fn fall_back_to(&mut self, block: u32, bytes: &[u8]) {
        self.write(block, 0, bytes);
        self.is_on_disk(block);
    }

    fn set_blocks(&mut self, blocks: u32) {
        self.file.set_len(self.offset(blocks)).expect("the model's own file is good");
        self.versions.resize(blocks as usize, Vec::new());
        self.blocks = blocks;
    }

    fn offset(&self, block: u32) -> u64 {
        u64::from(block) * self.page_size as u64
    }
}
