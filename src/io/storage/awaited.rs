//! An asynchronous file as one whose transfers are calls: each starts a request, and waits until it has ended.
//!
//! For the rare paths, and for the thread that waits anyway. Whatever happens, a call returns only when its request has ended: until then
//! the request has the caller's buffers.

use std::{
    io::{self, IoSlice, IoSliceMut},
    ptr::NonNull,
};

use super::{
    BlockingFile, StorageFile,
    request::{Ending, ReadRequest, Request, SyncRequest, WriteRequest},
};
use crate::sync::{Arc, Condvar, Mutex, callback::contained};

#[derive(Debug)]
pub(super) struct Awaited(pub(super) Arc<dyn StorageFile>);

/// The outcome of one request, when there is one.
#[derive(Debug, Default)]
struct RequestOutcome {
    told: Mutex<Option<io::Result<usize>>>,
    is_told: Condvar,
}

impl RequestOutcome {
    /// Starts a request and waits until it has ended.
    fn of(start: impl FnOnce(Ending)) -> io::Result<usize> {
        let outcome = Arc::new(Self::default());
        let teller = Arc::clone(&outcome);
        let ending = Box::new(move |told| {
            *teller.told.lock() = Some(told);
            teller.is_told.notify_all();
        });
        // A panic drops the request, or has left it with the file, which ends it all the same.
        let _ = contained(|| start(ending));
        let mut told = outcome.told.lock();
        loop {
            match told.take() {
                Some(told) => return told,
                None => told = outcome.is_told.wait(told),
            }
        }
    }
}

impl BlockingFile for Awaited {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let pieces = buffers.iter_mut().map(|buffer| (NonNull::from(&mut **buffer).cast(), buffer.len()));
        RequestOutcome::of(|ending| {
            // SAFETY: the buffers are borrowed for all of this call, alone, and the call ends after the request.
            #[allow(unsafe_code)]
            let request = unsafe { Request::new(offset, pieces, true, ending) };
            self.0.read(ReadRequest(request));
        })
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let pieces = buffers.iter().map(|buffer| (NonNull::from(&**buffer).cast(), buffer.len()));
        RequestOutcome::of(|ending| {
            // SAFETY: the buffers are borrowed for all of this call, a write does not change them, and the call ends after the request.
            #[allow(unsafe_code)]
            let request = unsafe { Request::new(offset, pieces, true, ending) };
            self.0.write(WriteRequest(request));
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        RequestOutcome::of(|ending| self.0.sync(SyncRequest::new(ending))).map(drop)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    /// Grows the file where the range ends behind it: then new bytes are zeros, and a storage need not be sent any.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset + len;
        if self.0.len()? < end { self.0.set_len(end) } else { Ok(()) }
    }

    fn unlock(&self) {
        self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps each request until a thread of its own has slept, and panics after it has begun.
    #[derive(Debug)]
    struct LateAndPanics;

    impl StorageFile for LateAndPanics {
        fn read(&self, mut request: ReadRequest) {
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(50));
                request.pieces().for_each(|piece| piece.fill(7));
                let len = request.len();
                request.finish(Ok(len));
            });
            panic!("after it has begun");
        }

        fn write(&self, request: WriteRequest) {
            drop(request);
        }

        fn sync(&self, request: SyncRequest) {
            drop(request);
        }

        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn c5_a_call_that_panics_has_its_buffers_until_the_request_has_ended() {
        let file = Awaited(Arc::new(LateAndPanics));
        let mut bytes = [0; 512];
        let read = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0);
        assert_eq!(read.unwrap(), 512);
        assert_eq!(bytes, [7; 512], "the request was still under way");
    }

    #[test]
    fn c2_a_request_that_is_dropped_has_failed() {
        let file = Awaited(Arc::new(LateAndPanics));
        for error in [file.write_at(&[IoSlice::new(&[1])], 0).unwrap_err(), file.sync_data().unwrap_err()] {
            assert!(error.to_string().contains("dropped"), "{error}");
        }
    }
}
