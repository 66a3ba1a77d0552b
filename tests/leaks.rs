//! C5, for what belongs to the process: threads and descriptors are given back. One test, so that nothing else in this
//! process starts or opens any meanwhile.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    pin::pin,
    task::{Context, Waker},
};

use ringpool::{BufferPool, CheckpointOptions, IoMethod, OpenOptions, PageId};
use support::{assert_stamped, eventually, guarded, methods, restamp, stamped_file};

/// Returns the library's own threads, by name.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("ringpool")).collect()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Uses a pool in every way that starts threads or keeps files open, and then drops it with all of that under way.
fn use_and_drop(method: IoMethod, path: &std::path::Path) {
    let pool = BufferPool::builder().frames(16).io_method(method).build().unwrap();
    let closed = pool.open_file(path, OpenOptions::new()).unwrap();
    restamp(&pool.fetch(PageId::new(closed, 3)).wait().unwrap(), 1);
    pollster::block_on(pool.checkpoint(CheckpointOptions::new())).unwrap();
    pollster::block_on(pool.close_file(closed)).unwrap();
    let file = pool.open_file(path, OpenOptions::new()).unwrap();
    let hoarded: Vec<_> = (0..16).map(|block| pool.fetch(PageId::new(file, block)).wait().unwrap()).collect();
    let mut context = Context::from_waker(Waker::noop());
    // In line for a frame: the ticker's thread looks after it.
    let mut starved = pool.fetch(PageId::new(file, 20));
    assert!(pin!(&mut starved).poll(&mut context).is_pending());
    drop(hoarded);
    pool.prefetch(file.pages((0..64).step_by(3)));
    let mut reading = pool.fetch(PageId::new(file, 50));
    let _ = pin!(&mut reading).poll(&mut context);
    let kept = pool.fetch(PageId::new(file, 33)).wait().unwrap();
    drop(pool);
    drop((starved, reading));
    assert_stamped(&kept, 1);
}

#[test]
fn c5_threads_and_descriptors_are_given_back() {
    guarded(|| {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        fs::write(&path, stamped_file(64, 1)).unwrap();
        for method in methods() {
            eventually("no threads from before", || threads().is_empty());
            let before = descriptors();
            for _ in 0..10 {
                use_and_drop(method.clone(), &path);
            }
            eventually("its threads have ended", || threads().is_empty());
            eventually("its descriptors are closed", || descriptors() == before);
            println!("{method:?}: {before} descriptors before and after");
        }
    });
}
