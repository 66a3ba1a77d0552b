//! Reads through a local tier, whose file is damaged, lost, or an earlier process's: the bytes are those of the store, and requests are saved.

mod support;

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ringpool::testing::Dice;
use ringpool_object_store::{LocalTier, ObjectFiles, Settings};
use support::files;
use support::stamps::{self, PAGE};

const BLOCKS: u64 = 200;

async fn with_tier(
    store: &Arc<dyn ObjectStore>,
    path: &std::path::Path,
    slots: u64,
) -> (ObjectFiles, LocalTier) {
    let tier = loop {
        match LocalTier::open(path, slots * (PAGE as u64 + 48), PAGE as u32) {
            Ok(tier) => break tier,
            // A task of the storage before is about to end.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    };
    let settings = Settings { segment_bytes: 32 << 10, ..Settings::default() };
    (files(Arc::clone(store), settings).with_tier(tier.clone()), tier)
}

/// Waits until what was fetched or put is in the tier.
async fn kept(tier: &LocalTier, count: u64) {
    while tier.counts().kept < count {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_read_through_the_tier_gives_the_bytes_of_the_store_and_saves_requests() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier");
    let mut expected = Vec::new();
    {
        let (files, tier) = with_tier(&store, &path, 2 * BLOCKS).await;
        let writer = files.open_writer("file", PAGE as u32, true).await.unwrap();
        expected.extend((0..BLOCKS).flat_map(|block| stamps::page(1, block, 1)));
        writer.write(0, &expected).await.unwrap();
        writer.sync().await.unwrap();
        kept(&tier, BLOCKS).await;
        let gets = files.requests().gets;
        assert!(writer.read(0, usize::MAX).await.unwrap() == expected);
        assert_eq!(files.requests().gets, gets, "what was put is in the tier");
    }
    {
        let (files, tier) = with_tier(&store, &path, 2 * BLOCKS).await;
        let reader = files.open_reader("file", None).await.unwrap();
        let gets = files.requests().gets;
        assert!(reader.read(0, usize::MAX).await.unwrap() == expected);
        assert_eq!(files.requests().gets, gets, "an earlier process kept it");
        assert_eq!(tier.counts().hits, BLOCKS);
    }
    // Parts of it damaged.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    let mut random = Dice::new(7);
    for _ in 0..100 {
        file.write_all_at(&[random.throw() as u8; 100], random.below(len - 100)).unwrap();
    }
    drop(file);
    let (files, tier) = with_tier(&store, &path, 2 * BLOCKS).await;
    let reader = files.open_reader("file", None).await.unwrap();
    for _ in 0..500 {
        let at = random.below(BLOCKS * PAGE as u64);
        let len = random.below(20 * PAGE as u64) as usize;
        let end = (at as usize + len).min(expected.len());
        assert!(reader.read(at, len).await.unwrap() == expected[at as usize..end]);
    }
    let counts = tier.counts();
    assert!(counts.damaged > 0 && counts.hits > 0 && counts.misses > 0, "{counts:?}");
    drop((files, reader));
    drop(tier);
    // And lost.
    std::fs::remove_file(&path).unwrap();
    let (files, _) = with_tier(&store, &path, 10).await;
    let reader = files.open_reader("file", None).await.unwrap();
    assert!(reader.read(0, usize::MAX).await.unwrap() == expected);
}

#[tokio::test]
async fn a_removed_file_leaves_nothing_that_serves_its_successor() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let folder = tempfile::tempdir().unwrap();
    let (files, tier) = with_tier(&store, &folder.path().join("tier"), 100).await;
    for round in 1..=2 {
        let writer = files.open_writer("file", PAGE as u32, true).await.unwrap();
        writer.write(0, &stamps::page(round, 0, round)).await.unwrap();
        writer.sync().await.unwrap();
        kept(&tier, round).await;
        assert!(writer.read(0, PAGE).await.unwrap() == stamps::page(round, 0, round));
        drop(writer);
        files.remove("file").await.unwrap();
    }
}
