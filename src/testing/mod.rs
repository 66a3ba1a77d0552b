//! Disks for an engine's own tests: a [`SimDisk`] is in memory, fails where the test says so, and logs what was asked of it; a
//! [`FaultyDisk`] puts the same faults before the system's own files; a [`NullDisk`] does nothing, for measuring all other costs.
//!
//! Give a [`SimDisk`] to [`Builder::storage`](crate::Builder::storage) and keep a clone. The clone is the handle: it puts files
//! on the disk and looks at them, injects [faults](Fault), [holds](SimDisk::hold) operations so that a test can look at
//! the pool while they are under way, and reads the [log](SimDisk::log) of all that happened, in order.
//!
//! Faults are: files that cannot be opened, or late; transfers that end short, interrupted or late; errors, once or for ever, and
//! writes that fail half the way; flipped bits; torn, lost and misdirected writes; syncs that fail, and syncs that lie. A power cut
//! is one more: [`after_power_cut`](SimDisk::after_power_cut) makes the disk as it may be found afterwards, to open it again
//! ([`after_kill`](SimDisk::after_kill) makes what the end of the process alone leaves), and
//! [`cut_power_during`](SimDisk::cut_power_during) ends a workload at any of its operations. What the engine keeps beside the pool,
//! its log, goes to a [file](SimDisk::file) of the same disk, where the same happens to it. `examples/crash_test.rs` tests a small
//! store in this way.
//!
//! # Repeating a run
//!
//! What is left to chance follows from the disk's [seed](SimDisk::with_seed); [`for_each_seed`] runs a test for many and
//! names the one that fails; [`Dice`] are for what the test itself leaves to chance. How much of a run the seed decides:
//!
//! * **All of it**, in a [simulated](simulated()) run: one thread, with a clock of its own. Then the [log](SimDisk::log) of a second
//!   run is that of the first, event for event.
//! * **The outcome of each operation, but not their order**, in all other runs: threads take part, of the engine or of the pool,
//!   and limits on time come from the system's clock. The outcome of an operation does not depend on what else goes on: the third
//!   write at some place of a file is torn in the same way in every run. The kernel's scheduler decides when it comes, and with
//!   which neighbours it is combined into one request.
//!
//! Every I/O method works on this disk, by plain calls. It has no descriptor that a ring could use, so under io_uring the threads
//! beside the ring make the calls.
//!
//! ```
//! use ringpool::{BufferPool, CheckpointOptions, Error, OpenOptions, PageId, testing::{Fault, Op, SimDisk}};
//!
//! const EIO: i32 = 5;
//! let disk = SimDisk::new();
//! disk.put("heap", vec![1; 4 * 8192]);
//! let pool = BufferPool::builder().frames(16).storage(disk.clone()).build()?;
//! let heap = pool.open_file("heap", OpenOptions::new())?;
//!
//! // A read that fails is reported, and is not remembered: the next one finds the page.
//! disk.inject(Fault::error(Op::Read, EIO).once());
//! assert!(matches!(pool.fetch(PageId::new(heap, 2)).wait(), Err(Error::Io { .. })));
//! let page = pool.fetch(PageId::new(heap, 2)).wait()?;
//!
//! // A change is durable once a checkpoint says so.
//! page.write()?[0] = 7;
//! pool.checkpoint(CheckpointOptions::new()).wait()?;
//! assert_eq!(disk.durable_image("heap").expect("it was put there")[2 * 8192], 7);
//! assert_eq!((disk.count(Op::Read), disk.count(Op::Write), disk.count(Op::Sync)), (2, 1, 1));
//! # Ok::<(), Error>(())
//! ```

// It waits for real threads by the real clock.
#[cfg(not(any(loom, shuttle)))]
pub mod conformance;

mod durable_image;
mod fault;
mod faults;
mod faulty_disk;
mod gate;
mod later;
mod log;
mod null_disk;
mod open_file;
mod operation;
mod refused_threads;
mod replay;
mod rng;
mod seeds;
mod sim_disk;
mod sim_file;
mod simulated;

pub use fault::{Fault, Op, Which};
pub use faulty_disk::FaultyDisk;
pub use gate::Gate;
pub use later::Later;
pub use log::{Event, Moment};
pub use null_disk::NullDisk;
pub use refused_threads::refuse_threads;
pub use replay::Replay;
pub use rng::Dice;
pub use seeds::for_each_seed;
pub use sim_disk::SimDisk;
pub use sim_file::SimFile;
pub use simulated::simulated;

#[cfg(all(test, shuttle))]
pub(crate) mod model_check;
#[cfg(test)]
mod tests;
