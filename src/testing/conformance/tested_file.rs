//! One file under test, of either kind: each transfer is a request with memory of its own, and a wait of bounded length.
//!
//! The memory of a request belongs to the closure that ends it. So a request that is never ended keeps its memory for good, and no check
//! can take it back too early.

use std::{
    fmt, io, mem,
    path::{Path, PathBuf},
    ptr::NonNull,
};

use super::{
    checker::{CheckStep, Checker, Kept},
    promise::StoragePromise,
    stamp::{self, PageOf},
    system,
};
use crate::{
    OpenOptions,
    io::{
        aligned::AlignedZeros,
        buffers::Direction,
        storage::{
            BlockingFile, Opened, StorageFile,
            request::{ReadRequest, Request, SyncRequest, WriteRequest},
        },
        transfer::{Progress, TransferStep},
    },
    sync::{
        Arc, Condvar, Mutex, thread,
        time::{self, Duration},
    },
    testing::{Dice, later::LateRequest},
};

/// Pages of memory, aligned as the pool's frames, that are not neighbours where their blocks are. The checker keeps them when they are
/// dropped, and looks whether they are left alone.
pub(super) struct PageMemory {
    bytes: AlignedZeros,
    page: usize,
    /// Where the page of each block is.
    order: Vec<usize>,
    checker: Arc<Checker>,
}

impl Drop for PageMemory {
    fn drop(&mut self) {
        self.each_mut(|_, page| stamp::mark_ended(page));
        self.checker.keep_ended(mem::replace(&mut self.bytes, AlignedZeros::new(0, 1)));
    }
}

impl PageMemory {
    fn new(pages: usize, checker: &Arc<Checker>, dice: &mut Dice) -> Self {
        let page = checker.page_bytes();
        let mut order: Vec<usize> = (0..pages).collect();
        (1..pages).for_each(|at| order.swap(at, dice.below(at as u64 + 1) as usize));
        Self { bytes: AlignedZeros::new(pages * page, page), page, order, checker: Arc::clone(checker) }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len() * self.page
    }

    /// Returns the page of the n-th block.
    pub(super) fn page(&self, n: usize) -> &[u8] {
        &self.bytes.as_slice()[self.order[n] * self.page..][..self.page]
    }

    pub(super) fn page_mut(&mut self, n: usize) -> &mut [u8] {
        &mut self.bytes.as_mut_slice()[self.order[n] * self.page..][..self.page]
    }

    pub(super) fn each_mut(&mut self, mut change: impl FnMut(usize, &mut [u8])) {
        (0..self.order.len()).for_each(|n| change(n, self.page_mut(n)));
    }

    /// Returns the pieces behind the first `done` bytes.
    fn pieces(&mut self, done: usize) -> Vec<(NonNull<u8>, usize)> {
        let mut pieces = Vec::new();
        self.each_mut(|n, page| {
            let skip = done.saturating_sub(n * page.len()).min(page.len());
            let left = &mut page[skip..];
            if !left.is_empty() {
                pieces.push((NonNull::from(&mut *left).cast(), left.len()));
            }
        });
        pieces
    }
}

/// How a request has ended, when it has.
#[derive(Default)]
struct Answer {
    told: Mutex<Option<(io::Result<usize>, Option<PageMemory>)>>,
    is_told: Condvar,
}

impl Answer {
    fn tell(&self, outcome: io::Result<usize>, memory: Option<PageMemory>) {
        *self.told.lock() = Some((outcome, memory));
        self.is_told.notify_all();
    }

    fn is_told(&self) -> bool {
        self.told.lock().is_some()
    }

    fn wait(&self, step: &CheckStep, patience: Duration) -> Kept<(io::Result<usize>, Option<PageMemory>)> {
        let late = time::deadline_after(patience);
        let mut told = self.told.lock();
        while told.is_none() {
            if time::now() > late {
                return Err(step.late(patience, "a request"));
            }
            told = self.is_told.wait_until(told, late);
        }
        Ok(told.take().expect("it was told"))
    }
}

