//! Opening a file, and what is known of one. [`extent`] grows and cuts files; [`drop_pages`] takes a file's pages out of the pool,
//! for cutting, [closing](close) and [removing](remove).

pub(crate) mod close;
pub(crate) mod drop_pages;
pub(crate) mod extent;
#[cfg(all(test, loom))]
mod loom_models;
pub(crate) mod remove;

use std::path::{Path, PathBuf};

use crate::{
    error::{ConfigError, Error, Result},
    events::{self, spans},
    id::FileId,
    io::{
        file::{File, open::wait_for_lock, open_options::OpenOptions},
        options::Fallback,
        storage::WhyNot,
    },
    runtime::{file_table::FileTable, shared::Shared},
    sync::Arc,
};

/// What is known of an open file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileInfo {
    /// The path by which it was opened.
    pub path: PathBuf,
    /// Its length in blocks; a last block that is not whole counts.
    pub blocks: u32,
    /// The number of blocks behind the end that are zeroed on disk, for later extensions.
    pub blocks_ahead: u32,
    /// Whether it was opened for reading only.
    pub read_only: bool,
    /// Why it is not locked against other pools, if that was preferred.
    pub unlocked_because: Option<String>,
    /// Whether transfers bypass the system's page cache.
    pub direct: bool,
    /// Why they do not bypass it, if that was preferred.
    pub buffered_because: Option<String>,
    /// Why its requests go to threads beside the ring, under io_uring: what could block the submission worker.
    pub aside_because: Option<String>,
    /// The version that its storage has published last, or that it was opened at, where the storage has versions.
    pub version: Option<u64>,
    /// What keeps a power cut from tearing its pages.
    pub torn_pages: TornPageGuard,
    /// Why they are not written atomically, if that was preferred.
    pub not_atomic_because: Option<String>,
}

/// What keeps a power cut from tearing a file's pages.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TornPageGuard {
    /// Nothing; or there is nothing to tear, since the file is only read.
    None,
    /// They are written atomically.
    Atomic,
    /// Copies go to the doublewrite area first.
    Copies,
}

impl FileInfo {
    pub(crate) fn of(shared: &Shared, file: &File) -> Self {
        Self {
            path: file.path.to_path_buf(),
            unlocked_because: WhyNot::missing(&file.lock),
            blocks: file.blocks(),
            blocks_ahead: file.blocks_ahead(),
            read_only: file.read_only,
            direct: file.direct.is_ok(),
            buffered_because: WhyNot::missing(&file.direct),
            version: file.asynchronous.as_ref().and_then(|file| file.version()),
            // Those of an asynchronous file have a queue of their own, with any method.
            aside_because: file.may_block.clone().filter(|_| file.asynchronous.is_none()),
            torn_pages: match &file.atomic_pages {
                _ if file.read_only => TornPageGuard::None,
                Ok(()) => TornPageGuard::Atomic,
                Err(_) if !file.tears_pages() => TornPageGuard::Atomic,
                Err(_) if shared.doublewrite.is_some() => TornPageGuard::Copies,
                Err(_) => TornPageGuard::None,
            },
            not_atomic_because: WhyNot::missing(&file.atomic_pages),
        }
    }
}

pub(crate) fn open(shared: &Shared, path: &Path, options: &OpenOptions) -> Result<FileId> {
    shared.check_process()?;
    let _span = spans::open_file(&shared.counters.pool, path);
    let file = open_and_prepare(shared, path, options)?;
    tell_of_opening(shared, &file);
    Ok(file.id)
}

fn tell_of_opening(shared: &Shared, file: &File) {
    let (pool, info) = (&shared.counters.pool, FileInfo::of(shared, file));
    events::file_opened(pool, file.id, &file.path, info.blocks, info.read_only, info.direct);
    let fell_back = [
        ("direct I/O", info.buffered_because),
        ("a lock", info.unlocked_because),
        ("atomic writes", info.not_atomic_because.filter(|_| !file.read_only)),
    ];
    for (without, reason) in fell_back {
        reason.inspect(|reason| events::file_fell_back(pool, file.id, &file.path, without, reason));
    }
}

fn open_and_prepare(shared: &Shared, path: &Path, options: &OpenOptions) -> Result<Arc<File>> {
    shared.check_open()?;
    options.validate().map_err(|error| error.at(path))?;
    let doublewrite = shared.doublewrite.as_ref();
    if doublewrite.is_some() && options.tag.is_none() {
        let advice = "with a doublewrite area give each file one of its own, the same each time";
        return Err(ConfigError::unset("tag", advice).at(path).into());
    }
    let open = || {
        let mut file =
            File::open(&*shared.storage, FileTable::NO_ID, path, options, shared.config.page_size)?;
        file.opened.atomic_pages = choose_atomic(shared.config.torn_pages.atomic(), &file)?;
        file.codec.clone_from(&shared.config.codec);
        file.keeps_lsn = shared.config.page_lsn.is_some() && options.page_lsn;
        Ok(file)
    };
    let check_other = |file: &File, other: &File| {
        // The pages, or their copies, could not be told apart.
        let have_copies = doublewrite.is_some() && !file.read_only && !other.read_only;
        let are_alike = file.tag == other.tag && (file.codec.is_some() || have_copies);
        if are_alike { Err(file.tag_taken(other)) } else { Ok(()) }
    };
    let prepare = |file: &File| {
        file.check_lock()?;
        file.activity.begin_hits(shared.counters.hits.at_place_of(file.id));
        // Restore the pages that a crash has torn before any thread sees them.
        doublewrite.map_or(Ok(()), |doublewrite| doublewrite.admit(file))?;
        let missing = options.initial_blocks.saturating_sub(file.blocks());
        if missing > 0 {
            file.extend(missing, &shared.counters)?;
        }
        Ok(())
    };
    wait_for_lock(|| shared.files.open(open, check_other, prepare))
}

/// Returns whether the file's pages are written atomically, given what its disk can do.
fn choose_atomic(wanted: Fallback, file: &File) -> Result<Result<(), WhyNot>> {
    match &file.atomic_pages {
        // Its plain writes are atomic.
        _ if !file.tears_pages() => Ok(Err(WhyNot::NotAsked)),
        _ if wanted == Fallback::Off || file.read_only => Ok(Err(WhyNot::NotAsked)),
        Err(WhyNot::Unsupported(reason)) if wanted == Fallback::Require => {
            let advice = format!(
                "pages cannot be written atomically: {reason}; or protect them with TornPages::AtomicOrDoubleWrite"
            );
            Err(ConfigError::new("torn_pages", "Atomic", advice).at(&file.path).into())
        }
        as_it_is => Ok(as_it_is.clone()),
    }
}

fn writable(shared: &Shared, id: FileId) -> Result<Arc<File>> {
    shared.check_open()?;
    let file = shared.files.open_file(id)?;
    if file.read_only { Err(Error::ReadOnly { file: id, path: Some(file.path.clone()) }) } else { Ok(file) }
}
