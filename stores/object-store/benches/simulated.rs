//! Compares a pool on a simulated object store with the store itself: `cargo bench --bench simulated`.
//!
//! The store answers 20 ms after a request, and then sends 100 MB/s on each stream. Arms of a figure are interleaved, in rounds; a figure is the
//! median of the rounds' ratios. What a checkpoint sends is counted, and priced at what S3 Standard lists in us-east-1 (0.005 $ for 1,000 puts,
//! 0.0004 $ for 1,000 gets).

use std::fmt;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use ringpool::testing::Dice;
use ringpool::{BufferPool, CheckpointOptions, OpenOptions, PageId, StreamOptions};
use ringpool_object_store::{ObjectFiles, Requests, Settings};
use tokio::runtime::Runtime;

const PAGE: usize = 8192;
const BLOCKS: u32 = 16 << 10;
const TRANSFER: u64 = 1 << 20;
const IN_FLIGHT: u32 = 16;
const READERS: u64 = 1000;
const READS_EACH: u64 = 10;
const ROUNDS: usize = 15;

const LATENCY: Duration = Duration::from_millis(20);
const BYTES_A_SECOND: f64 = 100e6;

/// A store in memory that takes the time of one that is far away.
#[derive(Debug)]
struct Simulated {
    store: InMemory,
}

impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated store")
    }
}

async fn takes(bytes: u64) {
    tokio::time::sleep(LATENCY + Duration::from_secs_f64(bytes as f64 / BYTES_A_SECOND)).await;
}

