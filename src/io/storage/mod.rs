//! The seam below the pool: where files are kept.
//!
//! A [`Storage`] opens files. A file is of one of two kinds. The transfers of a [`BlockingFile`] are calls that return when they are
//! over; where it has a descriptor, a ring works on that instead. The transfers of a [`StorageFile`] are [requests](request) that it
//! ends later, from any thread, as many at once as it says.
//!
//! The code above sees one kind: [`Opened`] puts a [`BlockingFile`] before each file that is asynchronous, whose calls start a
//! request and wait for it ([`awaited`]). The rare paths (growing, syncs, what the pool keeps for itself) go by those calls. Reads and
//! writes of pages go by the [queue of such files](super::method::asynchronous), and no thread waits for them.

pub(crate) mod awaited;
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

pub(crate) use self::opened::{DirectRefused, Lock, MayBlock, Opened};
use self::request::{ReadRequest, SyncRequest, WriteRequest};
use crate::{id::PageSize, io::file::open_options::OpenOptions};

/// A place where files of pages are kept: given to [`Builder::storage`](crate::Builder::storage), in place of the system's files.
///
/// Its methods may block. The pool calls them from threads that wait for the outcome, none of which transfers pages.
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
    /// Opens the file at `path`, or creates it if [`options.create`](OpenOptions::create) says so, for transfers of whole pages from
    /// and to memory aligned to the page size. Example: [`Storage`].
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

    /// Writes like `pwritev(2)`: may be short, and grows the file where that is needed. Example: [`Storage`].
    ///
    /// # Errors
    /// As those of [`read_at`](Self::read_at).
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

    /// Makes durable what was written, with the metadata needed to read it back (`fdatasync(2)`): all writes that have returned when
    /// it is called. Example: [`Storage`].
    ///
    /// # Errors
    /// Any is final: the file reports it at every later sync, until it is opened anew.
    fn sync_data(&self) -> io::Result<()>;

    /// Returns the length in bytes. Example: [`Storage`].
    ///
    /// # Errors
    /// Any: opening, or growing, ends in it.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or grows the file (`ftruncate(2)`): new bytes are zeros. Example: [`Storage`].
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

    /// Returns the descriptor, where there is one: always the same. Then a ring reads and writes that, and makes no calls.
    /// Example: [`BlockingFile`].
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// One open file whose transfers end later: what an object store, or any server, has.
///
/// [`read`](Self::read), [`write`](Self::write) and [`sync`](Self::sync) must not block: they start what is asked for and return, and
/// the request is ended once, from any thread. One may be ended before the call returns. Requests come from many threads at once, for
/// ranges that do not overlap unless all of them are reads, and no more reads and writes of pages are under way than
/// [`in_flight`](capabilities::Capabilities::in_flight) allows.
///
/// To end a request wakes those that wait for its pages, in the thread that ends it: wakers of tasks run there. So a storage ends
/// requests outside of its own locks.
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
/// One that passes all on to another, and prints what that has published:
/// ```
/// use std::io;
/// use ringpool::storage::{ReadRequest, StorageFile, SyncRequest, WriteRequest};
///
/// #[derive(Debug)]
/// struct Printing<F>(F);
///
/// impl<F: StorageFile> StorageFile for Printing<F> {
///     fn read(&self, request: ReadRequest) {
///         self.0.read(request);
///     }
///     fn write(&self, request: WriteRequest) {
///         self.0.write(request);
///     }
///     fn sync(&self, request: SyncRequest) {
///         self.0.sync(request);
///     }
///     fn len(&self) -> io::Result<u64> {
///         self.0.len()
///     }
///     fn set_len(&self, len: u64) -> io::Result<()> {
///         self.0.set_len(len)
///     }
///     fn version(&self) -> Option<u64> {
///         println!("{:?}", self.0.version());
///         self.0.version()
///     }
///     fn unlock(&self) {
///         self.0.unlock();
///     }
/// }
/// ```
#[allow(clippy::len_without_is_empty)] // No caller asks.
pub trait StorageFile: Send + Sync + fmt::Debug + 'static {
    /// Starts a read. Example: [`StorageFile`].
    fn read(&self, request: ReadRequest);

    /// Starts a write. A reader that asks after the write has ended gets the new bytes. Example: [`StorageFile`].
    fn write(&self, request: WriteRequest);

    /// Starts to make durable, and to publish to other readers where there are any, all writes that have ended when it is asked for.
    /// Example: [`StorageFile`].
    fn sync(&self, request: SyncRequest);

    /// Returns the length in bytes, with what was written and not yet synced. May block. Example: [`StorageFile`].
    ///
    /// # Errors
    /// As those of [`BlockingFile::len`].
    fn len(&self) -> io::Result<u64>;

    /// Cuts or grows the file: new bytes are zeros. May block. Example: [`StorageFile`].
    ///
    /// # Errors
    /// As those of [`BlockingFile::set_len`].
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns the version that the last sync has published, or that the file was opened at: it grows with every sync that had something
    /// to publish. Must not block: [`files`](crate::BufferPool::files) calls it. Default: none. [`FileInfo::version`](crate::report::FileInfo) shows it. Example: [`StorageFile`].
    fn version(&self) -> Option<u64> {
        None
    }

    /// Lets other pools open the file, before it is dropped. Example: [`StorageFile`].
    fn unlock(&self) {}
}
