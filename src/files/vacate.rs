//! Getting pages out of the pool: for eviction on demand, truncation and closing.

use crate::{
    error::{Error, Result},
    id::{FileId, FrameNo, PageId},
    pool::{frame_pool::Lookup, starvation::RETRY, state::Phase, waiters::Want},
    shared::Shared,
    sync::{
        thread,
        time::{self, Duration},
    },
    write::checkpoint,
};

/// How long an eviction sees through the pins of others before it reports them.
const A_MOMENT: Duration = Duration::from_millis(20);

/// What became of a page that was to be evicted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evicted {
    /// It was in the pool and no longer is; had it been dirty, it was written first.
    Yes,
    /// It was not in the pool.
    NotResident,
    /// Somebody holds a pin on it.
    Pinned,
}

/// What to do with changes that were not written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// They must have been written before: a page that is dirty all the same is left where it is.
    Keep,
    /// Nobody wants them any more.
    Discard,
}

/// Writes the page if it is dirty, and takes it out of its frame.
pub(crate) fn evict(shared: &Shared, page: PageId) -> Result<Evicted> {
    shared.check_open()?;
    shared.files.open_file(page.file)?;
    let Lookup::Pinned(pin) = shared.pool.lookup(page) else { return Ok(Evicted::NotResident) };
    let no = pin.frame_no();
    // A page with a pin is not even written: its writer may be the very thread that is here.
    let is_unused = within_a_moment(|| {
        // An I/O has a pin of its own.
        pin.wait_for_io(Want::ReadDone);
        pin.wait_for_io(Want::WriteDone);
        pin.frame().state.load().pins() == 1
    });
    if !is_unused {
        return Ok(Evicted::Pinned);
    }
    drop(pin);
    checkpoint::flush_page(shared, page)?;
    let is_out = within_a_moment(|| matches!(try_vacate(shared, no, page, Changes::Keep), Vacated::Done));
    Ok(if is_out { Evicted::Yes } else { Evicted::Pinned })
}

/// Whether it comes about before long: who writes a page out has a pin on it for a moment before the write begins.
fn within_a_moment(mut done: impl FnMut() -> bool) -> bool {
    let deadline = time::now() + A_MOMENT;
    while !done() {
        if time::now() >= deadline {
            return false;
        }
        thread::park_timeout(RETRY / 8);
    }
    true
}

/// Takes the pages of `file` from block `from` on out of the pool. Waits for their I/O, and a bounded time for their pins.
///
/// The caller sees to it that no new page of that range comes in. Pins are waited for before the first page goes, so an
/// error leaves all of them as they were, unless somebody pins one of these very pages at this very time.
///
/// # Errors
/// [`Error::Pinned`] for a page that is still pinned then.
pub(crate) fn vacate_file(shared: &Shared, file: FileId, from: u32, changes: Changes) -> Result<()> {
    let deadline = time::now() + shared.config.frame_wait;
    let patiently = |page, done: &dyn Fn() -> bool| {
        while !done() {
            if time::now() >= deadline {
                return Err(Error::Pinned { page });
            }
            thread::park_timeout(RETRY);
        }
        Ok(())
    };
    let in_range = |page: PageId| page.file == file && page.block.0 >= from;
    let pages = || {
        shared
            .pool
            .frames()
            .map(|(no, frame)| (no, frame, frame.page()))
            .filter(|&(_, _, page)| in_range(page))
    };
    for (_, frame, page) in pages() {
        patiently(page, &|| {
            frame.page() != page || frame.state.load().pins() == 0 || frame.state.load().is_in_io()
        })?;
    }
    for (no, _, page) in pages() {
        patiently(page, &|| matches!(try_vacate(shared, no, page, changes), Vacated::Done))?;
    }
    Ok(())
}

enum Vacated {
    /// The page is not in this frame, or no longer.
    Done,
    /// Pinned, latched, or dirty and to be kept.
    Pinned,
}

/// Takes the page out of this frame once its I/O is over.
fn try_vacate(shared: &Shared, no: FrameNo, page: PageId, changes: Changes) -> Vacated {
    let frame = shared.pool.frame(no);
    if let Some(pin) = shared.pool.pin_unused(no, page) {
        pin.wait_for_io(Want::ReadDone);
        pin.wait_for_io(Want::WriteDone);
    }
    if changes == Changes::Discard {
        // Fails where the page is clean, and where it is in use.
        let _ = frame.state.try_update(|s| (frame.page() == page).then(|| s.discard_changes()).flatten());
    }
    let Some(claimed) = shared.pool.claim(no) else {
        let gone = matches!(frame.state.load().phase(), Phase::Free | Phase::Claimed) || frame.page() != page;
        return if gone { Vacated::Done } else { Vacated::Pinned };
    };
    // The claimed frame may hold another page by now: an eviction too many does no harm. Dropped, it is free.
    drop(claimed);
    Vacated::Done
}
