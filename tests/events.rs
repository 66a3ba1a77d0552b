//! The events that a pool sends to `tracing`.
//!
//! A process of their own, with one subscriber that is there before any pool: `tracing` keeps for each place that sends events whether there is
//! a subscriber for it, and a place that a thread passes for the first time while another thread subscribes can be left out.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::{cell::RefCell, fmt::Write, sync::Once};

use ringpool::{IoMethod, Lsn, Shutdown, Wal};
use support::Bench;
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
    subscriber::set_global_default,
};

thread_local! {
    /// The events of this thread, each as the text of its fields.
    static EVENTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the events of each thread for that thread.
struct Listener;

/// Subscribes to the events of this process.
fn subscribe() {
    static SUBSCRIBED: Once = Once::new();
    SUBSCRIBED.call_once(|| set_global_default(Listener).unwrap());
}

/// Returns the events that `body` sends from this thread.
fn events_of(body: impl FnOnce()) -> Vec<String> {
    EVENTS.take();
    body();
    EVENTS.take()
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            let _ = write!(text, "{field}={value:?} ");
        });
        EVENTS.with_borrow_mut(|events| events.push(text));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn c5_a_pool_that_goes_with_changes_says_how_many() {
    subscribe();
    for (dirty, how) in [(3, None), (2, Some(Shutdown::Discard)), (0, Some(Shutdown::Flush)), (0, None)] {
        let bench = Bench::new(IoMethod::Sync, 16, 8);
        bench.dirty(0..dirty, 2);
        let pool = bench.into_pool();
        let events = events_of(|| match how {
            Some(how) => drop(pool.shutdown(how).unwrap()),
            None => drop(pool),
        });
        let told = events
            .iter()
            .any(|event| event.contains(&format!("pages={dirty} ")) && event.contains("thrown away"));
        assert_eq!(told, dirty > 0, "{how:?}: {events:?}");
    }
}

/// A log that is durable as far as it is asked for.
struct Log;

impl Wal for Log {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(u64::MAX)
    }

    fn flush(&self, up_to: Lsn) -> std::io::Result<Lsn> {
        Ok(up_to)
    }
}

#[test]
fn c8_the_first_change_without_a_log_position_is_told() {
    subscribe();
    let bench = Bench::with(8, |builder| builder.frames(16).io_method(IoMethod::Sync).wal(Log));
    let events = events_of(|| bench.dirty([3, 4], 2));
    let told: Vec<_> = events.iter().filter(|event| event.contains("without set_lsn")).collect();
    assert!(matches!(told[..], [event] if event.contains("block 3")), "{events:?}");
}
