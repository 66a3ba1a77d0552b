//! The protocols of the pool under every schedule, with every reordering that the memory model allows.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib loom_models
//! ```
//!
//! The model check of the whole library tries some schedules of large scenarios (`src/testing/model_check`). This tries [all
//! schedules](crate::sync::every_schedule) of small ones: two or three threads, one or two frames, and the library's own code on
//! loom's primitives, which also show a relaxed load what is out of date. A page's bytes are a [`Bytes`] here, which is a data
//! race as soon as two threads use it in no order.

mod latches;
mod shadow;
mod table;

use loom::cell::UnsafeCell;

use crate::{
    buffer::{
        residency::Residency,
        small_pools::{self, page, read_into},
    },
    sync::{
        Arc,
        every_schedule::{check, spawn},
    },
};

/// Makes a pool for threads to share.
fn pool_of(frames: u32) -> Arc<Residency> {
    Arc::new(small_pools::pool_of(frames))
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
