//! What allocates nothing: a hit, always; a task's miss in the steady state, whichever method reads. One test, so that
//! nothing else in this process allocates meanwhile.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used, unsafe_code)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use ringpool::{BufferPool, FileId, OpenOptions, PageId};
use support::{guarded, methods, stamped_file};

/// The system's allocator, which counts.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, SeqCst);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BLOCKS: u32 = 512;

/// Counts the allocations while a task fetches this number of pages, one after another.
fn allocated_by(pool: &BufferPool, file: FileId, pages: u32) -> u64 {
    let before = ALLOCATIONS.load(SeqCst);
    let task = async {
        for n in 0..pages {
            // A step that visits all blocks, never two neighbours in a row.
            let page = pool.fetch(PageId::new(file, n * 37 % BLOCKS)).await.unwrap();
            assert_eq!(page.id().file, file);
        }
    };
    pollster::block_on(task);
    ALLOCATIONS.load(SeqCst) - before
}

#[test]
fn hits_and_the_misses_of_tasks_allocate_nothing() {
    guarded(|| {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        fs::write(&path, stamped_file(BLOCKS, 1)).unwrap();
        for method in methods() {
            let pool = BufferPool::builder().frames(64).io_method(method.clone()).build().unwrap();
            let file = pool.open_file(&path, OpenOptions::new()).unwrap();
            // After this everything that grows has its final size.
            allocated_by(&pool, file, 2_000);
            let misses = pool.stats().counts.misses;
            let allocated = allocated_by(&pool, file, 10_000);
            // Of a loop that is longer than the pool a few pages stay.
            assert!(pool.stats().counts.misses - misses > 9_500);
            assert!(allocated <= 10, "{method:?}: {allocated} allocations for 10,000 misses");

            let page = PageId::new(file, 7);
            drop(pool.fetch(page).wait().unwrap());
            let before = ALLOCATIONS.load(SeqCst);
            for _ in 0..10_000 {
                assert_eq!(pool.fetch(page).wait().unwrap().read()[0], 1);
            }
            assert_eq!(ALLOCATIONS.load(SeqCst) - before, 0, "{method:?}: hits");
        }
    });
}
