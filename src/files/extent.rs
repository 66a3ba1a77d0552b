//! Growing and cutting files.

use crate::{
    error::{Error, Result},
    files::vacate::{self, Changes},
    id::{BlockNo, FileId},
    io::file::File,
    shared::Shared,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

/// Blocks that were added to a file: `blocks` of them from `first` on, zeroed, and nobody else's.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extended {
    /// The first new block.
    pub first: BlockNo,
    /// How many there are.
    pub blocks: u32,
}

/// Adds `blocks` zeroed blocks. Extenders of one file come one after the other, so their blocks never overlap or leave a gap.
pub(crate) fn extend(shared: &Shared, id: FileId, blocks: u32) -> Result<Extended> {
    let file = writable(shared, id)?;
    let size = file.lock_size();
    // It may have been closed meanwhile, and by now be open under another id, which knows nothing of this one's changes.
    shared.files.open_file(id)?;
    let first = file.blocks();
    let last = first.checked_add(blocks).ok_or_else(|| {
        Error::config(format!(
            "{id} has {first} blocks; {blocks} more are too many: a file has at most {} blocks",
            u32::MAX
        ))
    })?;
    size.grow(last, &shared.counters)?;
    Ok(Extended { first: BlockNo(first), blocks })
}

/// Cuts the file to `blocks`, if it is longer. Pages behind the cut are thrown away, dirty or not.
///
/// The new end is published first, so that no page behind it comes into the pool any more; if a page there is pinned and
/// stays so, the old end comes back.
pub(crate) fn truncate(shared: &Shared, id: FileId, blocks: u32) -> Result<()> {
    let file = writable(shared, id)?;
    let size = file.lock_size();
    // As above.
    shared.files.open_file(id)?;
    let before = file.blocks();
    if blocks >= before {
        return Ok(());
    }
    file.set_blocks(blocks);
    // A miss maps its frame and then looks at the end, a write-out marks its frame and then looks at the end; we have
    // set the end and now look at the frames. The fences on both sides make one of the two see the other.
    fence(Ordering::SeqCst);
    let cut = vacate::vacate_file(shared, id, blocks, Changes::Discard).and_then(|()| size.cut(blocks));
    cut.inspect_err(|_| file.set_blocks(before))
}

fn writable(shared: &Shared, id: FileId) -> Result<Arc<File>> {
    shared.check_open()?;
    let file = shared.files.open_file(id)?;
    if file.read_only { Err(Error::ReadOnly { file: id }) } else { Ok(file) }
}
