//! Reads, writes and syncs at the same time: each task reads what it wrote last, and a sync contains what was written before it.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ringpool::testing::Dice;
use ringpool_object_store::Settings;
use support::faulty::{Faults, Faulty};
use support::stamps::{self, PAGE};
use support::{files, small};

const TASKS: u64 = 4;
const BLOCKS: u64 = 10;

async fn run(seed: u64) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let faulty = Faulty::new(&store, Faults { no_answer: 0, ..Faults::MANY }, seed);
    let settings = Settings { keep_versions: 1, ..small(seed) };
    let client = files(faulty.store(), settings);
    let writer = client.open_writer("file", PAGE as u32, true).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));

    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (writer, is_over, mut random) =
            (writer.clone(), Arc::clone(&is_over), Dice::new(seed * 100 + task));
        tasks.spawn(async move {
            // Blocks of its own, between those of the others, so that all are in the same segments.
            let mut last = [0; BLOCKS as usize];
            let mut round = 0;
            while !is_over.load(Ordering::Relaxed) {
                round += 1;
                let (number, block) = pick(&mut random, task);
                writer.write(block * PAGE as u64, &stamps::page(task, block, round)).await.unwrap();
                last[number] = round;
                tokio::time::sleep(Duration::from_millis(random.below(20))).await;
                let (number, block) = pick(&mut random, task);
                let found = writer.read(block * PAGE as u64, PAGE).await.unwrap();
                let expected = if last[number] == 0 {
                    vec![0; found.len()]
                } else {
                    stamps::page(task, block, last[number])
                };
                assert!(found == expected, "seed {seed}: block {block} is not as it was written");
            }
            last
        });
    }
    for _ in 0..25 {
        writer.sync().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let all = tasks.join_all().await;
    writer.sync().await.unwrap();
    writer.sweep().await.unwrap();

    let healthy = files(Arc::clone(&store), settings);
    let found = healthy.open_reader("file", None).await.unwrap().read(0, usize::MAX).await.unwrap();
    stamps::check(&found);
    assert!(found == writer.read(0, usize::MAX).await.unwrap());
    let written = all.iter().flatten().filter(|&&round| round > 0).count();
    let pages = found.chunks(PAGE).filter(|page| page.iter().any(|&byte| byte != 0)).count();
    assert_eq!(pages, written);
}

/// Returns one of the task's blocks, as its number among them and in the file.
fn pick(random: &mut Dice, task: u64) -> (usize, u64) {
    let number = random.below(BLOCKS);
    (number as usize, number * TASKS + task)
}

#[tokio::test(start_paused = true)]
async fn a_sync_amid_writes_and_reads_loses_nothing_and_changes_nothing() {
    for seed in 0..40 {
        run(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_never_waits_for_a_sync() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let settings = Settings { segment_bytes: 1 << 20, memory_bytes: 8 << 10, ..small(1) };
    let writer = files(store, settings).open_writer("file", PAGE as u32, true).await.unwrap();
    let expected: Vec<u8> = (0..100).flat_map(|block| stamps::page(1, block, 1)).collect();
    for (block, page) in expected.chunks(PAGE).enumerate() {
        let written = writer.write((block * PAGE) as u64, page);
        tokio::time::timeout(Duration::from_secs(60), written).await.expect("it waits for a sync").unwrap();
    }
    assert!(writer.read(0, usize::MAX).await.unwrap() == expected);
    writer.sync().await.unwrap();
    assert!(writer.read(0, usize::MAX).await.unwrap() == expected);
}
