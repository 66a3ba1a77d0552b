//! A snapshot of the statistics, for the `metrics` facade.

use metrics::gauge;

use crate::api::snapshot::{FrameStats, Stats};

/// The quantiles that are told of each latency.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.99", 0.99), ("0.999", 0.999)];

impl Stats {
    /// Sets gauges of the `metrics` facade. Call it at the pace of your exporter: the facade is not called in between.
    ///
    /// | gauge | labels | |
    /// |---|---|---|
    /// | `ringpool_<count>` | | each of [`Counts`](crate::Counts), from the pool's birth |
    /// | `ringpool_frames` | `state` | each of [`FrameStats`] but the pins |
    /// | `ringpool_pins` | | all pins together |
    /// | `ringpool_latency_count` | `of` | how often, for each of [`Latencies`](crate::Latencies) |
    /// | `ringpool_latency_seconds` | `of`, `quantile` | how long: 0.5, 0.99, 0.999; and 1, the longest |
    /// | `ringpool_memory_bytes` | `of` | `pages`, and what is `beside` them |
    ///
    /// Quantiles are those of all times in this snapshot. For those of an interval, put a difference into
    /// [`latencies`](Self::latencies) first.
    pub fn publish(&self) {
        for (name, value) in self.counts.iter() {
            gauge!(format!("ringpool_{name}")).set(value as f64);
        }
        let FrameStats { total, at_most, resident, pinned, pins, dirty, reading, reading_ahead, writing } =
            self.frames;
        for (state, frames) in [
            ("total", total),
            ("at_most", at_most),
            ("resident", resident),
            ("pinned", pinned),
            ("dirty", dirty),
            ("reading", reading),
            ("reading_ahead", reading_ahead),
            ("writing", writing),
        ] {
            gauge!("ringpool_frames", "state" => state).set(f64::from(frames));
        }
        gauge!("ringpool_pins").set(pins as f64);
        for (of, latency) in self.latencies.iter() {
            gauge!("ringpool_latency_count", "of" => of).set(latency.count() as f64);
            let quantiles = QUANTILES.map(|(name, share)| (name, latency.quantile(share)));
            for (quantile, time) in quantiles.into_iter().chain([("1", latency.max())]) {
                gauge!("ringpool_latency_seconds", "of" => of, "quantile" => quantile)
                    .set(time.as_secs_f64());
            }
        }
        for (of, bytes) in [("pages", self.page_bytes), ("beside", self.overhead_bytes)] {
            gauge!("ringpool_memory_bytes", "of" => of).set(bytes as f64);
        }
    }
}
