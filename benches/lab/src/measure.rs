//! One measurement: the clock, the CPU, the latencies, and the [`Sample`] they make.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// What one arm did in one round, and the time and CPU that it took.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Pages moved (or operations done, where an arm moves no pages). Where an arm reads and writes, those that it read.
    pub pages: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// What was written beside what `pages` counts.
    pub written: Written,
    /// Wall time.
    pub seconds: f64,
    /// CPU time of the whole process, user and system, the kernel's workers for its rings included.
    pub cpu_seconds: f64,
    /// CPU time of the thread that measured.
    pub thread_cpu_seconds: f64,
    /// Latencies of the single requests, where the arm recorded them.
    pub latencies: Option<Latencies>,
    /// Digest of the bytes read, where the arm took it.
    pub digest: Option<u64>,
    /// How often the threads that the arm watched began to run, where it counted that.
    pub wakeups: Option<u64>,
}

/// What an arm that reads and writes has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Pages.
    pub pages: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Sample {
    /// Returns the pages a second.
    #[must_use]
    pub fn pages_per_s(&self) -> f64 {
        self.pages as f64 / self.seconds
    }

    /// Returns the megabytes (10^6) a second.
    #[must_use]
    pub fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }

    /// Returns the microseconds of CPU a page, of the whole process. Where an arm reads and writes, both are pages; where no page
    /// was moved, it is no number.
    #[must_use]
    pub fn cpu_us_per_page(&self) -> f64 {
        self.cpu_seconds * 1e6 / (self.pages + self.written.pages) as f64
    }

    /// Returns the microseconds of CPU a second, of the whole process: a million is one core.
    #[must_use]
    pub fn cpu_us_per_s(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.seconds
    }

    /// Returns how often a second the watched threads began to run.
    #[must_use]
    pub fn wakeups_per_s(&self) -> Option<f64> {
        self.wakeups.map(|wakeups| wakeups as f64 / self.seconds)
    }

    /// Returns the nanoseconds of wall time a page: the time of one operation where one thread did them one after another.
    #[must_use]
    pub fn ns_per_page(&self) -> f64 {
        self.seconds * 1e9 / self.pages as f64
    }

    /// Returns the median latency in microseconds.
    #[must_use]
    pub fn p50_us(&self) -> Option<f64> {
        self.latencies.as_ref().and_then(|latencies| latencies.quantile_us(0.50))
    }

    /// Returns the 99th percentile of the latency in microseconds.
    #[must_use]
    pub fn p99_us(&self) -> Option<f64> {
        self.latencies.as_ref().and_then(|latencies| latencies.quantile_us(0.99))
    }

    /// Returns the longest latency in microseconds.
    #[must_use]
    pub fn longest_us(&self) -> Option<f64> {
        self.latencies.as_ref().and_then(|latencies| latencies.quantile_us(1.0))
    }

    /// Returns the run of an arm that reads and writes, by its writes: `pages` are what it wrote. Latencies were those of its reads.
    #[must_use]
    pub fn by_writes(&self) -> Self {
        let read = Written { pages: self.pages, bytes: self.bytes };
        let Written { pages, bytes } = self.written;
        Self { pages, bytes, written: read, latencies: None, ..self.clone() }
    }

    /// Sets what was written.
    #[must_use]
    pub fn with_written(self, pages: u64, bytes: u64) -> Self {
        Self { written: Written { pages, bytes }, ..self }
    }

    /// Sets the latencies of its requests.
    #[must_use]
    pub fn with_latencies(self, latencies: Latencies) -> Self {
        Self { latencies: Some(latencies), ..self }
    }

    /// Sets the digest of the bytes that were read.
    #[must_use]
    pub fn with_digest(self, digest: u64) -> Self {
        Self { digest: Some(digest), ..self }
    }
}

/// A histogram of latencies, to three digits, up to a minute.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// Makes an empty histogram.
    #[must_use]
    pub fn new() -> Self {
        let minute = Duration::from_mins(1).as_nanos() as u64;
        Self(Histogram::new_with_bounds(1, minute, 3).expect("these bounds are valid"))
    }

    /// Counts one request. What took longer than a minute counts as a minute.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// Returns how many requests were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns the latency in microseconds that `part` of the requests did not exceed; `None` when there was none.
    #[must_use]
    pub fn quantile_us(&self, part: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(part) as f64 / 1e3)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

/// A running measurement. Start it when everything is set up.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    process: Duration,
    thread: Duration,
    wall: Instant,
}

impl Meter {
    /// Starts all clocks, the wall clock last.
    #[must_use]
    pub fn start() -> Self {
        let (process, thread) = (process_cpu(), thread_cpu());
        Self { process, thread, wall: Instant::now() }
    }

    /// Stops all clocks, the wall clock first.
    #[must_use]
    pub fn stop(self) -> Elapsed {
        let seconds = self.wall.elapsed().as_secs_f64();
        let cpu_seconds = (process_cpu() - self.process).as_secs_f64();
        Elapsed { seconds, cpu_seconds, thread_cpu_seconds: (thread_cpu() - self.thread).as_secs_f64() }
    }
}

