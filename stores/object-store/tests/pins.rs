//! A reader that ends cleanly leaves no pin in the store: closed or dropped, by a pool or without one, on any runtime.

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use ringpool::{BufferPool, OpenOptions, PageId};
use ringpool_object_store::{ObjectFiles, Settings};
use support::faulty::{Faults, Faulty};
use support::stamps::{self, PAGE};

/// A store with a file of one page, and a client of it whose requests take a while.
async fn store() -> (Arc<dyn ObjectStore>, Arc<dyn ObjectStore>) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let writer = support::files(Arc::clone(&store), Settings::default());
    let writer = writer.open_writer("file", PAGE as u32, true).await.unwrap();
    writer.write(0, &stamps::page(1, 0, 1)).await.unwrap();
    writer.sync().await.unwrap();
    let slow = Faulty::new(&store, Faults { delay: 100, ..Faults::default() }, 3).store();
    (store, slow)
}

async fn pins(store: &Arc<dyn ObjectStore>) -> usize {
    let paths = store.list(None).map(|found| found.unwrap().location.to_string());
    paths.collect::<Vec<_>>().await.iter().filter(|path| path.contains("/pins/")).count()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn read_through(files: ObjectFiles) -> BufferPool {
    let pool = BufferPool::builder().frames(16).page_size(PAGE as u32).storage(files).build().unwrap();
    let file = pool.open_file("file", OpenOptions::new().read_only(true)).unwrap();
    stamps::check(&pool.read(PageId::new(file, 0)).wait().unwrap());
    pool
}

#[test]
fn the_end_of_a_storage_with_its_own_runtime_leaves_no_pin() {
    let runtime = runtime();
    let (store, slow) = runtime.block_on(store());
    for threads in [1, 2] {
        let files = ObjectFiles::with_own_runtime(Arc::clone(&slow), "test", Settings::default(), threads);
        let pool = read_through(files.unwrap());
        assert_eq!(runtime.block_on(pins(&store)), 1);
        drop(pool);
        assert_eq!(runtime.block_on(pins(&store)), 0, "the process may end now");
    }
    // Dropped where a thread must not wait: soon after.
    runtime.block_on(async {
        let files = ObjectFiles::with_own_runtime(slow, "test", Settings::default(), 1).unwrap();
        let reader = files.open_reader("file", None).await.unwrap();
        drop((reader, files));
        while pins(&store).await > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_pool_that_closes_its_file_lets_the_version_go_before_the_pool_ends() {
    let (of_store, of_pool) = (runtime(), runtime());
    let (store, slow) = of_store.block_on(store());
    let files = ObjectFiles::new(slow, "test", Settings::default(), of_pool.handle().clone());
    let pool =
        BufferPool::builder().frames(16).page_size(PAGE as u32).storage(files.clone()).build().unwrap();
    let file = pool.open_file("file", OpenOptions::new().read_only(true)).unwrap();
    stamps::check(&pool.read(PageId::new(file, 0)).wait().unwrap());
    pool.close_file(file).wait().unwrap();
    of_pool.block_on(files.wait_for_pins());
    assert_eq!(of_store.block_on(pins(&store)), 0);
    drop(pool);
    // Nothing waits for a runtime that has ended.
    let reader = of_pool.block_on(files.open_reader("file", None)).unwrap();
    of_pool.shutdown_background();
    drop(reader);
    of_store.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), files.wait_for_pins()).await.unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_given_up_leaves_no_pin() {
    let (store, slow) = store().await;
    let files = support::files(slow, Settings::default());
    let mut opened = 0;
    for milliseconds in 0..600 {
        let opening = files.open_reader("file", None);
        opened +=
            usize::from(tokio::time::timeout(Duration::from_millis(milliseconds), opening).await.is_ok());
        files.wait_for_pins().await;
        assert_eq!(pins(&store).await, 0, "given up after {milliseconds} ms");
    }
    assert!((100..500).contains(&opened), "{opened}");
}

#[tokio::test(start_paused = true)]
async fn a_pin_is_put_again_while_its_reader_lives_and_is_over_by_its_age_else() {
    let (store, slow) = store().await;
    let settings = Settings { pin_lifetime: Duration::from_secs(40), ..Settings::default() };
    let files = support::files(slow, settings);
    let reader = files.open_reader("file", None).await.unwrap();
    let puts = files.requests().puts;
    tokio::time::sleep(Duration::from_secs(102)).await;
    assert_eq!(files.requests().puts - puts, 10);
    assert_eq!(pins(&store).await, 1);
    drop(reader);
    files.wait_for_pins().await;
    assert_eq!(pins(&store).await, 0);
    tokio::time::sleep(Duration::from_secs(102)).await;
    assert_eq!(files.requests().puts - puts, 10, "it is not put again");
}
