//! The baselines alone, each for a second or so: what this machine can do, and whether the kit can be trusted on it.
//!
//! `cargo run --release -p ringpool-lab --example baselines -- [DIR] [MIB] [ROUNDS]`

#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::env;
use std::fs::File;
use std::path::PathBuf;

use lab::baseline::Ending;
use lab::baseline::plain::Plain;
use lab::baseline::ring::{BareRing, RingOptions};
use lab::files::{Access, TestFile, open};
use lab::machine::Machine;
use lab::report::{self, Align, Names, Row, Table};
use lab::rounds::Outcome;
use lab::{Arm, Digest, Place, Result, Rounds, Sample, digest, floor, places, progress};

const PAGE: u32 = 8192;
/// Requests of the sequential workloads.
const RUN: u32 = 128 * 1024;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let mib: u32 = arguments.next().map_or(Ok(512), |mib| mib.parse())?;
    let rounds = arguments.next().map_or(Ok(3), |rounds| rounds.parse())?;

    println!("{}", Machine::of(&dir));
    let bar = progress::bytes(u64::from(mib) << 20).with_message("making a file");
    let file = TestFile::create(&dir, PAGE, mib * ((1 << 20) / PAGE), 1, |bytes| {
        bar.set_position(bytes);
    })?;
    bar.finish_and_clear();
    let files = [open(file.path(), Access { direct: true, write: true })?];

    let bench = Bench { files: &files, blocks: file.blocks(), rounds };
    let mut rows = bench.random_reads()?;
    rows.extend(bench.scan()?);
    rows.extend(bench.random_writes()?);
    rows.extend(bench.updates()?);
    print!("{}", report::comparison(&rows));
    batches(&files, file.blocks(), rounds)?;
    scan_shapes(&files, file.blocks(), rounds)?;
    hits()
}

struct Bench<'a> {
    files: &'a [File],
    blocks: u32,
    rounds: u32,
}

impl Bench<'_> {
    fn random_reads(&self) -> Result<Vec<Row>> {
        let of_round = |round: u32| places::random_distinct(&[self.blocks], 30_000, round.into());
        let plain = |threads: usize, count: usize| {
            let plain = Plain { threads, latencies: true, ..Plain::new(PAGE) };
            move |round| {
                Ok(plain.read(self.files, &of_round(round)[..count.min(self.blocks as usize)], |_, _| ())?)
            }
        };
        let arms = vec![
            self.ring_arm("bare ring", RingOptions::new(PAGE, 64), of_round)?,
            self.ring_arm("bare ring, 128 deep", RingOptions::new(PAGE, 128), of_round)?,
            Arm::new("pread", plain(1, 10_000)),
            Arm::new("pread, 16 threads", plain(16, 30_000)),
        ];
        let outcome = self.run("random read", "bare ring", arms)?;
        let mut places = (0..self.rounds).map(of_round);
        let plain = places.try_fold(0_u64, |sum, places| {
            digest::of_plain_read(self.files, &places, PAGE).map(|digest| sum.wrapping_add(digest))
        })?;
        assert_eq!(
            outcome.digest("bare ring"),
            Some(plain),
            "the ring has seen other bytes than a plain read"
        );
        Ok(rows(&outcome, "random read", &[64, 128, 1, 16]))
    }

    fn scan(&self) -> Result<Vec<Row>> {
        let all = |_| places::sequential(&[self.blocks], RUN / PAGE);
        let plain = Plain { request_size: RUN, latencies: true, ..Plain::new(PAGE) };
        let arms = vec![
            self.ring_arm("bare ring", RingOptions { request_size: RUN, ..RingOptions::new(PAGE, 16) }, all)?,
            Arm::new("pread", |_| Ok(plain.read(self.files, &all(0), |_, _| ())?)),
        ];
        Ok(rows(&self.run("scan", "bare ring", arms)?, "scan", &[16, 1]))
    }

    fn random_writes(&self) -> Result<Vec<Row>> {
        let of_round = |round: u32| places::random_distinct(&[self.blocks], 40_000, round.into());
        let runs = |round: u32| {
            let mut all = places::random_distinct(&[self.blocks / (RUN / PAGE)], 4_000, round.into());
            all.iter_mut().for_each(|place| place.block *= RUN / PAGE);
            all
        };
        let mut pages = BareRing::new(RingOptions::new(PAGE, 64))?;
        let mut long =
            BareRing::new(RingOptions { request_size: RUN, batch: 1, ..RingOptions::new(PAGE, 8) })?;
        let plain = Plain { latencies: true, ..Plain::new(PAGE) };
        let written = Ending::Synced;
        let arms = vec![
            Arm::new("bare ring", move |round| {
                Ok(pages.write(self.files, &of_round(round), written, |_, _| ())?)
            }),
            Arm::new("bare ring, 128 KiB", move |round| {
                Ok(long.write(self.files, &runs(round), written, |_, _| ())?)
            }),
            Arm::new("pwrite", |round| {
                Ok(plain.write(
                    self.files,
                    &of_round(round)[..10_000.min(self.blocks as usize)],
                    written,
                    |_, _| (),
                )?)
            }),
        ];
        Ok(rows(&self.run("random write", "bare ring", arms)?, "random write", &[64, 8, 1]))
    }

    fn updates(&self) -> Result<Vec<Row>> {
        let of_round = |round: u32| -> Vec<(Place, Place)> {
            let reads = places::random(&[self.blocks], 30_000, round.into());
            reads.into_iter().zip(places::random(&[self.blocks], 30_000, u64::from(round) + 1000)).collect()
        };
        let mut ring = BareRing::new(RingOptions::new(PAGE, 128))?;
        let run = move |round| Ok(ring.update(self.files, &of_round(round), |_, _| ())?);
        let outcome = self.run("update (reads)", "bare ring", vec![Arm::new("bare ring", run)])?;
        Ok(rows(&outcome, "update (reads)", &[128]))
    }

    fn ring_arm<'a>(
        &'a self,
        name: &str,
        options: RingOptions,
        places: impl Fn(u32) -> Vec<Place> + 'a,
    ) -> Result<Arm<'a>> {
        let mut ring = BareRing::new(options)?;
        if !ring.is_registered() {
            println!("{name}: this user may not lock enough memory, so its buffers are not registered");
        }
        Ok(Arm::new(name, move |round| {
            let digest = Digest::new(PAGE);
            let sample = ring.read(self.files, &places(round), |place, bytes| {
                digest.add(place, bytes);
            })?;
            Ok(sample.with_digest(digest.value()))
        }))
    }

    fn run(&self, workload: &str, twin: &str, arms: Vec<Arm<'_>>) -> Result<Outcome> {
        let outcome = progress::in_turn(&Rounds::new(self.rounds).twin(twin), workload, arms)?;
        if let Some(noise) = outcome.noise(Sample::pages_per_s) {
            println!("{workload}: {twin} to itself {noise}");
        }
        outcome.disturbance().into_iter().for_each(|why| println!("{workload}: {why}"));
        Ok(outcome)
    }
}

