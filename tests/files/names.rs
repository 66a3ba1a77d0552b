//! The names of files: durable before a file is used, gone for good when one was removed, and found whatever links lead there.

use std::{fs, os::unix::fs::symlink};

use ringpool::{
    BufferPool, CheckpointOptions, Error, FileId, IoMethod, IoOp, OpenOptions, PageId,
    options::{DoubleWriteArea, TornPages},
    testing::{Fault, Op, SimDisk},
};

use crate::support::{EIO, PAGE, restamp, stamped_file, with_each_method};

/// Images of power cuts, each with a seed of its own: enough to lose what can be lost.
const POWER_CUTS: u64 = 32;

fn pool(disk: &SimDisk, method: &IoMethod) -> BufferPool {
    let builder = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(method.clone());
    builder.storage(disk.clone()).build().unwrap()
}

/// Changes the first pages, and takes a checkpoint.
fn use_file(pool: &BufferPool, file: FileId) {
    (0..4).for_each(|block| restamp(&pool.fetch(PageId::new(file, block)).wait().unwrap(), 2));
    pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
}

#[track_caller]
fn assert_unsynced_folder(error: &Error) {
    assert!(matches!(error, Error::File { op: IoOp::SyncFolder, .. }), "{error}");
    assert_eq!(error.raw_os_error(), Some(EIO));
    assert!(error.to_string().starts_with("sync of the folder of data failed"), "{error}");
}

#[test]
fn what_a_checkpoint_has_covered_is_in_a_file_that_a_power_cut_leaves_there() {
    with_each_method(|method| {
        let create = OpenOptions::new().create(true).initial_blocks(4);
        for again in [create, OpenOptions::new().initial_blocks(4)] {
            for failures in 0..3 {
                let mut disk = SimDisk::new();
                disk.inject(Fault::error(Op::SyncFolder, EIO).times(failures));
                // Each failure with a new pool, as after a restart.
                for failure in 0..failures {
                    let options = if failure == 0 { create } else { again };
                    assert_unsynced_folder(&pool(&disk, &method).open_file("data", options).unwrap_err());
                    let left = failures - failure - 1;
                    disk = disk.after_kill(failure);
                    disk.inject(Fault::error(Op::SyncFolder, EIO).times(left));
                }
                let pool = pool(&disk, &method);
                let file = pool.open_file("data", if failures == 0 { create } else { again }).unwrap();
                use_file(&pool, file);
                for seed in 0..POWER_CUTS {
                    let found = disk.after_power_cut(seed).image("data");
                    assert!(found.is_some_and(|bytes| bytes == stamped_file(4, 2)), "it is lost, or empty");
                }
            }
        }
    });
}

#[test]
fn a_removal_whose_folder_cannot_be_synced_is_made_durable_by_the_next_checkpoint_or_that_fails() {
    with_each_method(|method| {
        let disk = SimDisk::new();
        disk.put("data", stamped_file(4, 1));
        let area = TornPages::DoubleWrite(DoubleWriteArea::new("area").bytes(1 << 20));
        let builder = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(method);
        let pool = builder.torn_pages(area).storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new().tag(7)).unwrap();
        use_file(&pool, file);
        disk.inject(Fault::error(Op::SyncFolder, EIO).times(2));
        assert_unsynced_folder(&pool.drop_file(file).wait().unwrap_err());
        // It is gone, and all that it had is free.
        assert!(matches!(pool.drop_file(file).wait(), Err(Error::NotOpen { .. })));
        assert_eq!(disk.image("data"), None);
        disk.put("other", stamped_file(4, 1));
        let cut = (0..POWER_CUTS).filter(|&seed| disk.after_power_cut(seed).image("data").is_some());
        assert!(cut.count() > 0, "this disk has no power cut that brings it back");
        assert_unsynced_folder(&pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err());
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        for seed in 0..POWER_CUTS {
            assert_eq!(disk.after_power_cut(seed).image("data"), None, "it is back");
        }
        use_file(&pool, pool.open_file("other", OpenOptions::new().tag(7)).unwrap());
    });
}

#[test]
fn no_folder_is_synced_for_a_file_whose_name_need_not_be_durable() {
    with_each_method(|method| {
        for durable in [true, false] {
            let disk = SimDisk::new();
            let pool = pool(&disk, &method);
            let options = OpenOptions::new().create(true).durable_name(durable).initial_blocks(4);
            let file = pool.open_file("data", options).unwrap();
            use_file(&pool, file);
            let lost = |seed: &u64| disk.after_power_cut(*seed).image("data").is_none();
            assert_eq!((0..POWER_CUTS).filter(lost).count() > 0, !durable);
            pool.drop_file(file).wait().unwrap();
            assert_eq!(disk.image("data"), None);
            assert_eq!(disk.count(Op::SyncFolder), if durable { 2 } else { 0 });
        }
    });
}

#[test]
fn a_file_is_made_and_removed_where_a_link_leads() {
    with_each_method(|method| {
        let folder = tempfile::tempdir().unwrap();
        let [near, far] = ["near", "far"].map(|name| folder.path().join(name));
        [&near, &far].iter().for_each(|folder| fs::create_dir(folder).unwrap());
        let (link, target) = (near.join("link"), far.join("data"));
        symlink(&target, &link).unwrap();
        let pool = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(method).build().unwrap();
        let file = pool.open_file(&link, OpenOptions::new().create(true).initial_blocks(4)).unwrap();
        use_file(&pool, file);
        assert_eq!(fs::read(&target).unwrap(), stamped_file(4, 2));
        pool.drop_file(file).wait().unwrap();
        assert!(!target.exists() && link.is_symlink(), "the link is not the file");

        // A link in place of the file, which is elsewhere by now.
        let file = pool.open_file(&target, OpenOptions::new().create(true)).unwrap();
        fs::rename(&target, near.join("aside")).unwrap();
        symlink(near.join("aside"), &target).unwrap();
        assert!(matches!(pool.drop_file(file).wait(), Err(Error::PathChanged { .. })));
        assert!(target.is_symlink() && near.join("aside").exists());
    });
}
