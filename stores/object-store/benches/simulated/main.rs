//! Compares a pool on a simulated object store with the store itself: `cargo bench --bench simulated`, or `-- random` behind it for one of the figures
//! (cost, scan, random, hits, checkpoints).
//!
//! The store answers 20 ms after a request, and then sends 100 MB/s on each stream. Arms of a figure are interleaved, in rounds; a figure is the
//! median of the rounds' ratios, with the least and the largest. What is sent is counted, and priced at what S3 Standard lists in us-east-1
//! ($0.005 for 1,000 puts, $0.0004 for 1,000 gets).

mod hits;
mod store;

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use object_store::ObjectStore;
use ringpool::testing::Dice;
use ringpool::{BufferPool, CheckpointOptions, FileId, OpenOptions, PageId, StreamOptions};
use ringpool_object_store::{ObjectFiles, Requests, Settings};
use store::{Plain, Simulated};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const PAGE: usize = 8192;
/// 2 GiB: a scan of 4 s, of which the look-ahead of a stream takes 0.3 s to grow.
const BLOCKS: u32 = 256 << 10;
/// A request of a scan: the most that a pool combines.
const TRANSFER: u64 = 1 << 20;
const SCAN_IN_FLIGHT: u32 = 16;
/// Pages that a scan holds in advance: twice as many as are in flight, since requests end in any order and pages are handed out in theirs.
const LOOK_AHEAD: u32 = SCAN_IN_FLIGHT * (TRANSFER / PAGE as u64) as u32 * 2;
/// A stream holds three eighths of the frames in advance, at the most.
const SCAN_FRAMES: u32 = 4 * LOOK_AHEAD;
/// Pages between two checkpoints of the load.
const LOAD: u32 = 4096;
const READERS: u64 = 1000;
const READS_EACH: u64 = 30;
const ROUNDS: usize = 15;

const DOLLARS_A_PUT: f64 = 0.005 / 1000.0;
const DOLLARS_A_GET: f64 = 0.0004 / 1000.0;

fn pool(files: &ObjectFiles, frames: u32) -> BufferPool {
    BufferPool::builder().frames(frames).storage(files.clone()).build().unwrap()
}

/// Streams the file through a cold pool: MiB. The time in which the look-ahead grows is a part of it.
fn pool_scan(files: &ObjectFiles) -> Rate {
    let pool = pool(files, SCAN_FRAMES);
    let options = OpenOptions::new().read_only(true).max_in_flight(NonZeroU32::new(SCAN_IN_FLIGHT).unwrap());
    let file = pool.open_file("table", options).unwrap();
    let options = StreamOptions::new().look_ahead_pages(LOOK_AHEAD).combine_limit_bytes(TRANSFER as usize);
    rate(|| {
        let pages = pool.read_stream(file.pages(0..BLOCKS), options);
        let bytes: u64 = pages.map(|page| black_box(page.unwrap().read().len()) as u64).sum();
        bytes >> 20
    })
}

/// Has readers get a page each, again and again, through a pool: gets, for hits cost nothing.
fn pool_reads(runtime: &Runtime, files: &ObjectFiles, seed: u64) -> Rate {
    // Few frames, so that nearly all reads are misses, as those of the store are.
    let pool = pool(files, 2048);
    let options = OpenOptions::new().read_only(true).max_in_flight(NonZeroU32::new(1024).unwrap());
    let file = pool.open_file("table", options).unwrap();
    rate(|| {
        let before = files.requests().gets;
        runtime.block_on(random_reads(&pool, file, seed));
        files.requests().gets - before
    })
}

async fn random_reads(pool: &BufferPool, file: FileId, seed: u64) {
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let pool = pool.clone();
        readers.spawn(async move {
            let mut dice = Dice::new(seed + reader);
            for _ in 0..READS_EACH {
                let block = dice.below(BLOCKS.into()) as u32;
                black_box(pool.read(PageId::new(file, block)).await.unwrap()[0]);
            }
        });
    }
    readers.join_all().await;
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns the median, and the least and the largest, as a text.
fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    let largest = values.iter().copied().fold(0.0, f64::max);
    format!("{:.3} ({least:.3} to {largest:.3})", median(values.iter().copied()))
}

/// What a run of one arm got: so many units a second, and the microseconds of CPU that the process took for each.
struct Rate {
    a_second: f64,
    cpu: f64,
}

/// Runs an arm, which returns how many units it got.
fn rate(arm: impl FnOnce() -> u64) -> Rate {
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let units = arm() as f64;
    Rate { a_second: units / begun.elapsed().as_secs_f64(), cpu: (cpu_seconds() - cpu) * 1e6 / units }
}

/// Returns the CPU time that the process took, user and system, as Linux counts it: in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Runs both arms in turns, and prints the ratios of the pool to the store, and of the store to itself in the round before.
fn compare(name: &str, unit_name: &str, store: impl Fn(u64) -> Rate, pool: impl Fn(u64) -> Rate) {
    let (mut stores, mut pools) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        let seed = round * 1_000_003;
        // Each is the first of a round as often as the other.
        if round % 2 == 0 {
            stores.push(store(seed));
            pools.push(pool(seed));
        } else {
            pools.push(pool(seed));
            stores.push(store(seed));
        }
    }
    let ratios: Vec<_> =
        pools.iter().zip(&stores).map(|(pool, store)| pool.a_second / store.a_second).collect();
    let same: Vec<_> = stores.windows(2).map(|pair| pair[1].a_second / pair[0].a_second).collect();
    let text = |arm: &[Rate]| {
        let (a_second, cpu) = (arm.iter().map(|rate| rate.a_second), arm.iter().map(|rate| rate.cpu));
        format!("{:.0} {unit_name}/s at {:.1} us of CPU each", median(a_second), median(cpu))
    };
    println!("{name}: store {}, pool {}", text(&stores), text(&pools));
    println!("    ratio {}; the store to itself {}", spread(&ratios), spread(&same));
}

