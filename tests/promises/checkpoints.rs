//! What a checkpoint covers: all that was dirty at its start, whoever is writing it.

use std::{thread, time::Duration};

use ringpool::{CheckpointOptions, IoMethod, testing::Op};

use crate::support::{Bench, guarded, stamped_file};

/// Long enough for a checkpoint that does not wait for what it should to be over.
const A_WHILE: Duration = Duration::from_millis(50);

#[test]
fn a_checkpoint_waits_for_a_page_that_somebody_else_is_writing() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 4, 2);
        bench.dirty([0], 2);
        let gate = bench.disk.hold(Op::Write);
        let (pool, page) = (bench.pool.clone(), bench.page(0));
        let flush = thread::spawn(move || pool.flush(page).wait());
        gate.wait_for(1);
        assert_eq!((bench.pool.stats().frames.dirty, bench.pool.stats().frames.writing), (0, 1));
        let pool = bench.pool.clone();
        let checkpoint = thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait());
        thread::sleep(A_WHILE);
        assert!(!checkpoint.is_finished(), "the page is on its way, not on the disk");
        gate.open();
        flush.join().unwrap().unwrap();
        checkpoint.join().unwrap().unwrap();
        assert_eq!(bench.durable()[..4096], stamped_file(2, 2)[..4096]);
    });
}

#[test]
fn a_checkpoint_waits_for_a_page_that_somebody_is_changing() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 4, 2);
        let page = bench.fetch(0).unwrap();
        let mut bytes = page.write().unwrap();
        bytes.copy_from_slice(&stamped_file(1, 2));
        let pool = bench.pool.clone();
        let checkpoint = thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait());
        thread::sleep(A_WHILE);
        assert!(!checkpoint.is_finished(), "the change began before the checkpoint did");
        drop(bytes);
        assert_eq!(checkpoint.join().unwrap().unwrap().pages_written, 1);
        assert_eq!(bench.durable()[..8192], stamped_file(1, 2));
    });
}
