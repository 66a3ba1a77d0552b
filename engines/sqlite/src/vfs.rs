//! The files of one VFS: which are open, by how many connections, and when they are closed.
//!
//! A pool opens a file once, so the connections of a process share an [`OpenFile`]. A journal or a log whose last connection has
//! left stays open as long as its database is: SQLite is about to remove it, as a rule, and to use it again in the next transaction.
//! What takes the place of the removal of a rollback journal, until then, is what SQLite does in the mode `PERSIST`: zeros over its
//! header, durably. To SQLite, here and after a crash, a journal that begins with a zero is none. It leaves its folder with the last
//! connection to its database. So a commit waits for no change of a folder or of a file's length.
//!
//! Lock order: the table of open files, then what is in one. The table's lock is held while a file is opened, closed or removed.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use ringpool::{BufferPool, OpenOptions, options::Fallback};

use crate::{
    bytes_file::{BytesFile, Contents},
    copies::LogCopies,
    error::{Failure, Result},
    locks::LockTable,
    names::{Names, SystemNames},
    process_lock::ProcessLock,
    shm::WalIndex,
};

/// What a file is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A database.
    Database,
    /// The rollback journal of a database.
    Journal,
    /// The write-ahead log of a database.
    Log,
    /// The file that names the rollback journals of a transaction over several databases: its removal is the commit.
    SuperJournal,
}

/// How a connection opens a file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct HowToOpen {
    /// What the file is for.
    pub kind: Kind,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether it is created if it is not there.
    pub create: bool,
    /// Whether it must not be there.
    pub exclusive: bool,
}

/// A file that is open in the pool, for all connections.
#[derive(Debug)]
pub struct OpenFile {
    /// Its path.
    pub path: PathBuf,
    /// What it is for.
    pub kind: Kind,
    /// Its bytes.
    pub bytes: BytesFile,
    /// The locks of its connections.
    pub locks: Mutex<LockTable>,
    /// What its connections share of the log's index.
    pub wal_index: Mutex<WalIndex>,
    /// Which copies in its log are not needed.
    pub log_copies: LogCopies,
    /// What its name led to when it was opened.
    identity: Option<(u64, u64)>,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether its folder is to be synced with it, since it was created.
    is_new: AtomicBool,
    /// Whether it has been removed, for SQLite.
    pub is_removed: AtomicBool,
    /// Whether it was synced since it was opened, or removed.
    was_synced: AtomicBool,
    /// Held as long as it is open.
    _process: Option<ProcessLock>,
}

struct Entry {
    file: Arc<OpenFile>,
    connections: usize,
}

/// How a VFS opens files.
pub struct VfsOptions {
    /// Whether databases and logs bypass the system's page cache, where that works. They do unless set otherwise.
    ///
    /// Where the pool is much smaller than the database, and the system has memory to spare, files that do not bypass it are read
    /// again faster. That memory is then used beside the pool's.
    pub direct: Fallback,
    /// Where names and lengths of files are asked for: the system unless set otherwise.
    pub names: Box<dyn Names>,
}

impl Default for VfsOptions {
    fn default() -> Self {
        Self { direct: Fallback::Prefer, names: Box::new(SystemNames) }
    }
}

impl std::fmt::Debug for VfsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VfsOptions").field("direct", &self.direct).finish_non_exhaustive()
    }
}

/// The files of one VFS.
pub struct Files {
    pool: BufferPool,
    options: VfsOptions,
    open: Mutex<HashMap<PathBuf, Entry>>,
}

/// Blocks that are zeroed ahead when a database or a log grows: 1 MiB at 4 KiB a page.
const AHEAD: u32 = 256;
/// The bytes of a journal's header that SQLite overwrites with zeros where it keeps the file.
const HEADER: usize = 28;
/// The most bytes of a journal that are kept for the next transaction.
const KEPT: u64 = 4 << 20;
/// What the name of a super-journal at the end of a rollback journal ends with.
const SUPER_JOURNAL: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// The permissions of a new database, less those that the process's umask takes: as SQLite's own VFS has them.
const MODE: u32 = 0o644;

