//! The open files of a pool, by id, and those that are being opened. An id is never used twice, so a stale frame can never match a
//! later file.
//!
//! Opening a file takes as long as its disk takes, so no lock is held meanwhile: a file that does not answer delays only calls that
//! open the same file. Which file a path leads to is known only when it is open. So each call opens it, and then gets in line: the
//! first one with this identity [reserves](FileTable::reserve) it; the others wait for the outcome of that, and get an error if the file is
//! open by then.
//!
//! What opening a file has found out, its length above all, may be out of date if the pool had the file open in between, and may
//! have cut or removed it. The table remembers which files have left while any is being opened: such a file is opened once more.
//!
//! Lock order: the table's lock is a leaf, never held across I/O.

use std::path::Path;

use rustc_hash::FxHashMap;

use crate::{
    buffer::frame::sparse_map::SparseMap,
    error::{ConfigError, Error, Result},
    id::FileId,
    io::file::File,
    observe::{file_activity::FileActivity, hits},
    sync::{Arc, Condvar, Mutex, on_drop::OnDrop},
};

#[derive(Default)]
pub(crate) struct FileTable {
    table: Mutex<Table>,
    /// The opening of a file is over.
    opened: Condvar,
    paths: Arc<SparseMap<FileId, Arc<Path>>>,
}

#[derive(Default)]
struct Table {
    /// Files that are being closed are included: no call finds them by their id, but their last changes are still written, and if
    /// the close fails, they are open as before.
    files: FxHashMap<FileId, Arc<File>>,
    /// Files that are being opened and whose identity is known.
    opening: Vec<Arc<File>>,
    next: u32,
    /// Calls that open a file and do not know yet which one it is.
    tries: usize,
    /// How many files have left so far; and while there are such calls, when each file left last.
    departures: u64,
    departed: FxHashMap<Identity, u64>,
}

/// Equal for two paths to one file.
type Identity = (u64, u64);

/// A file that no other call opens, until the second part is dropped.
type Reserved<F> = (Arc<File>, OnDrop<F>);

impl FileTable {
    /// The id of a file that has none yet.
    pub(crate) const NO_ID: FileId = FileId(u32::MAX);

    /// Makes a table without files, which keeps their `paths` up to date.
    pub(crate) fn new(paths: Arc<SparseMap<FileId, Arc<Path>>>) -> Self {
        Self { paths, ..Self::default() }
    }

    /// Returns the file for a write-out of its pages, also while it is being closed.
    pub(crate) fn for_write_out(&self, id: FileId) -> Option<Arc<File>> {
        self.table.lock().files.get(&id).cloned()
    }

    pub(crate) fn open_file(&self, id: FileId) -> Result<Arc<File>> {
        self.for_write_out(id).filter(|file| !file.is_closed()).ok_or(Error::NotOpen { file: id })
    }

    /// The bytes that are taken by what is counted for each file.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.table.lock().known().count() * size_of::<FileActivity>()
    }

    /// Returns every file that may have to be synced, in the order in which they were opened.
    pub(crate) fn all(&self) -> Vec<Arc<File>> {
        let mut all: Vec<_> = self.table.lock().files.values().cloned().collect();
        all.sort_unstable_by_key(|file| file.id);
        all
    }

    /// Adds the file that `open` makes, under the next id, unless the same file is open already or `check_other` objects to an open
    /// file. `prepare` is called last, when no other call can open this file. All of them except `check_other` may take long.
    pub(crate) fn open(
        &self,
        open: impl Fn() -> Result<File>,
        check_other: impl Fn(&File, &File) -> Result<()>,
        prepare: impl FnOnce(&File) -> Result<()>,
    ) -> Result<Arc<File>> {
        let (file, opening) = loop {
            let (departures, _known) = self.begin_opening();
            let file = {
                let _held = seeded!("table_locked_while_a_file_is_opened").then(|| self.table.lock());
                open()?
            };
            if let Some(opening) = self.reserve(file, departures, &check_other)? {
                break opening;
            }
        };
        prepare(&file)?;
        self.complete(&file);
        drop(opening);
        Ok(file)
    }

    /// Begins a call that opens a file and does not know yet which one it is, until the returned value is dropped. Returns also how many
    /// files had left before.
    fn begin_opening(&self) -> (u64, OnDrop<impl FnOnce()>) {
        let mut table = self.table.lock();
        table.tries += 1;
        let known = OnDrop::of(|| {
            let mut table = self.table.lock();
            table.tries -= 1;
            if table.tries == 0 {
                table.departed.clear();
            }
        });
        (table.departures, known)
    }

    /// Returns a value at whose drop the file leaves the table, also if its last steps panic.
    pub(crate) fn leaving(&self, id: FileId) -> OnDrop<impl FnOnce()> {
        OnDrop::of(move || {
            let mut table = self.table.lock();
            if let Some(file) = table.files.remove(&id) {
                table.note_departure(file.identity);
                self.paths.remove(&id);
            }
        })
    }
}

