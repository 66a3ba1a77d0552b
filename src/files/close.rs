//! Closing a file.

use crate::{
    doublewrite::DoubleWrite,
    error::Result,
    events,
    files::vacate::{self, Changes},
    id::{BlockNo, FileId},
    shared::Shared,
    sync::atomic::{Ordering, fence},
    write::checkpoint,
};

/// Writes and syncs the file, takes its pages out of the pool, and gives up its descriptor once no I/O needs it.
///
/// On an error the file stays open. One whose sync has failed is closed all the same, since closing and opening it anew is
/// the only way on; its unwritten pages are thrown away, and the error says so.
pub(crate) fn close(shared: &Shared, id: FileId) -> Result<()> {
    shared.check_open()?;
    let file = shared.files.open_file(id)?;
    let size = file.lock_size();
    // Somebody else may have closed it while this one waited.
    shared.files.open_file(id)?;
    let poison = file.poison();
    if poison.is_none() {
        checkpoint::flush_file(shared, id)?;
        size.give_back_ahead()?;
        file.sync(&shared.counters).inspect_err(|error| events::poisoned(id, error))?;
    }
    // From here on nobody finds the file, so no new page of it comes in; who has found it before looks again once its page
    // is mapped. The fences make one of the two see the other, as with a truncation.
    file.set_closed(true);
    fence(Ordering::SeqCst);
    let changes = if poison.is_none() { Changes::Keep } else { Changes::Discard };
    let let_go = |doublewrite: &DoubleWrite| doublewrite.let_go(&file, poison.is_none());
    let pages = vacate::vacate_file(shared, id, BlockNo(0), changes)
        .and_then(|pages| shared.doublewrite.as_ref().map_or(Ok(()), let_go).map(|()| pages))
        .inspect_err(|_| file.set_closed(false))?;
    pages.discard();
    shared.files.remove(id);
    drop(size);
    shared.method.forget(&file);
    poison.map_or(Ok(()), Err)
}