impl Files {
    /// Makes the files of a VFS on this pool.
    pub fn new(pool: BufferPool, options: VfsOptions) -> Self {
        Self { pool, options, open: Mutex::default() }
    }

    /// Returns the pool.
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Returns what asks for names.
    pub fn names(&self) -> &dyn Names {
        &*self.options.names
    }

    fn open_files(&self) -> MutexGuard<'_, HashMap<PathBuf, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file for one more connection.
    ///
    /// # Errors
    /// [`Failure::CannotOpen`], [`Failure::InUse`], those of the system and of the pool.
    pub fn open(&self, path: &Path, how: HowToOpen) -> Result<Arc<OpenFile>> {
        let mut open = self.open_files();
        if let Some(entry) = open.get_mut(path) {
            let exists = !entry.file.is_removed.load(Ordering::Acquire);
            if exists && how.exclusive {
                return Err(cannot_open(path, "exists already"));
            }
            if !exists && !how.create {
                return Err(missing(path));
            }
            if entry.file.kind == Kind::Database && self.has_moved(&entry.file) {
                return Err(cannot_open(
                    path,
                    "was moved, removed or replaced while it is open: close its connections first",
                ));
            }
            entry.file.is_removed.store(false, Ordering::Release);
            entry.connections += 1;
            return Ok(Arc::clone(&entry.file));
        }
        // A journal is first opened for reading, to see whether it is hot: the next connection writes it.
        let database = database_of(path).and_then(|database| open.get(&database));
        let writable = database.is_none_or(|database| database.file.writable);
        let file = Arc::new(self.open_in_pool(path, how, writable)?);
        open.insert(path.to_owned(), Entry { file: Arc::clone(&file), connections: 1 });
        Ok(file)
    }

    /// Returns the database that a log belongs to, if it is open.
    pub fn database_of(&self, log: &OpenFile) -> Option<Arc<OpenFile>> {
        let database = database_of(&log.path).filter(|_| log.kind == Kind::Log)?;
        self.open_files().get(&database).map(|entry| Arc::clone(&entry.file))
    }

    fn open_in_pool(&self, path: &Path, how: HowToOpen, writable: bool) -> Result<OpenFile> {
        let len = self.names().len(path).map_err(Failure::system(path))?;
        match len {
            None if !how.create => return Err(missing(path)),
            Some(_) if how.exclusive => return Err(cannot_open(path, "exists already")),
            _ => {}
        }
        let mode =
            database_of(path).and_then(|database| self.names().mode(&database)).unwrap_or(MODE) | 0o600;
        let create = (how.create && len.is_none()).then_some(mode);
        let mut process = None;
        if how.kind == Kind::Database {
            let taken = self.names().lock(path, create).map_err(Failure::system(path))?;
            process = Some(taken.ok_or_else(|| Failure::InUse { path: path.to_owned() })?);
        }
        let mut writable = process.as_ref().map_or(writable, ProcessLock::is_writable);
        let options = |writable: bool| {
            let options = OpenOptions::new().read_only(!writable).durable_name(false).sparse(true);
            let options = options.direct(self.options.direct);
            let options = if writable { options.create(create.is_some()).mode(mode) } else { options };
            match how.kind {
                Kind::Database | Kind::Log if writable => options.grow_by_blocks(AHEAD),
                _ => options,
            }
        };
        let contents = if how.kind == Kind::Log { Contents::Log } else { Contents::Any };
        let file = match self.pool.open_file(path, options(writable)) {
            // As SQLite's own VFS does it: a process that may not write a journal or a log reads it.
            Err(error) if writable && len.is_some() && is_refused(&error) => {
                writable = false;
                self.pool.open_file(path, options(writable))
            }
            opened => opened,
        }?;
        if let Some(database) = database_of(path).filter(|_| create.is_some()) {
            self.names().copy_permissions(&database, path);
        }
        Ok(OpenFile {
            path: path.to_owned(),
            kind: how.kind,
            bytes: BytesFile::new(self.pool.clone(), file, len.unwrap_or(0), contents)?,
            locks: Mutex::default(),
            wal_index: Mutex::default(),
            log_copies: LogCopies::default(),
            identity: self.names().identity(path),
            writable,
            is_new: AtomicBool::new(create.is_some()),
            is_removed: AtomicBool::new(false),
            was_synced: AtomicBool::new(false),
            _process: process,
        })
    }