impl FileTable {
    /// Gives the file the next id, and keeps other calls from opening it until the returned value is dropped: it is open by then, or as if
    /// it had never been opened. Waits while another call has it reserved. Returns `None` if what is known of it may be out of date,
    /// since files have left after so many `departures`.
    fn reserve(
        &self,
        mut file: File,
        departures: u64,
        check_other: impl Fn(&File, &File) -> Result<()>,
    ) -> Result<Option<Reserved<impl FnOnce()>>> {
        let is_same = |other: &Arc<File>| other.identity == file.identity;
        let mut table = self.table.lock();
        while table.opening.iter().any(|other| is_same(other) || check_other(&file, other).is_err()) {
            table = self.opened.wait(table);
        }
        if let Some(other) = table.files.values().find(|other| is_same(other)) {
            let (path, open_path) = (file.path.clone(), other.path.clone());
            return Err(Error::AlreadyOpen { path, file: other.id, open_path });
        }
        table.files.values().try_for_each(|other| check_other(&file, other))?;
        if table.departed.get(&file.identity).is_some_and(|&at| at > departures)
            && !seeded!("file_that_has_left_not_opened_anew")
        {
            return Ok(None);
        }
        let taken = table.known().fold(0, |taken, other| taken | hits::place_bit(other.id));
        let Some(id) = hits::free_id(table.next, taken) else {
            let advice = "the pool has used up its 2^32 - 1 file ids, of which an opening takes a few: build a new pool";
            return Err(ConfigError::unset("open_file", advice).into());
        };
        (file.id, table.next) = (id, id.get() + 1);
        let file = Arc::new(file);
        table.opening.push(Arc::clone(&file));
        let reserved = Arc::clone(&file);
        let opening = OnDrop::of(move || {
            let mut table = self.table.lock();
            if !seeded!("failed_opening_not_undone") {
                table.opening.retain(|other| other.id != reserved.id);
            }
            if !table.files.contains_key(&reserved.id) {
                // Other calls may know how long it was before this call has changed that.
                table.note_departure(reserved.identity);
            }
            self.opened.notify_all();
        });
        Ok(Some((file, opening)))
    }

    fn complete(&self, file: &Arc<File>) {
        self.paths.insert(file.id, Arc::clone(&file.path));
        let mut table = self.table.lock();
        let same_place = |other: &&Arc<File>| hits::place_bit(other.id) == hits::place_bit(file.id);
        for other in table.files.values().filter(same_place) {
            other.activity.share_hits();
            file.activity.share_hits();
        }
        // One that was open alone had no share.
        table.files.values().for_each(|other| other.read_budget.reset());
        table.files.insert(file.id, Arc::clone(file));
    }
}

impl Table {
    /// Returns the files that have an id.
    fn known(&self) -> impl Iterator<Item = &Arc<File>> {
        self.files.values().chain(&self.opening)
    }

