//! Removing a file: from the pool, and from the disk.

use std::path::Path;

use crate::{
    error::{Error, IoOp, Result},
    events,
    files::{
        self,
        drop_pages::{self, Changes},
    },
    id::{BlockNo, FileId},
    io::file::File,
    runtime::shared::Shared,
};

/// Throws the file's pages away, dirty or not, closes it and removes it from its folder.
///
/// Checks that the path still leads to this file first, and again, since that may take a while, when its pages are out of reach.
/// Then it throws the pages away and closes the file, even if the system refuses to remove it.
pub(crate) fn drop_file(shared: &Shared, id: FileId) -> Result<()> {
    let file = files::writable(shared, id)?;
    let _size = file.lock_size();
    // Another call may have closed the file while this one waited.
    shared.files.open_file(id)?;
    check_path(shared, &file)?;
    // As in closing: from here on no new page of it is mapped, and a miss that was faster is found in its frame.
    let closing = file.begin_closing();
    let pages = drop_pages::vacate_file(shared, &file, BlockNo(0), Changes::Discard)?;
    check_path(shared, &file)?;
    let leaving = shared.files.leaving(id);
    closing.keep();
    pages.discard();
    let removed = remove_with_copies(shared, &file);
    // Not before the file is gone from the disk: until then no other pool may open it.
    file.disk.unlock();
    drop(leaving);
    shared.method.forget(&file);
    if removed.is_ok() {
        events::file_removed(&shared.counters.pool, id, &file.path);
    }
    removed
}

/// Removes the file from its folder, and its copies from the doublewrite area. After a crash the file may still exist, and never be
/// opened again. So its pages must be whole without their copies before it is removed. If they cannot be, the copies are kept as
/// long as the file exists.
fn remove_with_copies(shared: &Shared, file: &File) -> Result<()> {
    let name = name_of(file)?;
    let doublewrite = shared.doublewrite.as_ref();
    if let Some(doublewrite) = doublewrite
        && doublewrite.forget(file, BlockNo(0)).is_err()
    {
        doublewrite.leave(file);
    }
    shared.storage.remove(name).map_err(|error| file.error(IoOp::Remove, error))?;
    let is_durable =
        if file.durable_name { shared.removals.make_durable(&*shared.storage, name) } else { Ok(()) };
    // Whether or not a crash may bring the file back: no file of the pool has the tag from now on.
    let given_up = doublewrite.map_or(Ok(()), |doublewrite| doublewrite.give_up(file.tag));
    is_durable.and(given_up)
}

fn check_path(shared: &Shared, file: &File) -> Result<()> {
    match shared.storage.may_remove(name_of(file)?, file.identity) {
        Ok(true) => Ok(()),
        Ok(false) => Err(path_changed(file)),
        Err(error) => Err(file.error(IoOp::Remove, error)),
    }
}

fn name_of(file: &File) -> Result<&Path> {
    file.name.as_deref().ok_or_else(|| path_changed(file))
}

fn path_changed(file: &File) -> Error {
    Error::PathChanged { path: file.path.clone(), file: file.id }
}
