//! P7, many threads: all of them want one page, and one access in sixteen changes it.
//!
//! With more threads than cores some threads are stopped while they hold the page, and threads that come meanwhile block. Together
//! they should get done what two threads do, and no thread should wait much longer than the kernel takes to schedule each thread
//! once. Readers and writers are counted apart, since either could starve.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lab::measure::on_threads;
use lab::report::FigureRow;
use lab::{Arm, Latencies, Result, Sample};
use ringpool::{BufferPool, FileId, IoMethod, OpenOptions, PageId};

use crate::bench::{Bench, Goal, PAGE};

/// The number of threads with which the others are compared: as many as the machine of the figures has cores.
const PAIR: usize = 2;

const THREADS: [(usize, &str); 4] = [
    (1, "one thread to two, on one page"),
    (4, "4 threads to two, on one page"),
    (16, "16 threads to two, on one page"),
    (64, "64 threads to two, on one page"),
];

/// How long an arm runs: each of 64 threads on two cores gets its turn several times.
const PERIOD: Duration = Duration::from_millis(300);

/// The least rate of many threads, as a part of that of two.
const NO_COLLAPSE: f64 = 0.8;

/// One access of this many changes the page.
const READS_TO_A_CHANGE: u32 = 16;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let page = HotPage::new(bench)?;
    let crowds: Vec<Crowd> =
        [PAIR].into_iter().chain(THREADS.map(|(threads, _)| threads)).map(Crowd::of).collect();
    let arms = crowds.iter().map(|crowd| Arm::new(crowd.name(), |_| Ok(crowd.run(&page))));
    let pair = crowds[0].name();
    let outcome = bench.run("P7b", &pair, arms.collect())?;
    let rows = THREADS.iter().zip(&crowds[1..]).map(|(&(threads, name), crowd)| {
        let goal =
            if threads > PAIR { Goal::at_least("P7b", name, NO_COLLAPSE) } else { Goal::none("P7b", name) };
        let in_words = |arm: &str| {
            let crowd = crowds.iter().find(|crowd| crowd.name() == arm).expect("it is one of the arms");
            format!("{:.1} M/s ({})", outcome.summary(arm).pages_per_s / 1e6, crowd.waits())
        };
        goal.ratio(&outcome, (&crowd.name(), &pair), Sample::pages_per_s, in_words)
    });
    Ok(rows.collect())
}

/// The page that all want.
struct HotPage {
    pool: BufferPool,
    file: FileId,
}

impl HotPage {
    fn new(bench: &Bench) -> Result<Self> {
        let empty = tempfile::NamedTempFile::new_in(&bench.dir)?;
        empty.as_file().set_len(PAGE.into())?;
        let pool = BufferPool::builder().frames(16).page_size(PAGE).io_method(IoMethod::Sync).build()?;
        let file = pool.open_file(empty.path(), OpenOptions::new())?;
        Ok(Self { pool, file })
    }

    fn id(&self) -> PageId {
        PageId::new(self.file, 0)
    }

    fn read(&self) {
        let page = self.pool.read(self.id()).wait().expect("the page is resident");
        black_box(page[0]);
    }

    fn change(&self) {
        let page = self.pool.fetch(self.id()).wait().expect("the page is resident");
        let mut bytes = page.write().expect("the file can be written");
        bytes[0] = bytes[0].wrapping_add(1);
    }
}

/// The number of threads, and how long each of their accesses took in all rounds.
struct Crowd {
    threads: usize,
    reads: RefCell<Latencies>,
    changes: RefCell<Latencies>,
}

impl Crowd {
    fn of(threads: usize) -> Self {
        Self { threads, reads: RefCell::new(Latencies::new()), changes: RefCell::new(Latencies::new()) }
    }

    fn name(&self) -> String {
        format!("{} threads", self.threads)
    }

    fn run(&self, page: &HotPage) -> Sample {
        let begun = OnceLock::new();
        let (took, elapsed) = on_threads(self.threads, |_| {
            let (mut reads, mut changes) = (Latencies::new(), Latencies::new());
            let end = *begun.get_or_init(Instant::now) + PERIOD;
            let mut last = Instant::now();
            for access in 0_u32.. {
                let is_change = access % READS_TO_A_CHANGE == 0;
                let visit = if is_change { HotPage::change } else { HotPage::read };
                visit(page);
                // The end of one is the beginning of the next, so the clock is in the time of each.
                let now = Instant::now();
                if is_change { &mut changes } else { &mut reads }.record(now - last);
                last = now;
                if now >= end {
                    break;
                }
            }
            (reads, changes)
        });
        let accesses = took.iter().map(|(reads, changes)| reads.count() + changes.count()).sum();
        for (reads, changes) in &took {
            self.reads.borrow_mut().merge(reads);
            self.changes.borrow_mut().merge(changes);
        }
        elapsed.sample(accesses, 0)
    }

    /// Formats in us what half, 99 of 100 and 999 of 1,000 accesses did not exceed, and the longest.
    fn waits(&self) -> String {
        let of = |latencies: &RefCell<Latencies>| {
            let at = |part| latencies.borrow().quantile_us(part).unwrap_or(f64::NAN);
            format!("{:.2}/{:.2}/{:.2}/{:.0}", at(0.5), at(0.99), at(0.999), at(1.0))
        };
        format!("p50/p99/p99.9/max us: reads {}, changes {}", of(&self.reads), of(&self.changes))
    }
}