    fn note_departure(&mut self, identity: Identity) {
        self.departures += 1;
        if self.tries > 0 {
            self.departed.insert(identity, self.departures);
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
#[allow(clippy::unwrap_used)] // Helpers of tests are tests too.
mod tests {
    use std::{
        io,
        panic::{AssertUnwindSafe, catch_unwind},
        sync::mpsc::channel,
        thread,
        time::Duration,
    };

    use super::*;
    use crate::{
        BufferPool, CheckpointOptions, IoMethod, OpenOptions, PageId,
        id::PageSize,
        io::{
            storage::{Opened, Storage},
            tests::support::FakeDisk,
        },
        options::{DoubleWriteArea, TornPages},
        testing::{Fault, Op, SimDisk},
    };

    const PAGE: usize = 4096;
    const BLOCKS: usize = 32;

    /// The time that no operation on another file takes, on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A disk on which calls that open the file "slow" do not return as long as the lock is held.
    #[derive(Clone, Debug, Default)]
    struct SlowToOpen {
        disk: SimDisk,
        gate: Arc<Mutex<()>>,
        /// How many such calls have found their file so far.
        found: Arc<Mutex<usize>>,
    }

    impl Storage for SlowToOpen {
        fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
            let opened = self.disk.open(path, options, page_size);
            if path == Path::new("slow") {
                *self.found.lock() += 1;
                drop(self.gate.lock());
            }
            opened
        }

        fn sync_folder(&self, name: &Path) -> io::Result<()> {
            self.disk.sync_folder(name)
        }

        fn may_remove(&self, name: &Path, identity: Identity) -> io::Result<bool> {
            self.disk.may_remove(name, identity)
        }

        fn remove(&self, name: &Path) -> io::Result<()> {
            self.disk.remove(name)
        }
    }

    impl SlowToOpen {
        fn new() -> Self {
            let disk = Self::default();
            for name in ["slow", "data", "third", "fourth"] {
                disk.disk.put(name, vec![1; BLOCKS * PAGE]);
            }
            disk
        }

        fn pool(&self, method: IoMethod, torn_pages: TornPages) -> BufferPool {
            let builder = BufferPool::builder().frames(64).page_size(PAGE as u32).io_method(method);
            builder.torn_pages(torn_pages).storage(self.clone()).build().unwrap()
        }

        /// Waits until this number of calls have found the file.
        fn wait_for(&self, calls: usize) {
            until(|| *self.found.lock() == calls);
        }
    }

    fn until(mut holds: impl FnMut() -> bool) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !holds() {
            assert!(std::time::Instant::now() < deadline, "never came about");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn options(tag: u64) -> OpenOptions {
        OpenOptions::new().tag(tag)
    }

    /// Uses every operation of a file.
    fn use_all(pool: &BufferPool, file: FileId) {
        let page = |block| PageId::new(file, block);
        pool.fetch(page(0)).wait().unwrap().write().unwrap().fill(2);
        drop(pollster::block_on(pool.fetch(page(1))).unwrap());
        pool.prefetch(file.pages(2..6));
        assert_eq!(pool.blocks(file).unwrap() as usize, BLOCKS);
        pool.flush(page(0)).wait().unwrap();
        pool.fetch(page(0)).wait().unwrap().write().unwrap().fill(3);
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        pool.extend(file, std::num::NonZeroU32::MIN).wait().unwrap();
        pool.truncate(file, 1).wait().unwrap();
        let third = pool.open_file("third", options(3)).unwrap();
        pool.close_file(third).wait().unwrap();
        let fourth = pool.open_file("fourth", options(4)).unwrap();
        pool.drop_file(fourth).wait().unwrap();
        pool.resize(32).wait().unwrap();
        drop((pool.stats(), pool.in_flight(), pool.file_info(file).unwrap(), pool.resident_pages()));
        pool.close_file(file).wait().unwrap();
    }

    #[test]
    fn a_path_is_known_from_the_opening_of_its_file_to_its_end_and_not_beyond() {
        let disk = SimDisk::new();
        disk.put("data", vec![1; 4 * PAGE]);
        let pool =
            BufferPool::builder().frames(4).page_size(PAGE as u32).storage(disk.clone()).build().unwrap();
        let known = |file| pool.shared().pool.path_of(file);
        let file = pool.open_file("data", options(1)).unwrap();
        assert_eq!(known(file).as_deref(), Some(Path::new("data")));
        disk.inject(Fault::error(Op::Sync, 5).once());
        pool.close_file(file).wait().unwrap_err();
        assert!(known(file).is_some(), "it is still open");
        pool.close_file(file).wait().unwrap_err();
        assert_eq!(known(file), None, "and closed by the second try");
        let dropped = pool.open_file("data", options(1)).unwrap();
        pool.drop_file(dropped).wait().unwrap();
        assert_eq!(known(dropped), None);
    }

    #[test]
    fn c6_a_file_that_takes_long_to_open_holds_up_no_other() {
        for method in [IoMethod::Sync, IoMethod::worker(), IoMethod::Auto] {
            for torn_pages in [TornPages::Unprotected, TornPages::DoubleWrite(DoubleWriteArea::new("area"))] {
                let disk = SlowToOpen::new();
                let pool = disk.pool(method.clone(), torn_pages);
                let file = pool.open_file("data", options(1)).unwrap();
                let held = disk.gate.lock();
                let opening = {
                    let pool = pool.clone();
                    thread::spawn(move || pool.open_file("slow", options(2)))
                };
                disk.wait_for(1);
                let (done, over) = channel();
                let using = pool.clone();
                thread::spawn(move || {
                    use_all(&using, file);
                    done.send(()).unwrap();
                });
                assert!(over.recv_timeout(PATIENCE).is_ok(), "{method:?}: held up by another file");
                assert!(!opening.is_finished());
                drop(held);
                let opened = opening.join().unwrap().unwrap();
                assert!(pool.fetch(PageId::new(opened, 0)).wait().is_ok());
            }
        }
    }

    #[test]
    fn c6_of_threads_that_open_a_file_at_once_one_has_it_and_the_others_are_told() {
        let disk = SlowToOpen::new();
        let pool = disk.pool(IoMethod::worker(), TornPages::Unprotected);
        let held = disk.gate.lock();
        let opening: Vec<_> = (0..4)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || pool.open_file("slow", OpenOptions::new()))
            })
            .collect();
        disk.wait_for(4);
        drop(held);
        let outcomes: Vec<_> = opening.into_iter().map(|one| one.join().unwrap()).collect();
        let opened: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(opened.len(), 1, "{outcomes:?}");
        let told = |outcome: &Result<FileId>| match outcome {
            Err(Error::AlreadyOpen { file, .. }) => file == opened[0],
            outcome => outcome.is_ok(),
        };
        assert!(outcomes.iter().all(told), "{outcomes:?}");
    }

