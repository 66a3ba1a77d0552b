//! Growing and cutting files.

use crate::{
    error::Result,
    files::{
        drop_pages::{self, Changes},
        writable,
    },
    id::{BlockNo, FileId},
    io::file::File,
    runtime::{jobs::WaitsFor, shared::Shared},
    sync::Arc,
};

/// Blocks that were added to a file: `blocks` of them from `first` on, zeroed (with a codec: pages of zeros, sealed), for this
/// caller alone.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extended {
    /// The first new block.
    pub first: BlockNo,
    /// The number of new blocks.
    pub blocks: u32,
}

/// Adds `blocks` zeroed blocks. Several threads may do so at once: each gets its own blocks, and no gap is left between them.
pub(crate) fn extend(shared: &Arc<Shared>, id: FileId, blocks: u32) -> Result<Extended> {
    let file = writable(shared, id)?;
    let first = file.extend(blocks, &shared.counters)?;
    if file.wants_zeros_ahead() {
        zero_ahead(shared, file);
    }
    Ok(Extended { first: BlockNo(first), blocks })
}

/// Has a job thread zero the file's next step, so that later extensions find it done.
fn zero_ahead(shared: &Arc<Shared>, file: Arc<File>) {
    let (owner, wait) = (Arc::clone(shared), WaitsFor::Disk(file.id));
    let job = move || {
        let size = file.lock_size();
        // A pool that was shut down has given back the blocks that were zeroed ahead, and a pool that ends has no later extensions.
        if owner.check_open().is_ok() && !owner.end.has_begun() {
            size.zero_ahead(&owner.counters);
        }
    };
    // If there is no thread, the next extension that finds too few blocks does it.
    if let Err(job) = shared.jobs.submit(wait, Box::new(job)) {
        job();
    }
}

/// Cuts the file to `blocks`, if it is longer. Pages behind the cut are thrown away, dirty or not.
///
/// The new end is published first, so that no page behind it comes into the pool any more. If the cut cannot be made, because a
/// page there stays pinned or the disk fails, every page is put back with its changes, and then the old end.
pub(crate) fn truncate(shared: &Shared, id: FileId, blocks: u32) -> Result<()> {
    let file = writable(shared, id)?;
    let size = file.lock_size();
    // The file may have been closed meanwhile, and be open again under another id, which knows nothing of the changes under this
    // id.
    shared.files.open_file(id)?;
    if blocks >= file.blocks() {
        return Ok(());
    }
    file.check_size_is_free()?;
    let end = size.publish_end(blocks);
    let behind = drop_pages::vacate_file(shared, &file, BlockNo(blocks), Changes::Discard)?;
    // Before the cut: its outcome is not known yet, and need not be.
    if let Some(doublewrite) = &shared.doublewrite {
        doublewrite.forget(&file, BlockNo(blocks))?;
    }
    size.cut()?;
    end.keep();
    behind.discard();
    Ok(())
}

/// Gives back the blocks that files have zeroed ahead, so that they end on disk where they end for the pool.
pub(crate) fn give_back_ahead(shared: &Shared) -> Result<()> {
    shared.check_open()?;
    shared.files.all().iter().try_for_each(|file| file.lock_size().give_back_ahead())
}