fn rows(outcome: &Outcome, workload: &str, in_flight: &[u32]) -> Vec<Row> {
    let row = |(arm, &in_flight): (&str, &u32)| {
        let ratio = outcome.ratio(arm, "bare ring", Sample::pages_per_s).map(|ratio| ratio.median);
        let method = if arm.starts_with("bare ring") { "io_uring" } else { "sync" };
        Row::new(Names { workload, arm, method }, in_flight, PAGE, &outcome.summary(arm), ratio)
    };
    outcome.names().zip(in_flight).map(row).collect()
}

/// Measures how many completions a call should wait for: the reason for [`lab::baseline::ring::BATCH`].
fn batches(files: &[File], blocks: u32, rounds: u32) -> Result<()> {
    let mut table = Table::new(&[
        ("depth", Align::Right),
        ("batch", Align::Right),
        ("reads/s", Align::Right),
        ("CPU us", Align::Right),
        ("to batch 8", Align::Left),
    ]);
    for depth in [64, 128] {
        let arm = |batch: usize| -> Result<Arm<'_>> {
            let ring = RefCell::new(BareRing::new(RingOptions { batch, ..RingOptions::new(PAGE, depth) })?);
            Ok(Arm::new(batch.to_string(), move |round| {
                let places = places::random_distinct(&[blocks], 30_000, round.into());
                Ok(ring.borrow_mut().read(files, &places, |_, _| ())?)
            }))
        };
        let arms = [1, 4, 8, 16, 32].into_iter().map(arm).collect::<Result<_>>()?;
        let outcome = Rounds::new(rounds).run(arms, |_| ())?;
        for batch in outcome.names() {
            let summary = outcome.summary(batch);
            let ratio = outcome
                .ratio(batch, "8", Sample::pages_per_s)
                .map_or_else(String::new, |ratio| ratio.to_string());
            let (rate, cpu) =
                (format!("{:.0}", summary.pages_per_s), format!("{:.2}", summary.cpu_us_per_page));
            table.push([depth.to_string(), batch.to_owned(), rate, cpu, ratio]);
        }
    }
    print!("{table}");
    Ok(())
}

/// Measures with which request size and depth a scan is fastest.
fn scan_shapes(files: &[File], blocks: u32, rounds: u32) -> Result<()> {
    let arm = |(kib, depth, batch): (u32, usize, usize)| -> Result<Arm<'_>> {
        let request_size = kib << 10;
        let mut ring = BareRing::new(RingOptions { request_size, batch, ..RingOptions::new(PAGE, depth) })?;
        let places = places::sequential(&[blocks], request_size / PAGE);
        Ok(Arm::new(format!("{kib} KiB, depth {depth}, batch {batch}"), move |_| {
            Ok(ring.read(files, &places, |_, _| ())?)
        }))
    };
    let shapes = [
        (64, 32, 8),
        (128, 16, 1),
        (128, 16, 4),
        (128, 32, 8),
        (256, 8, 1),
        (256, 16, 4),
        (512, 8, 1),
        (1024, 4, 1),
        (1024, 8, 1),
    ];
    let outcome = Rounds::new(rounds).run(shapes.into_iter().map(arm).collect::<Result<_>>()?, |_| ())?;
    for shape in outcome.names() {
        let summary = outcome.summary(shape);
        println!(
            "scan: {shape}: {:.0} MB/s, {:.2} us of CPU a page",
            summary.mb_per_s, summary.cpu_us_per_page
        );
    }
    Ok(())
}

fn hits() -> Result<()> {
    const HITS: usize = 4 << 20;
    for pages in [64 << 10, 1 << 20] {
        let memory = floor::Floor::new(pages, PAGE, 1)?;
        for threads in [1, 2] {
            let orders = floor::orders(pages, HITS, threads, 2);
            let _warm = memory.run(&orders);
            let sample = memory.run(&orders);
            println!(
                "floor: {pages} pages, {threads} threads: {:.1} ns a hit",
                floor::ns_per_hit(&sample, threads)
            );
        }
    }
    Ok(())
}
