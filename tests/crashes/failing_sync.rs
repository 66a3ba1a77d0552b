//! C4 on a real file system with a sync that really fails: its device has no room for what was written to the cache.

use std::{fs, path::Path};

use ringpool::{BufferPool, CheckpointOptions, Error, IoMethod, OpenOptions, PageId, options::Fallback};

use crate::{
    file_system::FileSystem,
    support::{guarded, methods, say},
};

const PAGE: usize = 8192;
/// More than the device below has room for.
const BLOCKS: u32 = (48 << 20) / PAGE as u32;

/// Changes all pages, which go to the cache, and then syncs them.
fn fail_to_sync(path: &Path, method: &IoMethod) {
    let pool =
        BufferPool::builder().frames(256).page_size(PAGE as u32).io_method(method.clone()).build().unwrap();
    let options = OpenOptions::new().direct(Fallback::Off);
    let file = pool.open_file(path, options).unwrap();
    for block in 0..BLOCKS {
        pool.fetch(PageId::new(file, block)).wait().unwrap().write().unwrap().fill(7);
    }
    let checkpoint = || pool.checkpoint(CheckpointOptions::new()).wait();
    let first = checkpoint().expect_err("there is no room");
    assert!(matches!(first, Error::File { .. }), "{first}");
    for _ in 0..3 {
        assert!(matches!(checkpoint(), Err(Error::SyncPoisoned { .. })), "{method:?}");
        assert!(matches!(pool.sync_file(file).wait(), Err(Error::SyncPoisoned { .. })), "{method:?}");
    }
    // This is what the sticky error protects from.
    let again = fs::File::options().write(true).open(path).and_then(|file| file.sync_data());
    say(&format!("C4: {method:?}: {first}; a second sync by another hand: {again:?}"));
    assert!(matches!(pool.close_file(file).wait(), Err(Error::SyncPoisoned { .. })));
}

fn with_each_method() -> Result<(), String> {
    for method in methods() {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let file_system = FileSystem::make(dir.path(), 96, 24)?;
        let path = file_system.path().join("data");
        let len = u64::from(BLOCKS) * PAGE as u64;
        fs::File::create(&path).and_then(|file| file.set_len(len)).map_err(|error| error.to_string())?;
        fail_to_sync(&path, &method);
    }
    Ok(())
}

#[test]
fn c4_a_sync_that_really_fails_is_sticky() {
    guarded(|| {
        if let Err(reason) = with_each_method() {
            say(&format!("skipped: C4 with a sync that really fails: {reason}"));
        }
    });
}
