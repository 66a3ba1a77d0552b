//! Snapshots for the `metrics` facade, in the words of Prometheus: counters end in `_total`, times are in seconds, and every metric has
//! the label `pool`.
//!
//! A count is set as an absolute value. The facade keeps the highest that a counter was ever set to; so what can begin anew under the same
//! labels has a label that cannot: a file its id, a pool its name.

use std::sync::Arc;

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::{
    api::{
        file_stats::{FileCounts, FileStats},
        snapshot::Stats,
    },
    io::report::MethodKind,
    observe::{Counts, Latency},
};

const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.99", 0.99), ("0.999", 0.999)];

/// The bounds of the buckets of each latency: powers of two, in nanoseconds; from a microsecond to 8.6 s.
const BOUNDS: std::ops::RangeInclusive<u32> = 10..=33;

impl Stats {
    /// Sets counters and gauges of the `metrics` facade, and describes them. Call it as often as your exporter is asked: the pool
    /// does not call the facade by itself. The label `pool` is the pool's [name](crate::Builder::name).
    ///
    /// | metric | kind | labels | |
    /// |---|---|---|---|
    /// | `ringpool_<count>_total` | counter | `pool` | each of [`Counts`](crate::stats::Counts), since the pool was built |
    /// | `ringpool_latency_seconds_bucket` | counter | `pool`, `op`, `le` | how many of each of [`Latencies`](crate::stats::Latencies) took at most `le` seconds |
    /// | `ringpool_latency_seconds_count` | counter | `pool`, `op` | how many there were |
    /// | `ringpool_latency_seconds_sum` | gauge | `pool`, `op` | how long they took together |
    /// | `ringpool_latency_seconds` | gauge | `pool`, `op`, `quantile` | 0.5, 0.99, 0.999; and 1, the longest |
    /// | `ringpool_frames` | gauge | `pool`, `state` | each of [`FrameStats`](crate::stats::FrameStats) but the pins |
    /// | `ringpool_pins` | gauge | `pool` | all pins together |
    /// | `ringpool_memory_bytes` | gauge | `pool`, `of` | `pages`, and what is `beside` them |
    /// | `ringpool_method` | gauge | `pool`, `method` | 1 for the I/O method in use, 0 for the others |
    ///
    /// Buckets are exact, since their bounds are bounds of the [histogram's](crate::stats::Histogram) own; quantiles of an interval and of several
    /// pools come of them as usual: `histogram_quantile(0.99, sum by (op, le) (rate(ringpool_latency_seconds_bucket[1m])))`. The gauges of
    /// quantiles are of all times since the pool's birth. Publish snapshots as they are: a counter keeps the highest value that it was set
    /// to, so the difference of two snapshots would leave it where it was.
    ///
    /// # Examples
    /// ```
    /// # use ringpool::BufferPool;
    /// # fn main() -> ringpool::Result<()> {
    /// let pool = BufferPool::builder().name("orders").frames(16).build()?;
    /// // As often as the exporter is asked:
    /// pool.stats().publish();
    /// pool.files().iter().for_each(|file| file.publish());
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&self) {
        describe_pool();
        let labels = |more: &[(&'static str, &'static str)]| labels(&self.pool, more);
        for (name, value) in self.counts.iter() {
            counter!(format!("ringpool_{name}_total"), labels(&[])).absolute(value);
        }
        for (op, latency) in self.latencies.iter() {
            publish_latency("ringpool_latency_seconds", latency, &labels(&[("op", op)]));
            for bits in BOUNDS {
                let mut labels = labels(&[("op", op)]);
                // The highest number of nanoseconds below the power.
                labels.push(Label::new("le", (((1_u64 << bits) - 1) as f64 / 1e9).to_string()));
                counter!("ringpool_latency_seconds_bucket", labels).absolute(latency.0.below_power(bits));
            }
            let all = labels(&[("op", op), ("le", "+Inf")]);
            counter!("ringpool_latency_seconds_bucket", all).absolute(latency.count());
        }
        let frames = &self.frames;
        for (state, frames) in [
            ("total", frames.total),
            ("at_most", frames.at_most),
            ("resident", frames.resident),
            ("pinned", frames.pinned),
            ("dirty", frames.dirty),
            ("reading", frames.reading),
            ("reading_ahead", frames.reading_ahead),
            ("writing", frames.writing),
        ] {
            gauge!("ringpool_frames", labels(&[("state", state)])).set(f64::from(frames));
        }
        gauge!("ringpool_pins", labels(&[])).set(self.frames.pins as f64);
        for (of, bytes) in [("pages", self.page_bytes), ("beside", self.overhead_bytes)] {
            gauge!("ringpool_memory_bytes", labels(&[("of", of)])).set(bytes as f64);
        }
        for (method, name) in
            [(MethodKind::Uring, "io_uring"), (MethodKind::Worker, "worker"), (MethodKind::Sync, "sync")]
        {
            let is_it = f64::from(u8::from(self.method.in_use == method));
            gauge!("ringpool_method", labels(&[("method", name)])).set(is_it);
        }
    }
}

