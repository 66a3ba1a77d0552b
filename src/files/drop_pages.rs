//! Getting pages out of the pool: for eviction on demand, truncation and closing.

use std::task::{Poll, Waker};

use crate::{
    buffer::{
        frame::{
            state::{Phase, State},
            waiters::want::Want,
        },
        quarantine::Seizure,
    },
    error::{Error, Result},
    id::{BlockNo, FrameNo, PageId},
    io::file::File,
    runtime::shared::Shared,
    sync::{
        atomic::{Ordering, fence},
        thread,
        time::{self, Duration},
        wait::RETRY,
    },
    write::flush,
};

/// How long an eviction waits for the pins of other threads before it reports them.
const A_MOMENT: Duration = Duration::from_millis(20);

/// The outcome for a page that was to be evicted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evicted {
    /// It was in the pool and no longer is; if it was dirty, it was written first.
    Yes,
    /// It was not in the pool.
    NotResident,
    /// A thread or task holds a pin on it.
    Pinned,
}

/// What to do with changes that were not written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// They must have been written before: a page that is still dirty is left where it is.
    Keep,
    /// They are not wanted any more, if the operation succeeds.
    Discard,
}

/// Writes the page if it is dirty, and takes it out of its frame.
pub(crate) fn evict(shared: &Shared, page: PageId) -> Result<Evicted> {
    shared.check_open()?;
    shared.files.open_file(page.file)?;
    // The lookup is no use of the page, in case it stays.
    let Ok(pin) = shared.pool.lookup_by(page, State::pin_unused) else {
        return Ok(Evicted::NotResident);
    };
    let no = pin.frame_no();
    // A page with a pin is not even written: this thread itself may hold its write guard.
    let is_unused = within_a_moment(|| {
        // An I/O has a pin of its own.
        pin.wait_for_io(Want::ReadDone);
        pin.wait_for_io(Want::WriteDone);
        // A page that is biased again may be held in slots, and is clean: then the claim detects that.
        shared.pool.revoke_bias(no).pins() == 1
    });
    if !is_unused {
        return Ok(Evicted::Pinned);
    }
    drop(pin);
    flush::flush_page(shared, page)?;
    let is_out = within_a_moment(|| {
        wait_for_io(shared, no, page);
        try_vacate(shared, no, page)
    });
    Ok(if is_out { Evicted::Yes } else { Evicted::Pinned })
}

/// Returns whether it becomes true before long: a thread that writes a page out has a pin on it for a moment before the write
/// begins.
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

/// Takes the pages of `file` from block `from` on out of the pool if they are clean, and puts them out of reach if they are not.
/// Waits for their I/O, and a bounded time for their pins, but not while the pool ends.
///
/// The caller has published that no new page of that range may be mapped, by a new end of the file or by closing it, and keeps that
/// until the pages that are put back are in place. A miss maps its page [and then checks](crate::read) whether it still may; this
/// looks at the frames after the publication. The fences on both sides make one of the two see the other.
///
/// # Errors
/// [`Error::Pinned`] for a page that is then still pinned, or dirty and [to be kept](Changes::Keep). No changes are lost.
pub(crate) fn vacate_file<'a>(
    shared: &'a Shared,
    file: &File,
    from: BlockNo,
    changes: Changes,
) -> Result<Seizure<'a>> {
    fence(Ordering::SeqCst);
    let deadline = time::deadline_after(shared.config.frame_wait);
    let patiently = |page, done: &mut dyn FnMut() -> bool| {
        let look = |_: &Waker| if done() { Poll::Ready(()) } else { Poll::Pending };
        shared
            .end
            .wait_for_callers(deadline, look)
            .ok_or_else(|| Error::Pinned { page, path: Some(file.path.clone()) })
    };
    let blocks = file.pages_from(from);
    let pages = shared.pool.pages_of(file.id, blocks);
    // As long as a pin may stop it, everything stays within reach. (If a page is biased again meanwhile the claim waits for its
    // pins.)
    for &(no, page) in &pages {
        let frame = shared.pool.frame(no);
        patiently(page, &mut || {
            let state = shared.pool.revoke_bias(no);
            frame.page() != page || state.pins() == 0 || state.is_in_io()
        })?;
    }
    let mut seizure = Seizure::new(&shared.pool);
    // The last frame first: what is freed last is taken first, so frames that are taken one after the other lie side by side.
    for &(no, page) in pages.iter().rev() {
        patiently(page, &mut || {
            wait_for_io(shared, no, page);
            changes == Changes::Discard && seizure.seize(no, page) || try_vacate(shared, no, page)
        })?;
    }
    Ok(seizure)
}

/// Sleeps until the page's I/O is over, if the page is in this frame.
pub(crate) fn wait_for_io(shared: &Shared, no: FrameNo, page: PageId) {
    if let Ok(pin) = shared.pool.pin_unused(no, page) {
        pin.wait_for_io(Want::ReadDone);
        pin.wait_for_io(Want::WriteDone);
    }
}

/// Takes the page out of this frame. Returns false if it is pinned, latched, dirty or in an I/O.
fn try_vacate(shared: &Shared, no: FrameNo, page: PageId) -> bool {
    let frame = shared.pool.frame(no);
    // The claimed frame may hold another page by now: one eviction too many does no harm. When the claim is dropped, the frame is
    // free.
    shared.pool.claim(no).is_some()
        || matches!(frame.state.load().phase(), Phase::Free | Phase::Claimed)
        || frame.page() != page
}

#[cfg(test)]
mod tests {
    use crate::{BufferPool, IoMethod, OpenOptions, PageId, testing::SimDisk};

    #[test]
    fn frames_that_a_file_leaves_are_taken_in_their_order() {
        const BLOCKS: u32 = 64;
        let disk = SimDisk::new();
        disk.put("data", vec![1; BLOCKS as usize * 512]);
        let builder = BufferPool::builder().frames(BLOCKS).page_size(512).io_method(IoMethod::Sync);
        let pool = builder.storage(disk).build().unwrap();
        for _ in 0..2 {
            let file = pool.open_file("data", OpenOptions::new()).unwrap();
            (0..BLOCKS).for_each(|block| drop(pool.fetch(PageId::new(file, block)).wait().unwrap()));
            let blocks = pool.shared().pool.frames.iter().map(|(_, frame)| frame.page().block.0);
            assert!(blocks.eq(0..BLOCKS), "the pages do not lie side by side");
            pool.close_file(file).wait().unwrap();
        }
    }
}
