//! Fetching many pages at once: all of them pinned, or none; or each [as it arrives](arrivals); or all as [guards].
//!
//! Hits are looked up side by side, so that the processor's cache misses overlap. If pages are missing, the call is let in first,
//! as a [group]: else each of several calls could hold a part of its pages, and none continue. The missing pages are then read as
//! one batch, with neighbours in one request. A page that finds no clean frame in that batch is fetched as a lone miss, which waits
//! for a frame. All these waits together are as long as one fetch would wait.

mod arrivals;
mod group;
mod guards;

use std::{
    fmt, mem,
    pin::Pin as StdPin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use self::group::{Group, check_count, look_up};
pub use self::{
    arrivals::{Arrivals, NextArrival},
    guards::ReadMany,
};
use crate::{
    buffer::{frame::pin::Pin, page::PinnedPage},
    error::{Error, Result},
    id::PageId,
    read::fetch::Miss,
    runtime::shared::Shared,
    sync::{
        poll_budget,
        time::Duration,
        wait::{Drive, PollStep},
    },
};

/// Pages that are wanted together: wait for them with [`wait`](Self::wait), or `.await` them.
///
/// Pages that were in the pool are pinned already. The others are read when a thread or task waits; it may have to wait in line for
/// frames first, with none of the pages pinned. Dropping it releases all pages; reads that were started continue. It gives way to
/// other tasks [as a `Fetch` does](crate::pending::Fetch#turns-of-tasks).
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, PageId};
/// use std::time::Duration;
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
///
/// let wanted = [5_u32, 3].map(|block| PageId::new(file, block));
/// assert!(pool.fetch_many(&wanted).now().is_none()); // not in the pool yet
/// let pages = pool.fetch_many(&wanted).frame_wait(Duration::from_millis(100)).wait()?;
/// assert!(pages.iter().map(|page| page.id()).eq(wanted));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a fetch does nothing until it is waited for or awaited"]
pub struct FetchMany {
    stage: ManyStage,
}

enum ManyStage {
    /// Hits only.
    Ready(Vec<PinnedPage>),
    Missing(Box<AllPages>),
    /// The result was collected.
    Done,
}

impl FetchMany {
    pub(crate) fn new(shared: &Arc<Shared>, pages: &[PageId]) -> Self {
        // The group refuses too many, before it looks at any.
        let are_too_many = check_count(shared, pages).is_err();
        let pins = if are_too_many { pages.iter().map(|_| None).collect() } else { look_up(shared, pages) };
        let here = count_hits(shared, pages, &pins);
        let stage = if here == pages.len() {
            // In the memory that they have: an option of a pin is as large as a page.
            let all = pins.into_iter().map(|pin| PinnedPage::new(pin.expect("all are here")));
            ManyStage::Ready(all.collect())
        } else {
            ManyStage::Missing(Box::new(AllPages::new(Group::new(Arc::clone(shared), pages.to_vec(), pins))))
        };
        Self { stage }
    }

    /// Sets the most to wait for frames while all are pinned, instead of the pool's [limit](crate::Builder::frame_wait).
    /// Example: [`FetchMany`].
    pub fn frame_wait(mut self, wait: Duration) -> Self {
        if let ManyStage::Missing(missing) = &mut self.stage {
            missing.group.patience = wait;
        }
        self
    }

    /// Returns the pages if all of them are in the pool. Never reads, never waits. Example: [`FetchMany`].
    #[must_use]
    pub fn now(self) -> Option<Vec<PinnedPage>> {
        match self.stage {
            ManyStage::Ready(pages) => Some(pages),
            ManyStage::Missing(_) | ManyStage::Done => None,
        }
    }

    /// Returns the pages in the order in which they arrive, each with its place in the list: for a caller that can continue with
    /// any of them, as a search in a graph. The call is let in as a whole, and its reads begin together, as for
    /// [`wait`](Self::wait). A page that cannot be had does not affect the others.
    ///
    /// Example: [`Arrivals`].
    pub fn as_they_arrive(self) -> Arrivals {
        Arrivals::new(self)
    }

    /// Waits for all of the pages. They are returned in the order in which they were asked for. Example: [`FetchMany`].
    ///
    /// # Errors
    /// That of the first page in this order that cannot be had, as for [`Fetch::wait`](crate::pending::Fetch::wait); then no page
    /// stays pinned. Calls are let in first come, first served, as far as there are frames for their pages.
    ///
    /// [`Error::AllPinned`] if a call is not let in, or does not get frames, since pins stood in the way for
    /// [`frame_wait`](crate::Builder::frame_wait). Time in which calls before it get their pages, or the disk has frames, does not
    /// count. If a call before it comes to such an error the wait starts again, sixteen times at most. [`Error::NoFrame`] if the
    /// disk had frames, and no call got its pages, for [`disk_wait`](crate::Builder::disk_wait). [`Error::TooManyPages`] for more
    /// pages than the pool has frames, or will have if it is made smaller while the call waits.
    pub fn wait(mut self) -> Result<Vec<PinnedPage>> {
        match self.stage {
            ManyStage::Ready(pages) => Ok(pages),
            ManyStage::Missing(_) => self.run_to_end(),
            ManyStage::Done => Err(Error::ShutDown),
        }
    }
}

