//! Which requests a file sends, and which objects it leaves: what is written once, what is swapped, what is read together, what is removed.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use ringpool::testing::Dice;
use ringpool::{BufferPool, OpenOptions, PageId, StreamOptions};
use ringpool_object_store::{LocalTier, ObjectFiles, Settings, Writer};
use support::stamps::{self, PAGE};
use support::watched::{Request, Watched};
use support::{files, small};

async fn open(store: &Arc<Watched>, settings: Settings) -> Writer {
    let store: Arc<dyn ObjectStore> = Arc::<Watched>::clone(store);
    files(store, settings).open_writer("file", PAGE as u32, true).await.unwrap()
}

/// Returns the objects with pages or maps that are there, by the ends of their paths.
async fn objects(store: &Watched) -> Vec<String> {
    let paths = store.list(None).map(|found| found.unwrap().location.to_string());
    let paths: Vec<_> = paths.collect().await;
    store.take();
    paths.into_iter().filter(|path| path.contains("/objects/")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_collects_and_a_sync_puts_one_segment_and_then_swaps_the_head() {
    let store = Arc::new(Watched::default());
    let writer = open(&store, Settings::default()).await;
    store.take();
    for sync in 1..=5 {
        let pages: HashMap<u64, Vec<u8>> = (0..10).map(|i| (i * 7, stamps::page(1, i * 7, sync))).collect();
        for (block, page) in &pages {
            writer.write(block * PAGE as u64, page).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(store.take(), [], "a write sends nothing");
        writer.sync().await.unwrap();
        let sent = store.take();
        let [Request::Put(segment, bytes), Request::Swap(head, head_bytes)] = &sent[..] else {
            panic!("it is one segment, and then the head: {sent:?}")
        };
        assert!(segment.contains("/objects/") && head.ends_with("/head"), "{segment}, {head}");
        for page in pages.values() {
            assert!(bytes.windows(PAGE).any(|found| found == page), "the segment has each page");
        }
        assert!(bytes.len() < 10 * PAGE + 200 && head_bytes.len() < 400, "and little besides");
    }
    writer.sync().await.unwrap();
    let sent = store.take();
    assert!(matches!(&sent[..], [Request::Get(head, None)] if head.ends_with("/head")), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn only_the_head_changes_and_it_stays_small() {
    for seed in 0..6 {
        let store = Arc::new(Watched::default());
        let mut dice = Dice::new(seed);
        let (mut written, mut heads) = (HashMap::new(), 0);
        for _ in 0..3 {
            let writer = open(&store, Settings { base_every: 20, ..small(seed) }).await;
            for sync in 0..100 {
                for _ in 0..5 {
                    let block = dice.below(200);
                    writer.write(block * PAGE as u64, &stamps::page(1, block, sync)).await.unwrap();
                }
                writer.sync().await.unwrap();
            }
            writer.sweep().await.unwrap();
            for request in store.take() {
                match request {
                    Request::Put(path, bytes) => {
                        assert!(path.contains("/objects/"), "{path}");
                        let before = written.insert(path.clone(), bytes.clone());
                        assert!(before.is_none(), "{path} was put before");
                    }
                    Request::Swap(path, bytes) => {
                        assert!(path.ends_with("/head"), "{path}");
                        assert!(bytes.len() < 2048, "a head of {} bytes", bytes.len());
                        heads += 1;
                    }
                    Request::Delete(path) => assert!(path.contains("/objects/"), "{path}"),
                    Request::Get(..) | Request::List(_) => (),
                }
            }
        }
        assert!(heads > 300, "{heads}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_is_ranged_and_neighbours_are_one_get() {
    let store = Arc::new(Watched::default());
    let writer = open(&store, Settings { combine_gap: 2 * PAGE as u32, ..Settings::default() }).await;
    for block in 0..100 {
        writer.write(block * PAGE as u64, &stamps::page(1, block, 1)).await.unwrap();
    }
    writer.sync().await.unwrap();
    let ranges = |sent: Vec<Request>| -> Vec<u64> {
        let bytes = |request| match request {
            Request::Get(_, Some(range)) => range.end - range.start,
            other => panic!("{other:?}"),
        };
        sent.into_iter().map(bytes).collect()
    };
    store.take();
    writer.read(10 * PAGE as u64, PAGE).await.unwrap();
    assert_eq!(ranges(store.take()), [PAGE as u64]);
    writer.read(10 * PAGE as u64, 30 * PAGE).await.unwrap();
    assert_eq!(ranges(store.take()), [30 * PAGE as u64]);
    // Two pages amid them are elsewhere now: what lies on both sides is one get still, with the gap.
    for block in 20..22 {
        writer.write(block * PAGE as u64, &stamps::page(1, block, 2)).await.unwrap();
    }
    writer.sync().await.unwrap();
    store.take();
    stamps::check(&writer.read(0, 100 * PAGE).await.unwrap());
    let mut found = ranges(store.take());
    found.sort_unstable();
    assert_eq!(found, [2 * PAGE as u64, 100 * PAGE as u64]);
}

/// A pool that reads a file of stamped pages.
fn pool_of(
    store: &Arc<Watched>,
    blocks: u64,
    frames: u32,
    tier: Option<LocalTier>,
) -> (BufferPool, ringpool::FileId) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let writer = open(store, Settings::default()).await;
        for block in 0..blocks {
            writer.write(block * PAGE as u64, &stamps::page(1, block, 1)).await.unwrap();
        }
        writer.sync().await.unwrap();
    });
    let for_pool: Arc<dyn ObjectStore> = Arc::<Watched>::clone(store);
    let mut files = ObjectFiles::with_own_runtime(for_pool, "test", Settings::default(), 2).unwrap();
    if let Some(tier) = tier {
        files = files.with_tier(tier);
    }
    let pool = BufferPool::builder().frames(frames).page_size(PAGE as u32).storage(files).build().unwrap();
    let file = pool.open_file("file", OpenOptions::new().read_only(true)).unwrap();
    store.take();
    (pool, file)
}

#[test]
fn a_pool_has_hundreds_of_reads_in_flight() {
    const READS: usize = 400;
    let store = Arc::new(Watched::default());
    // Every fourth page, so that none are neighbours.
    let (pool, file) = pool_of(&store, 4 * READS as u64, 1024, None);
    store.hold_gets_until(READS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..READS as u32 {
            let read = pool.read(PageId::new(file, 4 * number));
            tasks.spawn(async move { assert!(read.await.unwrap()[..8] == 1u64.to_le_bytes()) });
        }
        let all = tokio::time::timeout(Duration::from_secs(60), tasks.join_all());
        all.await.expect("so many are not in flight");
    });
}

#[test]
fn a_scan_of_a_pool_is_few_gets() {
    let store = Arc::new(Watched::default());
    let (pool, file) = pool_of(&store, 2048, 1024, None);
    let pages = pool.read_stream(file.pages(0..2048_u32), StreamOptions::new());
    let pages = pages.inspect(|page| assert!(page.as_ref().unwrap().read()[..8] == 1u64.to_le_bytes()));
    assert_eq!(pages.count(), 2048);
    let gets = store.take().len();
    assert!(gets < 2048 / 16, "{gets} gets");
}

#[test]
fn pages_that_left_the_pool_are_read_from_the_local_tier() {
    const BLOCKS: u32 = 400;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier");
    let bytes = u64::from(BLOCKS) * (PAGE as u64 + 48);
    let tier = LocalTier::open(&path, bytes, PAGE as u32).unwrap();
    let store = Arc::new(Watched::default());
    let (pool, file) = pool_of(&store, BLOCKS.into(), 64, Some(tier.clone()));
    let scan = || {
        for block in 0..BLOCKS {
            let page = pool.read(PageId::new(file, block)).wait().unwrap();
            assert!(*page == stamps::page(1, block.into(), 1));
        }
        store.take().len()
    };
    assert_eq!(scan(), BLOCKS as usize);
    while tier.counts().kept < BLOCKS.into() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(scan(), 0);
    assert!(std::fs::metadata(&path).unwrap().len() <= bytes);
}

#[tokio::test(start_paused = true)]
async fn pages_that_come_in_no_order_follow_each_other_in_segments() {
    const BLOCKS: u64 = 4096;
    let store = Arc::new(Watched::default());
    let settings = Settings { segment_bytes: 128 << 10, memory_bytes: 2 << 20, ..Settings::default() };
    let writer = open(&store, settings).await;
    // As a pool evicts: of the next 512 pages, any.
    let (mut next, mut waiting, mut dice) = (0, Vec::new(), Dice::new(1));
    while next < BLOCKS || !waiting.is_empty() {
        while waiting.len() < 512 && next < BLOCKS {
            waiting.push(next);
            next += 1;
        }
        let block = waiting.swap_remove(dice.below(waiting.len() as u64) as usize);
        writer.write(block * PAGE as u64, &stamps::page(1, block, 1)).await.unwrap();
    }
    writer.sync().await.unwrap();
    store.take();
    for part in 0..BLOCKS as usize / 64 {
        writer.read((part * 64 * PAGE) as u64, 64 * PAGE).await.unwrap();
    }
    let gets = store.take().len();
    // A part of 64 pages takes 226 / 64 gets. Where each segment is put as soon as it is full, it takes 780 / 64.
    assert!(gets < 5 * BLOCKS as usize / 64, "{gets} gets");
    stamps::check(&writer.read(0, usize::MAX).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_no_kept_version_names_is_removed_and_nothing_of_a_newer_writer() {
    let store = Arc::new(Watched::default());
    let settings = Settings { keep_versions: 2, base_every: 4, remove_together: 1, ..Settings::default() };
    let write = async |writer: &Writer, syncs: u64| {
        for sync in 0..syncs {
            writer.write(0, &stamps::page(1, 0, sync)).await.unwrap();
            writer.sync().await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let writer = open(&store, settings).await;
    write(&writer, 50).await;
    let left = objects(&store).await;
    // The page of each kept version, and the tables since the bases of these.
    assert!(left.len() <= 12, "{left:?}");

    // What a writer left that died before its swap, and what a newer one has under way.
    let folder = left[0].rsplit_once('/').unwrap().0.to_owned();
    let [dead, newer] = ["000001-00000fffff", "000009-0000000000"].map(|name| format!("{folder}/{name}"));
    for path in [&dead, &newer] {
        store.put(&Path::from(path.as_str()), vec![1; 10].into()).await.unwrap();
    }
    let next = open(&store, settings).await;
    write(&next, 3).await;
    let left = objects(&store).await;
    assert!(!left.contains(&dead), "{left:?}");
    assert!(left.contains(&newer), "{left:?}");
    write(&next, 50).await;
    let left = objects(&store).await;
    assert!(left.contains(&newer) && left.len() <= 13, "{left:?}");
    // What is named is there: the file is read whole.
    let reader: Arc<dyn ObjectStore> = Arc::<Watched>::clone(&store);
    for version in [None, Some(next.version() - 1)] {
        let reader = files(Arc::clone(&reader), settings).open_reader("file", version).await.unwrap();
        stamps::check(&reader.read(0, usize::MAX).await.unwrap());
    }
}
