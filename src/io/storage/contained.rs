//! Calls into a storage of the engine's: a panic there is an error of the call (C10), since the thread that calls may serve others.
//!
//! What cannot fail (a descriptor, a version) has no answer then. The drop of a file is such a call too: the last that has it may be a
//! ring's worker. A file is asked for its descriptor once, when it is opened, so no ring's worker ever makes that call.
//!
//! An asynchronous file is also one whose transfers are calls, for the rare paths, and for the thread that waits anyway: each starts a
//! request, and waits until it has ended. Whatever happens, it returns only then: until then the request has the caller's buffers.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    path::Path,
    ptr::NonNull,
    sync::OnceLock,
};

use super::{
    BlockingFile, Opened, Storage, StorageFile,
    request::{Ending, ReadRequest, Request, SyncRequest, WriteRequest},
};
use crate::{
    PageSize,
    io::file::open_options::OpenOptions,
    sync::{Arc, callback::contained, promise::Promise, wait},
};

/// A storage, or a file of one of either kind, whose panics are errors.
#[derive(Debug)]
pub(crate) struct Contained<T> {
    /// There until the drop.
    inner: Option<T>,
    /// What a file has answered at first.
    descriptor: OnceLock<Option<RawFd>>,
}

impl<T> Contained<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner: Some(inner), descriptor: OnceLock::new() }
    }

    fn inner(&self) -> &T {
        self.inner.as_ref().expect("it is there until the drop")
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let inner = self.inner.take();
        let _ = contained(|| drop(inner));
    }
}

fn call<T>(body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    contained(body).unwrap_or_else(|_| Err(io::Error::other("the storage has panicked")))
}

impl<S: Storage> Storage for Contained<S> {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        call(|| self.inner().open(path, options, page_size))
    }

    fn sync_folder(&self, name: &Path) -> io::Result<()> {
        call(|| self.inner().sync_folder(name))
    }

    fn may_remove(&self, name: &Path, identity: (u64, u64)) -> io::Result<bool> {
        call(|| self.inner().may_remove(name, identity))
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        call(|| self.inner().remove(name))
    }
}

