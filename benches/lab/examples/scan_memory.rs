//! What the memory that a scan reads into costs, without a pool: how much of it, and in how many pieces.
//!
//! `cargo run --release -p ringpool-lab --example scan_memory -- [DIR] [ROUNDS]`
//!
//! One ring reads a file in order, always the same requests. The arms differ in where the bytes go: into the same few buffers
//! again and again, which the processor's cache keeps; through as much memory as a pool has; in one piece, in a piece for
//! each page, and in pieces that lie anywhere, as the frames of a pool do.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

use std::{env, fs::File, io, os::fd::AsRawFd, path::PathBuf};

use io_uring::{IoUring, opcode, squeue, types::Fd};
use lab::{
    Arm, Meter, Result, Rounds, Sample,
    files::{Access, TestFile, open},
    machine::Machine,
    region::Region,
    report::{Align, Table},
    rounds::ROUNDS_OF_A_FIGURE,
};
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};

const PAGE: u32 = 8192;
const FILE_MIB: u32 = 512;
const REQUEST: usize = 512 << 10;
const DEPTH: usize = 8;
/// As much as the pools of the figures have.
const POOL: usize = 64 << 20;
/// As much as a ring needs.
const FEW: usize = DEPTH * REQUEST;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let rounds = arguments.next().map_or(Ok(ROUNDS_OF_A_FIGURE), |rounds| rounds.parse())?;
    println!("{}; {rounds} rounds of {FILE_MIB} MiB", Machine::of(&dir));
    let file = TestFile::create(&dir, PAGE, FILE_MIB * ((1 << 20) / PAGE), 1, |_| ())?;
    let direct = open(file.path(), Access { direct: true, write: false })?;

    let few = "the same buffers, in one piece";
    let mut arms = Vec::new();
    for (name, memory, pieces) in [
        (few, FEW, Pieces::Whole),
        ("the same buffers, a piece a page", FEW, Pieces::Pages),
        ("the same buffers, pages anywhere", FEW, Pieces::Anywhere),
        ("a pool's memory, in one piece", POOL, Pieces::Whole),
        ("a pool's memory, a piece a page", POOL, Pieces::Pages),
        ("a pool's memory, pages anywhere", POOL, Pieces::Anywhere),
    ] {
        let mut scan = Scan::new(memory, pieces)?;
        let direct = &direct;
        arms.push(Arm::new(name, move |_| Ok(scan.run(direct)?)));
    }
    let outcome = Rounds::new(rounds).twin(few).run(arms, |_| ())?;

    let mut table = Table::new(&[
        ("read into", Align::Left),
        ("MB/s", Align::Right),
        ("CPU us a page", Align::Right),
        ("to the first", Align::Left),
    ]);
    for arm in outcome.names() {
        let summary = outcome.summary(arm);
        let ratio =
            outcome.ratio(arm, few, Sample::mb_per_s).map_or_else(String::new, |ratio| ratio.to_string());
        let (speed, cpu) = (format!("{:.0}", summary.mb_per_s), format!("{:.2}", summary.cpu_us_per_page));
        table.push([arm.to_owned(), speed, cpu, ratio]);
    }
    print!("{table}");
    outcome.noise(Sample::mb_per_s).into_iter().for_each(|noise| println!("the first to itself: {noise}"));
    outcome.disturbance().into_iter().for_each(|why| println!("{why}"));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pieces {
    Whole,
    Pages,
    Anywhere,
}

/// A ring over registered memory, of which each request takes the next part, round and round. The bytes are not looked at, so it
/// does not matter that a late request may share its part with the next.
struct Scan {
    ring: IoUring,
    /// The pieces of one request after the other.
    rows: Vec<Vec<libc::iovec>>,
    _region: Region,
}

impl Scan {
    fn new(memory: usize, pieces: Pieces) -> io::Result<Self> {
        let region = Region::new(memory)?;
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(DEPTH as u32)?;
        let piece = if pieces == Pieces::Whole { REQUEST } else { PAGE as usize };
        let mut places: Vec<usize> = (0..memory).step_by(piece).collect();
        if pieces == Pieces::Anywhere {
            places.shuffle(&mut SmallRng::seed_from_u64(1));
        }
        let start = region.start().as_ptr();
        let piece_at = |&place: &usize| {
            let base = start.wrapping_add(place);
            libc::iovec { iov_base: base.cast(), iov_len: piece }
        };
        let rows = places.chunks(REQUEST / piece).map(|row| row.iter().map(piece_at).collect()).collect();
        let whole = libc::iovec { iov_base: start.cast(), iov_len: memory };
        // SAFETY: the region lives as long as the ring.
        unsafe { ring.submitter().register_buffers(&[whole])? };
        Ok(Self { ring, rows, _region: region })
    }

    /// Reads the file from its start to its end.
    fn run(&mut self, file: &File) -> io::Result<Sample> {
        let requests = (u64::from(FILE_MIB) << 20) / REQUEST as u64;
        let (mut begun, mut ended) = (0, 0);
        let meter = Meter::start();
        while ended < requests {
            while begun < requests && begun - ended < DEPTH as u64 {
                let request = self.request(file, begun);
                // SAFETY: the memory and its list outlive the request, since each is waited for below.
                unsafe { self.ring.submission().push(&request) }.expect("the ring has room for the depth");
                begun += 1;
            }
            self.ring.submit_and_wait(1)?;
            for completion in self.ring.completion() {
                assert_eq!(completion.result(), REQUEST as i32, "a request failed or was short");
                ended += 1;
            }
        }
        let elapsed = meter.stop();
        Ok(elapsed.sample(requests * REQUEST as u64 / u64::from(PAGE), requests * REQUEST as u64))
    }

    fn request(&self, file: &File, number: u64) -> squeue::Entry {
        let (file, offset) = (Fd(file.as_raw_fd()), number * REQUEST as u64);
        match &*self.rows[number as usize % self.rows.len()] {
            [whole] => {
                opcode::ReadFixed::new(file, whole.iov_base.cast(), REQUEST as u32, 0).offset(offset).build()
            }
            pieces => {
                let count = pieces.len() as u32;
                opcode::ReadvFixed::new(file, pieces.as_ptr(), count, 0).offset(offset).build()
            }
        }
    }
}
