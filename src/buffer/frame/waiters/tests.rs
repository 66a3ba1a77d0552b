//! Lines and their steps, a waker at a time.

use std::{
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
};

use super::*;
use crate::{
    buffer::frame::{header::FrameArrays, state::State},
    error::Error,
};

struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Bench {
    waiters: Waiters,
    frames: FrameArrays,
    woken: Arc<CountingWaker>,
}

impl Bench {
    /// Makes a valid frame with nine pins.
    fn new() -> Self {
        let frames = FrameArrays::new(1, 1).unwrap();
        let frame = frames.get(FrameNo(0));
        frame.state.update(|s| s.claim().unwrap().begin_read(false).end_read(true));
        for _ in 0..8 {
            frame.state.update(|s| s.pin().unwrap());
        }
        Self { waiters: Waiters::new(), frames, woken: Arc::new(CountingWaker(AtomicUsize::new(0))) }
    }

    fn frame(&self) -> Frame<'_> {
        self.frames.get(FrameNo(0))
    }

    fn waker(&self) -> Waker {
        Waker::from(self.woken.clone())
    }

    fn enlist(&self, want: Want) -> Option<Ticket> {
        let drive = if want.is_latch() { Drive::Thread } else { Drive::Task };
        self.waiters.get_in_line(self.frame(), want, drive, &self.waker())
    }

    /// Comes for the latch, where the waiter was called.
    fn is_served(&self, ticket: &Ticket) -> bool {
        self.waiters.poll(ticket, self.frame(), Drive::Thread, &self.waker()).is_ready()
    }

    fn agrees(&self) -> bool {
        self.waiters.agrees(self.frame())
    }

    fn release_exclusive(&self) {
        if self.frame().state.update(|s| s.unlatch_exclusive(false)).has_latch_waiters() {
            assert!(!self.waiters.latch_released(self.frame(), &mut Wakers::new()));
        }
    }

    fn release_shared(&self) {
        if self.frame().state.update(State::unlatch_shared).has_latch_waiters() {
            assert!(!self.waiters.latch_released(self.frame(), &mut Wakers::new()));
        }
    }
}

#[test]
fn a_waiter_that_need_not_wait_is_not_listed() {
    let bench = Bench::new();
    for want in [Want::ReadDone, Want::WriteDone, Want::Settled, Want::Shared, Want::Exclusive] {
        assert_eq!(bench.enlist(want), None, "{want:?}");
    }
}

#[test]
fn latches_go_round_in_order_of_arrival_readers_together() {
    let bench = Bench::new();
    bench.frame().state.update(|s| s.latch_exclusive().unwrap());
    let [first, second, third, fourth] =
        [Want::Shared, Want::Shared, Want::Exclusive, Want::Shared].map(|want| bench.enlist(want).unwrap());
    bench.release_exclusive();
    assert!(bench.is_served(&first) && bench.is_served(&second));
    assert!(!bench.is_served(&third) && !bench.is_served(&fourth), "a reader must not overtake a writer");
    bench.release_shared();
    assert!(!bench.is_served(&third));
    bench.release_shared();
    assert!(bench.is_served(&third) && !bench.is_served(&fourth));
    bench.release_exclusive();
    assert!(bench.is_served(&fourth));
    bench.release_shared();
    assert!(!bench.frame().state.load().has_latch_waiters(), "the line is empty");
    assert_eq!(bench.woken.0.load(Ordering::Relaxed), 4);
}

#[test]
fn a_cancelled_waiter_neither_keeps_the_latch_nor_blocks_the_line() {
    let bench = Bench::new();
    bench.frame().state.update(|s| s.latch_shared().unwrap());
    let [writer, reader] = [Want::Exclusive, Want::Shared].map(|want| bench.enlist(want).unwrap());
    let _ = bench.waiters.cancel(&writer, bench.frame());
    assert!(bench.is_served(&reader), "nothing stands between the readers any more");
    let late = bench.enlist(Want::Exclusive).unwrap();
    bench.release_shared();
    bench.release_shared();
    bench.frame().state.update(|s| s.latch_shared().unwrap());
    assert!(!bench.is_served(&late), "too late");
    bench.release_shared();
    assert!(bench.frame().state.load().latch_shared().is_none(), "handed over");
    let _ = bench.waiters.cancel(&late, bench.frame());
    assert!(bench.frame().state.load().latch_shared().is_some(), "given back");
}

#[test]
fn a_waiter_that_is_called_may_come_too_late_and_is_handed_the_latch_then() {
    let bench = Bench::new();
    bench.frame().state.update(|s| s.latch_exclusive().unwrap());
    let [first, second] = [Want::Exclusive, Want::Exclusive].map(|want| bench.enlist(want).unwrap());
    bench.release_exclusive();
    assert!(bench.agrees(), "the first was called");
    bench.frame().state.update(|s| s.latch_exclusive().expect("it is free until the waiter comes"));
    assert!(!bench.is_served(&first) && bench.agrees());
    bench.release_exclusive();
    assert_eq!(bench.frame().state.load().latch_exclusive(), None, "handed over");
    assert!(bench.is_served(&first) && !bench.is_served(&second));
    bench.release_exclusive();
    assert!(bench.frame().state.load().latch_exclusive().is_some(), "a turn is for one");
    assert!(bench.is_served(&second) && bench.agrees());
    assert_eq!(bench.woken.0.load(Ordering::Relaxed), 3);
}

#[test]
fn a_waiter_that_is_called_and_leaves_passes_the_call_on() {
    let bench = Bench::new();
    bench.frame().state.update(|s| s.latch_exclusive().unwrap());
    let [first, second] = [Want::Exclusive, Want::Shared].map(|want| bench.enlist(want).unwrap());
    bench.release_exclusive();
    assert_eq!(bench.woken.0.load(Ordering::Relaxed), 1);
    let _ = bench.waiters.cancel(&first, bench.frame());
    assert_eq!(bench.woken.0.load(Ordering::Relaxed), 2);
    assert!(bench.is_served(&second) && bench.agrees());
}

#[test]
fn every_waiter_of_a_failed_read_gets_the_error() {
    let bench = Bench::new();
    let frames = FrameArrays::new(1, 1).unwrap();
    let frame = frames.get(FrameNo(0));
    frame.state.update(|s| s.claim().unwrap().begin_read(false));
    let waker = bench.waker();
    let enlist = || bench.waiters.get_in_line(frame, Want::ReadDone, Drive::Task, &waker).unwrap();
    let tickets = [enlist(), enlist(), enlist()];
    assert!(frame.state.update(State::fail_read).has_io_waiters());
    bench.waiters.io_done(frame, &Err(Error::ShutDown), &mut Wakers::new());
    for ticket in &tickets {
        assert!(matches!(
            bench.waiters.poll(ticket, frame, Drive::Task, &bench.waker()),
            Poll::Ready(Err(Error::ShutDown))
        ));
    }
    assert!(!frame.state.load().has_io_waiters());
    assert_eq!(bench.woken.0.load(Ordering::Relaxed), 3);
}
