//! Checks a whole pool for what must never be: its frames, and how they relate to files and requests.

use crate::{buffer::frame::state::State, id::PageId, io::file::File, runtime::shared::Shared};

/// Returns everything that is wrong with a pool that no thread uses, each fault in a line of its own.
pub(crate) fn validate(shared: &Shared) -> Result<(), String> {
    shared.check_process().map_err(|error| error.to_string())?;
    let mut faults = shared.pool.faults();
    faults.extend(shared.operations.list().iter().map(|request| format!("still listed: {request:?}")));
    let files = shared.files.all();
    for (page, state) in shared.pool.frames.iter().filter_map(|(_, frame)| frame.glance()) {
        let file = files.iter().find(|file| file.id == page.file);
        let belongs = |file: &File| file.check_open(page.block).is_ok();
        if !file.is_some_and(|file| belongs(file)) {
            faults.push(format!("{page} is resident, and not a page of an open file: {state:?}"));
        }
    }
    let counts = &shared.pool.dirty_counts;
    let is_counted =
        |page: &PageId, state: State| (state.is_dirty() || state.is_writing()).then_some(page.file);
    let mut dirty = 0;
    for file in &files {
        let found = shared.pool.frames.iter().filter_map(|(_, frame)| frame.glance());
        let found = found.filter(|(page, state)| is_counted(page, *state) == Some(file.id)).count();
        dirty += found;
        if counts.of(file.id) != found {
            faults.push(format!(
                "{}: {found} pages are dirty, and {} are counted",
                file.id,
                counts.of(file.id)
            ));
        }
    }
    if counts.all() != dirty {
        faults.push(format!("{dirty} pages are dirty, and {} are counted", counts.all()));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
