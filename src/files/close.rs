//! Closing a file.

use crate::{
    error::Result,
    events,
    files::vacate::{self, Changes},
    id::FileId,
    shared::Shared,
    sync::Arc,
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
    if let Some(poison) = file.poison() {
        shared.files.remove(id);
        let vacated = vacate::vacate_file(shared, id, 0, Changes::Discard);
        vacated.inspect_err(|_| shared.files.put_back(Arc::clone(&file)))?;
        drop(size);
        shared.method.forget(&file);
        return Err(poison);
    }
    checkpoint::flush_file(shared, id)?;
    file.sync(&shared.counters).inspect_err(|error| events::poisoned(id, error))?;
    // From here on nobody finds the file, so no new page of it comes in.
    shared.files.remove(id);
    let vacated = vacate::vacate_file(shared, id, 0, Changes::Keep);
    vacated.inspect_err(|_| shared.files.put_back(Arc::clone(&file)))?;
    drop(size);
    shared.method.forget(&file);
    Ok(())
}
