//! A real file system without room: a full disk, or a limit on the size of files. `.ci/places` makes such places and sets
//! `RINGPOOL_LITTLE_SPACE`; elsewhere the test does nothing.

use std::{env, fs, num::NonZeroU32};

use ringpool::{BufferPool, CheckpointOptions, Error, IoMethod, OpenOptions, PageId};

const PAGE: u32 = 4096;

/// The most blocks that any of these places has room for.
const MOST: u32 = 1 << 12;

#[test]
fn c3_a_file_that_finds_no_room_keeps_what_it_has() {
    if env::var_os("RINGPOOL_LITTLE_SPACE").is_none() {
        return println!("skipped: there is room here");
    }
    for method in [IoMethod::Sync, IoMethod::worker(), IoMethod::uring()] {
        match BufferPool::builder().frames(16).page_size(PAGE).io_method(method.clone()).build() {
            Ok(pool) => fill(&pool),
            Err(error) => println!("skipped: {method:?}: {error}"),
        }
    }
}

/// Grows a file until there is no room, with every page changed, and compares the file.
fn fill(pool: &BufferPool) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder takes no room");
    let path = dir.path().join("growing");
    let file = pool.open_file(&path, OpenOptions::new().create(true)).unwrap();
    let step = NonZeroU32::new(7).unwrap();
    let mut blocks = 0;
    let error = loop {
        match pool.extend(file, step).wait() {
            Ok(extended) => assert_eq!(extended.first.0, blocks),
            Err(error) => break error,
        }
        for block in blocks..blocks + step.get() {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            page.write().unwrap().fill(block as u8 | 1);
        }
        blocks += step.get();
        assert!(blocks <= MOST, "there is room for everything here");
    };
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert_eq!(pool.blocks(file).unwrap(), blocks, "as long as it was before");
    // The blocks were zeroed on disk when they were handed out, so there is room for what is in them.
    pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    let bytes = fs::read(&path).unwrap();
    for (block, page) in bytes.chunks_exact(PAGE as usize).take(blocks as usize).enumerate() {
        assert!(page.iter().all(|&byte| byte == block as u8 | 1), "block {block} is not what was written");
    }
    pool.truncate(file, 1).wait().unwrap();
    pool.extend(file, step).wait().expect("what was cut off is free again");
    pool.validate().unwrap();
    println!("{blocks} blocks found room, then: {error}");
}
