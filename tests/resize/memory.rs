//! The memory of frames that come is what the device reads into and writes from, however often it came and went.

use std::fs;

use ringpool::{
    BufferPool, CheckpointOptions, IoMethod, OpenOptions, PageId, StreamOptions,
    options::{Fallback, UringOptions},
    stats::Registration,
};

use crate::support::{PAGE, assert_at_rest, assert_stamped, guarded, methods, restamp, stamped_file};

/// Pages that need more than one step of memory.
const BLOCKS: u32 = 2_200;

#[test]
fn c1_the_device_reads_into_the_memory_that_is_there_now() {
    guarded(|| {
        let several = IoMethod::Uring(UringOptions::default().workers(3));
        let rings = methods().contains(&IoMethod::uring()).then_some(several);
        for method in methods().into_iter().chain(rings) {
            println!("method {method:?}");
            let on_disk = tempfile::NamedTempFile::new().unwrap();
            fs::write(on_disk.path(), stamped_file(BLOCKS, 1)).unwrap();
            let builder = BufferPool::builder().frames(10).frames_at_most(BLOCKS).page_size(PAGE as u32);
            let pool = builder.io_method(method).build().unwrap();
            let file = pool.open_file(on_disk.path(), OpenOptions::new().direct(Fallback::Prefer)).unwrap();
            for version in 2..4 {
                pool.resize(BLOCKS).wait().unwrap();
                // By the ring, in requests of many pages, into all of the memory; and out of it.
                for page in pool.read_stream(file.pages(0..BLOCKS), StreamOptions::new()) {
                    assert_stamped(&page.unwrap(), version - 1);
                }
                // Every frame got a page before any page had to go.
                assert_eq!(pool.stats().frames.resident, BLOCKS);
                (0..BLOCKS).step_by(3).for_each(|block| {
                    restamp(&pool.fetch(PageId::new(file, block)).wait().unwrap(), version);
                });
                let report = pool.resize(10).wait().unwrap();
                assert!(report.pages_written > u64::from(BLOCKS / 3 - 10), "{report:?}");
                pool.resize(BLOCKS / 2).wait().unwrap();
                for (page, block) in
                    pool.read_stream(file.pages(0..BLOCKS), StreamOptions::new()).zip(0..BLOCKS)
                {
                    let page = page.unwrap();
                    assert_stamped(&page, if block % 3 == 0 { version } else { version - 1 });
                    restamp(&page, version);
                }
                pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
                assert!(fs::read(on_disk.path()).unwrap() == stamped_file(BLOCKS, version));
            }
            let registered = pool.stats().method.fixed_buffers;
            assert!(!matches!(registered, Registration::Refused(_)) || !rustix::process::geteuid().is_root());
            assert_at_rest(&pool);
        }
    });
}

/// A pool in which nothing is registered grows and shrinks all the same.
#[test]
fn a_ring_without_registered_memory_follows() {
    let plain = IoMethod::Uring(UringOptions::default().fixed_buffers(Fallback::Off));
    let Ok(pool) = BufferPool::builder().frames(1).frames_at_most(BLOCKS).io_method(plain).build() else {
        return println!("skipped: no io_uring here");
    };
    for frames in [BLOCKS, 1, BLOCKS] {
        assert_eq!(pool.resize(frames).wait().unwrap().frames, frames);
    }
    pool.validate().unwrap();
}
