//! `Stats::publish` sets a gauge for every number.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use ringpool::IoMethod;

use crate::support::Bench;

/// Keeps gauges by name and labels.
#[derive(Default)]
struct Gauges(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Gauges {
    fn get(&self, name: &str) -> f64 {
        let gauges = self.0.lock().unwrap();
        let gauge = gauges.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", gauges.keys()));
        f64::from_bits(gauge.load(Ordering::Relaxed))
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        panic!("not a gauge: {key}")
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = key.name().to_owned() + &labels.collect::<String>();
        Gauge::from_arc(Arc::clone(self.0.lock().unwrap().entry(name).or_default()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("not a gauge: {key}")
    }
}

#[test]
fn every_number_of_a_snapshot_becomes_a_gauge() {
    let bench = Bench::new(IoMethod::Sync, 8, 16);
    bench.dirty(0..3, 2);
    let pinned = bench.fetch(5).unwrap();
    let stats = bench.pool.stats();
    let gauges = Gauges::default();
    metrics::with_local_recorder(&gauges, || stats.publish());
    drop(pinned);

    for (name, value) in stats.counts.iter() {
        assert_eq!(gauges.get(&format!("ringpool_{name}")), value as f64);
    }
    let frames = ["total", "at_most", "resident", "dirty", "pinned", "reading", "reading_ahead", "writing"];
    let frames = frames.map(|state| gauges.get(&format!("ringpool_frames state={state}")));
    assert_eq!(frames, [8.0, 8.0, 4.0, 3.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(gauges.get("ringpool_pins"), 1.0);
    for (of, latency) in stats.latencies.iter() {
        assert_eq!(gauges.get(&format!("ringpool_latency_count of={of}")), latency.count() as f64);
        let told = ["0.5", "0.99", "0.999", "1"]
            .map(|quantile| gauges.get(&format!("ringpool_latency_seconds of={of} quantile={quantile}")));
        let seen = [latency.p50(), latency.p99(), latency.p999(), latency.max()];
        assert_eq!(told, seen.map(|time| time.as_secs_f64()), "{of}");
    }
    assert!(gauges.get("ringpool_latency_seconds of=read quantile=1") > 0.0);
    let memory = ["pages", "beside"].map(|of| gauges.get(&format!("ringpool_memory_bytes of={of}")));
    assert_eq!(memory, [stats.page_bytes as f64, stats.overhead_bytes as f64]);
}