impl FileStats {
    /// Sets counters and gauges of the `metrics` facade for this file, as [`Stats::publish`] does for the pool; its documentation
    /// has an example. The label `file` is the path by which it was opened, and `id` its number in its pool, which is different
    /// each time that it is opened.
    ///
    /// The facade forgets no metric: those of a file that was closed stay in the exporter, with their last values, unless it drops what is idle
    /// (as `metrics-exporter-prometheus` does with an `idle_timeout`). Where files come and go, publish only the ones that stay.
    ///
    /// | metric | kind | labels | |
    /// |---|---|---|---|
    /// | `ringpool_file_<count>_total` | counter | `pool`, `file`, `id` | each of [`FileCounts`](crate::stats::FileCounts) that is known, since it was opened |
    /// | `ringpool_file_latency_seconds_count` | counter | `pool`, `file`, `id`, `op` | how many reads, writes and syncs there were |
    /// | `ringpool_file_latency_seconds_sum` | gauge | `pool`, `file`, `id`, `op` | how long they took together |
    /// | `ringpool_file_latency_seconds` | gauge | `pool`, `file`, `id`, `op`, `quantile` | 0.5, 0.99, 0.999; and 1, the longest |
    /// | `ringpool_file_pages` | gauge | `pool`, `file`, `id`, `state` | pages in the pool: `resident`, and of those `dirty` |
    /// | `ringpool_file_blocks` | gauge | `pool`, `file`, `id` | its length |
    ///
    /// Example: [`Stats::publish`].
    pub fn publish(&self) {
        describe_files();
        let labels = |more: &[(&'static str, &'static str)]| {
            let mut labels = labels(&self.pool, more);
            labels.push(Label::new("file", self.info.path.display().to_string()));
            labels.push(Label::new("id", self.file.get().to_string()));
            labels
        };
        for (name, value) in self.counts.iter() {
            counter!(format!("ringpool_file_{name}_total"), labels(&[])).absolute(value);
        }
        for (op, latency) in [("read", &self.read), ("write", &self.write), ("sync", &self.sync)] {
            publish_latency("ringpool_file_latency_seconds", latency, &labels(&[("op", op)]));
        }
        for (state, pages) in [("resident", self.resident_pages), ("dirty", self.dirty_pages)] {
            gauge!("ringpool_file_pages", labels(&[("state", state)])).set(f64::from(pages));
        }
        gauge!("ringpool_file_blocks", labels(&[])).set(f64::from(self.info.blocks));
    }
}

fn labels(pool: &Arc<str>, more: &[(&'static str, &'static str)]) -> Vec<Label> {
    let more = more.iter().map(|&(key, value)| Label::from_static_parts(key, value));
    [Label::new("pool", Arc::clone(pool))].into_iter().chain(more).collect()
}

fn publish_latency(name: &'static str, latency: &Latency, labels: &[Label]) {
    counter!(format!("{name}_count"), labels.to_vec()).absolute(latency.count());
    gauge!(format!("{name}_sum"), labels.to_vec()).set(latency.sum().as_secs_f64());
    let quantiles = QUANTILES.map(|(name, share)| (name, latency.quantile(share)));
    for (quantile, time) in quantiles.into_iter().chain([("1", latency.max())]) {
        let mut labels = labels.to_vec();
        labels.push(Label::from_static_parts("quantile", quantile));
        gauge!(name, labels).set(time.as_secs_f64());
    }
}

fn describe_pool() {
    for &(name, doc) in Counts::DOCS {
        describe_counter!(format!("ringpool_{name}_total"), Unit::Count, plain(doc));
    }
    describe_latency("ringpool_latency_seconds", "what `op` says");
    describe_counter!(
        "ringpool_latency_seconds_bucket",
        Unit::Count,
        "How many of what `op` says took at most `le` seconds."
    );
    describe_gauge!("ringpool_frames", Unit::Count, "Frames in this state.");
    describe_gauge!("ringpool_pins", Unit::Count, "Pins on all frames together.");
    describe_gauge!("ringpool_memory_bytes", Unit::Bytes, "Memory of the pages, and of all beside them.");
    describe_gauge!("ringpool_method", "1 for the I/O method that the pool uses now, 0 for the others.");
}

fn describe_files() {
    for &(name, doc) in FileCounts::DOCS {
        describe_counter!(format!("ringpool_file_{name}_total"), Unit::Count, plain(doc));
    }
    describe_latency("ringpool_file_latency_seconds", "the file's requests of the kind that `op` says");
    describe_gauge!("ringpool_file_pages", Unit::Count, "Pages of the file in the pool in this state.");
    describe_gauge!("ringpool_file_blocks", Unit::Count, "The length of the file in blocks.");
}

fn describe_latency(name: &'static str, of: &str) {
    describe_counter!(format!("{name}_count"), Unit::Count, format!("How many there were of {of}."));
    describe_gauge!(format!("{name}_sum"), Unit::Seconds, format!("How long {of} took together."));
    describe_gauge!(name, Unit::Seconds, format!("How long {of} took: what this share did not exceed."));
}

/// Returns the documentation without its links: `[this](that)` as `this`.
fn plain(doc: &str) -> String {
    let mut pieces = doc.trim().split("](");
    let first = pieces.next().unwrap_or_default().to_owned();
    let text = pieces.fold(first, |text, piece| text + piece.split_once(')').map_or(piece, |(_, rest)| rest));
    text.replace(['[', '`'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_told_without_their_links() {
        assert_eq!(
            plain(" Calls, and [`those`](crate::Those) of [it](x) (all)."),
            "Calls, and those of it (all)."
        );
        assert!(Counts::DOCS.iter().all(|(_, doc)| !plain(doc).contains(['[', ']', '`']) && doc.len() > 5));
    }
}
