//! The seam below the pool: where files are kept. A [`Storage`] opens files of two kinds (`design/storage.md`): the transfers of a
//! [`BlockingFile`] are calls, those of a [`StorageFile`] [requests](request) that it ends later.
//!
//! The code above sees one kind: [`Opened`] puts a [`BlockingFile`] before each asynchronous file, whose calls start a request and wait for
//! it ([`contained`]), for the rare paths. Pages go by the [queue of such files](super::method::asynchronous), and no thread waits for them.

pub(crate) mod capabilities;
pub(crate) mod contained;
pub(crate) mod opened;
pub(crate) mod os;
pub(crate) mod request;

use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut},
    os::fd::BorrowedFd,
    path::Path,
};

pub(crate) use self::opened::{Opened, WhyNot};
use self::request::{ReadRequest, SyncRequest, WriteRequest};
use crate::{id::PageSize, io::file::open_options::OpenOptions};

/// A place where files of pages are kept: given to [`Builder::storage`](crate::Builder::storage), in place of the system's files.
///
/// # What the pool asks for, and what it relies on
/// * **Threads.** Calls come from many threads at once, also those for one file. All may block, but for four of a [`StorageFile`]:
///   [`read`](StorageFile::read), [`write`](StorageFile::write), [`sync`](StorageFile::sync) and [`version`](StorageFile::version). A
///   thread that polls tasks of the engine may make these, and a thread of the storage that has just ended another request. So a storage
///   keeps a handle to its own runtime, and looks for none in the thread that calls.
/// * **Order.** Requests may be served, and ended, in any order. Two for the same bytes are never under way at once, unless both read. A read sees
///   each write that has ended before it was asked for. A file has one sync under way at most. Reads and writes go on during a sync, and so do
///   those of the blocks that stay while the length changes; the length may change during a sync.
/// * **Sizes.** Memory is aligned to the page size. A transfer is of whole pages, at an offset that is a multiple of the page size, but for what is left of
///   one that came back short. One of pages has at most 1 MiB, one of a [doublewrite area](crate::options::TornPages) may have more. A file
///   has at most 2<sup>32</sup> - 1 pages. Nothing need be kept for what was never written.
/// * **Short transfers.** Fewer bytes than were asked for is no error: the pool asks for the rest. 0 bytes of a read are the end of the file, 0 of a
///   write are an error.
/// * **Errors.** A read, or a write, of the kind [`Interrupted`](io::ErrorKind::Interrupted) or [`WouldBlock`](io::ErrorKind::WouldBlock) is
///   asked for again at once, up to 32 times in a row. Every other error is final, and these two are final for all else that can fail. A
///   write that has failed may be there in part; its pages stay dirty, and are written again. A sync that has failed fails the
///   file until it is opened anew. What is too far out is [`FileTooLarge`](io::ErrorKind::FileTooLarge) or
///   [`StorageFull`](io::ErrorKind::StorageFull). A panic is an error of the call, and the pool lives on.
/// * **Ends.** The pool waits for each call and each request, without a limit, and withdraws none: a caller that gives up gives up its own wait. So a
///   storage that may lose its server ends requests by a time limit of its own.
/// * **Crashes.** A sync that was reported has made durable what had ended when it was asked for: the writes since the sync before, also those
///   that ended while that one was under way, and the length. All else may be lost, or there, or there in part, as far as
///   [`Atomicity`](capabilities::Atomicity) allows.
/// * **Openings.** The pool may open a file that it has open: it compares the [identities](Opened::blocking), and drops the second one.
///
/// # Examples
/// A storage in memory, whose files block for no time:
/// ```
/// use std::{collections::HashMap, io, path::{Path, PathBuf}, sync::{Arc, Mutex}};
/// use ringpool::{BufferPool, OpenOptions, PageId, PageSize, storage::{BlockingFile, Opened, Storage}};
///
/// #[derive(Clone, Debug, Default)]
/// struct Bytes(Arc<Mutex<Vec<u8>>>);
///
/// impl BlockingFile for Bytes {
///     fn read_at(&self, buffers: &mut [io::IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
///         let bytes = self.0.lock().unwrap();
///         let rest = bytes.get(offset as usize..).unwrap_or_default();
///         io::Read::read_vectored(&mut &rest[..], buffers)
///     }
///     fn write_at(&self, buffers: &[io::IoSlice<'_>], offset: u64) -> io::Result<usize> {
///         let mut bytes = self.0.lock().unwrap();
///         let piece = &buffers[0];
///         let end = offset as usize + piece.len();
///         let len = bytes.len().max(end);
///         bytes.resize(len, 0);
///         bytes[offset as usize..end].copy_from_slice(piece);
///         Ok(piece.len()) // Less than was asked for: the pool goes on behind it.
///     }
///     fn sync_data(&self) -> io::Result<()> {
///         Ok(())
///     }
///     fn len(&self) -> io::Result<u64> {
///         Ok(self.0.lock().unwrap().len() as u64)
///     }
///     fn set_len(&self, len: u64) -> io::Result<()> {
///         self.0.lock().unwrap().resize(len as usize, 0);
///         Ok(())
///     }
/// }
///
/// #[derive(Clone, Debug, Default)]
/// struct Memory(Arc<Mutex<HashMap<PathBuf, (u64, Bytes)>>>);
///
/// impl Storage for Memory {
///     fn open(&self, path: &Path, options: &OpenOptions, _: PageSize) -> io::Result<Opened> {
///         let mut files = self.0.lock().unwrap();
///         let number = files.len() as u64;
///         if options.create {
///             files.entry(path.to_owned()).or_insert((number, Bytes::default()));
///         }
///         let (number, file) = files.get(path).ok_or(io::ErrorKind::NotFound)?.clone();
///         Opened::blocking(file, (0, number))
///     }
/// }
///
/// let pool = BufferPool::builder().frames(16).storage(Memory::default()).build()?;
/// let file = pool.open_file("table", OpenOptions::new().create(true).initial_blocks(4))?;
/// pool.write(PageId::new(file, 3)).wait()?[0] = 7;
/// # Ok::<(), ringpool::Error>(())
/// ```
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// Opens the file at `path`, or creates it, empty, if [`options.create`](OpenOptions::create) says so, for transfers of pages of this size.
    /// Example: [`Storage`].
    ///
    /// The other options are the storage's to heed as far as they mean something to it: `read_only`, `mode`, `lock`, `direct`. The
    /// pool heeds the rest.
    ///
    /// # Errors
    /// A missing file without `options.create` is [`io::ErrorKind::NotFound`]. Any error becomes
    /// [`Error::File`](crate::Error::File).
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened>;

    /// Makes the names in the folder of this [name](Opened::name) durable. Called only for files that have a name, when one is opened for
    /// writing and when one was removed. A folder that is gone has no names, which is no error. Default: names are durable at once.
    /// Example: [`Opened`].
    ///
    /// # Errors
    /// Any: opening, or removing, ends in it.
    fn sync_folder(&self, _name: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Returns whether the name may be removed to remove the file of this identity: whether it is that file's name, and not another
    /// file's or no file's. Default: it is. Example: [`Opened`].
    ///
    /// # Errors
    /// For what is never removed, as a device.
    fn may_remove(&self, _name: &Path, _identity: (u64, u64)) -> io::Result<bool> {
        Ok(true)
    }

    /// Removes the name. A file that is open there has its bytes until it is closed, or fails: the pool that removes it asks for none.
    /// Default: [`io::ErrorKind::Unsupported`].
    /// Example: [`Opened`].
    ///
    /// # Errors
    /// Any: [`drop_file`](crate::BufferPool::drop_file) ends in it.
    fn remove(&self, _name: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// One open file whose transfers are calls of the thread that transfers. Offsets are absolute: nothing moves a cursor. Calls come from
/// many threads at once, for ranges that do not overlap unless all of them are reads.
///
/// # Examples
/// [`Storage`] has a file in memory. One that counts the bytes that another reads:
/// ```
/// use std::{io::{self, IoSlice, IoSliceMut}, os::fd::BorrowedFd, sync::atomic::{AtomicU64, Ordering}};
/// use ringpool::storage::BlockingFile;
///
/// #[derive(Debug)]
/// struct Counted<F> {
///     file: F,
///     bytes: AtomicU64,
/// }
///
/// impl<F: BlockingFile> BlockingFile for Counted<F> {
///     fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
///         let count = self.file.read_at(buffers, offset)?;
///         self.bytes.fetch_add(count as u64, Ordering::Relaxed);
///         Ok(count)
///     }
///     fn descriptor(&self) -> Option<BorrowedFd<'_>> {
///         // What a ring reads goes past read_at. To let it: self.file.descriptor()
///         None
///     }
///     fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
///         self.file.write_at(buffers, offset)
///     }
///     fn write_atomically_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
///         self.file.write_atomically_at(buffers, offset)
///     }
///     fn sync_data(&self) -> io::Result<()> {
///         self.file.sync_data()
///     }
///     fn len(&self) -> io::Result<u64> {
///         self.file.len()
///     }
///     fn set_len(&self, len: u64) -> io::Result<()> {
///         self.file.set_len(len)
///     }
///     fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
///         self.file.allocate(offset, len)
///     }
///     fn unlock(&self) {
///         self.file.unlock()
///     }
/// }
/// ```
#[allow(clippy::len_without_is_empty)] // No caller asks.
pub trait BlockingFile: Send + Sync + fmt::Debug + 'static {
    /// Reads like `preadv(2)`: may be short; 0 is the end of the file. Example: [`Storage`].
    ///
    /// # Errors
    /// Of the kinds [`Interrupted`](io::ErrorKind::Interrupted) and [`WouldBlock`](io::ErrorKind::WouldBlock): it is tried again, up
    /// to 32 times. Any other ends the transfer.
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize>;

    /// Writes like `pwritev(2)`: may be short, and grows the file where that is needed. What is between the old end and the offset is zeros.
    /// Example: [`Storage`].
    ///
    /// # Errors
    /// As those of [`read_at`](Self::read_at). What would be too long is [`FileTooLarge`](io::ErrorKind::FileTooLarge), or
    /// [`StorageFull`](io::ErrorKind::StorageFull).
    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Writes like `pwritev2(2)` with `RWF_ATOMIC`: all or nothing, whatever happens. Called for files of the system only, and for
    /// those of `testing`: any other [says](capabilities::Capabilities::atomicity) that its plain writes are atomic, if they are.
    /// Example: [`BlockingFile`].
    ///
    /// # Errors
    /// As those of [`read_at`](Self::read_at).
    fn write_atomically_at(&self, _buffers: &[IoSlice<'_>], _offset: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes durable what was written, with the metadata needed to read it back (`fdatasync(2)`): all writes, and changes of the
    /// length, that have returned when it is called. One that returns while it runs belongs to the next. Example: [`Storage`].
    ///
    /// # Errors
    /// Any is final, [`Interrupted`](io::ErrorKind::Interrupted) too: the file reports it at every later sync, until it is opened anew.
    fn sync_data(&self) -> io::Result<()>;

    /// Returns the length in bytes. Example: [`Storage`].
    ///
    /// # Errors
    /// Any: opening, or growing, ends in it.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or grows the file (`ftruncate(2)`): new bytes are zeros, also those that were cut off before. The next sync makes it durable.
    /// Example: [`Storage`].
    ///
    /// # Errors
    /// Any: cutting, or growing, ends in it.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space for a range, growing the file: new bytes are zeros. Default: [`io::ErrorKind::Unsupported`], and the pool writes
    /// zeros. Example: [`BlockingFile`].
    ///
    /// # Errors
    /// Any other than that: growing ends in it.
    fn allocate(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Lets other pools open the file, before it is dropped: the kernel or a thread may hold it for a little longer.
    /// Example: [`BlockingFile`].
    fn unlock(&self) {}

    /// Returns the descriptor, where there is one. Then a ring reads and writes that, and makes no calls. Asked for once, when the file is
    /// opened; it must stay open until the file is dropped. Example: [`BlockingFile`].
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// One open file whose transfers end later: what an object store, or any server, has.
///
/// [`read`](Self::read), [`write`](Self::write) and [`sync`](Self::sync) must not block: they start what is asked for and return, and
/// the request is ended once, from any thread. One may be ended before the call returns. No more reads and writes of pages are under
/// way than [`in_flight`](capabilities::Capabilities::in_flight) allows. [`Storage`] tells what else the pool relies on.
///
/// To end a request wakes those that wait for its pages, and starts the next in line, in the thread that ends it: wakers of tasks run
/// there, and the file's own calls. So a storage ends requests outside of its own locks. The file may be dropped there too: a thread that
/// a file waits for in its drop must not be one that ends requests.
///
/// # Examples
/// A file in memory that is served by one thread:
/// ```
/// use std::{collections::BTreeMap, io, sync::{Arc, Mutex, mpsc}, thread};
/// use ringpool::{
///     BufferPool, OpenOptions, PageId, PageSize,
///     storage::{Capabilities, Opened, ReadRequest, Storage, StorageFile, SyncRequest, WriteRequest},
/// };
///
/// enum Request {
///     Read(ReadRequest),
///     Write(WriteRequest),
///     Sync(SyncRequest),
/// }
///
/// #[derive(Debug)]
/// struct Served {
///     requests: mpsc::Sender<Request>,
///     bytes: Arc<Mutex<Vec<u8>>>,
/// }
///
/// fn serve(requests: mpsc::Receiver<Request>, bytes: &Mutex<Vec<u8>>) {
///     for request in requests {
///         match request {
///             Request::Read(request) => {
///                 let rest = bytes.lock().unwrap().get(request.offset() as usize..).unwrap_or_default().to_vec();
///                 request.fill(&rest);
///             }
///             Request::Write(request) => {
///                 let (at, new) = (request.offset() as usize, request.to_vec());
///                 let mut bytes = bytes.lock().unwrap();
///                 let len = bytes.len().max(at + new.len());
///                 bytes.resize(len, 0);
///                 bytes[at..at + new.len()].copy_from_slice(&new);
///                 drop(bytes);
///                 request.finish(Ok(new.len()));
///             }
///             Request::Sync(request) => request.finish(Ok(())),
///         }
///     }
/// }
///
/// impl StorageFile for Served {
///     // A request that cannot be sent is dropped, and has failed.
///     fn read(&self, request: ReadRequest) {
///         let _ = self.requests.send(Request::Read(request));
///     }
///     fn write(&self, request: WriteRequest) {
///         let _ = self.requests.send(Request::Write(request));
///     }
///     fn sync(&self, request: SyncRequest) {
///         let _ = self.requests.send(Request::Sync(request));
///     }
///     fn len(&self) -> io::Result<u64> {
///         Ok(self.bytes.lock().unwrap().len() as u64)
///     }
///     fn set_len(&self, len: u64) -> io::Result<()> {
///         self.bytes.lock().unwrap().resize(len as usize, 0);
///         Ok(())
///     }
///     fn version(&self) -> Option<u64> {
///         None // It publishes nothing.
///     }
///     fn unlock(&self) {} // Each opening makes a file of its own.
/// }
///
/// #[derive(Debug)]
/// struct Server;
///
/// impl Storage for Server {
///     fn open(&self, _: &std::path::Path, _: &OpenOptions, _: PageSize) -> io::Result<Opened> {
///         let (requests, arriving) = mpsc::channel();
///         let bytes = Arc::new(Mutex::new(vec![0; 8 * 8192]));
///         let of_thread = Arc::clone(&bytes);
///         thread::spawn(move || serve(arriving, &of_thread));
///         let opened = Opened::asynchronous(Arc::new(Served { requests, bytes }), (0, 1))?;
///         Ok(opened.capabilities(Capabilities::new().in_flight(16)))
///     }
/// }
///
/// let pool = BufferPool::builder().frames(16).storage(Server).build()?;
/// let file = pool.open_file("table", OpenOptions::new())?;
/// pool.write(PageId::new(file, 3)).wait()?[0] = 7;
/// pool.sync_file(file).wait()?;
/// # Ok::<(), ringpool::Error>(())
/// ```
///
#[allow(clippy::len_without_is_empty)] // No caller asks.
pub trait StorageFile: Send + Sync + fmt::Debug + 'static {
    /// Starts a read. Example: [`StorageFile`].
    fn read(&self, request: ReadRequest);

    /// Starts a write, which grows the file where that is needed. A reader that asks after the write has ended gets the new bytes.
    /// Example: [`StorageFile`].
    fn write(&self, request: WriteRequest);

    /// Starts to make durable, and to publish to other readers where there are any, all writes, and changes of the length, that have
    /// ended when it is asked for. One that ends while it is under way belongs to the next. Example: [`StorageFile`].
    fn sync(&self, request: SyncRequest);

    /// Returns the length in bytes, with what was written and not yet synced. May block. Example: [`StorageFile`].
    ///
    /// # Errors
    /// As those of [`BlockingFile::len`].
    fn len(&self) -> io::Result<u64>;

    /// Cuts or grows the file: new bytes are zeros, also those that were cut off before. May block. Example: [`StorageFile`].
    ///
    /// # Errors
    /// As those of [`BlockingFile::set_len`].
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns the version that the last sync has published, or that the file was opened at: it grows with every sync that had something
    /// to publish. Must not wait, also not for a lock that a sync holds: [`files`](crate::BufferPool::files) calls it in its caller's
    /// thread. Default: none. [`FileInfo::version`](crate::report::FileInfo) shows it. Example: [`StorageFile`].
    fn version(&self) -> Option<u64> {
        None
    }

    /// Lets other pools open the file, before it is dropped. Example: [`StorageFile`].
    fn unlock(&self) {}
}
