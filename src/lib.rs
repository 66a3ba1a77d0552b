//! ringpool
mod config;
mod error;
mod id;
mod io;
mod stats;
mod sync;
