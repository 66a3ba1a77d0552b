//! A key-value store for many tasks: a hash table, a log with group commit, images and checksums.
//!
//! ```text
//! cargo run --release --features testing,crc32c --example kv
//! ```
//!
//! Two hundred tasks use it on a real file; then the power is cut again and again on a simulated disk that tears pages, and what was
//! committed must be there. Without images in the log the same run must fail, or it proves nothing.

mod log;
mod store;

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Arc, Mutex, atomic::Ordering},
};

use ringpool::{BufferPool, Builder, IoMethod, testing::SimDisk};

use crate::store::{Result, Store};

/// What a key was last told to be, and up to what value that was committed.
type Told = Arc<Mutex<BTreeMap<u64, (u64, u64)>>>;

/// Puts rising values under keys of each task's own, and commits each, as long as the disk takes it.
async fn use_store(store: &Arc<Store>, tasks: u64, rounds: u64, told: &Told) -> Result<()> {
    let tasks: Vec<_> = (0..tasks)
        .map(|task| {
            let (store, told) = (Arc::clone(store), Arc::clone(told));
            tokio::spawn(async move {
                for round in 1..=rounds {
                    // A key is changed in every fourth round.
                    let key = (task << 32) | (round % (rounds / 4 + 1));
                    told.lock().expect("no task panics").entry(key).or_default().1 = round;
                    let end = store.put(key, round).await?;
                    store.log.commit(end).await?;
                    told.lock().expect("no task panics").entry(key).or_default().0 = round;
                    if task == 0 && round % 8 == 0 {
                        store.checkpoint().await?;
                    }
                }
                Result::Ok(())
            })
        })
        .collect();
    let mut outcome = Ok(());
    for task in tasks {
        let ended = task.await?;
        outcome = outcome.and(ended);
    }
    outcome
}

/// Compares the store with what its users were told: each key has a value that was put, and none older than what was committed.
async fn check(store: &Store, told: &Told) -> Result<()> {
    let told = told.lock().expect("no task panics").clone();
    for (key, (committed, put)) in told {
        let found = store.get(key).await?.unwrap_or(0);
        if !(committed..=put).contains(&found) {
            return Err(format!("key {key:x} is {found}: {committed} was committed, {put} put").into());
        }
    }
    Ok(())
}

fn builder() -> Builder {
    BufferPool::builder().frames(48)
}

async fn on_a_real_file() -> Result<()> {
    const TASKS: u64 = 200;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pages");
    let path = path.to_str().ok_or("the path is no text")?;
    let open = || -> Result<Store> {
        let log = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(format!("{path}.log"))?;
        Store::open(builder(), log, path, true)
    };
    let (store, told) = (Arc::new(open()?), Told::default());
    let begun = std::time::Instant::now();
    use_store(&store, TASKS, 40, &told).await?;
    let (took, syncs) = (begun.elapsed(), store.log.syncs.load(Ordering::Relaxed));
    println!("{TASKS} tasks: {} commits by {syncs} syncs of the log in {took:.1?}", TASKS * 40);
    Arc::into_inner(store).ok_or("a task has the store")?.close().await?;
    check(&open()?, &told).await
}

/// Runs the store with the power cut during that operation of its disk, and once more on what is left. False where the run was over before.
async fn cut_power(seed: u64, operation: u64, with_images: bool) -> Result<bool> {
    let open = |disk: &SimDisk| {
        let builder = builder().io_method(IoMethod::worker()).storage(disk.clone());
        Store::open(builder, disk.file("log"), "pages", with_images)
    };
    let (disk, told) = (SimDisk::with_seed(seed), Told::default());
    disk.cut_power_during(operation);
    if let Ok(store) = open(&disk) {
        let used = use_store(&Arc::new(store), 20, 24, &told).await;
        if used.is_err() && !disk.is_without_power() {
            return used.map(|()| true);
        }
    }
    let found = disk.after_power_cut(seed ^ operation);
    check(&open(&found)?, &told).await?;
    Ok(disk.is_without_power())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    on_a_real_file().await?;
    let mut crashes = 0;
    for (seed, operation) in
        (0..5).flat_map(|seed| (1..400).step_by(3).map(move |operation| (seed, operation)))
    {
        let survived = cut_power(seed, operation, true).await;
        crashes += u64::from(
            survived
                .map_err(|error| format!("seed {seed}, power cut during operation {operation}: {error}"))?,
        );
    }
    println!("{crashes} power cuts: all that was committed is there");
    for operation in (1..4000).step_by(3) {
        if let Err(error) = cut_power(0, operation, false).await {
            println!("without images in the log: power cut during operation {operation}: {error}");
            return Ok(());
        }
    }
    Err("a store without images survives everything: the runs prove nothing".into())
}