impl<F: BlockingFile> BlockingFile for Contained<F> {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        call(|| self.inner().read_at(buffers, offset))
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        call(|| self.inner().write_at(buffers, offset))
    }

    fn write_atomically_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        call(|| self.inner().write_atomically_at(buffers, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        call(|| self.inner().sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        call(|| self.inner().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        call(|| self.inner().set_len(len))
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        call(|| self.inner().allocate(offset, len))
    }

    fn unlock(&self) {
        let _ = contained(|| self.inner().unlock());
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        let ask = || contained(|| self.inner().descriptor().map(|fd| fd.as_raw_fd())).ok().flatten();
        let kept = *self.descriptor.get_or_init(ask);
        // SAFETY: the file has lent it, so it was open at least as long as the file was borrowed. It still is: all uses of the file are
        //    shared borrows, from before this one on, until the drop.
        #[allow(unsafe_code)]
        kept.map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
    }
}

impl StorageFile for Contained<Arc<dyn StorageFile>> {
    // Where one panics, its request is dropped, or the file has it and ends it all the same.

    fn read(&self, request: ReadRequest) {
        let _ = contained(|| self.inner().read(request));
    }

    fn write(&self, request: WriteRequest) {
        let _ = contained(|| self.inner().write(request));
    }

    fn sync(&self, request: SyncRequest) {
        let _ = contained(|| self.inner().sync(request));
    }

    fn len(&self) -> io::Result<u64> {
        call(|| self.inner().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        call(|| self.inner().set_len(len))
    }

    fn version(&self) -> Option<u64> {
        contained(|| self.inner().version()).ok().flatten()
    }

    fn unlock(&self) {
        let _ = contained(|| self.inner().unlock());
    }
}

/// Starts a request and waits until it has ended.
fn awaited(start: impl FnOnce(Ending)) -> io::Result<usize> {
    let outcome = Arc::new(Promise::new());
    let told = Arc::clone(&outcome);
    start(Box::new(move |count| told.set(count)));
    wait::block_on(|waker| outcome.poll(waker))
}

impl BlockingFile for Contained<Arc<dyn StorageFile>> {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let pieces = buffers.iter_mut().map(|buffer| (NonNull::from(&mut **buffer).cast(), buffer.len()));
        awaited(|ending| {
            // SAFETY: the buffers are borrowed for all of this call, alone, and the call ends after the request.
            #[allow(unsafe_code)]
            let request = unsafe { Request::new(offset, pieces, true, ending) };
            self.read(ReadRequest(request));
        })
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let pieces = buffers.iter().map(|buffer| (NonNull::from(&**buffer).cast(), buffer.len()));
        awaited(|ending| {
            // SAFETY: the buffers are borrowed for all of this call, a write does not change them, and the call ends after the request.
            #[allow(unsafe_code)]
            let request = unsafe { Request::new(offset, pieces, true, ending) };
            self.write(WriteRequest(request));
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        awaited(|ending| self.sync(SyncRequest::new(ending))).map(drop)
    }

    fn len(&self) -> io::Result<u64> {
        StorageFile::len(self)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        StorageFile::set_len(self, len)
    }

    /// Grows the file where the range ends behind it: then new bytes are zeros, and a storage need not be sent any.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset + len;
        if StorageFile::len(self)? < end { StorageFile::set_len(self, end) } else { Ok(()) }
    }

    fn unlock(&self) {
        StorageFile::unlock(self);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{IoSlice, IoSliceMut},
        ops::Deref,
        os::{
            fd::{AsFd, BorrowedFd},
            unix::fs::FileExt,
        },
        path::Path,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::{
        BufferPool, CheckpointOptions, Error, IoMethod, PageId, io::tests::support::FakeDisk,
        stats::MethodKind,
    };

    /// A file, with a descriptor where it is not asynchronous. All calls panic once `is_over` says so, and so does the drop.
    #[derive(Clone, Debug)]
    struct Panics {
        file: Arc<File>,
        is_over: Arc<AtomicBool>,
        is_asynchronous: bool,
    }

    impl Panics {
        fn new(is_asynchronous: bool) -> Self {
            let file = tempfile::tempfile().unwrap();
            file.set_len(64 * 4096).unwrap();
            Self { file: Arc::new(file), is_over: Arc::default(), is_asynchronous }
        }

        fn call(&self) {
            assert!(!self.is_over.load(Ordering::Relaxed), "it is over");
        }
    }

    #[derive(Debug)]
    struct PanickingFile(Panics);

    impl Deref for PanickingFile {
        type Target = Panics;

        fn deref(&self) -> &Panics {
            &self.0
        }
    }

    impl Drop for PanickingFile {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                self.call();
            }
        }
    }

    impl BlockingFile for PanickingFile {
        fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
            self.call();
            self.file.read_at(&mut buffers[0], offset)
        }

        fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
            self.call();
            self.file.write_at(&buffers[0], offset)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.call();
            self.file.sync_data()
        }

        fn len(&self) -> io::Result<u64> {
            self.call();
            Ok(self.file.metadata()?.len())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.call();
            self.file.set_len(len)
        }

        fn unlock(&self) {
            self.call();
        }

        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            self.call();
            (!self.is_asynchronous).then(|| self.file.as_fd())
        }
    }

    impl StorageFile for PanickingFile {
        fn read(&self, mut request: ReadRequest) {
            self.call();
            let offset = request.offset();
            let read = self.file.read_at(request.pieces().next().unwrap(), offset);
            request.finish(read);
        }

        fn write(&self, request: WriteRequest) {
            self.call();
            let written = self.file.write_at(request.pieces().next().unwrap(), request.offset());
            request.finish(written);
        }

        fn sync(&self, request: SyncRequest) {
            self.call();
            request.finish(Ok(()));
        }

        fn len(&self) -> io::Result<u64> {
            BlockingFile::len(self)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            BlockingFile::set_len(self, len)
        }

        fn version(&self) -> Option<u64> {
            self.call();
            Some(1)
        }

        fn unlock(&self) {
            self.call();
        }
    }

    impl Storage for Panics {
        fn open(&self, _: &Path, _: &OpenOptions, _: PageSize) -> io::Result<Opened> {
            let file = PanickingFile(self.clone());
            match self.is_asynchronous {
                true => Opened::asynchronous(Arc::new(file), (0, 1)),
                false => Opened::blocking(file, (0, 1)),
            }
        }
    }

    #[test]
    fn c10_a_file_whose_calls_panic_later_ends_no_thread() {
        for (method, is_asynchronous) in
            [(IoMethod::Auto, false), (IoMethod::Auto, true), (IoMethod::Sync, true)]
        {
            let storage = Panics::new(is_asynchronous);
            let builder = BufferPool::builder().frames(16).page_size(4096).io_method(method.clone());
            let pool = builder.storage(storage.clone()).build().unwrap();
            let file = pool.open_file("panics", OpenOptions::new().durable_name(false)).unwrap();
            pool.write(PageId::new(file, 1)).wait().unwrap()[0] = 1;
            storage.is_over.store(true, Ordering::Relaxed);
            assert_eq!(pool.files()[0].info.version, None);
            // A ring has the descriptor, and makes no call.
            let by_ring = pool.stats().method.in_use == MethodKind::Uring
                && !is_asynchronous
                && pool.files()[0].info.aside_because.is_none();
            let _ = pool.prefetch(file.pages(4..8_u32));
            let read = pool.read(PageId::new(file, 5)).wait().map(drop);
            assert_eq!(read.is_ok(), by_ring, "{method:?}, asynchronous: {is_asynchronous}: {read:?}");
            assert!(pool.sync_file(file).wait().is_err());
            let _ = pool.truncate(file, 4).wait();
            drop(pool);
        }
    }

    #[test]
    fn c4_a_sync_that_panics_has_failed_for_good() {
        let disk = FakeDisk::stamped(8 * 512);
        let builder = BufferPool::builder().frames(8).page_size(512).io_method(IoMethod::Sync);
        let pool = builder.storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new().durable_name(false)).unwrap();
        pool.write(PageId::new(file, 1)).wait().unwrap()[0] = 1;
        disk.panic_in_sync();
        let checkpoint = || pool.checkpoint(CheckpointOptions::new()).wait();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(checkpoint));
        assert!(matches!(panicked, Ok(Err(_))), "an error, and not the caller's panic");
        assert!(matches!(pool.sync_file(file).wait(), Err(Error::SyncPoisoned { .. })));
        assert!(checkpoint().is_err());
    }

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

    fn late_and_panics() -> impl BlockingFile {
        Contained::new(Arc::new(LateAndPanics) as Arc<dyn StorageFile>)
    }

    #[test]
    fn c5_a_call_that_panics_has_its_buffers_until_the_request_has_ended() {
        let file = late_and_panics();
        let mut bytes = [0; 512];
        let read = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0);
        assert_eq!(read.unwrap(), 512);
        assert_eq!(bytes, [7; 512], "the request was still under way");
    }

    #[test]
    fn c2_a_request_that_is_dropped_has_failed() {
        let file = late_and_panics();
        for error in [file.write_at(&[IoSlice::new(&[1])], 0).unwrap_err(), file.sync_data().unwrap_err()] {
            assert!(error.to_string().contains("dropped"), "{error}");
        }
    }
}
