//! Files of pages in an object store: a sync appears whole or not at all, and of two writers the older one is fenced.
//!
//! [`ObjectFiles`] opens files. A [`Writer`] collects what is written, and [`Writer::sync`] puts it as immutable *segments* and then replaces a small
//! *head* by compare-and-swap. A [`Reader`] has one version open, and keeps it.
//!
//! A pool keeps its files there when it is built with `Builder::storage(files)`: [`ObjectFiles`] is a [`ringpool::storage::Storage`].
//!
//! ```
//! use std::sync::Arc;
//! use ringpool::{BufferPool, CheckpointOptions, OpenOptions, PageId};
//! use ringpool_object_store::{Fenced, ObjectFiles, Settings};
//!
//! let store = Arc::new(object_store::memory::InMemory::new());
//! let files = ObjectFiles::with_own_runtime(store, "engine/data", Settings::default(), 2)?;
//! let pool = BufferPool::builder().frames(64).storage(files).build()?;
//! let file = pool.open_file("table", OpenOptions::new().create(true).initial_blocks(8))?;
//! pool.write(PageId::new(file, 7)).wait()?[0] = 1;
//! if let Err(error) = pool.checkpoint(CheckpointOptions::new()).wait() {
//!     assert!(Fenced::of(&error).is_some(), "another process owns the file now");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! * A sync that reported success is durable, and visible to every reader and writer that opens the file afterwards.
//! * What a sync publishes appears together. There are no torn pages.
//! * Opening for writing raises the file's epoch. An older writer publishes nothing from then on: its next sync fails with [`Fenced`].
//!
//! Any [`object_store::ObjectStore`] will do that has conditional puts ([`object_store::PutMode::Update`]) and reads what was written last.

mod client;
mod collect;
mod compact;
mod encode;
mod errors;
mod executor;
mod files;
mod manifest;
mod names;
mod objects;
mod page_map;
mod pin;
mod publish;
mod ranges;
mod reader;
mod settings;
mod state;
mod storage;
mod swap;
mod sweep;
mod tier;
mod writer;

pub use client::Requests;
pub use errors::{Fenced, InvalidName, VersionGone};
pub use files::ObjectFiles;
pub use reader::Reader;
pub use settings::Settings;
pub use tier::{LocalTier, TierCounts};
pub use writer::Writer;
