//! Cutting and removing files while those very blocks are being read, read ahead and written: the cut waits for the device, a
//! caller gets the page or an error that it is gone, and nothing of it ever reappears.

use std::{
    num::NonZeroU32,
    thread::{self, JoinHandle},
    time::Duration,
};

use ringpool::{BufferPool, CheckpointOptions, Error, FileId, PageId, Result, testing::Op};

use crate::support::{Bench, PAGE, assert_stamped, eventually, with_each_method};

const BLOCKS: u32 = 8;
const KEPT: u32 = 3;

/// What takes blocks away.
#[derive(Copy, Clone, Debug)]
enum Taking {
    Truncate,
    Drop,
}

const BOTH: [Taking; 2] = [Taking::Truncate, Taking::Drop];

impl Taking {
    fn start(self, bench: &Bench) -> JoinHandle<Result<()>> {
        let (pool, file) = (bench.pool.clone(), bench.file);
        thread::spawn(move || match self {
            Self::Truncate => pool.truncate(file, KEPT).wait(),
            Self::Drop => pool.drop_file(file).wait(),
        })
    }

    fn is_published(self, bench: &Bench) -> bool {
        bench.pool.blocks(bench.file).is_ok_and(|blocks| blocks == KEPT)
            || bench.pool.blocks(bench.file).is_err()
    }

    /// Asserts that nothing of what was taken is left, in the pool or on the disk.
    fn assert_taken(self, bench: &Bench) {
        let first = if let Self::Truncate = self { KEPT } else { 0 };
        assert!((first..BLOCKS).all(|block| bench.pool.fetch(bench.page(block)).now().is_none()));
        match self {
            Self::Truncate => {
                assert_eq!(bench.image().len(), KEPT as usize * PAGE, "something was written behind the end");
                let more = NonZeroU32::new(BLOCKS - KEPT).unwrap();
                bench.pool.extend(bench.file, more).wait().unwrap();
                for block in KEPT..BLOCKS {
                    let page = bench.fetch(block).unwrap();
                    assert!(page.read().iter().all(|&byte| byte == 0), "block {block} came back");
                }
            }
            Self::Drop => assert_eq!(bench.disk.image("data"), None),
        }
        bench.assert_at_rest();
    }
}

/// Fetches a page and releases it: it is the page as it was, or is gone.
fn glance(pool: BufferPool, file: FileId, block: u32) -> JoinHandle<()> {
    thread::spawn(move || match pool.fetch(PageId::new(file, block)).wait() {
        Ok(page) => assert_stamped(&page, 1),
        Err(Error::PastEof { .. } | Error::NotOpen { .. }) => {}
        Err(error) => panic!("{error}"),
    })
}

#[test]
fn reads_under_way_are_waited_for() {
    with_each_method(|method| {
        for taking in BOTH {
            let bench = Bench::new(method.clone(), 16, BLOCKS);
            let gate = bench.disk.hold(Op::Read);
            let reading = [3, 5, 7].map(|block| glance(bench.pool.clone(), bench.file, block));
            gate.wait_for(3);
            let taken = taking.start(&bench);
            eventually("published", || taking.is_published(&bench));
            // Some that come too late to start a read, and join one or are turned away.
            let late = [4, 5].map(|block| glance(bench.pool.clone(), bench.file, block));
            thread::sleep(Duration::from_millis(20));
            assert!(!taken.is_finished(), "{taking:?} did not wait for the device");
            gate.open();
            reading.into_iter().chain(late).for_each(|reader| reader.join().unwrap());
            taken.join().unwrap().unwrap();
            taking.assert_taken(&bench);
        }
    });
}

#[test]
fn reads_ahead_are_waited_for() {
    with_each_method(|method| {
        for taking in BOTH {
            let bench = Bench::new(method.clone(), 16, BLOCKS);
            let gate = bench.disk.hold(Op::Read);
            let ahead = {
                let (pool, file) = (bench.pool.clone(), bench.file);
                thread::spawn(move || pool.prefetch(file.pages((0..BLOCKS).step_by(2))))
            };
            gate.wait_for(1);
            let taken = taking.start(&bench);
            eventually("published", || taking.is_published(&bench));
            assert_eq!(
                bench.pool.prefetch(bench.file.pages(KEPT + 2..BLOCKS)).started,
                0,
                "it is gone already"
            );
            assert!(!taken.is_finished(), "{taking:?} did not wait for the device");
            gate.open();
            ahead.join().unwrap();
            taken.join().unwrap().unwrap();
            taking.assert_taken(&bench);
        }
    });
}

#[test]
fn writes_under_way_are_waited_for_and_no_more_are_begun() {
    with_each_method(|method| {
        for taking in BOTH {
            let bench = Bench::new(method.clone(), 16, BLOCKS);
            bench.dirty([3, 5, 7], 2);
            let gate = bench.disk.hold(Op::Write);
            let writing = {
                let pool = bench.pool.clone();
                thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait())
            };
            gate.wait_for(1);
            // Changed again, after the copy that is being written.
            bench.dirty([3], 3);
            let taken = taking.start(&bench);
            eventually("published", || taking.is_published(&bench));
            assert!(!taken.is_finished(), "{taking:?} did not wait for the device");
            gate.open();
            writing.join().unwrap().unwrap();
            taken.join().unwrap().unwrap();
            taking.assert_taken(&bench);
            bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        }
    });
}

/// The wait for pins has a bound, since callers hold them; the wait for a disk has none.
#[test]
fn a_write_that_takes_longer_than_pins_are_waited_for_is_waited_for() {
    const FOR_PINS: Duration = Duration::from_millis(10);
    with_each_method(|method| {
        for taking in BOTH {
            let bench = Bench::with(BLOCKS, |builder| {
                builder.frames(16).frame_wait(FOR_PINS).io_method(method.clone())
            });
            bench.dirty([5], 2);
            let gate = bench.disk.hold(Op::Write);
            let (pool, page) = (bench.pool.clone(), bench.page(5));
            let writing = thread::spawn(move || pool.flush(page).wait());
            gate.wait_for(1);
            let taken = taking.start(&bench);
            eventually("published", || taking.is_published(&bench));
            thread::sleep(10 * FOR_PINS);
            gate.open();
            writing.join().unwrap().unwrap();
            taken.join().unwrap().unwrap();
            taking.assert_taken(&bench);
        }
    });
}
