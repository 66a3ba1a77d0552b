//! Test files of a program's own, with a bar while they are made.

use std::path::Path;

use lab::files::TestFile;
use lab::indicatif::ProgressBar;
use lab::{Result, progress};

/// Names the stamps of test files.
pub(crate) const SEED: u64 = 0x7269_6e67;

/// Makes a stamped file of `bytes`, rounded down to whole pages, which is removed when it is dropped.
pub(crate) fn create(dir: &Path, page_size: u32, bytes: u64) -> Result<TestFile> {
    let blocks = u32::try_from(bytes / u64::from(page_size))
        .map_err(|_| format!("{bytes} bytes are more than 2^32 pages: choose a larger page size"))?;
    if blocks == 0 {
        return Err(
            format!("{bytes} bytes are less than a page of {page_size}: choose a larger --size").into()
        );
    }
    under_a_bar(page_size, blocks, |bar| {
        TestFile::create(dir, page_size, blocks, SEED, |written| bar.set_position(written))
    })
}

/// Makes a file of `blocks` pages of zeros.
pub(crate) fn zeroed(dir: &Path, page_size: u32, blocks: u32) -> Result<TestFile> {
    under_a_bar(page_size, blocks, |bar| {
        TestFile::zeroed(dir, page_size, blocks, |written| bar.set_position(written))
    })
}

fn under_a_bar(
    page_size: u32,
    blocks: u32,
    make: impl FnOnce(&ProgressBar) -> Result<TestFile>,
) -> Result<TestFile> {
    let bar = progress::bytes(u64::from(page_size) * u64::from(blocks)).with_message("making a test file");
    let file = make(&bar);
    bar.finish_and_clear();
    file
}
