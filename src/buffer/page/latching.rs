//! Waits for a latch of a page in hand, for threads and tasks alike.

use std::task::{Poll, Waker, ready};

use super::PinnedPage;
use crate::{
    buffer::frame::{change::ChangeWait, latch::Latch, pin::Pin, waiters::Ticket},
    error::Result,
    sync::wait::Drive,
};

/// A wait for a latch that owns the pin. Dropped, it leaves the line.
pub(crate) struct Latching {
    latch: Latch,
    /// Taken when the latch is held.
    page: Option<PinnedPage>,
    ticket: Option<Ticket>,
    room: ChangeWait,
}

impl Latching {
    pub(crate) fn new(page: PinnedPage, latch: Latch) -> Self {
        Self { latch, page: Some(page), ticket: None, room: ChangeWait::default() }
    }

    /// Continues the wait, for room for a change first. Returns the pin, which has the latch then.
    pub(crate) fn poll(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<Pin>> {
        if let Some(page) = &self.page {
            page.pin.frames().process.check()?;
            if self.latch == Latch::Exclusive && self.ticket.is_none() {
                ready!(page.pin.poll_room(&mut self.room, drive, waker))?;
            }
            ready!(page.pin.poll_latch(self.latch, &mut self.ticket, drive, waker));
        }
        let page = self.page.take().expect("it is not polled after it was ready");
        Poll::Ready(Ok(page.pin))
    }
}

impl Latching {
    /// Returns whether a wake-up is certain: a latch is handed over, but room may be missed.
    pub(crate) fn is_sure_of_its_wake_up(&self) -> bool {
        self.ticket.is_some()
    }
}

impl Drop for Latching {
    fn drop(&mut self) {
        if let (Some(page), Some(ticket)) = (&self.page, self.ticket.take()) {
            page.pin.cancel_wait(&ticket);
        }
    }
}
