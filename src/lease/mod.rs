//! "The kernel owns these bytes", as a value: where the pool and the I/O layer meet.
//!
//! A lease is made when frames enter an I/O and carries what the I/O needs: the pins that keep the frames, and the buffers.
//! Whoever holds the lease may touch the buffers; exactly one `finish` ends it. A lease that is dropped instead, because a
//! thread of the method died, ends as a failed transfer: no frame stays busy for ever, no write is taken for done.

mod read;
mod tally;
mod write;

use std::io;

pub(crate) use read::ReadLease;
use smallvec::SmallVec;
pub(crate) use tally::Tally;
pub(crate) use write::WriteLease;

use crate::{
    io::request::{IoBuf, Lease},
    pool::{arena::Arena, frame_pool::FramePool, handle::Pin},
};

/// The pages of one request, up to this many without an allocation: 128 KiB of 8 KiB pages.
pub(crate) const PAGES_INLINE: usize = 16;

/// The pins of the frames in a request, in the order of the file.
pub(crate) type Pins = SmallVec<[Pin; PAGES_INLINE]>;

/// Either kind of lease. Large, because a lease must not cost an allocation.
#[allow(clippy::large_enum_variant)]
pub(crate) enum PageLease {
    Read(ReadLease),
    Write(WriteLease),
}

impl Lease for PageLease {
    fn buffers(&self) -> &[IoBuf] {
        match self {
            Self::Read(lease) => lease.buffers(),
            Self::Write(lease) => lease.buffers(),
        }
    }

    fn finish(self, outcome: io::Result<usize>) {
        match self {
            Self::Read(lease) => lease.finish(outcome),
            Self::Write(lease) => lease.finish(outcome),
        }
    }
}

/// The buffer of `len` bytes at `offset` in the pool's arena.
fn buffer_at(pool: &FramePool, offset: usize, len: usize) -> IoBuf {
    IoBuf {
        ptr: pool.arena().at(offset),
        len: u32::try_from(len).expect("a buffer is at most one request long"),
        chunk: Arena::chunk_of(offset),
    }
}

/// What a dropped lease reports.
fn abandoned() -> io::Error {
    io::Error::other("the transfer was given up: a thread of the I/O method ended before it did")
}
