//! Fetching a page only to read it: one step where it is here and nobody changes it, else a fetch and a latch.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use crate::{
    buffer::page::{PageHint, PageView, Viewing},
    error::{Error, Result},
    id::PageId,
    observe::Counter,
    read::{fetch::Fetch, options::FetchOptions},
    runtime::shared::Shared,
    sync::{poll_budget, wait::Drive},
};

/// A page's bytes on their way: wait for them with [`wait`](Self::wait), or `.await` them.
///
/// As with a [`Fetch`], nothing is started before somebody waits, and dropping it abandons interest, never the I/O. As a future it
/// gives way to other tasks now and then, [as a `Fetch` does](crate::Fetch#turns-of-tasks).
#[must_use = "a view does nothing until it is waited for or awaited"]
pub struct View {
    stage: ViewStage,
}

enum ViewStage {
    Ready(PageView),
    Fetching(Fetch),
    Latching(Viewing),
    /// The result was collected.
    Done,
}

impl ViewStage {
    #[cold]
    fn fetching(shared: &Arc<Shared>, page: PageId) -> Self {
        Self::Fetching(Fetch::new(shared, page, FetchOptions::default()))
    }

    #[cold]
    fn wait(self) -> Result<PageView> {
        match self {
            Self::Ready(view) => Ok(view),
            Self::Fetching(fetch) => Viewing::new(fetch.wait()?).wait(),
            Self::Latching(viewing) => viewing.wait(),
            Self::Done => Err(Error::ShutDown),
        }
    }
}

impl View {
    #[inline]
    pub(crate) fn new(shared: &Arc<Shared>, page: PageId) -> Self {
        let stage = match try_view(shared, page) {
            Some(view) => ViewStage::Ready(view),
            None => ViewStage::fetching(shared, page),
        };
        Self { stage }
    }

    /// Waits for the page, and until no one changes it.
    ///
    /// # Errors
    /// Those of [`Fetch::wait`].
    #[inline]
    pub fn wait(self) -> Result<PageView> {
        match self.stage {
            ViewStage::Ready(view) => Ok(view),
            stage => stage.wait(),
        }
    }
}

/// The page's bytes, if they are here and nobody changes them.
#[inline]
pub(crate) fn try_view(shared: &Shared, page: PageId) -> Option<PageView> {
    let pin = shared.pool.look_at(page)?;
    shared.counters.add(Counter::Hits, 1);
    Some(PageView::new(pin))
}

/// The same where the page is in the frame in which it was.
#[inline]
pub(crate) fn try_view_at(shared: &Shared, hint: PageHint, page: PageId) -> Option<PageView> {
    let pin = shared.pool.look_in(shared.pool.checked(hint.0)?, page)?;
    shared.counters.add(Counter::Hits, 1);
    Some(PageView::new(pin))
}

impl Future for View {
    type Output = Result<PageView>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<PageView>> {
        poll_budget::poll(cx, |waker| self.step(waker))
    }
}

impl View {
    /// Goes on as a task.
    #[inline(always)] // A page that is here comes out of it at once, and is large.
    fn step(&mut self, waker: &Waker) -> Poll<Result<PageView>> {
        loop {
            match &mut self.stage {
                ViewStage::Fetching(fetch) => match ready!(fetch.step(waker)) {
                    Ok(page) => self.stage = ViewStage::Latching(Viewing::new(page)),
                    Err(error) => {
                        self.stage = ViewStage::Done;
                        return Poll::Ready(Err(error));
                    }
                },
                ViewStage::Latching(viewing) => match ready!(viewing.poll(Drive::Task, waker)) {
                    Ok(view) => self.stage = ViewStage::Ready(view),
                    Err(error) => {
                        self.stage = ViewStage::Done;
                        return Poll::Ready(Err(error));
                    }
                },
                ViewStage::Ready(_) | ViewStage::Done => break,
            }
        }
        match std::mem::replace(&mut self.stage, ViewStage::Done) {
            ViewStage::Ready(view) => Poll::Ready(Ok(view)),
            _ => panic!("a view was polled after it had given its page"),
        }
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            ViewStage::Ready(view) => write!(f, "View(ready: {view:?})"),
            ViewStage::Fetching(fetch) => write!(f, "View({fetch:?})"),
            ViewStage::Latching(_) => f.write_str("View(waits for the latch)"),
            ViewStage::Done => f.write_str("View(collected)"),
        }
    }
}
