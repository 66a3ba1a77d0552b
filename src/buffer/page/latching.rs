//! Waits for a latch of a page in hand, for threads and tasks alike.

use std::{
    borrow::Borrow,
    pin::Pin as StdPin,
    task::{Context, Poll, Waker, ready},
};

use super::PinnedPage;
use crate::{
    buffer::frame::{change::ChangeWait, latch::Latch, pin::Pin, waiters::Ticket},
    error::Result,
    sync::{
        poll_budget,
        wait::{Drive, PollStep},
    },
};

/// A wait for a latch, through a pin that it owns or borrows. Dropped, it leaves the line.
pub(crate) struct Latching<P: Borrow<Pin> = Pin> {
    latch: Latch,
    /// Taken when the latch is held.
    pin: Option<P>,
    ticket: Option<Ticket>,
    room: ChangeWait,
}

impl Latching {
    pub(crate) fn new(page: PinnedPage, latch: Latch) -> Self {
        Self::through(page.pin, latch)
    }
}

impl<P: Borrow<Pin>> Latching<P> {
    pub(super) fn through(pin: P, latch: Latch) -> Self {
        Self { latch, pin: Some(pin), ticket: None, room: ChangeWait::default() }
    }
}

impl<P: Borrow<Pin>> PollStep for Latching<P> {
    type Output = Result<P>;

    /// Waits for room for a change first. Returns the pin, which has the latch then.
    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<P>> {
        if let Some(pin) = self.pin.as_ref().map(P::borrow) {
            pin.frames().process.check()?;
            if self.latch == Latch::Exclusive && self.ticket.is_none() {
                ready!(pin.poll_room(&mut self.room, drive, waker))?;
            }
            ready!(pin.poll_latch(self.latch, &mut self.ticket, drive, waker));
        }
        Poll::Ready(Ok(self.pin.take().expect("it is not polled after it was ready")))
    }

    /// Returns whether a wake-up is certain: a latch is handed over, but room may be missed.
    fn is_sure_of_its_wake_up(&self) -> bool {
        self.ticket.is_some()
    }
}

impl<P: Borrow<Pin> + Unpin> Future for Latching<P> {
    type Output = Result<P>;

    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<P>> {
        poll_budget::poll(cx, |waker| self.step(Drive::Task, waker))
    }
}

impl<P: Borrow<Pin>> Drop for Latching<P> {
    fn drop(&mut self) {
        if let (Some(pin), Some(ticket)) = (&self.pin, self.ticket.take()) {
            pin.borrow().cancel_wait(&ticket);
        }
    }
}
