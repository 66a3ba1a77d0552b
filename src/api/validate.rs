//! Checks a whole pool for what must never be: its frames, and how they relate to files and requests.

use std::collections::HashMap;

use crate::{id::FileId, runtime::shared::Shared};

/// Returns everything that is wrong with a pool that no thread uses, each fault in a line of its own.
pub(crate) fn validate(shared: &Shared) -> Result<(), String> {
    shared.check_process().map_err(|error| error.to_string())?;
    let mut faults = shared.pool.faults();
    faults.extend(shared.operations.list().iter().map(|request| format!("still listed: {request:?}")));
    let files = shared.files.all();
    let counts = &shared.pool.dirty_counts;
    let mut dirty = HashMap::<FileId, usize>::new();
    for (page, state) in shared.pool.frames.iter().filter_map(|(_, frame)| frame.glance()) {
        let file = files.iter().find(|file| file.id == page.file);
        if file.is_none_or(|file| file.check_open(page.block).is_err()) {
            faults.push(format!("{page} is resident, and not a page of an open file: {state:?}"));
        }
        *dirty.entry(page.file).or_default() += usize::from(state.is_dirty() || state.is_writing());
    }
    for file in &files {
        let (found, counted) = (dirty.get(&file.id).copied().unwrap_or_default(), counts.of(file.id));
        if counted != found {
            faults.push(format!("{}: {found} pages are dirty, and {counted} are counted", file.id));
        }
    }
    let (found, counted) = (dirty.values().sum::<usize>(), counts.all());
    if counted != found {
        faults.push(format!("{found} pages are dirty, and {counted} are counted"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
