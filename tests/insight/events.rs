//! What a person hears of, through `tracing`.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
};

use ringpool::{IoMethod, Lsn, Shutdown, Wal};
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
    subscriber::with_default,
};

use crate::support::Bench;

/// Keeps the events of its thread, each as the text of its fields.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            let _ = write!(text, "{field}={value:?} ");
        });
        self.0.lock().unwrap().push(text);
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
    for (dirty, how) in [(3, None), (2, Some(Shutdown::Discard)), (0, Some(Shutdown::Flush)), (0, None)] {
        let bench = Bench::new(IoMethod::Sync, 16, 8);
        bench.dirty(0..dirty, 2);
        let pool = bench.into_pool();
        let listener = Listener::default();
        with_default(listener.clone(), || match how {
            Some(how) => drop(pool.shutdown(how).unwrap()),
            None => drop(pool),
        });
        let events = listener.0.lock().unwrap();
        let told = events
            .iter()
            .any(|event| event.contains(&format!("pages={dirty} ")) && event.contains("thrown away"));
        assert_eq!(told, dirty > 0, "{how:?}: {events:?}");
    }
}

/// A log that is durable as far as anybody asks.
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
    let bench = Bench::with(8, |builder| builder.frames(16).io_method(IoMethod::Sync).wal(Log));
    let listener = Listener::default();
    with_default(listener.clone(), || bench.dirty([3, 4], 2));
    let events = listener.0.lock().unwrap();
    let told: Vec<_> = events.iter().filter(|event| event.contains("without set_lsn")).collect();
    assert!(matches!(told[..], [event] if event.contains("block 3")), "{events:?}");
}
