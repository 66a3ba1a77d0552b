//! How an engine tests its recovery on the simulated disk: a small store with a log, crashed at every one of its operations.
//!
//! ```text
//! cargo run --release --features testing --example crash_test
//! ```
//!
//! The store keeps numbered values in pages and writes every change to its log first. The test changes values at random, cuts the
//! power during each operation of the run in turn, opens what the disk may hold afterwards, recovers, and compares: every value
//! whose `put` was acknowledged must be there, and none may be that was never put.
//!
//! Then it tests a store whose author forgot to give the log to the pool. Pages now reach the disk before the log: a value can be
//! on disk that was never acknowledged, and that the log does not have. The test finds it, names the seed, and the same seed finds
//! it again.
//!
//! What to look at: `Store`, an engine in small; `crash_everywhere`, all that its test has to do.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ringpool::{
    BufferPool, CheckpointOptions, FileId, IoMethod, LogRecord, Lsn, OpenOptions, PageId, Result, Wal,
    testing::{Dice, SimDisk, SimFile, simulated},
};

/// As large as what a disk writes at once, so that no page is torn. (For larger ones see `TornPages`.)
const PAGE: usize = 512;
const PAGES: u32 = 16;
/// A value has eight bytes.
const KEYS: u32 = PAGES * KEYS_PER_PAGE;
const KEYS_PER_PAGE: u32 = PAGE as u32 / 8;
/// Few, so that changed pages must often go to disk before a checkpoint.
const FRAMES: u32 = 4;

/// A key and its new value.
type Change = (u32, u64);

/// A log of changes: records of sixteen bytes, a key and a value.
struct Log {
    file: SimFile,
    written: AtomicU64,
    durable: AtomicU64,
}

impl Log {
    const RECORD: usize = 16;

    /// Returns the log of a disk, with the changes that survived in it.
    fn open(disk: &SimDisk) -> io::Result<(Arc<Self>, Vec<Change>)> {
        let file = disk.file("log");
        let bytes = file.read_all()?;
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let record = |record: &[u8]| (number(&record[..8]) as u32, number(&record[8..]));
        // Keys are written one higher, so that zeros are the end. (A log of larger records needs a checksum.)
        let records = bytes.chunks_exact(Self::RECORD).map(record).take_while(|&(key, _)| key > 0);
        let records: Vec<_> = records.map(|(key, value)| (key - 1, value)).collect();
        let end = (records.len() * Self::RECORD) as u64;
        Ok((Arc::new(Self { file, written: end.into(), durable: 0.into() }), records))
    }

    /// Adds a record. The caller has the page latched that it changes.
    fn append(&self, key: u32, value: u64) -> io::Result<LogRecord> {
        let at = self.written.load(Ordering::Relaxed);
        let record = [u64::from(key + 1).to_le_bytes(), value.to_le_bytes()].concat();
        self.file.write_all_at(&record, at)?;
        self.written.store(at + record.len() as u64, Ordering::Relaxed);
        Ok(Self::record_at(at))
    }

    fn record_at(at: u64) -> LogRecord {
        LogRecord { begin: Lsn(at), end: Lsn(at + Self::RECORD as u64) }
    }

    fn sync(&self) -> io::Result<()> {
        let written = self.written.load(Ordering::Relaxed);
        self.file.sync()?;
        // Several threads may be here, and one that began later may have finished already.
        self.durable.fetch_max(written, Ordering::Relaxed);
        Ok(())
    }
}

/// What the pool asks of the log before it writes pages.
struct LogFirst(Arc<Log>);

impl Wal for LogFirst {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(self.0.durable.load(Ordering::Relaxed))
    }

    fn flush(&self, _up_to: Lsn) -> io::Result<Lsn> {
        self.0.sync()?;
        Ok(self.flushed_lsn())
    }
}

/// Values by number.
struct Store {
    pool: BufferPool,
    file: FileId,
    log: Arc<Log>,
}

type AnyResult<T> = std::result::Result<T, Box<dyn std::error::Error>>;

