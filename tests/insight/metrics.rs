//! `Stats::publish` and `FileStats::publish` set a counter or a gauge for every number, with labels that tell pools and files apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use ringpool::{
    BufferPool, CheckpointOptions, IoMethod, OpenOptions, PageId, stats::FileStats, testing::SimDisk,
};

use crate::support::{Bench, stamped_file};

type Values = Mutex<BTreeMap<String, Arc<AtomicU64>>>;

/// Keeps what was set, by name and labels.
#[derive(Default)]
struct Kept {
    counters: Values,
    gauges: Values,
    described: Mutex<BTreeMap<String, (Option<Unit>, String)>>,
}

impl Kept {
    #[track_caller]
    fn get(values: &Values, name: &str) -> u64 {
        let values = values.lock().unwrap();
        let value = values.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", values.keys()));
        value.load(Ordering::Relaxed)
    }

    #[track_caller]
    fn counter(&self, name: &str) -> u64 {
        Self::get(&self.counters, name)
    }

    #[track_caller]
    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(Self::get(&self.gauges, name))
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, text: &SharedString) {
        self.described.lock().unwrap().insert(name.as_str().to_owned(), (unit, text.to_string()));
    }

    fn enter(values: &Values, key: &Key) -> Arc<AtomicU64> {
        let mut labels: Vec<_> =
            key.labels().map(|label| format!(" {}={}", label.key(), label.value())).collect();
        labels.sort_unstable();
        Arc::clone(values.lock().unwrap().entry(key.name().to_owned() + &labels.concat()).or_default())
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("neither a counter nor a gauge: {name:?}")
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Self::enter(&self.counters, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Self::enter(&self.gauges, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("neither a counter nor a gauge: {key}")
    }
}

/// Publishes all of a pool.
fn publish(kept: &Kept, pool: &BufferPool) {
    metrics::with_local_recorder(kept, || {
        pool.stats().publish();
        pool.files().iter().for_each(FileStats::publish);
    });
}

#[test]
fn every_number_of_a_snapshot_is_published() {
    let bench = Bench::with(16, |builder| builder.name("one").frames(8).io_method(IoMethod::Sync));
    bench.dirty(0..3, 2);
    let pinned = bench.fetch(5).unwrap();
    let stats = bench.pool.stats();
    let kept = Kept::default();
    metrics::with_local_recorder(&kept, || stats.publish());
    drop(pinned);

    for (name, value) in stats.counts.iter() {
        assert_eq!(kept.counter(&format!("ringpool_{name}_total pool=one")), value);
    }
    let frames = ["total", "at_most", "resident", "dirty", "pinned", "reading", "reading_ahead", "writing"];
    let frames = frames.map(|state| kept.gauge(&format!("ringpool_frames pool=one state={state}")));
    assert_eq!(frames, [8.0, 8.0, 4.0, 3.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(kept.gauge("ringpool_pins pool=one"), 1.0);
    for (op, latency) in stats.latencies.iter() {
        let name = |name: &str| format!("ringpool_latency_seconds{name} op={op} pool=one");
        assert_eq!(kept.counter(&name("_count")), latency.count());
        assert_eq!(kept.gauge(&name("_sum")), latency.sum().as_secs_f64());
        let told = ["0.5", "0.99", "0.999", "1"]
            .map(|quantile| kept.gauge(&format!("{} quantile={quantile}", name(""))));
        let seen = [latency.p50(), latency.p99(), latency.p999(), latency.max()];
        assert_eq!(told, seen.map(|time| time.as_secs_f64()), "{op}");
    }
    assert!(kept.gauge("ringpool_latency_seconds op=read pool=one quantile=1") > 0.0);
    let memory = ["pages", "beside"].map(|of| kept.gauge(&format!("ringpool_memory_bytes of={of} pool=one")));
    assert_eq!(memory, [stats.page_bytes as f64, stats.overhead_bytes as f64]);
    let methods = ["io_uring", "worker", "sync"];
    let methods = methods.map(|method| kept.gauge(&format!("ringpool_method method={method} pool=one")));
    assert_eq!(methods, [0.0, 0.0, 1.0]);
}

#[test]
fn buckets_of_a_latency_rise_to_the_count_and_have_what_took_at_most_so_long() {
    let bench = Bench::with(64, |builder| builder.name("one").frames(64).io_method(IoMethod::Sync));
    (0..64).for_each(|block| drop(bench.fetch(block).unwrap()));
    let kept = Kept::default();
    let stats = bench.pool.stats();
    metrics::with_local_recorder(&kept, || stats.publish());
    let reads = &stats.latencies.read;
    let prefix = "ringpool_latency_seconds_bucket le=";
    let all = kept.counters.lock().unwrap();
    let of_reads = all.iter().filter_map(|(name, count)| {
        let bound = name.strip_prefix(prefix)?.strip_suffix(" op=read pool=one")?;
        Some((bound.parse::<f64>().unwrap(), count.load(Ordering::Relaxed)))
    });
    let mut buckets: Vec<_> = of_reads.collect();
    buckets.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
    assert_eq!(buckets.last(), Some(&(f64::INFINITY, 64)));
    assert!(buckets.len() > 20 && buckets.is_sorted_by_key(|&(_, count)| count), "{buckets:?}");
    let longest = reads.max().as_secs_f64();
    for &(bound, count) in &buckets {
        // No read took more than the longest; and where a share of them did not exceed a bound, twice that bound is not reported
        // for it.
        assert!(bound < longest || count == 64, "{count} within {bound} s, and all within {longest} s");
        let share = count as f64 / 64.0;
        assert!(count == 0 || reads.quantile(share).as_secs_f64() <= bound * 17.0 / 16.0, "{bound}: {count}");
    }
}

#[test]
fn two_pools_of_a_process_do_not_overwrite_each_other() {
    let build = |name: Option<&'static str>| {
        let disk = SimDisk::new();
        disk.put("data", stamped_file(8, 1));
        let mut builder = BufferPool::builder().frames(8).io_method(IoMethod::Sync).storage(disk);
        if let Some(name) = name {
            builder = builder.name(name);
        }
        let pool = builder.build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        (pool, file)
    };
    let pools = [build(None), build(None), build(Some("heap")), build(Some("index"))];
    for (misses, (pool, file)) in (1..).zip(&pools) {
        (0..misses).for_each(|block| drop(pool.read(PageId::new(*file, block)).wait().unwrap()));
    }
    let kept = Kept::default();
    pools.iter().for_each(|(pool, _)| publish(&kept, pool));
    let names: BTreeSet<_> = pools.iter().map(|(pool, _)| pool.name().to_owned()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.contains("heap") && names.contains("index"));
    for (misses, (pool, file)) in (1..).zip(&pools) {
        let name = pool.name();
        assert_eq!(kept.counter(&format!("ringpool_misses_total pool={name}")), misses);
        let of_file = format!("ringpool_file_misses_total file=data id={} pool={name}", file.get());
        assert_eq!(kept.counter(&of_file), misses);
    }
}

#[test]
fn every_number_of_a_file_is_published_with_its_path() {
    let bench = Bench::with(16, |builder| builder.name("one").frames(8).io_method(IoMethod::Sync));
    bench.disk.put("index", stamped_file(4, 1));
    let index = bench.pool.open_file("index", OpenOptions::new()).unwrap();
    bench.dirty(0..3, 2);
    bench.dirty([0], 3);
    drop(bench.pool.read(PageId::new(index, 2)).wait().unwrap());
    bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    bench.dirty([1], 3);
    let kept = Kept::default();
    publish(&kept, &bench.pool);
    for file in bench.pool.files() {
        let labels = format!("file={} id={}", file.info.path.display(), file.file.get());
        for (name, value) in file.counts.iter() {
            assert_eq!(kept.counter(&format!("ringpool_file_{name}_total {labels} pool=one")), value);
        }
        for (op, latency) in [("read", &file.read), ("write", &file.write), ("sync", &file.sync)] {
            let name = |name: &str| format!("ringpool_file_latency_seconds{name} {labels} op={op} pool=one");
            assert_eq!(kept.counter(&name("_count")), latency.count());
            assert_eq!(kept.gauge(&name("_sum")), latency.sum().as_secs_f64());
            assert_eq!(kept.gauge(&(name("") + " quantile=1")), latency.max().as_secs_f64());
        }
        let pages = ["resident", "dirty"]
            .map(|state| kept.gauge(&format!("ringpool_file_pages {labels} pool=one state={state}")));
        assert_eq!(pages, [f64::from(file.resident_pages), f64::from(file.dirty_pages)]);
        let blocks = kept.gauge(&format!("ringpool_file_blocks {labels} pool=one"));
        assert_eq!(blocks, f64::from(file.info.blocks));
    }
    assert_eq!(kept.counter("ringpool_file_misses_total file=index id=1 pool=one"), 1);
    assert_eq!(kept.gauge("ringpool_file_pages file=data id=0 pool=one state=dirty"), 1.0);
}

#[test]
fn every_metric_is_described_with_its_unit_and_named_as_its_kind_is() {
    let bench = Bench::new(IoMethod::Sync, 8, 16);
    bench.dirty(0..3, 2);
    let kept = Kept::default();
    publish(&kept, &bench.pool);
    let described = kept.described.lock().unwrap();
    let name = |metric: &str| metric.split(' ').next().unwrap().to_owned();
    let counters: BTreeSet<_> = kept.counters.lock().unwrap().keys().map(|metric| name(metric)).collect();
    let gauges: BTreeSet<_> = kept.gauges.lock().unwrap().keys().map(|metric| name(metric)).collect();
    for counter in &counters {
        assert!(["_total", "_count", "_bucket"].iter().any(|end| counter.ends_with(end)), "{counter}");
    }
    for gauge in &gauges {
        assert!(!gauge.ends_with("_total") && !gauge.ends_with("_count"), "{gauge}");
    }
    let published: BTreeSet<_> = counters.union(&gauges).collect();
    assert_eq!(published, described.keys().collect::<BTreeSet<_>>());
    for (name, (unit, text)) in described.iter() {
        assert!(
            name.starts_with("ringpool_") && text.ends_with('.') && !text.contains("]("),
            "{name}: {text}"
        );
        let ends_as = |end: &str| name.trim_end_matches("_sum").ends_with(end);
        assert_eq!(*unit == Some(Unit::Seconds), ends_as("_seconds"), "{name}: {unit:?}");
        assert_eq!(*unit == Some(Unit::Bytes), ends_as("_bytes"), "{name}: {unit:?}");
    }
    let labelled = kept
        .counters
        .lock()
        .unwrap()
        .keys()
        .chain(kept.gauges.lock().unwrap().keys())
        .all(|metric| metric.contains(&format!(" pool={}", bench.pool.name())));
    assert!(labelled, "every metric says of which pool it is");
}
