//! Many pages in the order in which they arrive.
//!
//! For searches that can continue with any page: graph and vector indexes. The call is [let in](super::group) and starts its reads
//! as a whole, as a call that wants all pages together. Then each page is handed out when it is resident, or with its error. Each
//! wake-up looks at all pages that are still open, so it costs in proportion to their number.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin as StdPin,
    task::{Context, Poll, Waker, ready},
};

use super::{FetchMany, ManyStage, group::Group};
use crate::{
    buffer::page::PinnedPage,
    error::Result,
    read::fetch::Miss,
    sync::{
        poll_budget,
        wait::{Drive, PollStep},
    },
};

/// A page, or why it cannot be had, with its place in the list.
type Arrival = (usize, Result<PinnedPage>);

/// Pages that were asked for together, as they arrive: from [`FetchMany::as_they_arrive`].
///
/// An [`Iterator`] for threads; tasks call [`next_page`](Self::next_page). Each place of the list comes once, with its page or its
/// error. Dropping it releases the pages that were not handed out; reads that were started continue.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, PageId};
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// let wanted: Vec<PageId> = file.pages(0..8_u32).collect();
/// for (at, page) in pool.fetch_many(&wanted).as_they_arrive() {
///     assert_eq!(page?.id(), wanted[at]);
/// }
/// async fn sum(pool: &BufferPool, wanted: &[PageId]) -> ringpool::Result<u64> {
///     let mut arrivals = pool.fetch_many(wanted).as_they_arrive();
///     let mut sum = 0;
///     while let Some((_, page)) = arrivals.next_page().await {
///         sum += u64::from(page?.read()[0]);
///         println!("{} to come", arrivals.remaining());
///     }
///     Ok(sum)
/// }
/// assert_eq!(pollster::block_on(sum(&pool, &wanted))?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is read before the first page is asked for"]
pub struct Arrivals {
    /// What is known already.
    arrived: VecDeque<Arrival>,
    coming: Option<Box<Coming>>,
}

/// Pages that are still open.
struct Coming {
    group: Group,
    /// Their places in the list.
    open: Vec<usize>,
    /// Those that are fetched each by itself. All but the last are being read.
    alone: Vec<(usize, Miss)>,
    /// Whether any page has come.
    has_pages: bool,
}

impl Arrivals {
    pub(super) fn new(many: FetchMany) -> Self {
        let (mut arrived, mut coming) = (VecDeque::new(), None);
        match many.stage {
            ManyStage::Ready(pages) => arrived.extend(pages.into_iter().map(Ok).enumerate()),
            ManyStage::Missing(all) => {
                let open = (0..all.group.pages.len()).collect();
                coming =
                    Some(Box::new(Coming { group: all.group, open, alone: Vec::new(), has_pages: false }));
            }
            ManyStage::Done => {}
        }
        Self { arrived, coming }
    }

    /// Returns the next page for a task, with its place in the list, or `None` after the last. Dropping the future loses nothing.
    /// It gives way to other tasks [as a `Fetch` does](crate::pending::Fetch#turns-of-tasks). Example: [`Arrivals`].
    ///
    /// # Errors
    /// Those of [`FetchMany::wait`], for each page by itself. If the call as a whole cannot have its frames, each page that was not
    /// handed out has that error.
    pub fn next_page(&mut self) -> NextArrival<'_> {
        NextArrival { arrivals: self }
    }

    /// Returns the number of pages that are to come. Example: [`Arrivals`].
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.arrived.len() + self.coming.as_ref().map_or(0, |coming| coming.remaining())
    }
}

impl PollStep for Arrivals {
    type Output = Option<Arrival>;

    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Self::Output> {
        while self.arrived.is_empty()
            && let Some(coming) = &mut self.coming
        {
            match ready!(coming.step(&mut self.arrived, drive, waker)) {
                Ok(()) if coming.remaining() == 0 => {
                    coming.group.leave(coming.has_pages);
                    self.coming = None;
                }
                Ok(()) => coming.group.lower_need(coming.remaining()),
                Err(error) => {
                    coming.open.extend(coming.alone.drain(..).map(|(at, _)| at));
                    coming.open.sort_unstable();
                    self.arrived.extend(coming.open.iter().map(|&at| (at, Err(error.clone()))));
                    self.coming = None;
                }
            }
        }
        Poll::Ready(self.arrived.pop_front())
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        self.coming.as_ref().is_none_or(|coming| {
            coming.group.is_in() && coming.alone.iter().all(|(_, miss)| miss.is_sure_of_its_wake_up())
        })
    }
}

