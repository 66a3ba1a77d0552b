//! C6, syncs: files of a store far away are synced together, and one whose sync does not end holds up no other.

use std::{
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, CheckpointOptions, FileId, IoMethod, OpenOptions, PageId,
    testing::{Later, Op, SimDisk},
};

use crate::support::{assert_at_rest, guarded, methods};

/// More than there are threads for jobs.
const FILES: usize = 48;

/// What a busy machine may take to begin as many syncs.
const PATIENCE: Duration = Duration::from_secs(20);

fn far_files(method: IoMethod) -> (SimDisk, BufferPool, Vec<FileId>) {
    let disk = SimDisk::new();
    let builder = BufferPool::builder().frames(64).page_size(512).io_method(method);
    let pool = builder.storage(Later::new(disk.clone(), 7)).build().unwrap();
    let open = |n: usize| {
        disk.put(format!("far{n}"), vec![1; 512]);
        pool.open_file(format!("far{n}"), OpenOptions::new().tag(n as u64)).unwrap()
    };
    let files: Vec<_> = (0..FILES).map(open).collect();
    for &file in &files {
        pool.write(PageId::new(file, 0)).wait().unwrap().fill(2);
    }
    (disk, pool, files)
}

#[test]
fn c6_a_checkpoint_syncs_all_files_of_a_far_store_together() {
    guarded(|| {
        for method in methods() {
            let (disk, pool, _) = far_files(method);
            let gate = disk.hold(Op::Sync);
            let checkpoint = {
                let pool = pool.clone();
                thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait())
            };
            // Sooner than the gate itself gives up.
            let begun = Instant::now();
            while gate.held() < FILES {
                assert!(begun.elapsed() < PATIENCE, "{} of {FILES} are under way", gate.held());
                thread::sleep(Duration::from_millis(1));
            }
            gate.open();
            assert_eq!(checkpoint.join().unwrap().unwrap().files_synced, FILES as u64);
            assert_at_rest(&pool);
        }
    });
}

#[test]
fn c6_while_a_checkpoint_waits_for_one_far_file_the_others_can_be_synced() {
    guarded(|| {
        for method in methods() {
            let (disk, pool, files) = far_files(method);
            let gate = disk.hold(Op::Sync.of("far3"));
            let checkpoint = {
                let pool = pool.clone();
                thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait())
            };
            gate.wait_for(1);
            for &file in files.iter().filter(|&&file| file != files[3]) {
                pool.write(PageId::new(file, 0)).wait().unwrap().fill(3);
                pool.flush_file(file).wait().unwrap();
                pool.sync_file(file).wait().unwrap();
            }
            assert!(!checkpoint.is_finished());
            gate.open();
            checkpoint.join().unwrap().unwrap();
            assert_at_rest(&pool);
        }
    });
}
