//! One run of the workload: performs the steps, compares what it sees, and has every error explained.

use std::{num::NonZeroU32, path::Path, time::Duration};

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoMethod, IoOp, OpenOptions, PageId, PinnedPage, Result,
    StreamOptions,
    options::{BackgroundWriter, Fallback},
    testing::{Event, Moment, Op, SimDisk},
};

use crate::{
    kind::Kind,
    mirror::{Block, Mirror, PAGE},
    step::{Step, steps},
    support::assert_at_rest,
};

/// Few, so that most steps need I/O.
const FRAMES: u32 = 12;
const BLOCKS: usize = 24;
/// The pages of a stream or a prefetch.
const FAR: usize = 6;

pub(crate) struct Run {
    disk: SimDisk,
    pool: BufferPool,
    method: IoMethod,
    files: [Mirror; 2],
    /// What strikes, if anything does.
    kind: Option<Kind>,
    /// How long a fetch waits for a frame.
    patience: Duration,
    /// The operations of the steps so far.
    log: Vec<Event>,
}

/// `Err` says what was wrong with a step.
type Verdict = Result<(), String>;

fn demand(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

/// Makes the options of a file: one is direct and the other buffered, which also zeroes ahead.
fn options(number: u32) -> OpenOptions {
    let (direct, ahead) = if number == 0 { (Fallback::Require, 0) } else { (Fallback::Off, 3) };
    OpenOptions::new().direct(direct).grow_by_blocks(ahead)
}

impl Run {
    pub(crate) fn new(method: &IoMethod, kind: Option<Kind>) -> Self {
        let disk = SimDisk::new();
        let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).io_method(method.clone());
        let builder = builder.background_writer(BackgroundWriter::Off).combine_limit_bytes(4 * PAGE);
        // There are no other pins; but with threads, what no caller waits for may take a moment.
        let wait = if *method == IoMethod::Sync { Duration::ZERO } else { Duration::from_millis(30) };
        let pool = builder.frame_wait(wait).storage(disk.clone()).build().expect("options that work");
        let files = [("direct", 0), ("buffered", 1)].map(|(name, number)| {
            disk.put(name, vec![0; BLOCKS * PAGE]);
            let id = pool.open_file(name, options(number)).expect("it was put there");
            Mirror { name, number, id, blocks: vec![Block::ZEROS; BLOCKS], is_open: true, is_poisoned: false }
        });
        let patience = wait;
        Self { disk, pool, method: method.clone(), files, kind, patience, log: Vec::new() }
    }

    pub(crate) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Returns how many of these operations the steps needed.
    pub(crate) fn count(&self, op: Op) -> u64 {
        self.log.iter().filter(|event| event.op == op && event.moment == Moment::Begin).count() as u64
    }

    /// Runs all steps, after `prepare` has changed the disk, and checks what must hold at the end.
    pub(crate) fn through(mut self, prepare: impl FnOnce(&Self)) -> Result<Self, String> {
        self.disk.clear_log();
        prepare(&self);
        for (number, step) in steps().into_iter().enumerate() {
            self.step(step).map_err(|text| format!("step {number}, {step:?}: {text}"))?;
        }
        self.disk.heal();
        self.everything_works_again().map_err(|text| format!("after the disk was mended: {text}"))?;
        Ok(self)
    }

    fn step(&mut self, step: Step) -> Verdict {
        // A file that could not be opened again is tried once more before the step that needs it.
        let outcome = match step.file().map_or(Ok(()), |file| self.open(file)) {
            Ok(()) => self.perform(step)?,
            Err(error) => Err(error),
        };
        let events = self.disk.log();
        self.disk.clear_log();
        for mirror in &mut self.files {
            mirror.is_poisoned |=
                failures(&events, Op::Sync).any(|event| event.path == Path::new(mirror.name));
        }
        match &outcome {
            Err(error) => self.explain(step, error)?,
            Ok(()) => self.nothing_was_hushed_up(step, &events)?,
        }
        for mirror in self.files.iter().filter(|mirror| mirror.is_open) {
            let blocks = self.pool.blocks(mirror.id).map_err(|error| error.to_string())?;
            demand(blocks as usize == mirror.blocks.len(), || {
                format!("{blocks} blocks of {} instead of {}: {events:?}", mirror.name, mirror.blocks.len())
            })?;
        }
        self.log.extend(events);
        Ok(())
    }

    /// Checks that the error is the one that was injected, and that it names what was struck and what the step asked for.
    fn explain(&self, step: Step, error: &Error) -> Verdict {
        let is_injected =
            self.kind.and_then(Kind::errno).is_some_and(|errno| error.raw_os_error() == Some(errno));
        let is_open = |path: &Path| self.files.iter().find(|file| Path::new(file.name) == path);
        let concerns = match (error, step) {
            (Error::Io { op: IoOp::Read, page, .. }, Step::Read(file, block) | Step::Change(file, block)) => {
                *page == self.page(file, block)
            }
            (Error::Io { op: IoOp::Read, page, .. }, Step::Many(file, blocks)) => {
                blocks.iter().any(|&block| *page == self.page(file, block))
            }
            (Error::Io { op: IoOp::Read, page, .. }, Step::Stream(file, _)) => {
                page.file == self.files[file].id
            }
            (
                Error::Io { op: IoOp::Write, page, .. },
                Step::Flush(file, block) | Step::Evict(file, block),
            ) => *page == self.page(file, block),
            (Error::Io { op: IoOp::Write, page, .. }, Step::FlushFile(file) | Step::Reopen(file)) => {
                page.file == self.files[file].id
            }
            // There was no frame, because no dirty page could be written.
            (
                Error::Io { op: IoOp::Write, .. },
                Step::Checkpoint | Step::Read(..) | Step::Change(..) | Step::Many(..) | Step::Stream(..),
            ) => true,
            (Error::File { op: IoOp::Sync, path, .. }, Step::SyncFile(file) | Step::Reopen(file)) => {
                Path::new(self.files[file].name) == &**path && self.files[file].is_poisoned
            }
            (Error::File { op: IoOp::Sync, path, .. }, Step::Checkpoint) => {
                is_open(path).is_some_and(|file| file.is_poisoned)
            }
            (Error::SyncPoisoned { file, .. }, Step::Checkpoint | Step::SyncFile(_)) => {
                self.files.iter().any(|mirror| mirror.id == *file && mirror.is_poisoned)
            }
            // Of an opening, before any step of that file.
            (Error::File { op: IoOp::Open | IoOp::SyncFolder, path, .. }, step) => step
                .file()
                .is_some_and(|file| Path::new(self.files[file].name) == &**path && !self.files[file].is_open),
            // The file that was poisoned is closed; what is open now is another.
            (Error::SyncPoisoned { .. }, Step::Reopen(_)) => true,
            (Error::File { op: IoOp::Extend, path, .. }, Step::Extend(file, _)) => {
                Path::new(self.files[file].name) == &**path
            }
            (Error::File { op: IoOp::Truncate, path, .. }, Step::Truncate(file, _) | Step::Reopen(file)) => {
                Path::new(self.files[file].name) == &**path
            }
            _ => false,
        };
        demand(is_injected && concerns, || format!("an error that nothing explains: {error}"))
    }

    /// Checks that a step that succeeded had no failure that it should have reported.
    fn nothing_was_hushed_up(&self, step: Step, events: &[Event]) -> Verdict {
        // With threads, what an earlier step left to them may fail now. A step that needs it has written it itself then.
        let is_made_good = |failed: &Event| {
            let is_again = |event: &&Event| {
                let written = event.offset..event.offset + event.len as u64;
                let is_of_the_same = event.op == failed.op && event.path == failed.path;
                // A step ahead that could not be made, and then need not.
                is_of_the_same
                    && (event.op == Op::Resize || event.op == Op::Write && written.contains(&failed.offset))
            };
            let later = events.iter().filter(|event| event.number > failed.number).filter(is_again);
            self.method != IoMethod::Sync
                && later.into_iter().any(|event| matches!(event.moment, Moment::End(Ok(_))))
        };
        let told = |ops: &[Op]| {
            let is_told = |op: &&Op| self.kind.is_some_and(|kind| kind.is_error_of(**op));
            let failed = ops.iter().filter(is_told).flat_map(|&op| failures(events, op));
            failed.filter(|event| !is_made_good(event) && !self.is_ahead(event)).collect::<Vec<_>>()
        };
        let of_file = |event: &Event, file: usize| event.path == Path::new(self.files[file].name);
        let of_page = |event: &Event, file: usize, block: usize| {
            let place = (self.block(file, block) * PAGE) as u64;
            of_file(event, file) && (event.offset..event.offset + event.len as u64).contains(&place)
        };
        let failed_in = |file: usize, ops: &[Op]| told(ops).into_iter().any(|event| of_file(event, file));
        // Whatever the step is, its file is opened for it, where that failed before.
        let of_opening = !told(&[Op::Open, Op::SyncFolder]).is_empty();
        let hushed_up = of_opening
            || match step {
                // Elsewhere a read ahead may have failed meanwhile, which need not be reported.
                Step::Read(..) | Step::Change(..) => {
                    self.method == IoMethod::Sync && !told(&[Op::Read]).is_empty()
                }
                // Victims of earlier steps that are written meanwhile do not concern a step that asks for one page.
                Step::Flush(file, block) | Step::Evict(file, block) => {
                    told(&[Op::Write]).into_iter().any(|event| of_page(event, file, block))
                }
                Step::FlushFile(file) => failed_in(file, &[Op::Write]),
                Step::SyncFile(file) => failed_in(file, &[Op::Sync]) || self.files[file].is_poisoned,
                Step::Checkpoint => {
                    !told(&[Op::Write, Op::Sync]).is_empty()
                        || self.files.iter().any(|mirror| mirror.is_poisoned)
                }
                Step::Truncate(file, _) => failed_in(file, &[Op::Resize]),
                // A cut that failed is no error where the length was right: that is compared when the file is open again.
                Step::Reopen(file) => failed_in(file, &[Op::Write, Op::Sync]),
                Step::Many(..) | Step::Prefetch(..) | Step::Stream(..) | Step::Extend(..) => false,
            };
        demand(!hushed_up, || format!("a failure that no caller was told of: {events:?}"))
    }

    /// Returns whether it is of a step that is zeroed ahead, behind the file's end: by a thread of the pool under each method, so
    /// during any step of the workload. The extension that needs such blocks zeroes them where that has failed.
    fn is_ahead(&self, event: &Event) -> bool {
        let file = self.files.iter().find(|file| Path::new(file.name) == event.path);
        let end = file.map_or(u64::MAX, |file| (file.blocks.len() * PAGE) as u64);
        match event.op {
            Op::Write => event.offset >= end,
            // A cut goes to the end.
            Op::Resize => event.offset > end,
            _ => false,
        }
    }

    fn block(&self, file: usize, block: usize) -> usize {
        block % self.files[file].blocks.len()
    }

    fn page(&self, file: usize, block: usize) -> PageId {
        PageId::new(self.files[file].id, self.block(file, block) as u32)
    }

    /// Performs the step. Returns its result, or what was wrong with it.
    fn perform(&mut self, step: Step) -> Result<Result<()>, String> {
        let pool = self.pool.clone();
        Ok(match step {
            Step::Read(file, block) => {
                match pool.fetch(self.page(file, block)).frame_wait(self.patience).wait() {
                    Ok(page) => Ok(self.compare(file, &page)?),
                    Err(error) => Err(error),
                }
            }
            Step::Change(file, block) => {
                match pool.fetch(self.page(file, block)).frame_wait(self.patience).wait() {
                    Ok(page) => {
                        self.compare(file, &page)?;
                        let block = self.block(file, block);
                        page.write().map(|mut bytes| self.files[file].change(block, &mut bytes))
                    }
                    Err(error) => Err(error),
                }
            }
            Step::Many(file, blocks) => {
                match pool.fetch_many(&blocks.map(|block| self.page(file, block))).wait() {
                    Ok(pages) => Ok(pages.iter().try_for_each(|page| self.compare(file, page))?),
                    Err(error) => Err(error),
                }
            }
            Step::Prefetch(file, block) => {
                let from = self.block(file, block) as u32;
                pool.prefetch(self.files[file].id.pages(from..from + FAR as u32));
                Ok(())
            }
            Step::Stream(file, block) => {
                let from = self.block(file, block);
                let to = (from + FAR).min(self.files[file].blocks.len());
                let blocks = from as u32..to as u32;
                let mut outcome = Ok(());
                for page in pool.read_stream(self.files[file].id.pages(blocks), StreamOptions::new()) {
                    match page {
                        Ok(page) => self.compare(file, &page)?,
                        Err(error) => outcome = Err(error),
                    }
                }
                outcome
            }
            Step::Flush(file, block) => pool.flush(self.page(file, block)).wait(),
            Step::FlushFile(file) => pool.flush_file(self.files[file].id).wait().map(drop),
            Step::SyncFile(file) => pool.sync_file(self.files[file].id).wait().map(drop),
            Step::Checkpoint => match pool.checkpoint(CheckpointOptions::new()).wait() {
                Ok(_) => Ok(self.files.iter().try_for_each(|mirror| self.is_durable(mirror))?),
                Err(error) => Err(error),
            },
            Step::Evict(file, block) => pool.evict(self.page(file, block)).wait().map(drop),
            Step::Extend(file, blocks) => {
                let blocks = NonZeroU32::new(blocks).expect("one at least");
                let added = pool.extend(self.files[file].id, blocks).wait();
                added.map(|added| {
                    let len = self.files[file].blocks.len() + added.blocks as usize;
                    self.files[file].blocks.resize(len, Block::ZEROS);
                })
            }
            Step::Truncate(file, blocks) => {
                let mirror = &mut self.files[file];
                let left = mirror.blocks.len().saturating_sub(blocks as usize).max(BLOCKS);
                let cut = pool.truncate(mirror.id, left as u32).wait();
                match &cut {
                    Ok(()) => mirror.blocks.truncate(left),
                    // Changes behind the cut were discarded, whether or not the file was cut.
                    Err(_) => mirror.doubt(left),
                }
                cut
            }
            Step::Reopen(file) => self.reopen(file)?,
        })
    }

    fn compare(&self, file: usize, page: &PinnedPage) -> Verdict {
        self.files[file].check(page.id().block.0 as usize, &page.read(), "in the pool")
    }

    fn is_durable(&self, mirror: &Mirror) -> Verdict {
        let image = self.disk.durable_image(mirror.name).expect("no call removes it");
        mirror.check_image(&image, "on the medium")
    }

    fn reopen(&mut self, file: usize) -> Result<Result<()>, String> {
        let closed = self.pool.close_file(self.files[file].id).wait();
        match &closed {
            Ok(()) => self.is_durable(&self.files[file])?,
            Err(Error::SyncPoisoned { .. }) => {
                demand(self.files[file].is_poisoned, || "poisoned by nothing".into())?;
                let image = self.disk.image(self.files[file].name).expect("no call removes it");
                let mirror = &mut self.files[file];
                // Blocks that were zeroed ahead are not given back.
                mirror.blocks.resize(image.len() / PAGE, Block::ZEROS);
                mirror.doubt(0);
            }
            Err(_) => return Ok(closed),
        }
        self.files[file].is_open = false;
        self.files[file].is_poisoned = false;
        Ok(closed.and(self.open(file)))
    }

    /// Opens the file, unless it is open.
    fn open(&mut self, file: usize) -> Result<()> {
        let mirror = &mut self.files[file];
        if !mirror.is_open {
            mirror.id = self.pool.open_file(mirror.name, options(mirror.number))?;
            mirror.is_open = true;
        }
        Ok(())
    }

    /// Checks that nothing is left behind, and that all operations work.
    fn everything_works_again(&mut self) -> Verdict {
        if self.method != IoMethod::Sync {
            // However busy the machine is.
            self.patience = Duration::from_secs(60);
        }
        for file in [0, 1] {
            self.open(file).map_err(|error| format!("it cannot be opened again: {error}"))?;
            if self.files[file].is_poisoned {
                let closed = self.reopen(file)?;
                demand(matches!(closed, Err(Error::SyncPoisoned { .. })), || format!("{closed:?}"))?;
            }
            for block in 0..self.files[file].blocks.len() {
                self.must_work(Step::Read(file, block))?;
                self.must_work(Step::Change(file, block))?;
            }
            self.must_work(Step::Extend(file, 2))?;
        }
        self.must_work(Step::Checkpoint)?;
        assert_at_rest(&self.pool);
        let all: Vec<PageId> = (0..FRAMES as usize).map(|block| self.page(0, block)).collect();
        let pinned = self.pool.fetch_many(&all).frame_wait(self.patience).wait();
        let pinned = pinned.map_err(|error| format!("a frame is lost: {error}"))?;
        drop(pinned);
        [0, 1].into_iter().try_for_each(|file| self.must_work(Step::Reopen(file)))
    }

    fn must_work(&mut self, step: Step) -> Verdict {
        self.perform(step)?.map_err(|error| format!("{step:?}: {error}"))
    }
}

/// Returns the operations of this kind that failed.
fn failures(events: &[Event], op: Op) -> impl Iterator<Item = &Event> {
    events.iter().filter(move |event| event.op == op && matches!(event.moment, Moment::End(Err(_))))
}
