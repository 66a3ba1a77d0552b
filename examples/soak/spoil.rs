//! Something wrong on purpose, after each cycle of the second half, so that it can be seen that the verdict tells.

use std::{fs::File, hint::black_box, mem, time::Duration};

use clap::ValueEnum;

use crate::subject::Subject;

#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spoil {
    /// A pin that nobody gives back.
    Pin,
    /// A byte of a page that is another.
    Byte,
    /// A descriptor that nobody closes.
    Descriptor,
    /// Memory that nobody gives back.
    Memory,
    /// Every step takes longer.
    Rate,
}

/// More than the verdict lets pass.
const LOST_BYTES: usize = 64 << 20;

impl Spoil {
    pub(crate) fn happen(self, subject: &mut Subject) {
        let calm = &subject.files[0];
        let page = subject.pool.fetch(calm.page(0)).wait().expect("a file that nothing strikes");
        match self {
            Self::Pin => mem::forget(page),
            Self::Byte => page.write().expect("a file for writing")[4321] ^= 1,
            Self::Descriptor => mem::forget(File::open(&calm.path).expect("it is there")),
            // Looked at, so that no compiler finds that nobody wants it.
            Self::Memory => {
                black_box(vec![1_u8; LOST_BYTES].leak());
            }
            Self::Rate => subject.slow_down(Duration::from_millis(2)),
        }
    }
}