/// What a [`Meter`] read when it stopped.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed {
    /// Wall time.
    pub seconds: f64,
    /// CPU time of the whole process.
    pub cpu_seconds: f64,
    /// CPU time of the calling thread.
    pub thread_cpu_seconds: f64,
}

impl Elapsed {
    /// Makes the sample of a run that moved this much in this time.
    #[must_use]
    pub fn sample(self, pages: u64, bytes: u64) -> Sample {
        let Self { seconds, cpu_seconds, thread_cpu_seconds } = self;
        Sample {
            pages,
            bytes,
            written: Written::default(),
            seconds,
            cpu_seconds,
            thread_cpu_seconds,
            latencies: None,
            digest: None,
            wakeups: None,
        }
    }
}

/// Runs `work` on `threads` threads at once (on the caller's own where it is one) and measures from the moment when all are
/// ready until the last is done. Answers are in the order of the threads' numbers.
///
/// # Panics
///
/// If `work` panics.
pub fn on_threads<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> (Vec<T>, Elapsed) {
    start(threads, |_| (), work)
}

fn start<T: Send>(
    threads: usize,
    prepare: impl Fn(usize) + Sync,
    work: impl Fn(usize) -> T + Sync,
) -> (Vec<T>, Elapsed) {
    if threads == 1 {
        let meter = Meter::start();
        let answer = work(0);
        return (vec![answer], meter.stop());
    }
    let ready = Barrier::new(threads + 1);
    let run = |number| {
        prepare(number);
        ready.wait();
        work(number)
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|number| scope.spawn(move || run(number))).collect();
        let meter = Meter::start();
        ready.wait();
        let answers =
            running.into_iter().map(|thread| thread.join().expect("a measured thread panicked")).collect();
        (answers, meter.stop())
    })
}

/// Runs `work` as [`on_threads`] does, each of several threads on a core of its own. For runs of some milliseconds: threads that
/// start together may share a core until the scheduler looks at them again, which takes it as long as the run.
///
/// # Panics
///
/// If `work` panics.
pub fn on_cores<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> (Vec<T>, Elapsed) {
    // Before the threads are ready, so that moving them is not measured.
    start(threads, |number| _ = stay_on_core(number), work)
}

/// Has the calling thread run on one core only. Fails where there is none of this number that the thread may use.
fn stay_on_core(number: usize) -> rustix::io::Result<()> {
    let may_use = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| may_use.is_set(core));
    let core = cores.nth(number).ok_or(rustix::io::Errno::INVAL)?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only)
}

/// Returns the user and system time of every thread of this process, ended ones included, to the nanosecond (`getrusage` gives the
/// same sum, rounded).
fn process_cpu() -> Duration {
    read_clock(ClockId::ProcessCPUTime)
}

fn thread_cpu() -> Duration {
    read_clock(ClockId::ThreadCPUTime)
}

fn read_clock(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).expect("CPU clocks do not run below zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_numbers_follow_from_what_was_measured() {
        let elapsed = Elapsed { seconds: 2.0, cpu_seconds: 0.5, thread_cpu_seconds: 0.25 };
        let sample = elapsed.sample(1000, 8_192_000);
        assert_eq!(sample.pages_per_s(), 500.0);
        assert_eq!(sample.mb_per_s(), 4.096);
        assert_eq!(sample.cpu_us_per_page(), 500.0);
        assert_eq!(sample.ns_per_page(), 2_000_000.0);
        assert_eq!(sample.cpu_us_per_s(), 250_000.0);
        assert_eq!((sample.p99_us(), sample.longest_us(), sample.wakeups_per_s()), (None, None, None));
    }

    #[test]
    fn an_arm_that_reads_and_writes_is_seen_from_both_sides_and_its_cpu_goes_to_both() {
        let elapsed = Elapsed { seconds: 2.0, cpu_seconds: 0.5, thread_cpu_seconds: 0.25 };
        let sample = elapsed.sample(1000, 8_192_000).with_written(250, 1_000_000);
        assert_eq!((sample.pages_per_s(), sample.cpu_us_per_page()), (500.0, 400.0));
        let by_writes = sample.by_writes();
        assert_eq!((by_writes.pages_per_s(), by_writes.cpu_us_per_page()), (125.0, 400.0));
        assert_eq!((by_writes.mb_per_s(), by_writes.by_writes().mb_per_s()), (0.5, 4.096));
    }

    #[test]
    fn percentiles_are_those_of_all_threads_together() {
        let (mut fast, mut slow) = (Latencies::new(), Latencies::new());
        (0..99).for_each(|_| fast.record(Duration::from_micros(50)));
        (0..99).for_each(|_| slow.record(Duration::from_micros(900)));
        fast.merge(&slow);
        assert_eq!(fast.count(), 198);
        assert!((fast.quantile_us(0.50).unwrap() - 50.0).abs() < 0.1);
        assert!((fast.quantile_us(0.99).unwrap() - 900.0).abs() < 1.0);
    }

    #[test]
    fn cpu_of_all_threads_is_counted() {
        let spin = |_| {
            let start = Instant::now();
            while thread_cpu() < Duration::from_millis(20) {
                assert!(start.elapsed() < Duration::from_secs(20));
            }
        };
        let (_, elapsed) = on_threads(3, spin);
        assert!(elapsed.cpu_seconds > 0.05, "{elapsed:?}");
    }
}