    /// Returns whether the name of an open file leads to no file any more, or to another.
    pub fn has_moved(&self, file: &OpenFile) -> bool {
        file.identity.is_some() && self.names().identity(&file.path) != file.identity
    }

    /// Ends the use of a file by one connection. Closes the file if it was the last one.
    ///
    /// # Errors
    /// Those of the pool and the system, if what was not written before cannot be written now.
    pub fn release(&self, file: &Arc<OpenFile>) -> Result<()> {
        let mut open = self.open_files();
        let Some(entry) = open.get_mut(&file.path).filter(|entry| Arc::ptr_eq(&entry.file, file)) else {
            return Ok(()); // Removed meanwhile.
        };
        entry.connections -= 1;
        if entry.connections > 0 {
            return Ok(());
        }
        let database = database_of(&file.path).filter(|_| file.kind != Kind::Database);
        if database.is_some_and(|database| open.contains_key(&database)) {
            return Ok(());
        }
        let mut closed = Ok(());
        if file.kind == Kind::Database {
            // Before the database: until they are closed, it keeps other processes out.
            let left_behind: Vec<_> = open
                .iter()
                .filter(|(path, entry)| {
                    entry.connections == 0 && database_of(path).as_ref() == Some(&file.path)
                })
                .map(|(path, _)| path.clone())
                .collect();
            for path in left_behind {
                if let Some(entry) = open.remove(&path) {
                    closed = closed.and(self.close(&entry.file));
                }
            }
        }
        open.remove(&file.path);
        closed.and(self.close(file))
    }

    fn close(&self, file: &OpenFile) -> Result<()> {
        if file.kind == Kind::Journal && file.is_removed.load(Ordering::Acquire) {
            return file.bytes.remove();
        }
        file.bytes.close()?;
        if file.writable { self.cut_to_bytes(file) } else { Ok(()) }
    }

    /// Has the file on disk be as long as its bytes, to the byte. Another file that has its name by now stays as it is.
    fn cut_to_bytes(&self, file: &OpenFile) -> Result<()> {
        if self.has_moved(file) {
            return Ok(());
        }
        let (path, wanted) = (&file.path, file.bytes.len());
        match self.names().len(path).map_err(Failure::system(path))? {
            Some(len) if len != wanted => self.names().set_len(path, wanted).map_err(Failure::system(path)),
            _ => Ok(()),
        }
    }

    /// Makes durable what was written to the file, and its name.
    ///
    /// A file may be longer on disk, by zeros, until it is closed: SQLite goes by the header of a database and of a journal, and by
    /// the checksums of a log. A journal with the name of a super-journal gets its exact length: SQLite looks for that at its end. So does
    /// a super-journal, of which SQLite reads all.
    ///
    /// # Errors
    /// Those of the pool and the system.
    pub fn sync(&self, file: &OpenFile) -> Result<()> {
        file.bytes.sync(|| match file.kind {
            Kind::SuperJournal => self.cut_to_bytes(file),
            Kind::Journal if ends_with_super_journal(file)? => self.cut_to_bytes(file),
            _ => Ok(()),
        })?;
        if file.is_new.load(Ordering::Acquire) {
            self.names().sync_folder(&file.path).map_err(Failure::system(&file.path))?;
            file.is_new.store(false, Ordering::Release);
        }
        file.was_synced.store(true, Ordering::Release);
        Ok(())
    }

