//! What it costs that threads write one cache line: the figure behind `design/scale.md`, to be taken on a machine with many cores.
//!
//! `cargo run --release -p ringpool-lab --example shared_line -- [THREADS] [ROUNDS]`
//!
//! Each thread does the same step over and over; the clock counts the steps of all threads. *Own*: an atomic addition to a line of
//! the thread's own. *Shared*: to one line. *Counted*: a reference to one value is taken and given back, two additions. *Locked*: a
//! number is looked up in a small table under one lock.

use std::{
    collections::HashMap,
    env,
    hint::black_box,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

/// Steps of a thread in a round.
const STEPS: u32 = 1 << 20;

/// A value that shares no cache line with others, the next line included, which processors load along.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// Returns the nanoseconds of a step, as if the threads took turns: their time divided by the steps of all.
fn nanos_a_step(threads: usize, step: impl Fn(usize) + Sync) -> f64 {
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (barrier, step) = (&barrier, &step);
            scope.spawn(move || {
                barrier.wait();
                (0..STEPS).for_each(|_| step(thread));
                barrier.wait();
            });
        }
        barrier.wait();
        let begun = Instant::now();
        barrier.wait();
        begun.elapsed().as_nanos() as f64 / (f64::from(STEPS) * threads as f64)
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let cores = thread::available_parallelism()?.get();
    let threads = arguments.next().map_or(Ok(cores), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(9), |text| text.parse())?;
    let (own, shared) = ((0..threads).map(|_| Line::default()).collect::<Vec<_>>(), Line::default());
    let counted = Arc::new(Line::default());
    let locked = Mutex::new((0..8_u32).map(|file| (file, u64::from(file))).collect::<HashMap<_, _>>());
    type Step<'a> = (&'static str, Box<dyn Fn(usize) + Sync + 'a>);
    let steps: [Step<'_>; 4] = [
        ("own", Box::new(|thread| _ = own[thread].0.fetch_add(1, Ordering::Relaxed))),
        ("shared", Box::new(|_| _ = shared.0.fetch_add(1, Ordering::Relaxed))),
        ("counted", Box::new(|_| drop(black_box(Arc::clone(&counted))))),
        (
            "locked",
            Box::new(|thread| {
                let file = thread as u32 % 8;
                black_box(locked.lock().expect("no thread panics").get(&file).copied());
            }),
        ),
    ];
    println!("{cores} cores; ns a step of all threads together, median of {rounds} rounds (least to most)");
    println!("| | 1 thread | {threads} threads |");
    println!("|---|---|---|");
    for (name, step) in &steps {
        let cell = |threads| {
            let mut times: Vec<_> = (0..rounds).map(|_| nanos_a_step(threads, step)).collect();
            times.sort_by(f64::total_cmp);
            format!("{:.1} ({:.1} to {:.1})", times[rounds / 2], times[0], times[rounds - 1])
        };
        println!("| {name} | {} | {} |", cell(1), cell(threads));
    }
    Ok(())
}
