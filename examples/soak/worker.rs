//! What one thread does in a phase, and what it demands of every page and every error that it meets.

use std::{
    pin::pin,
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, CheckpointOptions, Completion, Error, IoOp, PageId, PinnedPage, StreamOptions, testing::Dice,
};

use crate::{ledger::Ledger, log::Log, weather::Weather};

/// What ends a soak at once: a wrong page or an unexpected error.
pub(crate) type Difference = String;

/// The page that some threads change all the time.
const HOT_BLOCK: u32 = 1;

pub(crate) struct Worker<'a> {
    pub(crate) pool: &'a BufferPool,
    pub(crate) files: &'a [Ledger],
    pub(crate) log: &'a Log,
    pub(crate) weather: Weather,
    pub(crate) dice: Dice,
    /// Whether it waits as tasks do.
    pub(crate) as_a_task: bool,
    /// The time from one step to the next.
    pub(crate) step_time: Duration,
}

impl Worker<'_> {
    /// Works as long as the phase goes on. Returns the number of its steps.
    pub(crate) fn run(mut self, goes_on: impl Fn() -> bool) -> Result<u64, Difference> {
        let mut steps = 0;
        // Paced threads do not all make their steps at the same time.
        let mut due = Instant::now() + self.step_time.mul_f64(self.dice.below(1000) as f64 / 1000.0);
        while goes_on() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let file = self.dice.pick(self.files);
            self.step(file)?;
            steps += 1;
            due = (due + self.step_time).max(Instant::now() - self.step_time);
        }
        Ok(steps)
    }

    /// Changes one page as long as the phase goes on, of the file that faults do not strike. Returns the number of its changes.
    pub(crate) fn hammer(mut self, goes_on: impl Fn() -> bool) -> Result<u64, Difference> {
        let file = &self.files[0];
        let mut steps = 0;
        while goes_on() {
            self.change(file, HOT_BLOCK)?;
            steps += 1;
            thread::sleep(self.step_time);
        }
        Ok(steps)
    }

    fn step(&mut self, file: &Ledger) -> Result<(), Difference> {
        let block = self.block(file);
        match self.dice.below(1000) {
            0..330 => self.read(file, block),
            330..660 => self.change(file, block),
            660..710 => self.look(file, block),
            710..760 => self.view(file, block),
            760..820 => self.read_many(file),
            820..880 => self.read_a_stream(file, block),
            880..930 => {
                self.pool.prefetch(file.id().pages(block..(block + 16).min(file.blocks)));
                Ok(())
            }
            930..950 => {
                self.abandon(file, block);
                Ok(())
            }
            950..970 => self.finish(file, self.pool.flush(file.page(block))),
            970..990 => self.finish(file, self.pool.evict(file.page(block))),
            990..994 => self.finish(file, self.pool.flush_file(file.id())),
            994..997 => self.finish(file, self.pool.checkpoint(CheckpointOptions::new())),
            _ => self.cut_or_grow(file),
        }
    }

    /// Draws a block; half of the time one of few, so that many threads want the same pages.
    fn block(&mut self, file: &Ledger) -> u32 {
        let among = if self.dice.coin() { file.blocks / 32 } else { file.blocks };
        let spread = file.blocks / among;
        self.dice.below(u64::from(among)) as u32 * spread
    }

    fn read(&mut self, file: &Ledger, block: u32) -> Result<(), Difference> {
        self.with_page(file, block, |worker, page| worker.compare(file, page).map(drop))
    }

    fn look(&mut self, file: &Ledger, block: u32) -> Result<(), Difference> {
        let found = self.pool.fetch(file.page(block)).now();
        found.map_or(Ok(()), |page| self.compare(file, &page).map(drop))
    }

    fn change(&mut self, file: &Ledger, block: u32) -> Result<(), Difference> {
        self.with_page(file, block, |worker, page| {
            let least = file.done(block);
            let guard = if worker.as_a_task { pollster::block_on(page.write_async()) } else { page.write() };
            let mut guard = guard.map_err(|error| error.to_string())?;
            let version = file.compare(block, least, &guard)? + 1;
            file.change(block, version, &mut guard);
            guard.set_lsn(worker.log.append());
            drop(guard);
            file.change_is_done(block, version);
            Ok(())
        })
    }

    /// Reads a page, by a slot if it is hot by then.
    fn view(&mut self, file: &Ledger, block: u32) -> Result<(), Difference> {
        self.with_page(file, block, |worker, page| {
            let least = file.done(block);
            (0..6).try_for_each(|_| {
                let view = worker.pool.read(page.id()).wait();
                let view = view.map_err(|error| format!("a page that is pinned: {error}"))?;
                file.compare(block, least, &view).map(drop)
            })
        })
    }

    fn read_many(&mut self, file: &Ledger) -> Result<(), Difference> {
        let count = 1 + self.dice.below(7);
        let pages: Vec<PageId> = (0..count).map(|_| file.page(self.block(file))).collect();
        let fetched = self.pool.fetch_many(&pages).frame_wait(self.patience());
        match if self.as_a_task { pollster::block_on(fetched) } else { fetched.wait() } {
            Ok(pages) => pages.iter().try_for_each(|page| self.compare(file, page).map(drop)),
            Err(error) => self.judge(file, &error),
        }
    }

    /// Reads a stream up to its end, or drops it earlier.
    fn read_a_stream(&mut self, file: &Ledger, block: u32) -> Result<(), Difference> {
        let options = StreamOptions::new().frame_wait(self.frame_wait());
        let options = if self.dice.coin() { options.bulk() } else { options };
        let blocks = block..(block + 32).min(file.blocks);
        let mut stream = self.pool.read_stream(file.id().pages(blocks), options);
        for _ in 0..self.dice.below(40) {
            match if self.as_a_task { pollster::block_on(stream.next_page()) } else { stream.next() } {
                Some(Ok(page)) => drop(self.compare(file, &page)?),
                Some(Err(error)) => return self.judge(file, &error),
                None => break,
            }
        }
        Ok(())
    }

    /// Begins to wait for a page, and drops the future.
    fn abandon(&self, file: &Ledger, block: u32) {
        let fetch = pin!(self.pool.fetch(file.page(block)));
        let _ = fetch.poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Cuts the file, or makes it as long as it was.
    fn cut_or_grow(&self, file: &Ledger) -> Result<(), Difference> {
        let Ok(mut is_cut) = file.is_cut.try_lock() else { return Ok(()) };
        if !*is_cut {
            if let Err(error) = self.pool.truncate(file.id(), file.floor).wait() {
                return self.judge(file, &error);
            }
            file.was_cut();
            *is_cut = true;
        }
        let missing = (file.blocks - file.floor).try_into().expect("more than none");
        match self.pool.extend(file.id(), missing).wait() {
            Ok(_) => *is_cut = false,
            Err(error) => return self.judge(file, &error),
        }
        Ok(())
    }

    fn finish<T: Send + 'static>(&self, file: &Ledger, completion: Completion<T>) -> Result<(), Difference> {
        let finished = if self.as_a_task { pollster::block_on(completion) } else { completion.wait() };
        finished.map(drop).or_else(|error| self.judge(file, &error))
    }

    fn with_page(
        &mut self,
        file: &Ledger,
        block: u32,
        work: impl FnOnce(&mut Self, &PinnedPage) -> Result<(), Difference>,
    ) -> Result<(), Difference> {
        let fetch = self.pool.fetch(file.page(block)).frame_wait(self.patience());
        match if self.as_a_task { pollster::block_on(fetch) } else { fetch.wait() } {
            Ok(page) => work(self, &page),
            Err(error) => self.judge(file, &error),
        }
    }

    fn compare(&self, file: &Ledger, page: &PinnedPage) -> Result<u32, Difference> {
        let block = page.id().block.0;
        let least = file.done(block);
        let guard = if self.as_a_task { pollster::block_on(page.read_async()) } else { page.read() };
        file.compare(block, least, &guard)
    }

    fn patience(&self) -> Duration {
        self.frame_wait()
    }

    /// Returns how long to wait for a frame. It must come while the disk works; where pages cannot be written it may not come.
    fn frame_wait(&self) -> Duration {
        if self.weather.spares_the_disk() { Duration::from_secs(30) } else { Duration::from_millis(50) }
    }

    /// Checks that an error is allowed: a page that does not exist just now, a cut that met a pin; and under faults what they
    /// cause, each with the file that it strikes.
    fn judge(&self, file: &Ledger, error: &Error) -> Result<(), Difference> {
        let is_struck = |page: &PageId| self.files.iter().any(|file| file.exposed && file.id() == page.file);
        let may_be = match error {
            Error::PastEof { page, .. } => page.block.0 >= file.floor,
            Error::Pinned { .. } => true,
            _ if self.weather.spares_the_disk() => false,
            Error::Io { op: IoOp::Read | IoOp::Write, page, .. } => is_struck(page),
            Error::File { path, .. } => self.files.iter().any(|file| file.exposed && file.path == **path),
            Error::SyncPoisoned { file, .. } => {
                self.files.iter().any(|known| known.exposed && known.id() == *file)
            }
            Error::AllPinned { .. } => true,
            _ => false,
        };
        if may_be { Ok(()) } else { Err(format!("{:?}: {error}", self.weather)) }
    }
}
