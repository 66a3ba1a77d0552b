//! A control group that gives no more threads once pools are at work: none to a pool, and none to the kernel for what a ring cannot do at
//! once. `.ci/places` makes the group and names its limit in `RINGPOOL_PIDS_MAX`; elsewhere the test does nothing.

use std::{env, fs, num::NonZeroU32, path::Path};

use pollster::block_on;
use ringpool::{
    BufferPool, CheckpointOptions, IoMethod, OpenOptions, PageId, Shutdown, StreamOptions, options::Fallback,
    stats::MethodKind,
};

#[path = "support/mod.rs"]
mod support;

use support::{PAGE, assert_at_rest, assert_stamped, guarded, methods, restamp, stamped_file};

const FRAMES: u32 = 64;
const BLOCKS: u32 = 256;

#[test]
fn c7_pools_go_on_where_no_more_threads_can_be_had() {
    let Some(limit) = env::var_os("RINGPOOL_PIDS_MAX") else {
        return println!("skipped: threads can be had here");
    };
    guarded(move || {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("data");
        let build =
            |method| BufferPool::builder().page_size(PAGE as u32).frames(FRAMES).io_method(method).build();
        for method in methods() {
            for direct in [Fallback::Prefer, Fallback::Off] {
                fs::write(&path, stamped_file(BLOCKS, 1)).unwrap();
                let pool = build(method.clone()).unwrap();
                // All that there are now, and not one more.
                fs::write(&limit, "1").unwrap();
                assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "the limit does nothing");
                use_all(&pool, &path, OpenOptions::new().direct(direct));
                let built = build(IoMethod::Auto).unwrap().stats().method;
                assert_eq!(built.in_use, MethodKind::Sync, "{built:?}");
                assert!(build(IoMethod::worker()).is_err());
                fs::write(&limit, "max").unwrap();
                pool.shutdown(Shutdown::Flush).unwrap();
                assert!(fs::read(&path).unwrap() == stamped_file(BLOCKS, 2));
                println!("{method:?}, {direct:?}: went on with no more threads");
            }
        }
    });
}

fn use_all(pool: &BufferPool, path: &Path, options: OpenOptions) {
    let file = pool.open_file(path, options).unwrap();
    let page = |block| PageId::new(file, block);
    pool.prefetch(file.pages(0..16));
    block_on(pool.fetch_many(&[page(3), page(100)])).unwrap().iter().for_each(|page| assert_stamped(page, 1));
    let mut stream = pool.read_stream(file.pages(0..BLOCKS), StreamOptions::new());
    while let Some(page) = block_on(stream.next_page()) {
        restamp(&page.unwrap(), 2);
    }
    drop(stream);
    block_on(pool.checkpoint(CheckpointOptions::new())).unwrap();
    block_on(pool.extend(file, NonZeroU32::new(20).unwrap())).unwrap();
    block_on(pool.truncate(file, BLOCKS)).unwrap();
    assert_stamped(&block_on(pool.fetch(page(9))).unwrap(), 2);
    assert_at_rest(pool);
    block_on(pool.close_file(file)).unwrap();
    assert!(fs::read(path).unwrap() == stamped_file(BLOCKS, 2));
}
