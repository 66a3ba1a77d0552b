//! Lets a pool keep its files in an object store: [`ObjectFiles`] is a [`Storage`], whose files are asynchronous.
//!
//! Opened for writing, a file is a [`Writer`]; for reading only, a [`Reader`] of its latest version, or of the one of
//! [`ObjectFiles::at_version`]. A write ends at once, as long as there is memory for it, and a read ends at once where its bytes are in memory. All
//! else is a task of the storage's runtime, which ends the request.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use ringpool::storage::{
    Atomicity, Capabilities, Opened, ReadRequest, Storage, StorageFile, SyncRequest, WriteRequest,
};
use ringpool::{OpenOptions, PageSize};

use crate::errors::InvalidName;
use crate::executor::Executor;
use crate::files::ObjectFiles;
use crate::names::Identity;
use crate::reader::Reader;
use crate::state::{Source, in_memory};
use crate::writer::{Writer, lock};

/// What the pool joins neighbouring pages up to: a request of 20 ms at 100 MB/s moves as much in the time that it waits.
const BEST_TRANSFER: usize = 1 << 20;

impl ObjectFiles {
    /// Returns the same storage, with which a pool opens files for reading only, at this version. [`FileInfo`](ringpool::report::FileInfo) of the
    /// pool that writes a file tells its version.
    #[must_use]
    pub fn at_version(&self, version: u64) -> Self {
        let mut files = self.clone();
        files.version = Some(version);
        files
    }

    /// Opens for a pool: one that opens a file twice must not fence itself.
    async fn writer_of_pool(&self, name: &str, page: u32, create: bool) -> io::Result<Writer> {
        let inner = lock(&self.of_pools).get(name).and_then(std::sync::Weak::upgrade);
        if let Some(inner) = inner
            && inner.check().is_ok()
        {
            return Ok(Writer { inner });
        }
        let writer = self.open_writer(name, page, create).await?;
        lock(&self.of_pools).insert(name.to_owned(), Arc::downgrade(&writer.inner));
        Ok(writer)
    }

    /// Waits for a task of the runtime. The calling thread may be one of another runtime, but of this one only where others go on.
    fn wait<T: Send + 'static>(
        &self,
        task: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let (ended, end) = mpsc::sync_channel(1);
        self.executor.handle.spawn(async move {
            // What waits may be gone.
            let _ = ended.send(task.await);
        });
        end.recv().map_err(|_| io::Error::other("the runtime of the object store has ended"))?
    }
}

impl Storage for ObjectFiles {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        let name = name_of(path)?;
        let files = self.share();
        let create = options.create;
        let page = u32::try_from(page_size.bytes()).map_err(io::Error::other)?;
        let (file, identity) = if options.read_only {
            let reader = self.wait(async move { files.open_reader(&name, files.version).await })?;
            let identity = identity_of(reader.identity(), Some(reader.version()));
            (File { executor: self.executor.clone(), kind: Kind::Reader(reader) }, identity)
        } else {
            if self.version.is_some() {
                let text = "a version of a file can be opened for reading only";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            let writer = self.wait(async move { files.writer_of_pool(&name, page, create).await })?;
            let identity = identity_of(writer.inner.objects.identity, None);
            (File { executor: self.executor.clone(), kind: Kind::Writer(writer) }, identity)
        };
        let capabilities = Capabilities::new()
            .in_flight(self.settings.in_flight)
            .best_transfer_bytes(BEST_TRANSFER)
            .atomicity(Atomicity::Sync);
        Ok(Opened::asynchronous(Arc::new(file), identity)?.capabilities(capabilities).name(path))
    }

    fn may_remove(&self, name: &Path, identity: (u64, u64)) -> io::Result<bool> {
        let (files, name) = (self.share(), name_of(name)?);
        let now = self.wait(async move { files.identity(&name).await })?;
        Ok(now.is_some_and(|now| identity_of(now, None) == identity))
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        let (files, name) = (self.share(), name_of(name)?);
        if let Some(writer) = lock(&self.of_pools).remove(&name).and_then(|inner| inner.upgrade()) {
            writer.end_with(&writer.fenced(None).into());
        }
        self.wait(async move { files.remove(&name).await })
    }
}

fn name_of(path: &Path) -> io::Result<String> {
    Ok(path.to_str().ok_or_else(|| InvalidName::NotUtf8 { file: path.to_owned() })?.to_owned())
}

/// Makes what a pool tells files apart by. Two versions of a file are two files to it.
fn identity_of(identity: Identity, version: Option<u64>) -> (u64, u64) {
    let of_version = version.map_or(0, |version| (version + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    ((identity >> 64) as u64, identity as u64 ^ of_version)
}

/// A file that a pool has open.
#[derive(Debug)]
struct File {
    executor: Executor,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Writer(Writer),
    Reader(Reader),
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the file is open for reading only")
}

impl File {
    /// Ends a read: at once where nothing has to be fetched, or else has a task do so.
    fn end_read<F>(&self, request: ReadRequest, sources: Vec<Source>, fetch: impl FnOnce(Vec<Source>) -> F)
    where
        F: Future<Output = io::Result<Bytes>> + Send + 'static,
    {
        match in_memory(sources) {
            Ok(bytes) => request.fill(&bytes),
            Err(sources) => {
                let fetch = fetch(sources);
                self.executor.handle.spawn(async move {
                    match fetch.await {
                        Ok(bytes) => request.fill(&bytes),
                        Err(error) => request.finish(Err(error)),
                    }
                });
            }
        }
    }
}

fn write(writer: &Writer, request: WriteRequest) {
    writer.inner.collect(request.offset(), request.pieces());
    let len = request.len();
    request.finish(Ok(len));
}

impl StorageFile for File {
    fn read(&self, request: ReadRequest) {
        let (at, len) = (request.offset(), request.len());
        match &self.kind {
            Kind::Writer(writer) => {
                let sources = writer.sources(at, len);
                let writer = writer.clone();
                self.end_read(request, sources, move |sources| async move {
                    writer.read_from(sources, at, len).await
                });
            }
            Kind::Reader(reader) => {
                let sources = reader.sources(at, len);
                let reader = reader.clone();
                self.end_read(
                    request,
                    sources,
                    move |sources| async move { reader.read_from(sources).await },
                );
            }
        }
    }

    fn write(&self, request: WriteRequest) {
        let Kind::Writer(writer) = &self.kind else { return request.finish(Err(read_only())) };
        if let Err(error) = writer.inner.check() {
            return request.finish(Err(error));
        }
        if writer.inner.has_room() {
            return write(writer, request);
        }
        let writer = writer.clone();
        self.executor.handle.spawn(async move {
            match writer.wait_for_room().await {
                Ok(()) => write(&writer, request),
                Err(error) => request.finish(Err(error)),
            }
        });
    }

    fn sync(&self, request: SyncRequest) {
        let Kind::Writer(writer) = &self.kind else { return request.finish(Ok(())) };
        let writer = writer.clone();
        self.executor.handle.spawn(async move { request.finish(writer.sync().await.map(|_| ())) });
    }

    fn len(&self) -> io::Result<u64> {
        Ok(match &self.kind {
            Kind::Writer(writer) => writer.len(),
            Kind::Reader(reader) => reader.len(),
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let Kind::Writer(writer) = &self.kind else { return Err(read_only()) };
        writer.inner.check()?;
        writer.set_len(len);
        Ok(())
    }

    fn version(&self) -> Option<u64> {
        Some(match &self.kind {
            Kind::Writer(writer) => writer.version(),
            Kind::Reader(reader) => reader.version(),
        })
    }
}
