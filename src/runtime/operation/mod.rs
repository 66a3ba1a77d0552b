//! What an operation owns of the pool: where `buffer` and `io` meet.
//!
//! The frames of an [operation](crate::io::operation) are its *lease*: the pins that keep them, and their bytes, which the device
//! may touch. How a [read] begins and ends is in one file, and how a [write](write) does in another. If a lease is dropped instead
//! of finished, because a thread of the method died, it ends as a failed transfer: no frame stays busy for ever, and no write
//! counts as done.

pub(crate) mod read;
#[cfg(test)]
mod tests;
mod write;

use std::io;

use read::ReadLease;
pub(crate) use write::{WriteLease, WriteRun};

use crate::{
    buffer::frame::{frames::Frames, pin::Pins},
    error::Error,
    io::{
        buffers::IoBuf,
        operation::{Lease, Operation, OperationTable},
    },
    sync::waking::Wakers,
};

/// A transfer between pages of a file and frames.
pub(crate) type PageOperation = Operation<PageLease>;

/// The operations of a pool.
pub(crate) type PageOperations = OperationTable<PageLease>;

pub(crate) enum PageLease {
    Read(ReadLease),
    Write(WriteLease),
}

impl PageLease {
    fn pins(&self) -> &Pins {
        match self {
            Self::Read(lease) => &lease.pins,
            Self::Write(lease) => lease.pins(),
        }
    }
}

fn bytes_of(pins: &Pins) -> usize {
    pins.len() * pins.frames().page_size.bytes()
}

impl Lease for PageLease {
    fn buffer_count(&self) -> usize {
        match self {
            Self::Read(lease) => lease.pages(),
            Self::Write(lease) => lease.buffer_count(),
        }
    }

    fn buffer(&self, index: usize) -> IoBuf {
        match self {
            Self::Read(lease) => lease.buffer(index),
            Self::Write(lease) => lease.buffer(index),
        }
    }

    fn bytes(&self) -> usize {
        bytes_of(self.pins())
    }

    fn is_awaited(&self) -> bool {
        self.pins().iter().any(|frame| frame.state.load().has_io_waiters())
    }

    /// Writes are sorted and combined before they come: a run of copies has all the neighbours that it could be joined to.
    fn can_join(&self, next: &Self) -> bool {
        matches!((self, next), (Self::Read(lease), Self::Read(next)) if lease.can_append(next))
    }

    fn join(&mut self, next: Self) {
        match (self, next) {
            (Self::Read(lease), Self::Read(next)) => lease.append(next),
            _ => unreachable!("only reads can join"),
        }
    }

    fn finish(&mut self, outcome: io::Result<usize>, wakers: &mut Wakers) -> Option<Error> {
        match self {
            Self::Read(lease) => lease.finish(outcome, wakers),
            Self::Write(lease) => {
                lease.finish(outcome, wakers);
                None
            }
        }
    }
}

/// Returns the buffer of `len` bytes at `offset` in the pool's arena.
#[inline]
fn buffer_at(frames: &Frames, offset: usize, len: usize) -> IoBuf {
    IoBuf {
        ptr: frames.arena.at(offset),
        len: u32::try_from(len).expect("a buffer is at most one request long"),
        chunk: frames.arena.chunk_of(offset),
    }
}

/// Returns the error that a dropped lease reports.
fn abandoned() -> io::Error {
    io::Error::other("the transfer was given up: a thread of the I/O method ended before it did")
}
