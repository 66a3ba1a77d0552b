//! An error on purpose, after each cycle of the second half, to see that the verdict reports it.

use std::{fs::File, hint::black_box, mem, time::Duration};

use clap::ValueEnum;

use crate::subject::Subject;

#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spoil {
    /// A pin that is never given back.
    Pin,
    /// A changed byte of a page.
    Byte,
    /// A descriptor that is never closed.
    Descriptor,
    /// Memory that is never given back.
    Memory,
    /// Every step takes longer.
    Rate,
}

/// More than the verdict allows.
const LOST_BYTES: usize = 64 << 20;

impl Spoil {
    pub(crate) fn happen(self, subject: &mut Subject) {
        let calm = &subject.files[0];
        let page = subject.pool.fetch(calm.page(0)).wait().expect("a file that nothing strikes");
        match self {
            Self::Pin => mem::forget(page),
            Self::Byte => page.write().expect("a file for writing")[4321] ^= 1,
            Self::Descriptor => mem::forget(File::open(&calm.path).expect("it is there")),
            // Looked at, so that no compiler finds that it is not used.
            Self::Memory => {
                black_box(vec![1_u8; LOST_BYTES].leak());
            }
            Self::Rate => subject.slow_down(Duration::from_millis(2)),
        }
    }
}
