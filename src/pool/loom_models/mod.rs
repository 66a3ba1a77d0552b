//! The protocols of the pool under every schedule, with every reordering that the memory model allows.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib loom_models
//! ```
//!
//! Where the model check of the whole library tries some schedules of much (`src/model_check`), this tries all schedules of
//! little: two or three threads, one or two frames, and the library's own code on loom's primitives, which also show a relaxed
//! load what is out of date. The one bound is the number of times that a thread is stopped against its will in a schedule; each
//! model names it. A page's bytes are a [`Bytes`] here, which is a data race as soon as two threads use it in no order.
//!
//! **Who only looks is spawned; who changes what is looked at goes on himself.** Loom first runs each thread until it waits, then tries
//! other orders where two accesses are in conflict. It overlooks the conflict of a load with a store before which the storing
//! thread has loaded the same ([loom#166](https://github.com/tokio-rs/loom/issues/166)): a thread that only looks, and comes first, is
//! never tried later. If it comes last, all stores have been made, and it may see each that the memory model lets it see.

mod latches;
mod lending;
mod mirrors;
mod table;

use loom::cell::UnsafeCell;

use crate::{
    id::{FileId, PageId, PageSize},
    pool::{
        frame_pool::{FramePool, Mapped},
        handle::{Pin, PoolHandle},
        victims::DirtyVictims,
    },
    stats::Counters,
    sync::Arc,
};

/// Runs `scenario` under all schedules in which threads are stopped against their will `stops` times at the most.
fn check(stops: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(stops);
    builder.check(scenario);
}

fn spawn(body: impl FnOnce() + 'static) -> loom::thread::JoinHandle<()> {
    loom::thread::spawn(body)
}

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
    let claimed = pool.claim_victim(&mut DirtyVictims::new())?;
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
