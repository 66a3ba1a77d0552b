//! Maps by file.
//!
//! Ids are given in sequence and by the pool itself, so spreading them takes no more than a multiplication (Knuth, TAOCP 6.4,
//! by the golden ratio), and nobody can choose them so that they collide.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::id::FileId;

/// A map by file.
pub(in crate::io) type ByFile<V> = HashMap<FileId, V, BuildHasherDefault<IdHasher>>;

#[derive(Default)]
pub(in crate::io) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a file id is a number");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
