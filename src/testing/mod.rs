//! A disk for an engine's own tests: it lives in memory, fails where it is told to, and remembers what was asked of it.
//! And a [`NullDisk`], which does nothing, for measuring what is left.
//!
//! Give a [`SimDisk`] to [`Builder::disk`](crate::Builder::disk) and keep a clone. The clone is the handle: it puts files
//! on the disk and looks at them, injects [faults](Fault), [holds](SimDisk::hold) operations so that a test can look at
//! the pool while they are under way, and reads the [log](SimDisk::log) of all that happened, in order.
//!
//! A power cut is one more thing that can go wrong: [`after_power_cut`](SimDisk::after_power_cut) gives the disk as it may be
//! found afterwards, and [`cut_power_during`](SimDisk::cut_power_during) ends a workload at any of its operations.
//!
//! Every I/O method works on it, by plain calls. It has no descriptor that a ring could use, so under io_uring threads beside
//! the ring do them.
//!
//! ```
//! use ringpool::{BufferPool, CheckpointOptions, Error, OpenOptions, PageId, testing::{Fault, Op, SimDisk}};
//!
//! const EIO: i32 = 5;
//! let disk = SimDisk::new();
//! disk.put("heap", vec![1; 4 * 8192]);
//! let pool = BufferPool::builder().frames(16).disk(disk.clone()).build()?;
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

mod fault;
mod log;
mod medium;
mod null_disk;
mod replay;
mod sim_disk;
mod sim_file;

pub use fault::{Fault, Op, Which};
pub use log::{Event, Moment};
pub use null_disk::NullDisk;
pub use replay::Replay;
pub use sim_disk::{Gate, SimDisk};

use crate::io::disk::Disk;

/// A disk of this module: what [`Builder::disk`](crate::Builder::disk) takes.
#[allow(private_bounds)] // What the pool asks of a disk is its own affair: no other disk can be made.
pub trait TestDisk: Disk {}