fn count_hits(shared: &Shared, pages: &[PageId], pins: &[Option<Pin>]) -> usize {
    let count = |file, pins: &[Option<Pin>]| {
        let here = pins.iter().flatten().filter(|pin| is_here(pin)).count();
        shared.counters.hits.add(file, here as u64);
        here
    };
    let Some(&PageId { file, .. }) = pages.first() else { return 0 };
    // Without a branch for each page: nearly always they are of one file.
    if pages.iter().fold(0, |others, page| others | page.file.get() ^ file.get()) == 0 {
        return count(file, pins);
    }
    let mut rest = pins;
    let of_files = pages.chunk_by(|one, other| one.file == other.file);
    of_files.map(|of_file| count(of_file[0].file, rest.split_off(..of_file.len()).unwrap_or_default())).sum()
}

fn is_here(pin: &Pin) -> bool {
    pin.frame().state.load().is_valid()
}

impl Future for FetchMany {
    type Output = Result<Vec<PinnedPage>>;

    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll_budget::poll(cx, |waker| self.step(Drive::Task, waker))
    }
}

impl PollStep for FetchMany {
    type Output = Result<Vec<PinnedPage>>;

    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Self::Output> {
        let result = match &mut self.stage {
            ManyStage::Ready(pages) => Ok(mem::take(pages)),
            ManyStage::Missing(missing) => ready!(missing.step(drive, waker)),
            ManyStage::Done => panic!("a fetch was polled after it had given its pages"),
        };
        self.stage = ManyStage::Done;
        Poll::Ready(result)
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        match &self.stage {
            ManyStage::Missing(missing) => missing.is_sure_of_its_wake_up(),
            ManyStage::Ready(_) | ManyStage::Done => true,
        }
    }
}

impl fmt::Debug for FetchMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchMany").finish_non_exhaustive()
    }
}

/// Pages that were not all ready, and are wanted together.
struct AllPages {
    group: Group,
    /// The number of first pages that are not known to be resident. They are waited for from the last on, so that most of them need
    /// no wait of their own.
    open: usize,
    /// The last page that is open, if it must be fetched by itself.
    demand: Option<Miss>,
    /// The error of the first page that has one, among those that are not open.
    error: Option<Error>,
}

impl AllPages {
    fn new(group: Group) -> Self {
        Self { open: group.pages.len(), group, demand: None, error: None }
    }

    /// Begins anew, from the line, if the call waits for a frame and there are no longer enough for it. Returns whether it does.
    fn begin_anew(&mut self, waker: &Waker) -> bool {
        let waits_for_a_frame = self.demand.as_ref().is_some_and(|miss| !miss.is_sure_of_its_wake_up());
        let begins_anew = waits_for_a_frame && self.group.go_back_in_line(waker);
        if begins_anew {
            // Its patience is what the waits so far have left.
            if let Some(miss) = self.demand.take() {
                self.group.patience = miss.patience_left();
            }
            self.open = self.group.pages.len();
            self.error = None;
        }
        begins_anew
    }

    /// Polls the last page that is open, until its outcome is known or there is something to wait for. Returns `Err` if no other
    /// page matters any more.
    fn poll_last(&mut self, last: usize, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        if self.demand.is_none() {
            match ready!(self.group.poll_page(last, waker)) {
                Ok(false) => {}
                Ok(true) => return Poll::Ready(Ok(())),
                Err(error) => {
                    self.error = Some(error);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let miss = self.demand.get_or_insert_with(|| self.group.miss(last));
        let Poll::Ready(outcome) = miss.step(drive, waker) else {
            // A pool that shrinks waits for the pins here, and this call waits for frames that are to be removed.
            self.group.check_count()?;
            return Poll::Pending;
        };
        self.group.patience = miss.patience_left();
        self.demand = None;
        match outcome {
            Ok(page) => {
                self.group.pins[last] = Some(page.into_pin());
                self.group.note_taken();
            }
            Err(error @ (Error::AllPinned { .. } | Error::NoFrame { .. })) => return Poll::Ready(Err(error)),
            Err(error) => self.error = Some(error),
        }
        Poll::Ready(Ok(()))
    }

    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<Vec<PinnedPage>>> {
        self.group.shared.check_process()?;
        if let Err(error) = ready!(self.group.enter(drive, waker)) {
            return Poll::Ready(Err(error));
        }
        while let Some(last) = self.open.checked_sub(1) {
            match self.poll_last(last, drive, waker) {
                Poll::Ready(Ok(())) => self.open = last,
                Poll::Ready(Err(error)) => {
                    self.error = Some(error);
                    break;
                }
                Poll::Pending if self.begin_anew(waker) => return self.step(drive, waker),
                Poll::Pending => return Poll::Pending,
            }
        }
        let pins = mem::take(&mut self.group.pins).into_iter().flatten();
        let fetched = match self.error.take() {
            Some(error) => {
                // Before its frames are counted for other calls.
                drop(pins);
                Err(error)
            }
            None => {
                self.group.note_arrival(0..self.group.pages.len());
                Ok(pins.map(PinnedPage::new).collect())
            }
        };
        self.group.leave(fetched.is_ok());
        Poll::Ready(fetched)
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        self.group.is_in() && self.demand.as_ref().is_none_or(PollStep::is_sure_of_its_wake_up)
    }
}
