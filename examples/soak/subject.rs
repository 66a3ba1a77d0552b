//! A pool under test, with its two files: one that faults can strike, and one that they cannot.
//!
//! The former is used by plain calls, since no fault strikes what a ring submits by itself; the latter by whatever the I/O method has.
//! So in foul weather each shows that it does not suffer from the faults of the other.

use std::{
    fmt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, CheckpointOptions, Error, OpenOptions, Shutdown,
    stats::Counts,
    testing::{Dice, FaultyDisk},
};

use crate::{
    ledger::{Ledger, PAGE},
    log::{Checkpoints, Log},
    options::{Method, Options},
    weather::{OPENING, Weather},
    worker::{Difference, Worker},
};

/// Pages of both files together, for each frame.
const TIMES_THE_POOL: u32 = 8;

/// How long a pool may take to become quiet when it is not used any more.
const REST: Duration = Duration::from_secs(60);

/// The time from the end of a checkpoint that follows the log to the next one.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct Subject {
    pub(crate) method: Method,
    pub(crate) pool: BufferPool,
    pub(crate) files: [Ledger; 2],
    /// A file that is open only where openings are slow.
    visited: PathBuf,
    log: Log,
    disk: FaultyDisk,
    seed: u64,
    pub(crate) threads: u64,
    step_time: Duration,
}

/// What went wrong so far, as the disk and the pool count it.
#[derive(Copy, Clone, Default)]
pub(crate) struct Troubles {
    pub(crate) strikes: u64,
    counts: Counts,
}

impl Troubles {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { strikes: self.strikes - earlier.strikes, counts: self.counts - earlier.counts }
    }
}

impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { failures, resumed_transfers, frame_waits, .. } = self.counts;
        let strikes = self.strikes;
        write!(
            f,
            "{strikes} faults struck, {failures} failures, {resumed_transfers} transfers resumed, {frame_waits} waits for a frame"
        )
    }
}

impl Subject {
    pub(crate) fn open(method: Method, dir: &Path, options: &Options) -> Result<Self, Error> {
        let disk = FaultyDisk::with_seed(options.seed);
        let [calm, exposed] = ["calm", "exposed"].map(|name| dir.join(format!("{method:?}-{name}")));
        disk.spare(&calm);
        let log = Log::default();
        let pool = BufferPool::builder()
            .frames(options.frames)
            .page_size(PAGE as u32)
            .io_method(method.into())
            .wal(log.clone())
            .storage(disk.clone())
            .build()?;
        let blocks = options.frames * TIMES_THE_POOL / 2;
        let open = OpenOptions::new().create(true).initial_blocks(blocks);
        let [calm_id, exposed_id] =
            [(&calm, 1), (&exposed, 2)].map(|(path, tag)| pool.open_file(path, open.tag(tag)));
        let files =
            [Ledger::new(calm, calm_id?, false, blocks), Ledger::new(exposed, exposed_id?, true, blocks)];
        let step_time = Duration::from_secs(1).checked_div(options.pace).unwrap_or_default();
        let visited = dir.join(format!("{method:?}-visited"));
        Ok(Self {
            method,
            pool,
            files,
            visited,
            log,
            disk,
            seed: options.seed,
            threads: options.threads.into(),
            step_time,
        })
    }

    pub(crate) fn begin(&self, weather: Weather) {
        weather.break_on(&self.disk);
    }

