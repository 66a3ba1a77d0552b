//! C7 where the system refuses threads: when the pool is built, or from then on, for a while or for good.

use std::{fs, num::NonZeroU32, path::Path};

use pollster::block_on;
use ringpool::{
    BufferPool, CheckpointOptions, Error, FileId, IoMethod, OpenOptions, PageId, Shutdown, StreamOptions,
    stats::MethodKind,
    testing::{SimDisk, refuse_threads},
};

use crate::support::{
    PAGE, assert_at_rest, assert_stamped, eventually, guarded, methods, restamp, stamped_file,
    with_each_method,
};

const ALL: u64 = u64::MAX;

const BLOCKS: u32 = 40;

/// Does a little of everything that a pool starts threads for, as tasks do it: in version 1 at first, all of it in version 2 in the
/// end.
fn use_all(pool: &BufferPool, file: FileId) {
    let page = |block| PageId::new(file, block);
    pool.prefetch(file.pages([20_u32, 21, 30]));
    let many: Vec<_> = [3, 20, 31].map(page).into();
    block_on(pool.fetch_many(&many)).unwrap().iter().for_each(|page| assert_stamped(page, 1));
    let mut stream = pool.read_stream(file.pages(0..BLOCKS), StreamOptions::new());
    while let Some(page) = block_on(stream.next_page()) {
        restamp(&page.unwrap(), 2);
    }
    drop(stream);
    block_on(pool.flush(page(7))).unwrap();
    block_on(pool.checkpoint(CheckpointOptions::new())).unwrap();
    let added = block_on(pool.extend(file, NonZeroU32::new(3).unwrap())).unwrap();
    assert_eq!(added.blocks, 3);
    block_on(pool.truncate(file, BLOCKS)).unwrap();
    block_on(pool.evict(page(7))).unwrap();
    assert_stamped(&block_on(pool.fetch(page(7))).unwrap(), 2);
}

fn put(path: &Path) {
    fs::write(path, stamped_file(BLOCKS, 1)).unwrap();
}

#[test]
fn c7_a_pool_that_is_built_where_no_thread_can_be_had_works_without() {
    guarded(|| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("data");
        put(&path);
        refuse_threads(0, ALL, || {
            // Large enough for a background writer.
            let pool = BufferPool::builder().frames(512).page_size(PAGE as u32).build().unwrap();
            let method = pool.stats().method;
            assert_eq!(method.in_use, MethodKind::Sync);
            assert!(method.reason.unwrap().contains("thread"));
            let file = pool.open_file(&path, OpenOptions::new()).unwrap();
            use_all(&pool, file);
            assert_at_rest(&pool);
            pool.shutdown(Shutdown::Flush).unwrap();
        });
        assert!(fs::read(&path).unwrap() == stamped_file(BLOCKS, 2));
    });
}

#[test]
fn c7_a_method_that_needs_threads_is_refused_where_none_can_be_had() {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
        let before = descriptors();
        for _ in 0..20 {
            let build = || BufferPool::builder().frames(512).io_method(method.clone()).build();
            let refused = refuse_threads(0, ALL, build);
            let Err(Error::Config(text)) = refused else { panic!("{refused:?}") };
            assert!(text.advice().contains("thread"), "{text}");
        }
        // Other tests have files open meanwhile.
        assert!(descriptors() < before + 20, "descriptors are left behind");
    }
}

/// Of the threads that a pool starts as it is built, each in turn is the first that is refused.
#[test]
fn c7_a_pool_works_with_as_many_threads_as_it_gets() {
    with_each_method(|method| {
        for after in 0..=10 {
            let disk = SimDisk::new();
            disk.put("data", stamped_file(BLOCKS, 1));
            refuse_threads(after, ALL, || {
                let builder = BufferPool::builder().frames(300).page_size(PAGE as u32);
                let pool = match builder.io_method(method.clone()).storage(disk.clone()).build() {
                    Ok(pool) => pool,
                    Err(_) if after == 0 && method != IoMethod::Sync => return,
                    Err(error) => panic!("{after}: {error}"),
                };
                let file = pool.open_file("data", OpenOptions::new()).unwrap();
                use_all(&pool, file);
                assert_at_rest(&pool);
                pool.shutdown(Shutdown::Flush).unwrap();
                assert!(disk.durable_image("data").unwrap() == stamped_file(BLOCKS, 2));
            });
        }
    });
}

/// Threads are refused once the pool is open, and can be started again later.
#[test]
fn c7_what_threads_would_have_done_is_done_by_the_caller_for_as_long_as_none_can_be_had() {
    with_each_method(|method| {
        let disk = SimDisk::new();
        disk.put("data", stamped_file(BLOCKS, 1));
        let builder = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(method.clone());
        let pool = builder.storage(disk.clone()).build().unwrap();
        let built = pool.stats().method;
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        refuse_threads(0, ALL, || use_all(&pool, file));
        // The disk has no descriptor, so under io_uring all of it was for threads beside the ring.
        let method_now = pool.stats().method;
        if method == IoMethod::uring() {
            assert!(method_now.reason.unwrap().contains("no ringpool-aside thread can be started"));
        } else {
            assert_eq!((method_now.in_use, method_now.reason), (built.in_use, built.reason.clone()));
        }
        assert!(disk.image("data").unwrap() == stamped_file(BLOCKS, 2));
        let page = PageId::new(file, 9);
        // A thread is tried again after a pause.
        eventually("threads do the work again", || {
            block_on(pool.evict(page)).unwrap();
            assert_stamped(&block_on(pool.fetch(page)).unwrap(), 2);
            let method_now = pool.stats().method;
            (method_now.in_use, method_now.reason) == (built.in_use, built.reason.clone())
        });
        assert_at_rest(&pool);
    });
}
