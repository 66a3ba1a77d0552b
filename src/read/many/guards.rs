//! Many pages as guards: pins all, then latches all for reading.
//!
//! No latch is waited for while others are held: where one cannot be had, all are released, and the call waits for that one alone
//! before it tries the others again. So it takes part in no deadlock, whatever the order in which writers latch the same pages. The
//! price: writers that always have one of the pages keep it waiting. A page that stands in the list more than once is latched as
//! often, past the line in which a writer may wait by then.

use std::{
    fmt, mem,
    pin::Pin as StdPin,
    task::{Context, Poll, Waker, ready},
};

use super::FetchMany;
use crate::{
    buffer::{
        frame::latch::Latch,
        page::{Latching, OwnedPageRead, PinnedPage},
    },
    error::Result,
    sync::{
        poll_budget,
        time::Duration,
        wait::{Drive, PollStep},
    },
};

/// Pages that are to be read together: wait for them with [`wait`](Self::wait), or `.await` them.
///
/// Nothing begins before that, except that pages in the pool are pinned. While it waits for a latch it holds none. Dropping it
/// releases all pages; reads that were started continue. It gives way to other tasks [as a `Fetch`
/// does](crate::pending::Fetch#turns-of-tasks).
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, PageId};
/// use std::time::Duration;
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("accounts"), OpenOptions::new().create(true).initial_blocks(8))?;
///
/// // Both balances of one moment.
/// let accounts = [5_u32, 3].map(|block| PageId::new(file, block));
/// let pages = pool.read_many(&accounts).frame_wait(Duration::from_millis(100)).wait()?;
/// assert_eq!(pages[1].id(), accounts[1]);
/// assert_eq!(pages.iter().map(|page| u32::from(page[0])).sum::<u32>(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "pages are not read before they are waited for or awaited"]
pub struct ReadMany {
    many: FetchMany,
    /// By place in the list, once all are pinned.
    pages: Option<Vec<Place>>,
    /// The wait for the one latch that could not be had.
    wait: Option<(usize, Latching)>,
}

enum Place {
    Pinned(PinnedPage),
    Latched(OwnedPageRead),
    /// Its latch is waited for.
    Waiting,
}

impl ReadMany {
    pub(crate) fn new(many: FetchMany) -> Self {
        Self { many, pages: None, wait: None }
    }

    /// Sets the most to wait for frames while all are pinned, instead of the pool's [limit](crate::Builder::frame_wait).
    /// Example: [`ReadMany`].
    pub fn frame_wait(self, wait: Duration) -> Self {
        Self { many: self.many.frame_wait(wait), ..self }
    }

    /// Waits for all of the pages, and until no thread changes one of them. The guards are in the order of the list.
    /// Example: [`ReadMany`].
    ///
    /// # Errors
    /// Those of [`FetchMany::wait`]: all pages or none.
    pub fn wait(mut self) -> Result<Vec<OwnedPageRead>> {
        self.run_to_end()
    }
}

impl PollStep for ReadMany {
    type Output = Result<Vec<OwnedPageRead>>;

    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Self::Output> {
        let pages = match &mut self.pages {
            Some(pages) => pages,
            None => {
                let pinned = ready!(self.many.step(drive, waker))?;
                self.pages.insert(pinned.into_iter().map(Place::Pinned).collect())
            }
        };
        loop {
            if let Some((at, latching)) = &mut self.wait {
                let pin = ready!(latching.step(drive, waker))?;
                pages[*at] = Place::Latched(OwnedPageRead::of_latched(pin));
                self.wait = None;
            }
            let mut refused = None;
            for at in 0..pages.len() {
                if !latch(pages, at)? {
                    refused = Some(at);
                    break;
                }
            }
            let Some(refused) = refused else { break };
            if !seeded!("latches_kept_while_another_is_waited_for") {
                pages.iter_mut().for_each(release);
            }
            if let Place::Pinned(page) = mem::replace(&mut pages[refused], Place::Waiting) {
                self.wait = Some((refused, Latching::new(page, Latch::Shared)));
            }
        }
        let guards = self.pages.take().into_iter().flatten().filter_map(|place| match place {
            Place::Latched(guard) => Some(guard),
            Place::Pinned(_) | Place::Waiting => None,
        });
        Poll::Ready(Ok(guards.collect()))
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        self.pages.is_some() || self.many.is_sure_of_its_wake_up()
    }
}

/// Latches the page at that place, if that needs no wait. Returns whether it is latched.
fn latch(pages: &mut [Place], at: usize) -> Result<bool> {
    let Place::Pinned(page) = &pages[at] else { return Ok(true) };
    let (id, pin) = (page.id(), page.pin());
    let has_it = |place: &Place| matches!(place, Place::Latched(guard) if guard.id() == id);
    if !pin.try_latch(Latch::Shared) {
        if !pages.iter().any(has_it) {
            return Ok(false);
        }
        if !pin.try_latch_past_the_line() {
            // It is latched for reading here: what is missing is room for one latch more.
            return Err(pin.frames().too_many_pins(id));
        }
    }
    if let Place::Pinned(page) = mem::replace(&mut pages[at], Place::Waiting) {
        pages[at] = Place::Latched(OwnedPageRead::of_latched(page.into_pin()));
    }
    Ok(true)
}

fn release(place: &mut Place) {
    *place = match mem::replace(place, Place::Waiting) {
        Place::Latched(guard) => Place::Pinned(guard.unlatch()),
        place => place,
    };
}

impl Future for ReadMany {
    type Output = Result<Vec<OwnedPageRead>>;

    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll_budget::poll(cx, |waker| self.step(Drive::Task, waker))
    }
}

impl fmt::Debug for ReadMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadMany").finish_non_exhaustive()
    }
}