    /// Removes a file, with what was not written of it.
    ///
    /// # Errors
    /// Those of the pool and the system; [`std::io::ErrorKind::NotFound`] if there is no such file.
    pub fn remove(&self, path: &Path, durably: bool) -> Result<()> {
        let mut open = self.open_files();
        match open.remove(path) {
            None => self.names().remove(path).map_err(Failure::system(path))?,
            Some(entry)
                if entry.file.kind == Kind::Journal && entry.connections == 0 && entry.file.writable =>
            {
                let file = Arc::clone(&entry.file);
                open.insert(path.to_owned(), entry);
                return self.end_journal(&file);
            }
            Some(entry) => {
                entry.file.is_removed.store(true, Ordering::Release);
                if let Err(error) = entry.file.bytes.remove() {
                    entry.file.is_removed.store(false, Ordering::Release);
                    open.insert(path.to_owned(), entry);
                    return Err(error);
                }
            }
        }
        drop(open);
        if durably { self.names().sync_folder(path).map_err(Failure::system(path)) } else { Ok(()) }
    }

    /// Makes a journal one that SQLite takes for none. Of one that ends with the name of a super-journal nothing is kept: SQLite would find the
    /// name behind the next journal, which is shorter, and take that for one whose transaction is over.
    fn end_journal(&self, journal: &OpenFile) -> Result<()> {
        let (bytes, header) = (&journal.bytes, [0; HEADER]);
        if bytes.len() > KEPT || ends_with_super_journal(journal)? {
            bytes.set_len(0)?;
        } else if !bytes.is_empty() {
            bytes.write_at(&header[..HEADER.min(bytes.len() as usize)], 0)?;
        }
        // With `synchronous = OFF` there are no syncs of it, and this is none of them.
        if journal.was_synced.swap(false, Ordering::AcqRel) {
            self.sync(journal)?;
            journal.was_synced.store(false, Ordering::Release);
        } else {
            bytes.write_out()?;
        }
        journal.is_removed.store(true, Ordering::Release);
        Ok(())
    }

    /// Returns whether there is such a file, with at least one byte: SQLite takes an empty journal for none.
    ///
    /// # Errors
    /// Those of the system.
    pub fn exists(&self, path: &Path) -> Result<bool> {
        if let Some(entry) = self.open_files().get(path) {
            return Ok(!entry.file.is_removed.load(Ordering::Acquire) && !entry.file.bytes.is_empty());
        }
        Ok(self.names().len(path).map_err(Failure::system(path))?.is_some_and(|len| len > 0))
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("open", &self.open_files().len()).finish_non_exhaustive()
    }
}

fn ends_with_super_journal(file: &OpenFile) -> Result<bool> {
    let (mut end, len) = ([0; SUPER_JOURNAL.len()], file.bytes.len());
    let Some(offset) = len.checked_sub(end.len() as u64) else { return Ok(false) };
    file.bytes.read_at(&mut end, offset)?;
    Ok(end == SUPER_JOURNAL)
}

/// Returns whether the system lets this process only read the file.
fn is_refused(error: &ringpool::Error) -> bool {
    error.raw_os_error().is_some_and(|errno| [libc::EACCES, libc::EPERM, libc::EROFS].contains(&errno))
}

fn missing(path: &Path) -> Failure {
    Failure::system(path)(std::io::Error::from_raw_os_error(libc::ENOENT))
}

fn cannot_open(path: &Path, reason: &'static str) -> Failure {
    Failure::CannotOpen { path: path.to_owned(), reason }
}

/// Returns the database that a journal or a log of this path belongs to.
fn database_of(path: &Path) -> Option<PathBuf> {
    let name = path.as_os_str().as_bytes();
    let database = name.strip_suffix(b"-journal").or_else(|| name.strip_suffix(b"-wal"))?;
    Some(PathBuf::from(OsStr::from_bytes(database)))
}