/// A file whose transfers are calls: each is made by a thread of its own.
#[derive(Debug)]
struct CalledByThreads(Arc<Opened>);

impl CalledByThreads {
    fn start(&self, request: LateRequest) {
        let opened = Arc::clone(&self.0);
        // A request that no thread takes is dropped, and has failed.
        let _ = thread::spawn("ringpool-call".to_owned(), move || request.serve(&*opened.file));
    }
}

impl StorageFile for CalledByThreads {
    fn read(&self, request: ReadRequest) {
        self.start(LateRequest::Read(request));
    }

    fn write(&self, request: WriteRequest) {
        self.start(LateRequest::Write(request));
    }

    fn sync(&self, request: SyncRequest) {
        self.start(LateRequest::Sync(request));
    }

    fn len(&self) -> io::Result<u64> {
        self.0.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.file.set_len(len)
    }
}

/// A file that is open.
#[derive(Clone)]
pub(super) struct TestedFile {
    pub(super) checker: Arc<Checker>,
    pub(super) opened: Arc<Opened>,
    requests: Arc<dyn StorageFile>,
    pub(super) path: PathBuf,
    pub(super) number: u32,
    /// Whether it is counted how often the calls wait that start requests.
    counts_waits: bool,
}

impl fmt::Debug for TestedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl TestedFile {
    /// Creates a file.
    pub(super) fn create(checker: &Arc<Checker>) -> Kept<Self> {
        let (number, path) = checker.new_path();
        Self::open(checker, number, &path, &OpenOptions::new().create(true))
    }

    pub(super) fn open(
        checker: &Arc<Checker>,
        number: u32,
        path: &Path,
        options: &OpenOptions,
    ) -> Kept<Self> {
        let step = checker.step(StoragePromise::FailsNever, format!("opening {}", path.display()));
        let opened = Arc::new(step.done(checker.open(&step, path, options)?)?);
        checker.note_identity(&step, path, opened.identity)?;
        if let Some(name) = &opened.name {
            step.done(checker.storage().sync_folder(name))?;
        }
        let requests = match &opened.asynchronous {
            Some(file) => Arc::clone(file),
            None => Arc::new(CalledByThreads(Arc::clone(&opened))) as Arc<dyn StorageFile>,
        };
        let (checker, path) = (Arc::clone(checker), path.to_owned());
        Ok(Self { checker, opened, requests, path, number, counts_waits: false })
    }

    /// Closes the file, and opens it again, as the pool does.
    pub(super) fn reopen(self) -> Kept<Self> {
        let Self { checker, opened, requests, path, number, .. } = self;
        opened.file.unlock();
        drop(requests);
        drop(opened);
        Self::open(&checker, number, &path, &OpenOptions::new())
    }

    /// The calls that wait, and those that change the file.
    pub(super) fn calls(&self) -> &dyn BlockingFile {
        &*self.opened.file
    }

    pub(super) fn asynchronous(&self) -> Option<&dyn StorageFile> {
        self.opened.asynchronous.as_deref()
    }

    pub(super) fn in_flight(&self) -> usize {
        let most = if self.opened.asynchronous.is_some() { 64 } else { 16 };
        self.opened.capabilities.in_flight.map_or(most, |most| most.get() as usize).min(256)
    }

    pub(super) fn page_of(&self, block: u32) -> PageOf {
        PageOf { file: self.number, block }
    }

    fn memory(&self, pages: usize, dice: &mut Dice) -> PageMemory {
        PageMemory::new(pages, &self.checker, dice)
    }

