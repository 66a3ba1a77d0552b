//! One file under test, of either kind: each transfer is a request with memory of its own, and a wait of bounded length.
//!
//! The memory of a request belongs to the closure that ends it. So a request that is never ended keeps its memory for good, and no check
//! can take it back too early.

use std::{
    io, mem,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use super::{
    checker::{CheckStep, Checker, Kept},
    promise::StoragePromise::{FailsNever, FillsBeforeItEnds},
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
    sync::{Arc, thread},
    testing::later::LateRequest,
};

/// Pages of memory, aligned as the pool's frames. Those of some neighbours in the file are none in memory: the last blocks come first. The
/// checker keeps them when they are dropped, and looks whether they are left alone.
struct PageMemory {
    bytes: AlignedZeros,
    pages: usize,
    /// The block whose page comes first.
    first: usize,
    checker: Arc<Checker>,
}

impl Drop for PageMemory {
    fn drop(&mut self) {
        self.each_mut(|_, page| stamp::mark_ended(page));
        self.checker.keep_ended(mem::replace(&mut self.bytes, AlignedZeros::new(0, 1)));
    }
}

impl PageMemory {
    /// Makes memory for this many blocks from `block` on, on which depends where the order breaks.
    fn new(block: u32, pages: usize, checker: &Arc<Checker>) -> Self {
        let page = checker.page_bytes();
        let first = (block as usize + pages / 2) % pages;
        Self { bytes: AlignedZeros::new(pages * page, page), pages, first, checker: Arc::clone(checker) }
    }

    fn len(&self) -> usize {
        self.bytes.as_slice().len()
    }

    /// Returns where the page of the n-th block begins.
    fn place(&self, n: usize) -> usize {
        (n + self.pages - self.first) % self.pages * self.checker.page_bytes()
    }

    fn page(&self, n: usize) -> &[u8] {
        &self.bytes.as_slice()[self.place(n)..][..self.checker.page_bytes()]
    }

    fn each_mut(&mut self, mut change: impl FnMut(usize, &mut [u8])) {
        for n in 0..self.pages {
            let (place, page) = (self.place(n), self.checker.page_bytes());
            change(n, &mut self.bytes.as_mut_slice()[place..][..page]);
        }
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

/// Asks the file. Where its transfers are calls, each is made by a thread of its own.
fn ask(opened: &Arc<Opened>, request: LateRequest) {
    match (&opened.asynchronous, request) {
        (Some(file), LateRequest::Read(request)) => file.read(request),
        (Some(file), LateRequest::Write(request)) => file.write(request),
        (Some(file), LateRequest::Sync(request)) => file.sync(request),
        (None, request) => {
            let opened = Arc::clone(opened);
            // A request that no thread takes is dropped, and has failed.
            let _ = thread::spawn("ringpool-call".to_owned(), move || request.serve(&*opened.disk));
        }
    }
}

#[derive(Clone)]
pub(super) struct TestedFile {
    pub(super) checker: Arc<Checker>,
    pub(super) opened: Arc<Opened>,
    pub(super) path: PathBuf,
    pub(super) number: u32,
    /// Whether it is counted how often the calls wait that start requests.
    pub(super) counts_waits: bool,
}

impl TestedFile {
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
        let step = checker.step(FailsNever, format!("opening {}", path.display()));
        let opened = Arc::new(step.done(checker.open(&step, path, options)?)?);
        checker.note_identity(&step, path, opened.identity)?;
        if let Some(name) = &opened.name {
            step.done(checker.storage().sync_folder(name))?;
        }
        let (checker, path) = (Arc::clone(checker), path.to_owned());
        Ok(Self { checker, opened, path, number, counts_waits: false })
    }

    /// Closes the file, and opens it again, as the pool does.
    pub(super) fn reopen(self) -> Kept<Self> {
        let Self { checker, opened, path, number, .. } = self;
        opened.disk.unlock();
        drop(opened);
        Self::open(&checker, number, &path, &OpenOptions::new())
    }

    /// The calls that wait, and those that change the file.
    pub(super) fn calls(&self) -> &dyn BlockingFile {
        &*self.opened.disk
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

    fn start(&self, direction: Direction, block: u32, memory: PageMemory) -> StartedTransfer<'_> {
        let progress = Progress::new(direction, memory.len(), self.opened.offset_align);
        let (answer, told) = sync_channel(1);
        let mut transfer = StartedTransfer { file: self, direction, block, progress, answer, told, waits: 0 };
        transfer.go(memory);
        transfer
    }

    pub(super) fn start_read(&self, block: u32, blocks: usize) -> StartedTransfer<'_> {
        let mut memory = PageMemory::new(block, blocks, &self.checker);
        memory.each_mut(|_, page| stamp::mark_unfilled(page));
        self.start(Direction::Read, block, memory)
    }

    /// Reads as many blocks as there are, up to this many, and returns how many bytes there were.
    pub(super) fn read(&self, step: &CheckStep, block: u32, blocks: usize) -> Kept<usize> {
        Ok(self.start_read(block, blocks).wait(step)?.0)
    }

    /// Starts to write neighbours, each of its version.
    pub(super) fn start_write(&self, block: u32, versions: &[u32]) -> StartedTransfer<'_> {
        let mut memory = PageMemory::new(block, versions.len(), &self.checker);
        memory.each_mut(|n, page| self.page_of(block + n as u32).fill(page, versions[n]));
        self.start(Direction::Write, block, memory)
    }

    pub(super) fn write(&self, step: &CheckStep, block: u32, versions: &[u32]) -> Kept {
        self.start_write(block, versions).written(step)
    }

    /// Reads neighbours, and compares each with its version.
    pub(super) fn expect(&self, step: &CheckStep, block: u32, versions: &[u32]) -> Kept {
        self.start_read(block, versions.len()).expect(step, versions)
    }

    /// Compares the length that the file tells with that of so many blocks.
    pub(super) fn expect_len(&self, step: &CheckStep, blocks: usize) -> Kept {
        let (found, page) = (step.done(self.calls().len())?, self.checker.page_bytes());
        step.ensure(found == (blocks * page) as u64, || {
            format!("a length of {found} bytes, where {blocks} blocks of {page} are to be there")
        })
    }

    pub(super) fn set_blocks(&self, step: &CheckStep, blocks: usize) -> Kept {
        step.done(self.calls().set_len((blocks * self.checker.page_bytes()) as u64))
    }

    pub(super) fn start_sync(&self) -> SyncUnderWay<'_> {
        let (answer, told) = sync_channel(1);
        let request = SyncRequest::new(Box::new(move |outcome| drop(answer.send(outcome))));
        let waits = self.waits_in(|| ask(&self.opened, LateRequest::Sync(request)));
        SyncUnderWay { file: self, told, outcome: None, waits }
    }

    pub(super) fn sync(&self, step: &CheckStep) -> Kept {
        self.start_sync().wait(step)
    }

    /// Waits for what the end of a request tells.
    fn wait<T>(&self, step: &CheckStep, told: &Receiver<T>) -> Kept<T> {
        let patience = self.checker.settings.patience;
        let told = told.recv_timeout(patience).map_err(|_| step.late(patience, "a request"))?;
        self.checker.tick();
        Ok(told)
    }

    /// Makes a call of the storage, and returns how often the thread has waited meanwhile, where that is counted.
    pub(super) fn waits_in(&self, call: impl FnOnce()) -> u64 {
        let before = self.counts_waits.then(system::waits).flatten();
        call();
        before.and_then(|before| Some(system::waits()? - before)).unwrap_or(0)
    }

    /// Starts a read from within the end of another one, and returns whether both have ended well.
    pub(super) fn read_within_an_end(&self, step: &CheckStep) -> Kept {
        let (answer, told) = sync_channel(2);
        let [first, second] = [(); 2].map(|()| PageMemory::new(0, 1, &self.checker));
        let file = Arc::clone(&self.opened);
        send(&self.opened, Direction::Read, 0, first, 0, move |outcome, _| {
            let inner = answer.clone();
            send(&file, Direction::Read, 0, second, 0, move |outcome, _| drop(inner.send(outcome)));
            let _ = answer.send(outcome);
        });
        for _ in 0..2 {
            let outcome = self.wait(step, &told)?;
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
    file: &Arc<Opened>,
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
    let request = match direction {
        Direction::Read => LateRequest::Read(ReadRequest(request)),
        Direction::Write => LateRequest::Write(WriteRequest(request)),
    };
    ask(file, request);
}

pub(super) struct StartedTransfer<'f> {
    file: &'f TestedFile,
    direction: Direction,
    block: u32,
    progress: Progress,
    answer: SyncSender<(io::Result<usize>, PageMemory)>,
    told: Receiver<(io::Result<usize>, PageMemory)>,
    /// How often the thread has waited in the calls that have started it.
    pub(super) waits: u64,
}

