//! Runs pools on files in an object store: what a pool's checkpoint reported is what the next pool finds, and the pool before is fenced.

mod support;

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ringpool::{BufferPool, CheckpointOptions, FileId, OpenOptions, PageId};
use ringpool_object_store::{Fenced, InvalidName, ObjectFiles, Settings};
use support::faulty::{Faults, Faulty};

const BLOCKS: u32 = 200;

fn store() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn settings() -> Settings {
    Settings {
        segment_bytes: 256 << 10,
        memory_bytes: 1 << 20,
        retry_wait: Duration::from_millis(1),
        request_timeout: Duration::from_secs(5),
        ..Settings::default()
    }
}

/// Another process, in effect: nothing is shared but the store, whose answers get lost.
fn process(store: &Arc<dyn ObjectStore>, seed: u64) -> ObjectFiles {
    let faults = Faults { no_answer: 0, delay: 2, ..Faults::MANY };
    let faulty = Faulty::new(store, faults, seed);
    ObjectFiles::with_own_runtime(faulty.store(), "pool", settings(), 2).unwrap()
}

/// A pool whose frames are far fewer than the file's pages.
fn pool(files: &ObjectFiles) -> BufferPool {
    BufferPool::builder().frames(32).storage(files.clone()).build().unwrap()
}

fn fill(pool: &BufferPool, file: FileId, round: u32) {
    for block in 0..BLOCKS {
        let mut page = pool.write(PageId::new(file, block)).wait().unwrap();
        let len = page.len();
        for word in 0..len / 8 {
            page[word * 8..][..4].copy_from_slice(&round.to_le_bytes());
            page[word * 8 + 4..][..4].copy_from_slice(&block.to_le_bytes());
        }
    }
}

fn check(pool: &BufferPool, file: FileId, round: u32) {
    for block in 0..BLOCKS {
        let page = pool.read(PageId::new(file, block)).wait().unwrap();
        for word in page.chunks(8) {
            assert_eq!(word[..4], round.to_le_bytes(), "block {block}");
            assert_eq!(word[4..], block.to_le_bytes(), "block {block}");
        }
    }
}

fn to_write() -> OpenOptions {
    OpenOptions::new().create(true).initial_blocks(BLOCKS)
}

fn to_read() -> OpenOptions {
    OpenOptions::new().read_only(true)
}

fn checkpoint(pool: &BufferPool) -> ringpool::Result<()> {
    pool.checkpoint(CheckpointOptions::new()).wait().map(|_| ())
}

#[test]
fn a_checkpoint_is_what_the_next_pool_finds_and_a_reader_keeps_its_version() {
    let store = store();
    let files = process(&store, 1);
    let first = pool(&files);
    let file = first.open_file("table", to_write()).unwrap();
    fill(&first, file, 1);
    checkpoint(&first).unwrap();
    let version = first.file_info(file).unwrap().version.unwrap();

    let of_reader = process(&store, 2);
    let reader = pool(&of_reader);
    let read = reader.open_file("table", to_read()).unwrap();
    check(&reader, read, 1);

    fill(&first, file, 2);
    checkpoint(&first).unwrap();
    check(&first, file, 2);
    check(&reader, read, 1);
    assert!(first.file_info(file).unwrap().version.unwrap() > version);
    assert_eq!(reader.file_info(read).unwrap().version, Some(version));

    let earlier = pool(&process(&store, 3).at_version(version));
    let read = earlier.open_file("table", to_read()).unwrap();
    check(&earlier, read, 1);
    assert!(earlier.open_file("table", to_write()).is_err(), "a version is not written");

    // What was evicted since is in memory or in the store, and published by no checkpoint.
    fill(&first, file, 3);
    let second = pool(&process(&store, 4));
    let found = second.open_file("table", to_write()).unwrap();
    check(&second, found, 2);

    let error = checkpoint(&first).unwrap_err();
    let fenced = Fenced::of(&error).unwrap_or_else(|| panic!("no fence among the causes: {error:?}"));
    assert_eq!(fenced.owner, Some(fenced.epoch + 1));
    let error = checkpoint(&first).unwrap_err();
    assert!(Fenced::of(&error).is_some(), "it stays so: {error:?}");
    fill(&second, found, 4);
    checkpoint(&second).unwrap();
    check(&second, found, 4);
}