    fn start(&self, direction: Direction, block: u32, memory: PageMemory) -> StartedTransfer<'_> {
        let align = self.opened.offset_align;
        let progress = Progress::new(direction, memory.len(), align);
        let mut transfer =
            StartedTransfer { file: self, direction, block, progress, answer: Arc::default(), waits: 0 };
        transfer.go(memory);
        transfer
    }

    /// Starts to read this many blocks.
    pub(super) fn start_read(&self, block: u32, blocks: usize, dice: &mut Dice) -> StartedTransfer<'_> {
        let mut memory = self.memory(blocks, dice);
        memory.each_mut(|_, page| stamp::mark_unfilled(page));
        self.start(Direction::Read, block, memory)
    }

    /// Starts to write neighbours, each of its version.
    pub(super) fn start_write(&self, block: u32, versions: &[u32], dice: &mut Dice) -> StartedTransfer<'_> {
        let mut memory = self.memory(versions.len(), dice);
        memory.each_mut(|n, page| self.page_of(block + n as u32).fill(page, versions[n]));
        self.start(Direction::Write, block, memory)
    }

    pub(super) fn write(&self, step: &CheckStep, block: u32, versions: &[u32], dice: &mut Dice) -> Kept {
        self.start_write(block, versions, dice).written(step)
    }

    /// Reads neighbours, and compares each with its version.
    pub(super) fn expect(&self, step: &CheckStep, block: u32, versions: &[u32], dice: &mut Dice) -> Kept {
        self.start_read(block, versions.len(), dice).expect(step, versions)
    }

    pub(super) fn start_sync(&self) -> SyncUnderWay<'_> {
        let answer = Arc::new(Answer::default());
        let teller = Arc::clone(&answer);
        let request = SyncRequest::new(Box::new(move |outcome| teller.tell(outcome, None)));
        let waits = self.waits_in(|| self.requests.sync(request));
        SyncUnderWay { file: self, answer, waits }
    }

    pub(super) fn sync(&self, step: &CheckStep) -> Kept {
        self.start_sync().wait(step)
    }

    /// Has the calls counted that wait.
    pub(super) fn counting_waits(mut self) -> Self {
        self.counts_waits = true;
        self
    }

    /// Makes a call of the storage, and returns how often the thread has waited meanwhile, where that is counted.
    pub(super) fn waits_in(&self, call: impl FnOnce()) -> u64 {
        let before = self.counts_waits.then(system::waits).flatten();
        call();
        before.and_then(|before| Some(system::waits()? - before)).unwrap_or(0)
    }

    /// Starts a read from within the end of another one, and returns whether both have ended well.
    pub(super) fn read_within_an_end(&self, step: &CheckStep, dice: &mut Dice) -> Kept {
        let (outer, inner) = (Arc::new(Answer::default()), Arc::new(Answer::default()));
        let (first, second) = (self.memory(1, dice), self.memory(1, dice));
        let then = {
            let (file, teller) = (Arc::clone(&self.requests), Arc::clone(&inner));
            move || {
                send(&*file, Direction::Read, 0, second, 0, move |outcome, memory| {
                    teller.tell(outcome, Some(memory));
                });
            }
        };
        let teller = Arc::clone(&outer);
        send(&*self.requests, Direction::Read, 0, first, 0, move |outcome, memory| {
            then();
            teller.tell(outcome, Some(memory));
        });
        for answer in [inner, outer] {
            let outcome = answer.wait(step, self.checker.settings.patience)?.0;
            self.checker.tick(1);
            // One that was interrupted has ended, and that is the question.
            let mut progress = Progress::new(Direction::Read, self.checker.page_bytes(), 1);
            if let TransferStep::Finished(outcome) = progress.step(outcome) {
                step.done(outcome)?;
            }
        }
        Ok(())
    }
}

/// Starts a request for the bytes of `memory` behind the first `done`.
fn send(
    file: &dyn StorageFile,
    direction: Direction,
    offset: u64,
    mut memory: PageMemory,
    done: usize,
    then: impl FnOnce(io::Result<usize>, PageMemory) + Send + 'static,
) {
    let pieces = memory.pieces(done);
    let ending = Box::new(move |outcome| then(outcome, memory));
    // Both kinds come, for the same blocks.
    let is_awaited = !pieces.len().is_multiple_of(3);
    // SAFETY: the pieces are valid, initialised memory of `memory`, none overlaps another, and the ending has the memory, so that nothing
    // else reads or writes it before.
    #[allow(unsafe_code)]
    let request = unsafe { Request::new(offset + done as u64, pieces.into_iter(), is_awaited, ending) };
    match direction {
        Direction::Read => file.read(ReadRequest(request)),
        Direction::Write => file.write(WriteRequest(request)),
    }
}

