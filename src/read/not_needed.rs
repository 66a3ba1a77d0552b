//! The opposite of prefetch: pages that a caller will not use soon give up their frames before their turn comes.
//!
//! The order of replacement learns from uses alone, and a page that was read or written a moment ago looks wanted. Invariant: no
//! bytes are lost, and no call waits.

use crate::{buffer::frame::state::State, id::PageId, runtime::shared::Shared};

/// While more than this part of the frames is free, no page has to go for another.
const PLENTY: usize = 8;

/// Frees the frames of those pages that are clean and idle, until enough frames are free. Returns how many it freed. The iterator is
/// called while no frame is claimed, since it may do anything.
pub(crate) fn not_needed(shared: &Shared, pages: impl IntoIterator<Item = PageId>) -> u32 {
    if shared.check_open().is_err() {
        return 0;
    }
    let pool = &shared.pool;
    let (mut freed, enough) = (0, pool.frames.size.frames() as usize / PLENTY);
    for page in pages {
        if pool.free_frames() > enough {
            break;
        }
        // The frame may have another page by the time it is claimed: one eviction too many does no harm.
        let found = pool.find(page, |state: State| state.claim().is_some());
        freed += u32::from(found.is_some_and(|no| pool.claim(no).is_some()));
    }
    freed
}

#[cfg(test)]
mod tests {
    use crate::{BufferPool, IoMethod, OpenOptions, PageId, testing::SimDisk};

    #[test]
    fn pages_that_are_not_needed_go_if_they_are_clean_and_idle_and_frames_are_short() {
        let disk = SimDisk::new();
        disk.put("data", vec![1; 64 * 512]);
        let builder = BufferPool::builder().frames(16).page_size(512).io_method(IoMethod::Sync);
        let pool = builder.storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        let page = |block: u32| PageId::new(file, block);
        (0..16).for_each(|block| drop(pool.read(page(block)).wait().unwrap()));
        let held = pool.read(page(0)).wait().unwrap();
        pool.write(page(1)).wait().unwrap()[0] = 2;
        assert_eq!(pool.not_needed([0, 1, 40].map(page)), 0, "held, dirty, not there");
        let is_there = |block| pool.fetch(page(block)).now().is_some();
        assert!(is_there(0) && is_there(1));
        // The frames of three are more than an eighth.
        assert_eq!(pool.not_needed((2..16).map(page)), 3);
        assert!(!is_there(2) && !is_there(4) && is_there(5));
        drop(held);
        (20..23).for_each(|block| drop(pool.read(page(block)).wait().unwrap()));
        assert!((5..16).all(is_there), "the free frames were taken, and no page went");
    }
}
