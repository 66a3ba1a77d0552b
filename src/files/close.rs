//! Closing a file.

use crate::{
    error::Result,
    events,
    files::drop_pages::{self, Changes},
    id::{BlockNo, FileId},
    io::file::File,
    runtime::shared::Shared,
    write::flush,
};

/// Writes and syncs the file, takes its pages out of the pool, and closes its descriptor once no I/O needs it.
///
/// On an error the file stays open. A file whose sync has failed is closed in any case, since only closing and opening it again
/// helps. Its unwritten pages are thrown away, and the error reports that.
pub(crate) fn close(shared: &Shared, id: FileId) -> Result<()> {
    shared.check_open()?;
    let file = shared.files.open_file(id)?;
    // Before the file is locked: the write waits for threads that change a page, and such a thread may be about to extend the file.
    if file.poison().is_none() {
        flush::flush_file(shared, id)?;
    }
    let size = file.lock_size();
    // Another call may have closed the file while this one waited.
    shared.files.open_file(id)?;
    let sync = || file.sync(&shared.counters);
    let is_whole = file.poison().is_none();
    if is_whole {
        // Writes what was changed since then, except pages that a thread has latched.
        flush::flush_idle(shared, &file)?;
        size.give_back_ahead()?;
        sync()?;
    }
    // From here on no thread finds the file, so no new page of it is mapped. A miss that has found it before checks again once its
    // page is mapped.
    let closing = file.begin_closing();
    let changes = if is_whole { Changes::Keep } else { Changes::Discard };
    let pages = drop_pages::vacate_file(shared, &file, BlockNo(0), changes)?;
    let_go_of_copies(shared, &file)?;
    let leaving = shared.files.leaving(id);
    closing.keep();
    pages.discard();
    // Once more, for pages that were written after the first sync: no later call would sync them. If this fails the file records
    // it.
    let _ = sync();
    // Before it leaves: the next call may open it at once.
    file.disk.unlock();
    drop(leaving);
    drop(size);
    shared.method.forget(&file);
    events::file_closed(&shared.counters.pool, id, &file.path);
    // The same error as for every file that is closed poisoned.
    file.poison().map_or(Ok(()), Err)
}

/// Discards the copies of a file. The copies of a file that cannot be synced are kept until it is opened again.
fn let_go_of_copies(shared: &Shared, file: &File) -> Result<()> {
    let Some(doublewrite) = &shared.doublewrite else { return Ok(()) };
    let forgotten = doublewrite.forget(file, BlockNo(0));
    if forgotten.is_err() && file.poison().is_some() {
        doublewrite.leave(file);
        return Ok(());
    }
    forgotten
}
