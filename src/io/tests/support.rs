//! What the tests of this layer share: an arena of buffers, a lease that reports, and a disk that misbehaves on demand.
//!
//! Bytes are stamped by position, so that a byte from any other place of the file is seen.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSlice, IoSliceMut},
    os::fd::BorrowedFd,
    panic::resume_unwind,
    path::Path,
    ptr::NonNull,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use crate::{
    error::{Error, Result},
    id::{FileId, PageSize},
    io::{
        aligned::AlignedZeros,
        buffers::{Direction, IoBuf},
        file::{File, open_options::OpenOptions},
        method::Chunk,
        operation::{Lease, Operation, OperationTable, Urgency},
        options::Scheduling,
        storage::{BlockingFile, Opened, Storage, os::LocalFiles},
    },
    observe::Counters,
    sync::{Arc, callback::tests::panicking_payload, waking::Wakers},
};

/// Joins nothing, so that each request ends as it was made.
pub(crate) const SCHEDULING: Scheduling = Scheduling { combine: 0, background: usize::MAX };

/// Returns the byte that belongs at `position` of a stamped file.
pub(crate) fn stamp(position: u64) -> u8 {
    // Differs between neighbours, and between blocks at any power-of-two distance.
    (position.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

pub(crate) fn stamped(len: usize) -> Vec<u8> {
    (0..len as u64).map(stamp).collect()
}

/// Opens a real file with pages of 8 KiB.
pub(crate) fn os_file(path: &Path, options: &OpenOptions) -> Result<File> {
    File::open(&LocalFiles, next_id(), path, options, PageSize::DEFAULT)
}

/// Returns an id that is given once, as in a pool.
fn next_id() -> FileId {
    static IDS: AtomicU32 = AtomicU32::new(0);
    FileId(IDS.fetch_add(1, Ordering::Relaxed))
}

/// Returns whether the calling test has its process to itself. If it has not, the test has been run once more, in a process of
/// its own, by the time that this returns.
pub(crate) fn is_alone() -> bool {
    const ALONE: &str = "RINGPOOL_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    let status = again.args(["--exact", &name, "--nocapture"]).env(ALONE, "").status().unwrap();
    assert!(status.success(), "by itself: {status}");
    false
}

/// Memory that leases lend, in two chunks.
pub(crate) struct TestArena {
    memory: Mutex<AlignedZeros>,
    base: usize,
    len: usize,
    used: AtomicUsize,
    pub(crate) in_flight: Arc<OperationTable<TestLease>>,
    sender: Sender<TransferReport>,
    reports: Mutex<Receiver<TransferReport>>,
}

/// How a lease ended.
#[derive(Debug)]
pub(crate) enum TransferReport {
    Finished { direction: Direction, offset: u64, buffers: Vec<IoBuf>, outcome: io::Result<usize> },
    Dropped,
}

impl TestArena {
    pub(crate) fn new(len: usize) -> Self {
        let mut memory = AlignedZeros::new(len, 65536);
        let base = memory.as_mut_slice().as_mut_ptr().expose_provenance();
        let (sender, reports) = channel();
        Self {
            memory: Mutex::new(memory),
            base,
            len,
            used: AtomicUsize::new(0),
            in_flight: Arc::new(OperationTable::new(PageSize::DEFAULT, Arc::new(Counters::new()))),
            sender,
            reports: Mutex::new(reports),
        }
    }

    fn ptr(&self, at: usize) -> NonNull<u8> {
        NonNull::new(std::ptr::with_exposed_provenance_mut(self.base + at)).unwrap()
    }

    /// Returns both halves of the memory.
    pub(crate) fn chunks(&self) -> [Chunk; 2] {
        let half = self.len / 2;
        [Chunk { ptr: self.ptr(0), len: half }, Chunk { ptr: self.ptr(half), len: self.len - half }]
    }

    /// Frees all memory. To be called only when every lease has ended.
    pub(crate) fn reuse(&self) {
        self.used.store(0, Ordering::SeqCst);
    }

    /// Makes a request with a buffer of each length; a write's bytes are stamped by the offset.
    pub(crate) fn request(
        &self,
        direction: Direction,
        file: &Arc<File>,
        offset: u64,
        lens: &[u32],
    ) -> Operation<TestLease> {
        let mut position = offset;
        let buffers: Vec<IoBuf> = lens
            .iter()
            .map(|&len| {
                let at = self.used.fetch_add(len as usize, Ordering::SeqCst);
                assert!(at + len as usize <= self.len, "the test arena is too small");
                let buf = IoBuf { ptr: self.ptr(at), len, chunk: u16::from(at >= self.len / 2) };
                for byte in bytes_of(buf) {
                    *byte = if direction == Direction::Write { stamp(position) } else { !stamp(position) };
                    position += 1;
                }
                buf
            })
            .collect();
        let sender = self.sender.clone();
        let lease = TestLease {
            direction,
            offset,
            buffers,
            sender: Some(sender),
            before_finish: None,
            awaited: Arc::new(AtomicBool::new(false)),
            joined: Vec::new(),
        };
        let file = Arc::clone(file);
        let mut operation = Operation::new(&self.in_flight, direction, Urgency::Demand, file, offset, lease);
        operation.list(self.in_flight.now());
        operation
    }

    pub(crate) fn next_report(&self) -> TransferReport {
        self.reports.lock().unwrap().recv_timeout(Duration::from_secs(60)).expect("a lease never ended")
    }

    /// Checks that the next lease to end transferred `expected` bytes, and a read's are the file's own; behind them is no byte
    /// from elsewhere.
    pub(crate) fn expect(&self, expected: impl Fn(u64) -> usize) {
        match self.next_report() {
            TransferReport::Finished { direction, offset, buffers, outcome } => {
                let count = outcome.unwrap();
                assert_eq!(count, expected(offset), "transferred at {offset}");
                let bytes = buffers.iter().flat_map(|&buf| bytes_of(buf).iter());
                for (position, &byte) in (offset..).zip(bytes) {
                    let went = direction == Direction::Write || position < offset + count as u64;
                    // A direct read may zero the rest of the last sector.
                    let spared = byte == !stamp(position) || byte == 0;
                    assert!(if went { byte == stamp(position) } else { spared }, "byte {position} is {byte}");
                }
            }
            TransferReport::Dropped => panic!("a lease was dropped"),
        }
    }

    /// Checks that the next `count` leases to end were reads that filled their buffers.
    pub(crate) fn expect_reads(&self, count: usize) {
        for _ in 0..count {
            match self.next_report() {
                TransferReport::Finished { offset, buffers, outcome, .. } => {
                    assert_eq!(outcome.unwrap(), buffers.iter().map(|buf| buf.len as usize).sum::<usize>());
                    let bytes = buffers.iter().flat_map(|&buf| bytes_of(buf).iter());
                    for (position, &byte) in (offset..).zip(bytes) {
                        assert_eq!(byte, stamp(position), "byte {position}");
                    }
                }
                TransferReport::Dropped => panic!("a lease was dropped"),
            }
        }
    }

    pub(crate) fn expect_error(&self) -> io::Error {
        match self.next_report() {
            TransferReport::Finished { outcome, .. } => outcome.unwrap_err(),
            TransferReport::Dropped => panic!("a lease was dropped"),
        }
    }

    /// Checks that the next `count` leases to end were dropped.
    pub(crate) fn expect_dropped(&self, count: usize) {
        (0..count).for_each(|_| assert!(matches!(self.next_report(), TransferReport::Dropped)));
    }
}

impl Drop for TestArena {
    fn drop(&mut self) {
        // Used, so that it is clear what keeps the memory alive.
        drop(self.memory.lock());
        assert!(
            std::thread::panicking() || self.in_flight.list().is_empty(),
            "a request is over and still listed"
        );
    }
}

/// Returns the bytes of a buffer that no transfer is using.
#[allow(unsafe_code)]
fn bytes_of<'a>(buf: IoBuf) -> &'a mut [u8] {
    // SAFETY: the arena outlives the test's body, and a test looks at a buffer before its request is submitted or after its
    // lease has ended.
    unsafe { std::slice::from_raw_parts_mut(buf.ptr.as_ptr(), buf.len as usize) }
}

pub(crate) struct TestLease {
    direction: Direction,
    offset: u64,
    buffers: Vec<IoBuf>,
    /// Taken once it has reported.
    sender: Option<Sender<TransferReport>>,
    /// Called first when the lease is finished.
    before_finish: Option<Box<dyn FnOnce() + Send>>,
    awaited: Arc<AtomicBool>,
    /// Leases that became the end of this.
    joined: Vec<TestLease>,
}

impl TestLease {
    /// Calls `first` in the thread that finishes the lease, before anything else is done.
    pub(crate) fn before_finish(&mut self, first: impl FnOnce() + Send + 'static) {
        self.before_finish = Some(Box::new(first));
    }

    pub(crate) fn panic_in_finish(&mut self) {
        self.before_finish(|| resume_unwind(panicking_payload()));
    }

    /// Reports its part of an outcome, and leaves the part behind it in `rest`.
    fn end(&mut self, rest: &mut io::Result<usize>) {
        let outcome = match rest {
            Ok(left) => {
                let own = self.buffers.iter().map(|buf| buf.len as usize).sum::<usize>().min(*left);
                *left -= own;
                Ok(own)
            }
            Err(error) => Err(error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error)),
        };
        let (direction, offset, buffers) = (self.direction, self.offset, self.buffers.clone());
        self.report(TransferReport::Finished { direction, offset, buffers, outcome });
    }

    fn report(&mut self, report: TransferReport) {
        if let Some(sender) = self.sender.take() {
            // The test may be over.
            let _ = sender.send(report);
        }
    }
}

/// Sets the operation's urgency. The returned flag says when a caller begins to wait for it.
pub(crate) fn set_urgency(operation: &mut Operation<TestLease>, urgency: Urgency) -> Arc<AtomicBool> {
    operation.urgency = urgency;
    Arc::clone(&operation.lease.awaited)
}

impl Lease for TestLease {
    fn buffer_count(&self) -> usize {
        self.buffers.len() + self.joined.iter().map(|lease| lease.buffers.len()).sum::<usize>()
    }

    fn buffer(&self, index: usize) -> IoBuf {
        let mut all = self.buffers.iter().chain(self.joined.iter().flat_map(|lease| &lease.buffers));
        *all.nth(index).expect("a buffer of the lease")
    }

    fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::SeqCst)
    }

    fn can_join(&self, _next: &Self) -> bool {
        self.direction == Direction::Read
    }

    fn join(&mut self, mut next: Self) {
        let behind = std::mem::take(&mut next.joined);
        self.joined.push(next);
        self.joined.extend(behind);
    }

    fn finish(&mut self, outcome: io::Result<usize>, _: &mut Wakers) -> Option<Error> {
        if let Some(first) = self.before_finish.take() {
            first();
        }
        let mut rest = outcome;
        let joined = std::mem::take(&mut self.joined);
        self.end(&mut rest);
        joined.into_iter().for_each(|mut lease| lease.end(&mut rest));
        None
    }
}