impl Coming {
    fn remaining(&self) -> usize {
        self.open.len() + self.alone.len()
    }

    /// Goes on until pages have arrived, or none are open. `Err` where the call as a whole cannot have its pages.
    fn step(&mut self, arrived: &mut VecDeque<Arrival>, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        self.group.shared.check_process()?;
        ready!(self.group.enter(drive, waker))?;
        self.collect(arrived, waker);
        // What is here is used while the rest is on its way.
        if arrived.is_empty() {
            self.fetch_alone(arrived, drive, waker);
        }
        if !arrived.is_empty() || self.remaining() == 0 {
            self.has_pages |= arrived.iter().any(|(_, page)| page.is_ok());
            return Poll::Ready(Ok(()));
        }
        if self.alone.is_empty() {
            return Poll::Pending;
        }
        // It need not go back in line where frames become fewer: what is pinned here is being read, and then is the caller's. A pool
        // that shrinks waits for that, and this for frames that are to go.
        self.group.check_count().map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending)
    }

    /// Goes on with the pages that are fetched each by itself, up to the first that is over. The next one begins when the one before it has
    /// its frame and is being read: so a file that does not answer keeps none of another waiting.
    fn fetch_alone(&mut self, arrived: &mut VecDeque<Arrival>, drive: Drive, waker: &Waker) {
        let mut next = 0;
        loop {
            if next == self.alone.len() {
                let is_waiting_for_a_frame =
                    self.alone.last().is_some_and(|(_, miss)| !miss.is_sure_of_its_wake_up());
                let unread = self.open.iter().position(|&at| self.group.pins[at].is_none());
                let Some(unread) = unread.filter(|_| !is_waiting_for_a_frame) else { return };
                let at = self.open.swap_remove(unread);
                self.alone.push((at, self.group.miss(at)));
            }
            // A thread transfers the last page itself, and no page while others may arrive.
            let drive = if self.remaining() == 1 { drive } else { Drive::Task };
            let (at, miss) = &mut self.alone[next];
            match miss.step(drive, waker) {
                Poll::Pending => next += 1,
                Poll::Ready(outcome) => {
                    self.group.patience = miss.patience_left();
                    if outcome.is_ok() {
                        self.group.note_taken();
                    }
                    arrived.push_back((*at, outcome));
                    self.alone.remove(next);
                    return;
                }
            }
        }
    }

    /// Looks at each open page, when none is known to have arrived.
    fn collect(&mut self, arrived: &mut VecDeque<Arrival>, waker: &Waker) {
        let Self { group, open, .. } = self;
        let mut kept = false;
        open.retain(|&at| {
            if kept && seeded!("arrivals_in_the_order_of_the_list") {
                return true;
            }
            kept = true;
            let arrival = match group.poll_page(at, waker) {
                // A page that is not here is fetched by itself.
                Poll::Pending | Poll::Ready(Ok(false)) => return true,
                Poll::Ready(Ok(true)) => Ok(PinnedPage::new(group.pins[at].take().expect("it is here"))),
                Poll::Ready(Err(error)) => Err(error),
            };
            arrived.push_back((at, arrival));
            false
        });
        let here = arrived.iter().filter(|(_, page)| page.is_ok());
        group.note_arrival(here.map(|&(at, _)| at));
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    /// Returns the next page; the calling thread waits for it.
    fn next(&mut self) -> Option<Arrival> {
        self.run_to_end()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining(), Some(self.remaining()))
    }
}

impl ExactSizeIterator for Arrivals {}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arrivals({} pages to come)", self.remaining())
    }
}

/// The next page of [`Arrivals`]: `.await` it.
#[must_use = "a future does nothing until it is awaited"]
#[derive(Debug)]
pub struct NextArrival<'a> {
    arrivals: &'a mut Arrivals,
}

impl Future for NextArrival<'_> {
    type Output = Option<Arrival>;

    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll_budget::poll(cx, |waker| self.arrivals.step(Drive::Task, waker))
    }
}
