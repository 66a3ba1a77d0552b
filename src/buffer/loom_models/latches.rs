//! Latches and the wake-up of waiters for one, or for the end of an I/O. A wake-up that is lost is a deadlock here, which loom
//! reports.

use std::task::{Poll, Waker};

use super::{Bytes, check, page, pool_of, read_into, spawn};
use crate::{
    buffer::{
        frame::{latch::Latch, pin::Pin, waiters::want::Want},
        residency::Mapped,
    },
    error::Error,
    sync::{Arc, wait::Drive},
};

/// Makes a page with a pin for each of `N` users, and its bytes.
fn shared_page<const N: usize>() -> [(Pin, Arc<Bytes>); N] {
    let pool = pool_of(1);
    let pin = read_into(&pool, page(1), || {}).unwrap();
    let bytes = Arc::new(Bytes::new(0));
    // The pins keep the pool.
    std::array::from_fn(|_| (pin.again().unwrap(), Arc::clone(&bytes)))
}

fn add_one((pin, bytes): &(Pin, Arc<Bytes>)) {
    pin.latch(Latch::Exclusive);
    bytes.write(bytes.read() + 1);
    pin.unlatch_exclusive(true);
}

fn look((pin, bytes): &(Pin, Arc<Bytes>)) {
    pin.latch(Latch::Shared);
    let seen = bytes.read();
    assert_eq!(bytes.read(), seen);
    pin.unlatch_shared();
}

#[test]
fn writers_exclude_one_another_and_each_gets_its_turn() {
    check(2, || {
        let [first, second, third] = shared_page();
        let others = [first, second].map(|own| spawn(move || add_one(&own)));
        add_one(&third);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(third.1.read(), 3);
    });
}

#[test]
fn readers_and_a_writer_wait_for_one_another_and_are_woken() {
    check(2, || {
        let [first, second, third] = shared_page();
        let reading = spawn(move || look(&first));
        let writing = spawn(move || add_one(&second));
        look(&third);
        reading.join().unwrap();
        writing.join().unwrap();
    });
}

/// An owned read guard lets go of pin and latch in one step, which must not overlook a thread that has got in line.
#[test]
fn a_read_guard_that_goes_wakes_the_writer_that_waits() {
    check(3, || {
        let pool = pool_of(1);
        let pin = read_into(&pool, page(1), || {}).unwrap();
        let viewing = spawn(move || {
            if let Some(view) = pool.look_at(page(1)) {
                view.unlatch_and_unpin();
            }
        });
        add_one(&(pin, Arc::new(Bytes::new(0))));
        viewing.join().unwrap();
    });
}

/// A waiter that gives up, at any moment, neither keeps the latch nor holds up the line.
#[test]
fn a_waiter_that_leaves_the_line_takes_nothing_along() {
    check(2, || {
        let [first, second, third] = shared_page();
        let writing = spawn(move || add_one(&first));
        let giving_up = spawn(move || {
            let mut ticket = None;
            match second.0.poll_latch(Latch::Exclusive, &mut ticket, Drive::Thread, Waker::noop()) {
                Poll::Ready(()) => second.0.unlatch_exclusive(false),
                Poll::Pending => second.0.cancel_wait(&ticket.unwrap()),
            }
        });
        add_one(&third);
        writing.join().unwrap();
        giving_up.join().unwrap();
        assert!(third.0.try_latch(Latch::Exclusive), "no thread has it");
        third.0.unlatch_exclusive(false);
    });
}

/// A waiter for a read is woken by its end, and sees what was read, or that it failed.
#[test]
fn c2_the_end_of_a_read_wakes_its_waiter() {
    for fails in [false, true] {
        check(3, move || {
            let pool = pool_of(1);
            let bytes = Arc::new(Bytes::new(0));
            let claimed = pool.take_clean().unwrap();
            let Mapped { reading, own } = pool.map(claimed, page(1), false).unwrap();
            let ending = {
                let bytes = Arc::clone(&bytes);
                spawn(move || {
                    bytes.write(1);
                    pool.end_read(reading, &if fails { Err(Error::ShutDown) } else { Ok(()) }, true);
                })
            };
            own.wait_for_io(Want::ReadDone);
            assert_eq!(own.frame().state.load().is_valid(), !fails);
            assert_eq!(bytes.read(), 1);
            ending.join().unwrap();
        });
    }
}

/// The pool goes while another thread lets go of a page: the last of the two frees the memory, once.
#[test]
fn c5_the_last_pin_of_a_pool_that_is_gone_frees_it_once() {
    check(3, || {
        let pool = pool_of(1);
        let pin = read_into(&pool, page(1), || {}).unwrap();
        let counters = Arc::clone(&pool.counters);
        let dropping = spawn(move || drop(pool));
        drop(pin);
        dropping.join().unwrap();
        assert_eq!(Arc::strong_count(&counters), 1, "the pool is gone with its counters");
    });
}
