//! Opening a file: what its storage says of it, and what the options ask for, make a [`File`].

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::Path,
    time::Duration,
};

use super::{File, growth::Growth, open_options::OpenOptions, read_budget::ReadBudget};
use crate::{
    error::{ConfigError, Error, IoOp, Result},
    id::{FileId, PageSize},
    io::{options::COMBINE_LIMIT_MAX, storage::Storage},
    observe::file_activity::FileActivity,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU32},
        thread, time,
        turns::Turns,
    },
};

/// The most requests in flight of an asynchronous file, unless its storage or the options say another number.
const IN_FLIGHT: NonZeroU32 = NonZeroU32::new(64).expect("it is not 0");

impl File {
    /// Opens the file at `path`. If it may be written to, its name is durable then, unless the options say otherwise: the process that created
    /// it may have been kept from syncing its folder. The caller grows it to `options.initial_blocks`, decides against atomic writes,
    /// [refuses](Self::check_lock) a file that another pool has, and sets codec and places for LSNs.
    pub(crate) fn open(
        disk: &dyn Storage,
        id: FileId,
        path: &Path,
        options: &OpenOptions,
        page_size: PageSize,
    ) -> Result<Self> {
        let failed = |op| move |source| Error::File { op, path: path.into(), source: Arc::new(source) };
        let opened = disk.open(path, options, page_size).map_err(failed(IoOp::Open))?;
        let is_written = !options.read_only && !opened.is_in_use && !seeded!("folder_not_synced");
        if let Some(name) = opened.name.as_deref().filter(|_| is_written && options.durable_name) {
            disk.sync_folder(name).map_err(failed(IoOp::SyncFolder))?;
        }
        let (len, page) = (opened.len, page_size.bytes() as u64);
        // A part of a block can be completed only where the length can change.
        let blocks = if opened.has_fixed_size { len / page } else { len.div_ceil(page) };
        let blocks = u32::try_from(blocks).map_err(|_| {
            let blocks = u32::MAX;
            let advice =
                format!("{len} bytes are more than {blocks} blocks: use larger pages or several files");
            ConfigError::new("page_size", page_size.bytes(), advice).at(path)
        })?;
        let best = opened.capabilities.best_transfer.map_or(0, NonZeroUsize::get).min(COMBINE_LIMIT_MAX);
        let of_storage =
            opened.capabilities.in_flight.or_else(|| opened.asynchronous.as_ref().map(|_| IN_FLIGHT));
        let max_in_flight = [options.max_in_flight, of_storage].into_iter().flatten().min();
        Ok(Self {
            id,
            path: path.into(),
            opened,
            best_pages: best / page_size.bytes(),
            page_size,
            read_only: options.read_only,
            durable_name: options.durable_name,
            tag: options.tag.unwrap_or(0),
            codec: None,
            keeps_lsn: false,
            sparse: options.sparse,
            max_in_flight,
            turns: max_in_flight.map(Turns::of_so_many),
            activity: Box::new(FileActivity::default()),
            read_budget: ReadBudget::default(),
            blocks: AtomicU32::new(blocks),
            pages_end: AtomicU32::new(blocks),
            unsynced: AtomicBool::new(!options.read_only),
            closed: AtomicBool::new(false),
            sync: Mutex::default(),
            sync_ended: Condvar::new(),
            size: Mutex::new(()),
            growth: Mutex::new(Growth::new(blocks, options.grow_by_blocks)),
        })
    }

    pub(crate) fn check_lock(&self) -> Result<()> {
        if self.is_in_use { Err(Error::InUse { path: self.path.clone() }) } else { Ok(()) }
    }
}

/// How long a file that another pool has may stay so. The kernel gives up the locks of a process that was killed with requests in
/// a ring a little later than the process is gone; and the system may hold a device for a moment to inspect it.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Opens a file again while it is [in use](Error::InUse), until the patience ends.
pub(crate) fn wait_for_lock<T>(open: impl Fn() -> Result<T>) -> Result<T> {
    let deadline = time::now() + LOCK_PATIENCE;
    loop {
        match open() {
            Err(Error::InUse { .. }) if time::now() < deadline => thread::park_timeout(LOCK_PAUSE),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::BlockNo,
        io::tests::support::{FakeDisk, os_file},
        observe::Counters,
    };

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("missing"), dir.path().to_owned()] {
            let error = os_file(&path, &OpenOptions::new()).unwrap_err();
            assert!(
                matches!(&error, Error::File { op: IoOp::Open, path: named, .. } if **named == path),
                "{error}"
            );
        }
    }

    #[test]
    fn a_part_of_a_block_counts_as_one_and_no_more_lie_behind() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (len, blocks) in [(0, 0), (1, 1), (8192, 1), (8193, 2)] {
            file.as_file().set_len(len).unwrap();
            let open = os_file(file.path(), &OpenOptions::new()).unwrap();
            assert_eq!(open.blocks(), blocks, "{len} bytes");
            assert!(
                matches!(open.check(BlockNo(blocks)), Err(Error::PastEof { blocks: n, .. }) if n == blocks)
            );
            assert!(blocks == 0 || open.check(BlockNo(blocks - 1)).is_ok());
        }
    }

    #[test]
    fn a_part_of_a_block_at_the_end_of_a_device_is_none_and_its_size_stays() {
        let disk = FakeDisk::new(vec![7; 2 * 8192 + 512]);
        disk.fix_size();
        let file = disk.open_file(8192).unwrap();
        assert_eq!(file.blocks(), 2);
        assert!(matches!(file.extend(1, &Counters::new()), Err(Error::FixedSize { .. })));
        assert_eq!(disk.bytes().len(), 2 * 8192 + 512);
    }

    #[test]
    fn more_blocks_than_numbers_are_refused() {
        let disk = FakeDisk::new(Vec::new());
        disk.set_reported_len((1 << 32) * 8192);
        let error = disk.open_file(8192).unwrap_err();
        assert!(error.to_string().contains("larger pages"), "{error}");
        disk.set_reported_len(u64::from(u32::MAX) * 8192);
        assert_eq!(disk.open_file(8192).unwrap().blocks(), u32::MAX);
    }
}
