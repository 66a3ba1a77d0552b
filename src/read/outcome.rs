//! How far the read of a pinned page has come, and the verification that ends it, by the engine's codec.

use crate::{
    buffer::{
        frame::{pin::Pin, state::Phase},
        page::Verification,
    },
    error::{Callback, Error, Result},
    events,
    id::{PageAddress, PageId},
    observe::Counter,
    runtime::shared::Shared,
    sync::{callback, uncontrolled::Ordering},
};

/// The state of a page that was being read, seen from a pin on it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// The page can be used.
    Here,
    /// Its read, or its verification by another thread, is under way.
    Reading,
    /// Its read failed: the frame has no page any more.
    Gone,
}

/// Looks at the page, and verifies it if no thread has done so.
pub(super) fn look(shared: &Shared, pin: &Pin) -> Result<ReadOutcome> {
    loop {
        let state = pin.frame().state.load();
        match state.phase() {
            Phase::Valid => return Ok(ReadOutcome::Here),
            Phase::Reading => return Ok(ReadOutcome::Reading),
            Phase::Free | Phase::Claimed => return Ok(ReadOutcome::Gone),
            // To verify takes a further pin.
            Phase::Loaded if state.pins_are_exhausted() => {
                return Err(too_many_pins(shared, pin.frame().page()));
            }
            Phase::Loaded => {
                if let Some(verification) = Verification::begin(&shared.pool, pin) {
                    let page = pin.frame().page();
                    verification.run(|bytes| open(shared, page, bytes))?;
                }
            }
        }
    }
}

pub(super) fn too_many_pins(shared: &Shared, page: PageId) -> Error {
    Error::TooManyPins { page, path: shared.pool.file_paths.of(page.file) }
}

/// Has the codec open a page.
fn open(shared: &Shared, page: PageId, bytes: &mut [u8]) -> Result<()> {
    let Some(codec) = &shared.config.codec else { return Ok(()) };
    let file = shared.files.open_file(page.file)?;
    if file.sparse && bytes.iter().all(|&byte| byte == 0) {
        return Ok(());
    }
    let verdict = callback::contained(|| codec.open(PageAddress::new(file.tag, page.block), bytes))
        .map_err(|_| Error::panicked_over(Callback::CodecOpen, page, &file.path))?;
    let verdict = if seeded!("page_not_verified") { Ok(()) } else { verdict };
    verdict.map_err(|reason| {
        shared.counters.add(Counter::CorruptPages, 1);
        file.activity.corrupt_pages.fetch_add(1, Ordering::Relaxed);
        events::corrupt_page(&shared.counters.pool, page.file, &file.path, page.block.0, &reason);
        Error::Corrupt { page, path: file.path.clone(), reason: reason.into() }
    })
}
