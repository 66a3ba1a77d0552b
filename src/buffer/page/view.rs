//! Pin and share latch as one value: what most readers want, for one step to get it and one to let it go.

use std::{
    fmt,
    mem::ManuallyDrop,
    ops::Deref,
    task::{Poll, Waker, ready},
};

use crate::{
    buffer::{
        frame::{latch::Latch, pin::Pin, waiters::Ticket},
        page::{PageHint, PinnedPage, bytes_of},
    },
    error::Result,
    id::{Lsn, PageId},
    sync::wait::{self, Drive},
};

/// A page in hand and its bytes, which nobody changes meanwhile.
///
/// The same as a [`PinnedPage`] and its [read guard](PinnedPage::read), and cheaper; it borrows nothing, so it can be sent and
/// stored. Whoever wants to change the page waits for it.
pub struct PageView {
    /// Taken when it is dropped.
    pin: ManuallyDrop<Pin>,
}

impl PageView {
    /// `pin` comes with a share latch.
    #[inline]
    pub(crate) fn new(pin: Pin) -> Self {
        debug_assert!(pin.frame().state.load().is_valid(), "handed out before it was read: {pin:?}");
        Self { pin: ManuallyDrop::new(pin) }
    }

    /// The same of a share latch that was taken after the pin, and perhaps elsewhere.
    pub(crate) fn of_latched(pin: Pin) -> Self {
        Self::new(pin.into_view())
    }

    /// Which page it is.
    #[must_use]
    pub fn id(&self) -> PageId {
        self.pin.frame().page()
    }

    /// The highest log position that was [set](crate::PageWrite::set_lsn) on the page since it was read from disk.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.pin.frame().page_lsn()
    }

    /// Where it is, for [`BufferPool::try_view_at`](crate::BufferPool::try_view_at) another time.
    #[must_use]
    pub fn hint(&self) -> PageHint {
        PageHint(self.pin.frame_no())
    }

    /// Lets others change the page, and keeps it in its frame.
    #[must_use]
    pub fn unlatch(self) -> PinnedPage {
        let mut view = ManuallyDrop::new(self);
        // SAFETY: the view is not dropped, so the pin is taken here only.
        let pin = unsafe { ManuallyDrop::take(&mut view.pin) };
        pin.unlatch_shared();
        PinnedPage::new(pin)
    }
}

impl Deref for PageView {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the value holds a share latch.
        unsafe { bytes_of(&self.pin) }
    }
}

impl Drop for PageView {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: taken here only: `unlatch` drops no view.
        unsafe { ManuallyDrop::take(&mut self.pin) }.unlatch_and_unpin();
    }
}

impl fmt::Debug for PageView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageView({:?})", *self.pin)
    }
}

/// A task's wait for the share latch of a page in hand. Dropped, it leaves the line.
pub(crate) struct Viewing {
    /// Taken when the latch is held.
    page: Option<PinnedPage>,
    ticket: Option<Ticket>,
}

impl Viewing {
    pub(crate) fn new(page: PinnedPage) -> Self {
        Self { page: Some(page), ticket: None }
    }

    /// Goes on waiting as a thread.
    pub(crate) fn wait(mut self) -> Result<PageView> {
        wait::block_on(|waker| self.poll(Drive::Thread, waker))
    }

    pub(crate) fn poll(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<PageView>> {
        if let Some(page) = &self.page {
            page.pin.frames().process.check()?;
            ready!(page.pin.poll_latch(Latch::Shared, &mut self.ticket, drive, waker));
        }
        let page = self.page.take().expect("it is not polled after it was ready");
        Poll::Ready(Ok(PageView::of_latched(page.pin)))
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        if let (Some(page), Some(ticket)) = (&self.page, self.ticket.take()) {
            page.pin.cancel_wait(&ticket);
        }
    }
}