/// What was sent since `before`.
fn since(files: &ObjectFiles, before: Requests) -> Requests {
    let now = files.requests();
    Requests {
        gets: now.gets - before.gets,
        puts: now.puts - before.puts,
        written_bytes: now.written_bytes - before.written_bytes,
        ..now
    }
}

/// Returns what a million pages cost, of which `pages` took these requests.
fn dollars(requests: Requests, pages: u32) -> f64 {
    let dollars = requests.puts as f64 * DOLLARS_A_PUT + requests.gets as f64 * DOLLARS_A_GET;
    dollars * 1e6 / f64::from(pages)
}

/// Writes the file in order, and prints what that sends.
fn write(files: &ObjectFiles) {
    let pool = pool(files, 2 * LOAD);
    let file = pool.open_file("table", OpenOptions::new().create(true).initial_blocks(BLOCKS)).unwrap();
    let (before, begun) = (files.requests(), Instant::now());
    for block in 0..BLOCKS {
        pool.overwrite(PageId::new(file, block)).wait().unwrap().fill(block as u8 | 1);
        if (block + 1) % LOAD == 0 {
            pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        }
    }
    let sent = since(files, before);
    println!(
        "written in order, {BLOCKS} pages of 8 KiB, a checkpoint each {LOAD}: {} puts, {} gets, {} MiB in {:.1} s; ${:.4} a million pages",
        sent.puts,
        sent.gets,
        sent.written_bytes >> 20,
        begun.elapsed().as_secs_f64(),
        dollars(sent, BLOCKS)
    );
}

/// Changes some pages, and prints what each checkpoint sends.
fn checkpoints(files: &ObjectFiles) {
    let pool = pool(files, 4096);
    let file = pool.open_file("table", OpenOptions::new()).unwrap();
    let mut dice = Dice::new(1);
    for pages in [1, 100, 1000] {
        for _ in 0..pages {
            let block = dice.below(BLOCKS.into()) as u32;
            pool.overwrite(PageId::new(file, block)).wait().unwrap().fill(block as u8 | 1);
        }
        let (before, begun) = (files.requests(), Instant::now());
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        let sent = since(files, before);
        println!(
            "checkpoint of {pages} random pages: {} puts, {} gets, {} KiB, {:.0} ms; ${:.2} a million pages",
            sent.puts,
            sent.gets,
            sent.written_bytes >> 10,
            begun.elapsed().as_secs_f64() * 1e3,
            dollars(sent, pages)
        );
    }
}

/// Prints what reading costs, counted in one run each.
fn price_reads(runtime: &Runtime, scanning: &ObjectFiles, files: &ObjectFiles) {
    let before = scanning.requests();
    pool_scan(scanning);
    let scan = since(scanning, before);
    println!("a scan: {} gets for {BLOCKS} pages; ${:.4} a million pages", scan.gets, dollars(scan, BLOCKS));
    let before = files.requests();
    pool_reads(runtime, files, 1);
    let random = since(files, before);
    let pages = (READERS * READS_EACH) as u32;
    println!(
        "random reads: {} gets for {pages} pages; ${:.2} a million pages",
        random.gets,
        dollars(random, pages)
    );
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // A run of all tests builds this, and measures nothing.
        return;
    }
    let asked: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let is_asked = |figure: &str| asked.is_empty() || asked.iter().any(|asked| *asked == figure);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(Simulated::default());
    let settings = Settings { in_flight: 1024, ..Settings::default() };
    let files = ObjectFiles::new(Arc::clone(&store), "bench", settings, runtime.handle().clone());
    // As many gets in flight as those that it is compared with.
    let scanning = Settings { in_flight: SCAN_IN_FLIGHT, ..settings };
    let scanning = ObjectFiles::new(Arc::clone(&store), "bench", scanning, runtime.handle().clone());
    write(&files);
    let plain = runtime.block_on(Plain::list(&store, TRANSFER));
    if is_asked("cost") {
        price_reads(&runtime, &scanning, &files);
    }
    if is_asked("scan") {
        let store_scan =
            |request| rate(|| runtime.block_on(plain.scan(request, SCAN_IN_FLIGHT as usize)) >> 20);
        compare(
            "cold scan, 1 MiB requests, 16 in flight",
            "MiB",
            |_| store_scan(TRANSFER),
            |_| pool_scan(&scanning),
        );
        let larger = median((0..3).map(|_| store_scan(4 * TRANSFER).a_second));
        println!("    (with requests of 4 MiB, 16 in flight, the store sends {larger:.0} MiB/s)");
    }
    if is_asked("random") {
        compare(
            "1,000 readers of random pages",
            "gets",
            |seed| rate(|| runtime.block_on(plain.random_reads(seed))),
            |seed| pool_reads(&runtime, &files, seed),
        );
    }
    if is_asked("hits") {
        hits::compare(&runtime, &files, &plain);
    }
    if is_asked("checkpoints") {
        checkpoints(&files);
    }
}
