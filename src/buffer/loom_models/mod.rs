//! The protocols of the pool under every schedule, with every reordering that the memory model allows.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib loom_models
//! ```
//!
//! Where the model check of the whole library tries some schedules of much (`src/testing/model_check`), this tries
//! [all schedules](crate::sync::every_schedule) of little: two or three threads, one or two frames, and the library's own code on
//! loom's primitives, which also show a relaxed load what is out of date. A page's bytes are a [`Bytes`] here, which is a data race
//! as soon as two threads use it in no order.

mod latches;
mod lending;
mod table;

use loom::cell::UnsafeCell;

use crate::{
    buffer::{
        frame::pin::{Pin, PoolHandle},
        pool::{FramePool, Mapped},
    },
    id::{FileId, PageId, PageSize},
    observe::Counters,
    sync::{
        Arc,
        every_schedule::{check, spawn},
    },
};

/// A pool of `frames` and as many spare pages, for threads to share.
fn pool_of(frames: u32) -> Arc<PoolHandle> {
    let counters = Arc::new(Counters::new());
    let pool = FramePool::new(frames, PageSize::MIN, frames as usize, counters).unwrap();
    Arc::new(PoolHandle::new(pool))
}

fn page(block: u32) -> PageId {
    PageId::new(FileId(0), block)
}

/// Gives a frame to the page as a miss does; `fill` reads its bytes.
fn read_into(pool: &PoolHandle, block: u32, fill: impl FnOnce()) -> Option<Pin> {
    let claimed = pool.take_clean()?;
    let Mapped { reading, own } = pool.map(claimed, page(block), false).ok()?;
    fill();
    reading.end_read(&Ok(()), true);
    Some(own)
}

/// What stands for the bytes of a place: the block that was read or the version that was written there.
struct Bytes(UnsafeCell<u32>);

// SAFETY: loom stops at each access that another is not ordered against; to find those is what it is for.
#[allow(unsafe_code)]
unsafe impl Sync for Bytes {}

impl Bytes {
    fn new(value: u32) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[allow(unsafe_code)]
    fn read(&self) -> u32 {
        // SAFETY: loom stops where another thread may write meanwhile.
        self.0.with(|value| unsafe { *value })
    }

    #[allow(unsafe_code)]
    fn write(&self, new: u32) {
        // SAFETY: loom stops where another thread may use it meanwhile.
        self.0.with_mut(|value| unsafe { *value = new });
    }
}