impl Store {
    /// Opens the store on a disk, with all that survived there.
    fn open(disk: &SimDisk, keeps_the_law: bool) -> AnyResult<Self> {
        let (log, changes) = Log::open(disk)?;
        let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).io_method(IoMethod::Sync);
        let builder = if keeps_the_law { builder.wal(LogFirst(Arc::clone(&log))) } else { builder };
        let pool = builder.storage(disk.clone()).build()?;
        let file = pool.open_file("values", OpenOptions::new().create(true).initial_blocks(PAGES))?;
        let store = Self { pool, file, log };
        store.log.sync()?;
        for (number, (key, value)) in (1..).zip(changes) {
            store.change(key, value, || Ok(Log::record_at((number - 1) * Log::RECORD as u64)))?;
        }
        Ok(store)
    }

    /// Changes a value. The change survives a crash once [`commit`](Self::commit) has returned.
    fn put(&self, key: u32, value: u64) -> AnyResult<()> {
        self.change(key, value, || self.log.append(key, value))
    }

    fn commit(&self) -> io::Result<()> {
        self.log.sync()
    }

    /// Changes a value in its page. `log` gives the record of it, and is called with the page latched: so records of a page are in
    /// the log in the order of its changes, and a checkpoint knows what is behind the end that the log had before.
    fn change(&self, key: u32, value: u64, log: impl FnOnce() -> io::Result<LogRecord>) -> AnyResult<()> {
        let (block, place) = Self::place(key);
        let mut page = self.pool.write(PageId::new(self.file, block)).wait()?;
        let record = log()?;
        page[place..place + 8].copy_from_slice(&value.to_le_bytes());
        page.set_lsn(record);
        Ok(())
    }

    fn get(&self, key: u32) -> Result<u64> {
        let (block, place) = Self::place(key);
        let page = self.pool.read(PageId::new(self.file, block)).wait()?;
        Ok(u64::from_le_bytes(page[place..place + 8].try_into().expect("eight bytes")))
    }

    fn place(key: u32) -> (u32, usize) {
        (key / KEYS_PER_PAGE, (key % KEYS_PER_PAGE) as usize * 8)
    }
}

/// What a store has acknowledged to its user.
#[derive(Default)]
struct Told {
    committed: BTreeMap<u32, u64>,
    /// Put, but not committed: it may survive or not.
    pending: Vec<(u32, u64)>,
}

/// Puts values and commits them, as long as the disk takes it.
fn use_store(store: &Store, seed: u64, told: &mut Told) -> AnyResult<()> {
    let mut dice = Dice::new(seed);
    for value in 1..200 {
        let key = dice.below(u64::from(KEYS)) as u32;
        told.pending.push((key, value));
        store.put(key, value)?;
        if dice.one_in(3) {
            store.commit()?;
            told.committed.extend(told.pending.drain(..));
        }
        if dice.one_in(40) {
            store.pool.checkpoint(CheckpointOptions::new()).wait()?;
        }
    }
    Ok(())
}

/// Compares a store with what it has acknowledged: changes survive in their order, up to some moment after the last commit.
fn check(store: &Store, told: &Told) -> std::result::Result<(), String> {
    let found: Vec<u64> = (0..KEYS).map(|key| store.get(key).unwrap_or(u64::MAX)).collect();
    let mut expected = vec![0; KEYS as usize];
    told.committed.iter().for_each(|(&key, &value)| expected[key as usize] = value);
    let mut matches = found == expected;
    for &(key, value) in &told.pending {
        expected[key as usize] = value;
        matches |= found == expected;
    }
    if matches {
        return Ok(());
    }
    Err("what it holds is what it held at no moment since the last commit".into())
}

/// Runs the store once for each of its operations, with the power cut during that one; returns how many crashes it survived. In one
/// thread and in simulated time: the same seed makes the same run.
fn crash_everywhere(seed: u64, keeps_the_law: bool) -> std::result::Result<usize, String> {
    simulated(|| crash_at_each_operation(seed, keeps_the_law))
}

fn crash_at_each_operation(seed: u64, keeps_the_law: bool) -> std::result::Result<usize, String> {
    for operation in 1.. {
        let disk = SimDisk::with_seed(seed);
        disk.cut_power_during(operation);
        let mut told = Told::default();
        let _ = Store::open(&disk, keeps_the_law).and_then(|store| use_store(&store, seed, &mut told));
        let found = disk.after_power_cut(seed ^ operation);
        let store =
            Store::open(&found, keeps_the_law).map_err(|error| format!("cannot be opened: {error}"))?;
        check(&store, &told).map_err(|text| format!("power cut during operation {operation}: {text}"))?;
        if !disk.is_without_power() {
            return Ok(operation as usize - 1);
        }
    }
    unreachable!("a run has an end")
}

fn main() -> AnyResult<()> {
    let mut crashes = 0;
    for seed in 0..5 {
        crashes += crash_everywhere(seed, true).map_err(|text| format!("seed {seed}: {text}"))?;
    }
    println!("log first: {crashes} crashes, and each left what was committed and nothing else");

    let broken = |seed| crash_everywhere(seed, false).err();
    let (seed, found) = (0..20)
        .find_map(|seed| Some((seed, broken(seed)?)))
        .ok_or("a store without the law survives everything: the test is worth nothing")?;
    println!("without the law: seed {seed}: {found}");
    if broken(seed).as_ref() != Some(&found) {
        return Err("the same seed makes another run".into());
    }
    println!("the same seed finds the same again");
    Ok(())
}
