//! Files of pages in an object store.

#![allow(dead_code)]
mod collect;
mod compact;
mod encode;
mod manifest;
mod names;
mod page_map;
mod ranges;
mod state;