    /// Makes a worker for one thread of a phase; no other phase has a worker with this number.
    pub(crate) fn worker(&self, weather: Weather, number: u64) -> Worker<'_> {
        let mut dice = Dice::new(self.seed ^ number << 20 ^ (self.method as u64) << 60);
        let as_a_task = dice.coin();
        Worker {
            pool: &self.pool,
            files: &self.files,
            log: &self.log,
            weather,
            dice,
            as_a_task,
            step_time: self.step_time,
        }
    }

    /// Makes checkpoints as long as `goes_on`, and holds their redo LSN to the log.
    pub(crate) fn follow_the_log(&self, goes_on: impl Fn() -> bool) -> Result<(), Difference> {
        let mut checkpoints = Checkpoints::default();
        while goes_on() {
            let begun_at = self.log.end();
            let report = self.pool.checkpoint(CheckpointOptions::new()).wait();
            let report = report.map_err(|error| format!("a checkpoint in peace: {error}"))?;
            checkpoints.follow(begun_at, &report)?;
            thread::sleep(CHECKPOINT_INTERVAL);
        }
        Ok(())
    }

    /// Opens and closes a file as long as `goes_on`. While an opening is slow, pages of the other files must come in.
    pub(crate) fn open_slowly(&self, goes_on: impl Fn() -> bool) -> Result<(), Difference> {
        let options = OpenOptions::new().create(true).tag(3);
        let misses = || self.pool.stats().counts.misses;
        while goes_on() {
            let opened = thread::scope(|scope| {
                let opening = scope.spawn(|| self.pool.open_file(&self.visited, options));
                // Threads that began a step before may end that step.
                thread::sleep(OPENING / 6);
                let before = misses();
                thread::sleep(OPENING * 2 / 3);
                let (came, is_slow) = (misses() - before, !opening.is_finished());
                let opened = opening.join().expect("a thread that does not panic");
                if is_slow && came == 0 {
                    return Err(format!(
                        "no page came in for {:?} while a file was being opened",
                        OPENING * 2 / 3
                    ));
                }
                opened.map_err(|error| format!("a slow opening: {error}"))
            })?;
            let closed = self.pool.close_file(opened).wait();
            closed.map_err(|error| format!("closing what was opened slowly: {error}"))?;
        }
        Ok(())
    }

    /// Delays every step by this time, from now on.
    pub(crate) fn slow_down(&mut self, by: Duration) {
        self.step_time += by;
    }

    pub(crate) fn troubles(&self) -> Troubles {
        Troubles { strikes: self.disk.strikes(), counts: self.pool.stats().counts }
    }

    /// Ends the faults, writes everything, and compares all with the disk. Called after a phase, when no worker uses the pool.
    pub(crate) fn settle(&self) -> Result<(), Difference> {
        self.disk.heal();
        for file in &self.files {
            self.grow_again(file)?;
        }
        let mut poisoned = false;
        if let Err(error) = self.pool.checkpoint(CheckpointOptions::new()).wait() {
            let exposed = &self.files[1];
            poisoned = matches!(error, Error::SyncPoisoned { file, .. } if file == exposed.id());
            if !poisoned {
                return Err(format!("a checkpoint after all faults are gone: {error}"));
            }
            self.reopen(exposed)?;
        }
        self.come_to_rest()?;
        self.files.iter().try_for_each(|file| file.compare_on_disk(poisoned && file.exposed))
    }

    fn grow_again(&self, file: &Ledger) -> Result<(), Difference> {
        let mut is_cut = file.is_cut.lock().map_err(|_| "a thread panicked")?;
        if *is_cut {
            let missing = (file.blocks - file.floor).try_into().expect("more than none");
            self.pool.extend(file.id(), missing).wait().map_err(|error| format!("growing again: {error}"))?;
            *is_cut = false;
        }
        Ok(())
    }

    /// Closes a file whose sync has failed, which must give an error that says so, and opens it anew.
    fn reopen(&self, file: &Ledger) -> Result<(), Difference> {
        match self.pool.close_file(file.id()).wait() {
            Err(Error::SyncPoisoned { .. }) => {}
            other => return Err(format!("closing a file whose sync has failed: {other:?}")),
        }
        let opened = self.pool.open_file(&file.path, OpenOptions::new().tag(2));
        file.reopened(opened.map_err(|error| format!("opening it again: {error}"))?);
        Ok(())
    }

    /// Waits until no page is pinned, nothing is under way, and no invariant of the pool is broken.
    fn come_to_rest(&self) -> Result<(), Difference> {
        let deadline = Instant::now() + REST;
        loop {
            let stats = self.pool.stats();
            let busy = (stats.frames.pins, stats.frames.in_flight(), self.pool.in_flight().len());
            let complaint = match self.pool.validate() {
                _ if busy != (0, 0, 0) => {
                    format!("{} pins are left, or I/O under way\n{stats}", stats.frames.pins)
                }
                Err(faults) => faults,
                Ok(()) => return Ok(()),
            };
            if Instant::now() > deadline {
                return Err(complaint);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn shut_down(self) -> Result<(), Difference> {
        self.pool.shutdown(Shutdown::Flush).map(drop).map_err(|error| error.to_string())
    }
}