#[async_trait]
impl ObjectStore for Simulated {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        takes(payload.content_length() as u64).await;
        self.store.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unimplemented!("no segment is put in parts")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let result = self.store.get_opts(location, options).await?;
        takes(result.range.end - result.range.start).await;
        Ok(result)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

fn a_second(count: u64, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

/// Gets every object whole, in parts of one transfer, so many at a time: bytes a second.
fn store_scan(runtime: &Runtime, store: &Arc<dyn ObjectStore>, parts: &[(Path, u64, u64)]) -> f64 {
    let begun = Instant::now();
    let bytes = runtime.block_on(async {
        let gets = parts.iter().map(|(path, at, len)| store.get_range(path, *at..at + len));
        let gets = stream::iter(gets.collect::<Vec<_>>()).buffer_unordered(IN_FLIGHT as usize);
        gets.fold(0, |sum, bytes| async move { sum + black_box(bytes.unwrap()).len() as u64 }).await
    });
    a_second(bytes, begun)
}

/// Streams the file through a cold pool: bytes a second.
fn pool_scan(files: &ObjectFiles) -> f64 {
    let pool = BufferPool::builder().frames(BLOCKS / 2).storage(files.clone()).build().unwrap();
    let options = OpenOptions::new().read_only(true).max_in_flight(NonZeroU32::new(IN_FLIGHT).unwrap());
    let file = pool.open_file("table", options).unwrap();
    let begun = Instant::now();
    let mut bytes = 0;
    for page in pool.read_stream(file.pages(0..BLOCKS), StreamOptions::new()) {
        bytes += black_box(page.unwrap().read().len()) as u64;
    }
    a_second(bytes, begun)
}

/// Has readers get a page each, again and again: pages a second.
fn store_reads(
    runtime: &Runtime,
    store: &Arc<dyn ObjectStore>,
    parts: &[(Path, u64, u64)],
    seed: u64,
) -> f64 {
    let begun = Instant::now();
    runtime.block_on(async {
        let mut readers = tokio::task::JoinSet::new();
        for reader in 0..READERS {
            let (store, parts) = (Arc::clone(store), parts.to_vec());
            readers.spawn(async move {
                let mut dice = Dice::new(seed + reader);
                for _ in 0..READS_EACH {
                    let (path, at, len) = &parts[dice.below(parts.len() as u64) as usize];
                    let page = at + dice.below(len / PAGE as u64) * PAGE as u64;
                    black_box(store.get_range(path, page..page + PAGE as u64).await.unwrap());
                }
            });
        }
        readers.join_all().await;
    });
    a_second(READERS * READS_EACH, begun)
}

fn pool_reads(runtime: &Runtime, files: &ObjectFiles, seed: u64) -> f64 {
    // Few frames, so that nearly all reads are misses, as those of the store are.
    let pool = BufferPool::builder().frames(2048).storage(files.clone()).build().unwrap();
    let options = OpenOptions::new().read_only(true).max_in_flight(NonZeroU32::new(1024).unwrap());
    let file = pool.open_file("table", options).unwrap();
    let misses = files.requests().gets;
    let begun = Instant::now();
    runtime.block_on(async {
        let mut readers = tokio::task::JoinSet::new();
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
    });
    // Hits cost nothing: what counts is what was got.
    a_second(files.requests().gets - misses, begun)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs both arms in turns, and prints the median of the ratios.
fn compare(
    name: &str,
    unit: f64,
    unit_name: &str,
    mut store: impl FnMut(u64) -> f64,
    mut pool: impl FnMut(u64) -> f64,
) {
    let (mut stores, mut pools, mut ratios, mut same) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        let seed = round * 1_000_003;
        let (first, measured) = if round % 2 == 0 { (store(seed), pool(seed)) } else { (0.0, pool(seed)) };
        let second = store(seed + 7);
        let of_store = if round % 2 == 0 { first } else { second };
        if round % 2 == 0 {
            same.push(second / first);
        }
        stores.push(of_store / unit);
        pools.push(measured / unit);
        ratios.push(measured / of_store);
    }
    let (low, high) =
        ratios.iter().fold((f64::MAX, 0f64), |(low, high), &ratio| (low.min(ratio), high.max(ratio)));
    println!(
        "{name}: store {:.0} {unit_name}, pool {:.0} {unit_name}; ratio {:.3} ({low:.3} to {high:.3}), same arm {:.3}",
        median(&mut stores),
        median(&mut pools),
        median(&mut ratios),
        median(&mut same)
    );
}

fn less(after: Requests, before: Requests) -> (u64, u64, u64) {
    (after.puts - before.puts, after.gets - before.gets, after.written_bytes - before.written_bytes)
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        // A run of all tests builds this, and measures nothing.
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(Simulated { store: InMemory::new() });
    let settings = Settings { in_flight: 1024, ..Settings::default() };
    let files = ObjectFiles::new(Arc::clone(&store), "bench", settings, runtime.handle().clone());

    {
        let pool = BufferPool::builder().frames(4096).storage(files.clone()).build().unwrap();
        let file = pool.open_file("table", OpenOptions::new().create(true).initial_blocks(BLOCKS)).unwrap();
        let before = files.requests();
        let begun = Instant::now();
        for block in 0..BLOCKS {
            pool.overwrite(PageId::new(file, block)).wait().unwrap().fill(block as u8 | 1);
        }
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        let (puts, gets, bytes) = less(files.requests(), before);
        let million = 1e6 / f64::from(BLOCKS);
        println!(
            "written in order, {BLOCKS} pages of 8 KiB: {puts} puts, {gets} gets, {} MiB in {:.1} s; {:.2} $ a million pages",
            bytes >> 20,
            begun.elapsed().as_secs_f64(),
            million * (puts as f64 * 0.005 + gets as f64 * 0.0004) / 1000.0
        );
        let mut dice = Dice::new(1);
        for pages in [1, 100, 1000] {
            for _ in 0..pages {
                pool.write(PageId::new(file, dice.below(BLOCKS.into()) as u32)).wait().unwrap()[0] ^= 1;
            }
            let before = files.requests();
            let begun = Instant::now();
            pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
            let (puts, gets, bytes) = less(files.requests(), before);
            println!(
                "checkpoint of {pages} random pages: {puts} puts, {gets} gets, {} KiB, {:.0} ms",
                bytes >> 10,
                begun.elapsed().as_secs_f64() * 1e3
            );
        }
    }

    // All of the file's objects, in parts of one transfer.
    let objects: Vec<_> =
        runtime.block_on(store.list(Some(&Path::from("bench"))).map(Result::unwrap).collect());
    let parts: Vec<_> = objects
        .iter()
        .filter(|object| object.size >= TRANSFER)
        .flat_map(|object| {
            (0..object.size / TRANSFER).map(|part| (object.location.clone(), part * TRANSFER, TRANSFER))
        })
        .collect();
    compare(
        "cold scan, 1 MiB requests, 16 in flight",
        1e6,
        "MB/s",
        |_| store_scan(&runtime, &store, &parts),
        |_| pool_scan(&files),
    );
    compare(
        "1,000 readers of random pages",
        1.0,
        "gets/s",
        |seed| store_reads(&runtime, &store, &parts, seed),
        |seed| pool_reads(&runtime, &files, seed),
    );
}