impl StartedTransfer<'_> {
    fn go(&mut self, memory: PageMemory) {
        let answer = self.answer.clone();
        let offset = u64::from(self.block) * self.file.checker.page_bytes() as u64;
        let then = move |outcome, memory| drop(answer.send((outcome, memory)));
        let (file, done) = (&self.file.opened, self.progress.next());
        self.waits += self.file.waits_in(|| send(file, self.direction, offset, memory, done, then));
    }

    /// Waits for the end of a transfer that must not fail. Returns how many bytes went over, of how many.
    fn wait(self, step: &CheckStep) -> Kept<(usize, PageMemory)> {
        let (outcome, memory) = self.outcome(step)?;
        Ok((step.done(outcome)?, memory))
    }

    /// Waits for the end: what comes back short, or interrupted, goes on by the pool's own rule.
    fn outcome(mut self, step: &CheckStep) -> Kept<(io::Result<usize>, PageMemory)> {
        loop {
            let (outcome, memory) = self.file.wait(step, &self.told)?;
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
                return Err(step.broken_as(FillsBeforeItEnds, found));
            }
        }
        Ok(())
    }

    pub(super) fn written(self, step: &CheckStep) -> Kept {
        self.written_or(step, &[]).map(drop)
    }

    /// Waits for the end of a write that may fail by an error of these kinds. Returns whether it has not.
    pub(super) fn written_or(self, step: &CheckStep, allowed: &[io::ErrorKind]) -> Kept<bool> {
        let (outcome, memory) = self.outcome(step)?;
        if outcome.as_ref().is_err_and(|error| allowed.contains(&error.kind())) {
            return Ok(false);
        }
        let count = step.done(outcome)?;
        step.ensure(count == memory.len(), || format!("{count} bytes written of {}", memory.len()))?;
        Ok(true)
    }

    /// Waits for the end of a read of this many blocks, and gives each page to `look`.
    pub(super) fn look<T>(
        self,
        step: &CheckStep,
        blocks: usize,
        look: impl Fn(PageOf, &[u8]) -> Kept<T>,
    ) -> Kept<Vec<T>> {
        let (file, block) = (self.file, self.block);
        let (count, memory) = self.wait(step)?;
        step.ensure(count == memory.len(), || format!("{count} bytes of {} at block {block}", memory.len()))?;
        (0..blocks).map(|n| look(file.page_of(block + n as u32), memory.page(n))).collect()
    }

    /// Waits for the end of a read, and compares the pages.
    pub(super) fn expect(self, step: &CheckStep, versions: &[u32]) -> Kept {
        let block = self.block;
        let compare = |page: PageOf, bytes: &[u8]| {
            step.like(page.check(bytes, versions[(page.block - block) as usize]))
        };
        self.look(step, versions.len(), compare).map(drop)
    }
}

pub(super) struct SyncUnderWay<'f> {
    file: &'f TestedFile,
    told: Receiver<io::Result<usize>>,
    outcome: Option<io::Result<usize>>,
    /// How often the thread has waited in the call that has started it.
    pub(super) waits: u64,
}

impl SyncUnderWay<'_> {
    pub(super) fn is_over(&mut self) -> bool {
        let told = || self.told.try_recv().ok().inspect(|_| self.file.checker.tick());
        self.outcome = self.outcome.take().or_else(told);
        self.outcome.is_some()
    }

    pub(super) fn wait(mut self, step: &CheckStep) -> Kept {
        let outcome = self.outcome.take().map_or_else(|| self.file.wait(step, &self.told), Ok)?;
        step.done(outcome.map(drop))
    }
}
