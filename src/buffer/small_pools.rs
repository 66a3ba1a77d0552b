//! Pools of a few small pages without files, for the tests of this folder.

use crate::{
    buffer::{
        frame::{clean_list::CleanList, frames::Frames, pin::Pin, size::Size},
        residency::{Mapped, Residency},
    },
    id::{FileId, FrameNo, PageId, PageSize},
    observe::{Counters, thread_index},
    sync::Arc,
};

fn frames(size: Size, copies: usize) -> Frames {
    Frames::new(size, PageSize::MIN, copies, Arc::new(Counters::new())).unwrap()
}

/// Makes a pool whose pages are written from their frames.
pub(crate) fn pool_of(frames: u32) -> Residency {
    pool_with_copies(frames, 0)
}

/// Makes a pool with room for `copies` copies of pages, from which they are written then.
pub(crate) fn pool_with_copies(frames: u32, copies: usize) -> Residency {
    Residency::new(self::frames(Size::new(frames, frames), copies)).unwrap()
}

/// Makes a pool that can set `ready` frames aside.
pub(crate) fn pool_with_room_for_ready(frames: u32, ready: usize) -> Residency {
    resizable_pool(frames, frames, ready)
}

/// Makes a pool that may come to have `most` frames, and that can set `ready` frames aside.
pub(crate) fn resizable_pool(frames: u32, most: u32, ready: usize) -> Residency {
    let mut frames = self::frames(Size::new(frames, most), 0);
    frames.clean_list = CleanList::new(ready);
    Residency::new(frames).unwrap()
}

impl Residency {
    /// Pins the page and latches it for reading, as a read does.
    pub(crate) fn look_at(&self, page: PageId) -> Option<Pin> {
        self.latch_at(page, thread_index::current())
    }

    /// Pins the page, if it can be used now, as a fetch does.
    pub(crate) fn pin_at(&self, page: PageId) -> Option<Pin> {
        self.lookup_valid(page, thread_index::current())
    }
}

/// Names a page of the one file that there is.
pub(crate) fn page(block: u32) -> PageId {
    PageId::new(FileId(0), block)
}

/// Gets a frame for the page as a miss does; `fill` reads its bytes. `None` where no frame is clean, or another thread was first.
pub(crate) fn read_into(pool: &Residency, page: PageId, fill: impl FnOnce()) -> Option<Pin> {
    let claimed = pool.take_clean()?;
    let Mapped { reading, own } = pool.map(claimed, page, false).ok()?;
    fill();
    pool.end_read(reading, &Ok(()), true);
    Some(own)
}

/// Reads the page, for which there is a frame.
pub(crate) fn read(pool: &Residency, page: PageId) -> Pin {
    read_into(pool, page, || {}).unwrap()
}

/// Reads the page and lets it go.
pub(crate) fn fill(pool: &Residency, page: PageId) -> FrameNo {
    read(pool, page).frame_no()
}
