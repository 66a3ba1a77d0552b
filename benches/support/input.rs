//! The files of a run. Whether they are read past the page cache is decided once, for all arms: an arm that was refused
//! direct I/O would otherwise be compared with one that was not.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use lab::baseline::plain::Plain;
use lab::files::{self, Access};
use lab::{Place, Result, baseline};
use ringpool::{BufferPool, FileId, IoMethod, OpenOptions, options::Fallback};

/// Whether direct I/O is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Past the page cache, unless the file system refuses.
    Direct,
    /// Through the page cache.
    Buffered,
}

/// Files that all arms read, and how.
#[derive(Debug)]
pub(crate) struct Input {
    paths: Vec<PathBuf>,
    page_size: u32,
    lengths: Vec<u64>,
    /// Why the page cache is in between, if it is.
    buffered: Option<String>,
}

impl Input {
    /// Looks at the files without writing to any.
    ///
    /// # Errors
    ///
    /// A line that names the file and what is wrong with it.
    pub(crate) fn new(paths: Vec<PathBuf>, page_size: u32, wish: Wish) -> Result<Self> {
        check_distinct(&paths)?;
        let opened: Vec<File> = paths.iter().map(|path| open_checked(path)).collect::<Result<_>>()?;
        let lengths = baseline::lengths(&opened)?;
        for (path, &length) in paths.iter().zip(&lengths) {
            check_length(path, length, page_size)?;
        }
        let mut input = Self { paths, page_size, lengths, buffered: None };
        input.buffered = match wish {
            Wish::Buffered => Some("as asked".to_owned()),
            Wish::Direct => input.try_direct().err().map(|error| error.to_string()),
        };
        Ok(input)
    }

    /// Reads a page of each file past the page cache, by a plain call and by a pool.
    fn try_direct(&self) -> Result<()> {
        let files = self.open_plain(false)?;
        let first_blocks: Vec<Place> = (0..files.len() as u32).map(|file| Place { file, block: 0 }).collect();
        Plain::new(self.page_size).read(&files, &first_blocks, |_, _| ())?;
        let pool = BufferPool::builder();
        let pool = pool.frames(4).page_size(self.page_size).io_method(IoMethod::Sync).build()?;
        self.open_in(&pool, false)?;
        Ok(())
    }

    /// Opens the files for a baseline; for writing only if `write`.
    pub(crate) fn open_plain(&self, write: bool) -> Result<Vec<File>> {
        let access = Access { direct: self.buffered.is_none(), write };
        Ok(self.paths.iter().map(|path| files::open(path, access)).collect::<Result<_, _>>()?)
    }

    /// Opens the files in a pool; for writing only if `write`.
    pub(crate) fn open_in(&self, pool: &BufferPool, write: bool) -> Result<Vec<FileId>> {
        let direct = if self.buffered.is_none() { Fallback::Require } else { Fallback::Off };
        // What no pool has written yet is not sealed, whatever codec this one has.
        let options = OpenOptions::new().read_only(!write).direct(direct).sparse(true);
        // The pools of all methods have the files open side by side, and take turns at writing: no pool is to be locked out.
        let options = options.lock(Fallback::Off);
        // By their tags a codec and a doublewrite area know them.
        let tagged = self.paths.iter().zip(1..).map(|(path, tag)| pool.open_file(path, options.tag(tag)));
        Ok(tagged.collect::<Result<_, _>>()?)
    }

    /// Takes the files out of the page cache where it is used, so that a round does not read what the last one has left there.
    /// Memory file systems have nothing else to read from.
    pub(crate) fn drop_caches(&self) -> Result<()> {
        if self.buffered.is_some() {
            self.open_buffered(false)?.iter().try_for_each(files::drop_cache)?;
        }
        Ok(())
    }

    /// Reads the places by plain calls through the page cache: another way to the same bytes than any arm takes where I/O
    /// is direct. Leaves nothing in the page cache, which would slow direct I/O.
    pub(crate) fn read_plainly(
        &self,
        places: &[Place],
        request_size: u32,
        visit: impl Fn(Place, &[u8]) + Sync,
    ) -> Result<()> {
        let files = self.open_buffered(false)?;
        Plain { request_size, ..Plain::new(self.page_size) }.read(&files, places, visit)?;
        Ok(files.iter().try_for_each(files::drop_cache)?)
    }

    /// Opens the files for a baseline that goes through the page cache in any case.
    pub(crate) fn open_buffered(&self, write: bool) -> Result<Vec<File>> {
        let access = Access { direct: false, write };
        Ok(self.paths.iter().map(|path| files::open(path, access)).collect::<Result<_, _>>()?)
    }

    pub(crate) fn page_size(&self) -> u32 {
        self.page_size
    }

    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Returns the number of blocks of each file, with a last one that the end of the file cuts off.
    pub(crate) fn blocks(&self) -> Vec<u32> {
        let page_size = u64::from(self.page_size);
        self.lengths.iter().map(|length| length.div_ceil(page_size) as u32).collect()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lengths.iter().sum()
    }

    /// Returns the bytes that the pages at `places` have in their files.
    pub(crate) fn bytes_at(&self, places: &[Place]) -> u64 {
        let page_size = u64::from(self.page_size);
        let bytes = |place: &Place| {
            let left = self.lengths[place.file as usize].saturating_sub(place.offset(self.page_size));
            left.min(page_size)
        };
        places.iter().map(bytes).sum()
    }

    /// Returns what to ask for when another file is opened, which is to be compared with these.
    pub(crate) fn wish(&self) -> Wish {
        if self.buffered.is_some() { Wish::Buffered } else { Wish::Direct }
    }

    /// Returns why the page cache is used, if it is.
    pub(crate) fn buffered(&self) -> Option<&str> {
        self.buffered.as_deref()
    }
}

/// Opens for reading what has blocks to read.
fn open_checked(path: &Path) -> Result<File> {
    let cannot = |error| format!("cannot open {}: {error}", path.display());
    // Looked at first: opening a pipe would wait for a process that writes to it.
    let kind = fs::metadata(path).map_err(cannot)?.file_type();
    if kind.is_dir() {
        return Err(format!("{} is a folder: name the files in it", path.display()).into());
    }
    if !kind.is_file() && !kind.is_block_device() {
        return Err(format!("{} is neither a file nor a block device", path.display()).into());
    }
    Ok(File::open(path).map_err(cannot)?)
}

/// Refuses a file that is named twice: a pool opens a file once, so it would only count twice.
fn check_distinct(paths: &[PathBuf]) -> Result<()> {
    let mut seen = HashSet::new();
    for path in paths {
        let known = fs::metadata(path).is_ok_and(|found| !seen.insert((found.dev(), found.ino())));
        if known {
            return Err(format!("{} is the same file as another one: name each once", path.display()).into());
        }
    }
    Ok(())
}

fn check_length(path: &Path, length: u64, page_size: u32) -> Result<()> {
    let path = path.display();
    if length == 0 {
        return Err(format!("{path} is empty: there is nothing to read").into());
    }
    if length < u64::from(page_size) {
        return Err(
            format!("{path} has {length} bytes, less than a page: choose a smaller --page-size").into()
        );
    }
    if length.div_ceil(u64::from(page_size)) > u64::from(u32::MAX) {
        return Err(format!("{path} has more than 2^32 pages: choose a larger --page-size").into());
    }
    Ok(())
}