/// A transfer that was started.
pub(super) struct StartedTransfer<'f> {
    file: &'f TestedFile,
    direction: Direction,
    block: u32,
    progress: Progress,
    answer: Arc<Answer>,
    /// How often the thread has waited in the calls that have started it.
    pub(super) waits: u64,
}

impl StartedTransfer<'_> {
    fn go(&mut self, memory: PageMemory) {
        let answer = Arc::clone(&self.answer);
        let offset = u64::from(self.block) * self.file.checker.page_bytes() as u64;
        let then = move |outcome, memory| answer.tell(outcome, Some(memory));
        let (file, done) = (&*self.file.requests, self.progress.next());
        self.waits += self.file.waits_in(|| send(file, self.direction, offset, memory, done, then));
    }

    /// Waits for the end of a transfer that must not fail.
    pub(super) fn wait(self, step: &CheckStep) -> Kept<(usize, PageMemory)> {
        let (outcome, memory) = self.outcome(step)?;
        Ok((step.done(outcome)?, memory))
    }

    /// Waits for the end: what comes back short, or interrupted, goes on by the pool's own rule.
    pub(super) fn outcome(mut self, step: &CheckStep) -> Kept<(io::Result<usize>, PageMemory)> {
        loop {
            let (outcome, memory) = self.answer.wait(step, self.file.checker.settings.patience)?;
            self.file.checker.tick(1);
            let memory = memory.expect("a transfer has memory");
            if let (Direction::Read, Ok(done)) = (self.direction, &outcome) {
                self.check_filled(step, &memory, *done)?;
            }
            match self.progress.step(outcome) {
                TransferStep::Resume => self.go(memory),
                TransferStep::Finished(outcome) => return Ok((outcome, memory)),
            }
        }
    }

    /// Checks that whole pages of what was said to be read are filled.
    fn check_filled(&self, step: &CheckStep, memory: &PageMemory, done: usize) -> Kept {
        let (first, end) = (self.progress.next(), self.progress.next() + done);
        let page = self.file.checker.page_bytes();
        for n in first.div_ceil(page)..end / page {
            if stamp::has_unfilled(memory.page(n)) {
                let found = format!("{done} bytes read, and block {} is not filled", self.block + n as u32);
                return Err(step.broken_as(StoragePromise::FillsBeforeItEnds, found));
            }
        }
        Ok(())
    }

    /// Waits for the end of a write.
    pub(super) fn written(self, step: &CheckStep) -> Kept {
        let (count, memory) = self.wait(step)?;
        step.ensure(count == memory.len(), || format!("{count} bytes written of {}", memory.len()))
    }

    /// Waits for the end of a read, and compares the pages.
    pub(super) fn expect(self, step: &CheckStep, versions: &[u32]) -> Kept {
        let (file, block) = (self.file, self.block);
        let (count, memory) = self.wait(step)?;
        step.ensure(count == memory.len(), || format!("{count} bytes of {} at block {block}", memory.len()))?;
        for (n, version) in versions.iter().enumerate() {
            step.like(file.page_of(block + n as u32).check(memory.page(n), *version))?;
        }
        Ok(())
    }
}

/// A sync that was started.
pub(super) struct SyncUnderWay<'f> {
    file: &'f TestedFile,
    answer: Arc<Answer>,
    /// How often the thread has waited in the call that has started it.
    pub(super) waits: u64,
}

impl SyncUnderWay<'_> {
    /// Returns whether it has been reported.
    pub(super) fn is_over(&self) -> bool {
        self.answer.is_told()
    }

    pub(super) fn wait(self, step: &CheckStep) -> Kept {
        let outcome = self.answer.wait(step, self.file.checker.settings.patience)?.0;
        self.file.checker.tick(1);
        step.done(outcome.map(drop))
    }
}
