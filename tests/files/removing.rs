//! Removing files: nothing of them is left, and nothing is removed that was not meant.

use std::fs;

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoOp, OpenOptions, PageId,
    testing::{Fault, Op},
};

use crate::support::{Bench, EIO, PAGE, assert_stamped, stamped_file, with_each_method};

const EPERM: i32 = 1;

#[test]
fn a_dropped_file_is_gone_with_its_pages_and_is_not_written_once_more() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.dirty(0..4, 2);
        bench.pool.drop_file(bench.file).wait().unwrap();
        assert_eq!((bench.disk.image("data"), bench.disk.count(Op::Write)), (None, 0));
        let frames = bench.pool.stats().frames;
        assert_eq!((frames.resident, frames.dirty), (0, 0));
        assert!(matches!(bench.fetch(0), Err(Error::NotOpen { .. })));
        assert!(matches!(bench.pool.drop_file(bench.file).wait(), Err(Error::NotOpen { .. })));
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    });
}

#[test]
fn a_path_that_is_used_again_shows_nothing_of_the_file_that_was_there() {
    with_each_method(|method| {
        // A real one, with descriptors that a ring may know.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let pool = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(method).build().unwrap();
        let mut former = Vec::new();
        for version in 1..4 {
            let options = OpenOptions::new().create(true).initial_blocks(4);
            let file = pool.open_file(&path, options).unwrap();
            assert!(!former.contains(&file), "an id is given once");
            former.push(file);
            for block in 0..4 {
                let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
                assert!(page.read().iter().all(|&byte| byte == 0), "the old file's page");
                crate::support::restamp(&page, version);
            }
            pool.flush(PageId::new(file, 1)).wait().unwrap();
            pool.drop_file(file).wait().unwrap();
            assert!(!path.exists());
        }
    });
}

#[test]
fn a_pinned_page_keeps_its_file() {
    with_each_method(|method| {
        let wait = std::time::Duration::from_millis(50);
        let bench = Bench::with(8, |builder| builder.frames(16).frame_wait(wait).io_method(method));
        let pinned = bench.fetch(3).unwrap();
        assert!(
            matches!(bench.pool.drop_file(bench.file).wait(), Err(Error::Pinned { page, .. }) if page == pinned.id())
        );
        assert_stamped(&bench.fetch(4).unwrap(), 1);
        drop(pinned);
        bench.pool.drop_file(bench.file).wait().unwrap();
        assert_eq!(bench.disk.image("data"), None);
    });
}

#[test]
fn only_the_very_file_is_removed() {
    with_each_method(|method| {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("data"), folder.path().join("aside"));
        fs::write(&path, stamped_file(2, 1)).unwrap();
        let pool = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(method).build().unwrap();
        let file = pool.open_file(&path, OpenOptions::new()).unwrap();
        let page = pool.fetch(PageId::new(file, 1)).wait().unwrap();
        crate::support::restamp(&page, 2);
        drop(page);
        let refused = |what: &str| {
            let error = pool.drop_file(file).wait().unwrap_err();
            assert!(
                matches!(&error, Error::PathChanged { file: named, .. } if *named == file),
                "{what}: {error}"
            );
            assert_stamped(&pool.fetch(PageId::new(file, 1)).wait().unwrap(), 2);
        };
        fs::rename(&path, &aside).unwrap();
        refused("renamed");
        fs::write(&path, b"another's").unwrap();
        refused("replaced");
        assert_eq!(fs::read(&path).unwrap(), b"another's");
        fs::rename(&aside, &path).unwrap();
        pool.drop_file(file).wait().unwrap();
        assert!(!path.exists());
    });
}

#[test]
fn what_is_open_for_reading_only_is_not_removed() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.pool.close_file(bench.file).wait().unwrap();
        let file = bench.pool.open_file("data", OpenOptions::new().read_only(true)).unwrap();
        assert!(matches!(bench.pool.drop_file(file).wait(), Err(Error::ReadOnly { .. })));
        assert!(bench.disk.image("data").is_some());
    });
}

#[test]
fn where_the_system_refuses_the_file_is_closed_and_still_there() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.disk.inject(Fault::error(Op::Remove, EPERM).once());
        let error = bench.pool.drop_file(bench.file).wait().unwrap_err();
        assert!(matches!(error, Error::File { op: IoOp::Remove, .. }), "{error}");
        assert!(bench.disk.image("data").is_some());
        let file = bench.pool.open_file("data", OpenOptions::new()).unwrap();
        bench.pool.drop_file(file).wait().unwrap();
        assert_eq!(bench.disk.image("data"), None);
    });
}

#[test]
fn a_poisoned_file_can_be_removed() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.dirty([3], 2);
        bench.disk.inject(Fault::error(Op::Sync, EIO).once());
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err();
        bench.pool.drop_file(bench.file).wait().unwrap();
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    });
}
