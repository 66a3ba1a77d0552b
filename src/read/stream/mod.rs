//! Read streams: pages in a row, of one file or of several, read ahead as far as that is useful.
//!
//! The idea is PostgreSQL's (`read_stream.c`): an iterator names the pages that will be wanted, the stream keeps a [`window`] of
//! them pinned or being read, and an adaptive [`distance`] sets its width. This module is the part that knows the iterator. It
//! calls the iterator only when the window is consistent, so an iterator that panics costs no page.

mod distance;
pub(crate) mod item;
mod window;

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use self::{item::StreamItem, window::Window};
use crate::{
    error::Result,
    read::options::StreamOptions,
    runtime::shared::Shared,
    sync::{
        poll_budget,
        wait::{Drive, PollStep},
    },
};

/// Pages in the order in which an iterator asks for them, read ahead.
///
/// An [`Iterator`] of results for threads; tasks call [`next_page`](Self::next_page). A page that cannot be had gives its error at
/// its place, after it was read once more by itself if it was read ahead with others, and the stream continues with the next.
///
/// The pages held in advance are pinned: their blocks can be neither truncated nor evicted, and their file not closed, before the
/// stream has passed them or is dropped. When it is dropped, reads that were started continue; their pages become resident.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, PageId, StreamOptions};
/// use std::collections::VecDeque;
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// for page in pool.read_stream(file.pages(0..8_u32), StreamOptions::new()) {
///     assert_eq!(page?.read()[0], 0);
/// }
///
/// /// The pages that are wanted next: more are added while the stream runs.
/// struct Queue(VecDeque<PageId>);
///
/// impl Iterator for Queue {
///     type Item = PageId;
///
///     fn next(&mut self) -> Option<PageId> {
///         self.0.pop_front()
///     }
/// }
///
/// let mut stream = pool.read_stream(Queue(file.pages(0..2_u32).collect()), StreamOptions::new());
/// assert_eq!(stream.by_ref().count(), 2);
/// stream.pages_mut().0.push_back(PageId::new(file, 7));
/// assert!(stream.next().is_none()); // it has ended
/// stream.resume();
/// assert_eq!(stream.next().unwrap()?.id().block.0, 7);
/// println!("it holds up to {} pages in advance", stream.distance());
///
/// // A task, which pauses it:
/// pollster::block_on(async {
///     stream.pages_mut().0.push_back(PageId::new(file, 5));
///     stream.pause();
///     assert!(stream.next_page().await.is_none());
///     stream.resume();
///     assert!(stream.next_page().await.is_some());
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a stream reads nothing before its first page is asked for"]
pub struct ReadStream<I: Iterator> {
    pages: I,
    /// The items that the iterator gave, for the pages in the window.
    items: VecDeque<I::Item>,
    window: Window,
    paused: bool,
}

impl<I: Iterator<Item: StreamItem>> ReadStream<I> {
    pub(crate) fn new(shared: Arc<Shared>, pages: I, options: &StreamOptions) -> Self {
        Self { pages, items: VecDeque::new(), window: Window::new(shared, options), paused: false }
    }

    /// Returns the next page, for a task. Dropping the future loses nothing. It gives way to other tasks [as a `Fetch`
    /// does](crate::pending::Fetch#turns-of-tasks). Example: [`ReadStream`].
    ///
    /// # Errors
    /// Those of [`Fetch::wait`](crate::pending::Fetch::wait), for the page whose turn it is.
    pub fn next_page(&mut self) -> NextPage<'_, I> {
        NextPage { stream: self }
    }

    /// Stops asking the iterator for pages until [`resume`](Self::resume). Pages that it gave before still come; after the last of
    /// them the stream returns `None`. Example: [`ReadStream`].
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Asks the iterator again, after a pause of the stream or the end of the iterator. Example: [`ReadStream`].
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// Returns the iterator, to tell it of further pages that are wanted because of those that were handed out. If it has returned
    /// `None` before, [resume](Self::resume) the stream. Example: [`ReadStream`].
    pub fn pages_mut(&mut self) -> &mut I {
        &mut self.pages
    }

    /// Returns how many pages the stream now tries to hold in advance. It adapts: 1 while all pages are resident, more while the
    /// caller that takes them has to wait. Example: [`ReadStream`].
    #[must_use]
    pub fn distance(&self) -> usize {
        self.window.distance()
    }

    /// Returns the next item. After its end or a panic the iterator is not asked again.
    fn ask(&mut self) -> Option<I::Item> {
        if self.paused {
            return None;
        }
        self.paused = true;
        let item = self.pages.next();
        self.paused = item.is_none();
        item
    }

    fn look_ahead(&mut self) {
        let wanted = self.window.wants();
        for _ in 0..wanted {
            let Some(item) = self.ask() else { break };
            self.add(item);
        }
        if wanted > 0 {
            self.window.look_ahead();
        }
        if self.paused {
            self.window.give_back_places();
        }
    }

    /// Hands the first page out. Its outcome is known.
    fn hand_out(&mut self) -> Option<Result<<I::Item as StreamItem>::Page>> {
        // Before the page leaves the stream: the iterator may panic.
        self.look_ahead();
        let (page, item) = (self.window.pop()?, self.items.pop_front()?);
        Some(page.map(|page| item.with_page(page)))
    }

    fn add(&mut self, item: I::Item) {
        let page = item.page();
        self.items.push_back(item);
        self.window.push(page);
    }
}

impl<I: Iterator<Item: StreamItem>> PollStep for ReadStream<I> {
    type Output = Option<Result<<I::Item as StreamItem>::Page>>;

    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Self::Output> {
        if self.window.is_first_here() {
            return Poll::Ready(self.hand_out());
        }
        if self.window.looks_at_one() {
            let Some(item) = self.ask() else { return Poll::Ready(None) };
            if let Some(page) = self.window.take_resident(item.page()) {
                return Poll::Ready(Some(Ok(item.with_page(page))));
            }
            self.add(item);
            self.window.look_ahead();
        } else if self.window.is_empty() {
            self.look_ahead();
        }
        if self.window.is_empty() {
            return Poll::Ready(None);
        }
        ready!(self.window.poll_first(drive, waker));
        Poll::Ready(self.hand_out())
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        self.window.is_sure_of_its_wake_up()
    }
}

impl<I: Iterator<Item: StreamItem>> Iterator for ReadStream<I> {
    type Item = Result<<I::Item as StreamItem>::Page>;

    /// Returns the next page; the calling thread waits for it.
    fn next(&mut self) -> Option<Self::Item> {
        if self.window.is_first_here() { self.hand_out() } else { self.run_to_end() }
    }
}

impl<I: Iterator> fmt::Debug for ReadStream<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadStream({} pages asked for)", self.items.len())
    }
}

/// The next page of a [`ReadStream`]: `.await` it.
#[must_use = "a future does nothing until it is awaited"]
pub struct NextPage<'a, I: Iterator> {
    stream: &'a mut ReadStream<I>,
}

impl<I: Iterator<Item: StreamItem>> Future for NextPage<'_, I> {
    type Output = Option<Result<<I::Item as StreamItem>::Page>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll_budget::poll(cx, |waker| self.stream.step(Drive::Task, waker))
    }
}

impl<I: Iterator> fmt::Debug for NextPage<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NextPage of {:?}", self.stream)
    }
}
