//! One frame: its state word, its header, pins, latches, those that wait for it, and where its bytes are.

pub(crate) mod extra_pages;
pub(crate) mod header;
pub(crate) mod latch;
pub(crate) mod lending;
pub(crate) mod older_changes;
pub(crate) mod pin;
pub(crate) mod pin_list;
pub(crate) mod spares;
pub(crate) mod state;
pub(crate) mod unlogged;
pub(crate) mod waiters;