    /// The first call has found out that it is the first, and its disk takes long to make the blocks, and cannot.
    #[test]
    fn an_opening_that_fails_lets_the_next_in_line_have_the_file_as_it_then_is() {
        let disk = SlowToOpen::new();
        let pool = disk.pool(IoMethod::worker(), TornPages::Unprotected);
        let gate = disk.disk.hold(Op::Resize.of("slow"));
        disk.disk.inject(Fault::error(Op::Resize, 28).once());
        let open = |blocks| {
            let pool = pool.clone();
            thread::spawn(move || pool.open_file("slow", OpenOptions::new().initial_blocks(blocks)))
        };
        let first = open(40);
        gate.wait_for(1);
        let second = open(0);
        until(|| *disk.found.lock() == 2);
        assert!(pool.open_file("data", OpenOptions::new()).is_ok(), "another is not held up");
        assert!(!second.is_finished());
        gate.open();
        assert_eq!(first.join().unwrap().unwrap_err().raw_os_error(), Some(28));
        let file = second.join().unwrap().unwrap();
        assert_eq!(pool.blocks(file).unwrap() as usize * PAGE, disk.disk.image("slow").unwrap().len());
    }

    #[test]
    fn c1_a_file_that_was_open_meanwhile_is_not_taken_for_what_it_was() {
        let disk = SlowToOpen::new();
        let pool = disk.pool(IoMethod::worker(), TornPages::Unprotected);
        let file = pool.open_file("slow", OpenOptions::new()).unwrap();
        let held = disk.gate.lock();
        let opening = {
            let pool = pool.clone();
            thread::spawn(move || pool.open_file("slow", OpenOptions::new()).unwrap())
        };
        disk.wait_for(2);
        pool.extend(file, std::num::NonZeroU32::new(8).unwrap()).wait().unwrap();
        pool.close_file(file).wait().unwrap();
        drop(held);
        assert_eq!(pool.blocks(opening.join().unwrap()).unwrap() as usize, BLOCKS + 8);
    }

    #[test]
    fn an_opening_that_panics_leaves_nothing_behind() {
        let files = FileTable::default();
        let disk = FakeDisk::new(vec![1; PAGE]);
        let open = || disk.open_file(PAGE as u32);
        let panicking = || drop(files.open(open, |_, _| Ok(()), |_| panic!("on purpose")));
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        assert!(files.table.lock().opening.is_empty() && files.all().is_empty());
        let file = files.open(open, |_, _| Ok(()), |_| Ok(())).unwrap();
        assert!(matches!(files.open(open, |_, _| Ok(()), |_| Ok(())), Err(Error::AlreadyOpen { .. })));
        let table = || {
            let table = files.table.lock();
            (table.tries, table.departed.len(), table.opening.len())
        };
        assert_eq!(table(), (0, 0, 0));
        drop(files.leaving(file.id));
        assert!(files.open_file(file.id).is_err());
        assert_eq!(table(), (0, 0, 0));
    }
}