#[test]
fn a_pool_that_opens_a_file_twice_does_not_fence_itself() {
    let store = store();
    let pool = pool(&process(&store, 5));
    let file = pool.open_file("table", to_write()).unwrap();
    assert!(pool.open_file("table", to_write()).is_err());
    fill(&pool, file, 1);
    checkpoint(&pool).unwrap();
}

#[test]
fn a_removed_file_is_gone_and_another_takes_its_name() {
    let store = store();
    // The removal is one request a file, which a late copy of it would repeat.
    let files = ObjectFiles::with_own_runtime(Arc::clone(&store), "pool", settings(), 1).unwrap();
    let pool = pool(&files);
    let file = pool.open_file("table", to_write()).unwrap();
    fill(&pool, file, 1);
    checkpoint(&pool).unwrap();
    pool.drop_file(file).wait().unwrap();
    assert!(pool.open_file("table", OpenOptions::new()).is_err());
    let file = pool.open_file("table", to_write()).unwrap();
    assert!(pool.read(PageId::new(file, 3)).wait().unwrap().iter().all(|&byte| byte == 0));
    fill(&pool, file, 2);
    checkpoint(&pool).unwrap();
    check(&pool, file, 2);
}

#[test]
fn of_two_pools_on_clones_of_one_storage_the_later_writer_fences_the_earlier() {
    let files = process(&store(), 5);
    let (first, second) = (pool(&files), pool(&files));
    let file = first.open_file("table", to_write()).unwrap();
    fill(&first, file, 1);
    checkpoint(&first).unwrap();
    let of_second = second.open_file("table", to_write()).unwrap();
    fill(&second, of_second, 2);
    checkpoint(&second).unwrap();
    first.write(PageId::new(file, 0)).wait().unwrap()[0] = 9;
    let error = checkpoint(&first).unwrap_err();
    assert!(Fenced::of(&error).is_some(), "{error}");
    check(&second, of_second, 2);
}

#[test]
fn a_removal_fences_its_writer_whatever_has_the_name_afterwards() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let store = store();
        let client = || support::files(Arc::clone(&store), settings());
        let older = client().open_writer("table", 8192, true).await.unwrap();
        older.write(0, &[1; 8192]).await.unwrap();
        older.sync().await.unwrap();
        client().remove("table").await.unwrap();
        // The new file begins with the same epoch.
        let newer = client().open_writer("table", 8192, true).await.unwrap();
        assert_eq!(newer.epoch(), older.epoch());
        let error = older.read(0, 8192).await.unwrap_err();
        assert_eq!(Fenced::of(&error).map(|fenced| fenced.owner), Some(None), "{error}");
        let error = older.sync().await.unwrap_err();
        let fenced = Fenced::of(&error).unwrap();
        assert_eq!((fenced.epoch, fenced.owner), (1, None));
        assert!(newer.is_empty());
    });
}

#[test]
fn a_name_that_no_store_takes_is_refused_by_its_own_error() {
    let pool = pool(&process(&store(), 6));
    for name in [String::new(), "n".repeat(1024), "/".repeat(400)] {
        let error = pool.open_file(&name, to_write()).unwrap_err();
        assert!(InvalidName::of(&error).is_some(), "{name:?}: {error:?}");
    }
    let file = pool.open_file("n".repeat(900), to_write()).unwrap();
    fill(&pool, file, 1);
    checkpoint(&pool).unwrap();
    check(&pool, file, 1);
}
