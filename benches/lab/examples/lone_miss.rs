//! Ways for a thread to read the one page that it waits for, and what each costs beside `pread`.
//!
//! `cargo run --release -p ringpool-lab --example lone_miss -- [DIR] [ROUNDS]`
//!
//! A lone miss cannot be overlapped with anything, so all that a buffer pool can do is to add to it. The ways differ in which
//! thread calls the kernel: the caller itself, by `pread` or by a ring of its own; or another thread, which sleeps until it is
//! woken or spins to notice sooner, while the caller sleeps or spins as well. The hand-overs here are bare: one mailbox, no queue,
//! no pool.

#![cfg(target_os = "linux")]

use std::{
    env,
    fs::File,
    hint,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::Instant,
};

use lab::{
    Arm, Latencies, Meter, Place, Result, Rounds, Sample,
    baseline::{
        plain::Plain,
        ring::{BareRing, RingOptions},
    },
    files::{Access, TestFile, open},
    machine::Machine,
    places,
    region::Region,
    report::{Align, Table},
    rounds::ROUNDS_OF_A_FIGURE,
};

const PAGE: u32 = 8192;
const FILE_MIB: u32 = 512;
const READS: usize = 1_500;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let rounds = arguments.next().map_or(Ok(ROUNDS_OF_A_FIGURE), |rounds| rounds.parse())?;
    println!("{}; {rounds} rounds of {READS} reads", Machine::of(&dir));
    let file = TestFile::create(&dir, PAGE, FILE_MIB * ((1 << 20) / PAGE), 1, |_| ())?;
    let open_again = || open(file.path(), Access { direct: true, write: false });

    let of_round = |round: u32| places::random_distinct(&[file.blocks()], READS, round.into());
    let files = [open_again()?];
    let plain = Plain { latencies: true, ..Plain::new(PAGE) };
    let mut ring = BareRing::new(RingOptions { batch: 1, ..RingOptions::new(PAGE, 1) })?;
    let asleep = Helper::start(open_again()?, Waits::Asleep)?;
    let spinning = Helper::start(open_again()?, Waits::Spinning)?;
    let arms = vec![
        Arm::new("pread", |round| Ok(plain.read(&files, &of_round(round), |_, _| ())?)),
        Arm::new("a ring of its own", |round| Ok(ring.read(&files, &of_round(round), |_, _| ())?)),
        Arm::new("a helper, both sleep", |round| Ok(asleep.read(&of_round(round), Waits::Asleep))),
        Arm::new("a helper that spins", |round| Ok(spinning.read(&of_round(round), Waits::Asleep))),
        Arm::new("a helper, both spin", |round| Ok(spinning.read(&of_round(round), Waits::Spinning))),
    ];
    let outcome = Rounds::new(rounds).twin("pread").run(arms, |_| ())?;

    let mut table = Table::new(&[
        ("reads are made by", Align::Left),
        ("p50 us", Align::Right),
        ("p99 us", Align::Right),
        ("CPU us", Align::Right),
        ("p50 to pread", Align::Left),
    ]);
    let p50 = |sample: &Sample| sample.p50_us().unwrap_or(f64::NAN);
    for arm in outcome.names() {
        let summary = outcome.summary(arm);
        let of = |latency: Option<f64>| latency.map_or_else(String::new, |latency| format!("{latency:.1}"));
        let ratio = outcome.ratio(arm, "pread", p50).map_or_else(String::new, |ratio| ratio.to_string());
        let cpu = format!("{:.1}", summary.cpu_us_per_page);
        table.push([arm.to_owned(), of(summary.p50_us), of(summary.p99_us), cpu, ratio]);
    }
    print!("{table}");
    outcome.noise(p50).into_iter().for_each(|noise| println!("pread to itself: {noise}"));
    outcome.disturbance().into_iter().for_each(|why| println!("{why}"));
    Ok(())
}

/// How a thread waits for another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Asleep,
    Spinning,
}

impl Waits {
    /// Waits until `done`; the other side unparks this thread in any case.
    fn until(self, mut done: impl FnMut() -> bool) {
        while !done() {
            match self {
                Self::Asleep => thread::park(),
                Self::Spinning => hint::spin_loop(),
            }
        }
    }
}

/// A thread that reads a page for another, again and again. A spinning one spins only while its arm runs: it is asked to sleep
/// after that.
struct Helper {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
}

/// A block asked for, and the same block when it was read: the waiting thread compares the two.
struct Mailbox {
    asked: AtomicU64,
    answered: AtomicU64,
}

/// No block.
const NOTHING: u64 = u64::MAX;
/// Asked of a helper to make it end.
const END: u64 = u64::MAX - 1;
/// Asked of a helper to make it sleep until it is woken, whatever its way to wait.
const REST: u64 = u64::MAX - 2;

impl Helper {
    fn start(file: File, waits: Waits) -> Result<Self> {
        let mailbox = Arc::new(Mailbox { asked: AtomicU64::new(NOTHING), answered: AtomicU64::new(NOTHING) });
        let mut region = Region::new(PAGE as usize)?;
        let mut serve = {
            let mailbox = Arc::clone(&mailbox);
            move |caller: Thread| {
                let mut now = Waits::Asleep;
                loop {
                    let mut block = NOTHING;
                    now.until(|| {
                        block = mailbox.asked.swap(NOTHING, Ordering::AcqRel);
                        block != NOTHING
                    });
                    now = if block == REST { Waits::Asleep } else { waits };
                    match block {
                        END => return,
                        REST => {}
                        block => file
                            .read_exact_at(&mut region.bytes_mut()[..PAGE as usize], block * u64::from(PAGE))
                            .expect("the file is there"),
                    }
                    mailbox.answered.store(block, Ordering::Release);
                    caller.unpark();
                }
            }
        };
        let caller = thread::current();
        let thread = thread::Builder::new().name("helper".to_owned()).spawn(move || serve(caller))?;
        Ok(Self { mailbox, thread: Some(thread) })
    }

    fn ask(&self, what: u64) {
        self.mailbox.asked.store(what, Ordering::Release);
        self.thread.iter().for_each(|thread| thread.thread().unpark());
    }

    fn ask_and_wait(&self, what: u64, waits: Waits) {
        self.ask(what);
        waits.until(|| self.mailbox.answered.load(Ordering::Acquire) == what);
    }

    fn read(&self, places: &[Place], waits: Waits) -> Sample {
        let mut latencies = Latencies::new();
        let meter = Meter::start();
        for place in places {
            let started = Instant::now();
            self.ask_and_wait(place.block.into(), waits);
            latencies.record(started.elapsed());
        }
        let elapsed = meter.stop();
        // So that it takes nothing from the other arms.
        self.ask_and_wait(REST, Waits::Asleep);
        let pages = places.len() as u64;
        elapsed.sample(pages, pages * u64::from(PAGE)).with_latencies(latencies)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.ask(END);
        // An error is a panic, which the hook has reported.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