impl Drop for TestLease {
    fn drop(&mut self) {
        self.report(TransferReport::Dropped);
    }
}

/// A disk with one file in memory, without a descriptor, that answers as a test tells it.
#[derive(Clone)]
pub(crate) struct FakeDisk(Arc<Mutex<FakeState>>);

#[derive(Default)]
struct FakeState {
    bytes: Vec<u8>,
    reported_len: Option<u64>,
    has_fixed_size: bool,
    offset_align: u32,
    /// What the next transfers answer at most; then as much as there is.
    at_most: VecDeque<usize>,
    /// Error numbers that the next transfers give instead, before they begin.
    errors: VecDeque<i32>,
    /// The next read answers more than it was asked for.
    panics: bool,
    panics_in_sync: bool,
    /// How many writes go well before one fails, and how.
    write_error: Option<(usize, i32)>,
    sync_error: Option<i32>,
    syncs: usize,
}

impl fmt::Debug for FakeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeDisk")
    }
}

impl FakeDisk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(FakeState { bytes, offset_align: 1, ..FakeState::default() })))
    }

    pub(crate) fn stamped(len: usize) -> Self {
        Self::new(stamped(len))
    }

    pub(crate) fn open_file(&self, page_size: u32) -> Result<File> {
        File::open(self, next_id(), Path::new("fake"), &OpenOptions::new(), PageSize::new(page_size)?)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, FakeState> {
        self.0.lock().unwrap()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    pub(crate) fn set_reported_len(&self, len: u64) {
        self.state().reported_len = Some(len);
    }

    /// Fixes the size, as of a device.
    pub(crate) fn fix_size(&self) {
        self.state().has_fixed_size = true;
    }

    pub(crate) fn transfer_at_most(&self, lens: impl IntoIterator<Item = usize>) {
        self.state().at_most.extend(lens);
    }

    pub(crate) fn fail_transfers(&self, errnos: impl IntoIterator<Item = i32>) {
        self.state().errors.extend(errnos);
    }

    pub(crate) fn panic_once(&self) {
        self.state().panics = true;
    }

    pub(crate) fn panic_in_sync(&self) {
        self.state().panics_in_sync = true;
    }

    pub(crate) fn fail_write(&self, after: usize, errno: i32) {
        self.state().write_error = Some((after, errno));
    }

    pub(crate) fn fail_next_sync(&self, errno: i32) {
        self.state().sync_error = Some(errno);
    }

    pub(crate) fn syncs(&self) -> usize {
        self.state().syncs
    }
}

fn failed(errno: Option<i32>) -> io::Result<()> {
    errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
}

impl Storage for FakeDisk {
    fn open(&self, _: &Path, _: &OpenOptions, _: PageSize) -> io::Result<Opened> {
        let state = self.state();
        let len = state.reported_len.unwrap_or(state.bytes.len() as u64);
        drop(state);
        let opened = Opened { len, ..Opened::blocking(self.clone(), (0, 0))? };
        let state = self.state();
        let has_fixed_size = state.has_fixed_size;
        Ok(Opened { offset_align: state.offset_align, has_fixed_size, ..opened })
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn may_remove(&self, _: &Path, _: (u64, u64)) -> io::Result<bool> {
        Ok(false)
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl BlockingFile for FakeDisk {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        if std::mem::take(&mut state.panics) {
            drop(state);
            resume_unwind(panicking_payload());
        }
        failed(state.errors.pop_front())?;
        let mut left = state.at_most.pop_front().unwrap_or(usize::MAX);
        let mut rest = state.bytes.get(offset as usize..).unwrap_or_default();
        let mut count = 0;
        for buffer in buffers {
            let part = buffer.len().min(rest.len()).min(left);
            buffer[..part].copy_from_slice(&rest[..part]);
            (rest, left, count) = (&rest[part..], left - part, count + part);
        }
        Ok(count)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        match state.write_error.take() {
            Some((0, errno)) => failed(Some(errno))?,
            later => state.write_error = later.map(|(after, errno)| (after - 1, errno)),
        }
        failed(state.errors.pop_front())?;
        let mut left = state.at_most.pop_front().unwrap_or(usize::MAX);
        let mut at = offset as usize;
        for buffer in buffers {
            let part = buffer.len().min(left);
            if state.bytes.len() < at + part {
                state.bytes.resize(at + part, 0);
            }
            state.bytes[at..at + part].copy_from_slice(&buffer[..part]);
            (at, left) = (at + part, left - part);
        }
        Ok(at - offset as usize)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        if std::mem::take(&mut state.panics_in_sync) {
            drop(state);
            resume_unwind(panicking_payload());
        }
        state.syncs += 1;
        failed(state.sync_error.take())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state().bytes.resize(len as usize, 0);
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
