//! Test files of a program's own, with a bar while they are made.

use std::path::Path;

use lab::files::TestFile;
use lab::{Result, progress};

/// Names the stamps of test files.
pub(crate) const SEED: u64 = 0x7269_6e67;

/// A stamped file of `bytes`, rounded down to whole pages, which is removed when it is dropped.
pub(crate) fn create(dir: &Path, page_size: u32, bytes: u64) -> Result<TestFile> {
    let blocks = u32::try_from(bytes / u64::from(page_size))
        .map_err(|_| format!("{bytes} bytes are more than 2^32 pages: choose a larger page size"))?;
    if blocks == 0 {
        return Err(
            format!("{bytes} bytes are less than a page of {page_size}: choose a larger --size").into()
        );
    }
    let bar = progress::bytes(bytes).with_message("making a test file");
    let file = TestFile::create(dir, page_size, blocks, SEED, |written| bar.set_position(written));
    bar.finish_and_clear();
    file
}
