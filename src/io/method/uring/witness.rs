//! How the pool learns that the kernel is done with a ring that cannot be entered any more.
//!
//! The kernel closes a ring down asynchronously: it drops the ring's registered files once the last request is over, and not
//! before. One of them is the end of a pipe that nothing else has open. So a read at the other end reaches the end of file when,
//! and only when, no memory is lent to the ring any more.

use std::{
    io::{self, PipeReader, PipeWriter, Read},
    os::fd::AsRawFd,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::sync::time::{self, Duration};

/// The end of a pipe that is held for a ring's other one.
#[derive(Debug)]
pub(super) struct Witness {
    reader: PipeReader,
    /// For the ring; gone once it has it.
    writer: Option<PipeWriter>,
}

impl Witness {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader, writer: Some(writer) })
    }

    /// Has it registered as a file of the ring, and leaves it to the ring.
    pub(super) fn hand_over(&mut self, register: impl FnOnce(i32) -> io::Result<()>) -> io::Result<()> {
        let writer = self.writer.as_ref().expect("it is handed over once");
        register(writer.as_raw_fd())?;
        self.writer = None;
        Ok(())
    }

    /// Waits until the kernel is done with the ring, which the caller has closed.
    ///
    /// That takes as long as the slowest disk that the ring had requests for. A child process that was forked, and has executed
    /// nothing else yet, still has the ring open, and delays it until then.
    pub(super) fn wait(mut self) {
        // An error is a signal.
        while self.reader.read(&mut [0]).is_err() {}
    }

    /// Waits at most `patience` until the kernel is done with the ring, which the caller has closed. Returns whether it is.
    pub(super) fn ends_within(self, patience: Duration) -> bool {
        let deadline = time::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(time::now());
            let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.reader, PollFlags::IN)], Some(&left)) {
                Err(Errno::INTR) => {}
                ended => return ended.is_ok_and(|ready| ready > 0),
            }
        }
    }
}
