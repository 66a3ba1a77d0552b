//! Extensions by many at once: every block number is handed out once, without a gap, and its page is zero.

use std::{num::NonZeroU32, thread};

use ringpool::{
    BufferPool, Error, FileId, IoMethod, IoOp, OpenOptions, PageId, Result, Shutdown,
    report::Extended,
    testing::{Fault, Op, SimDisk},
};

use crate::support::{
    EIO, ENOSPC, PAGE, assert_stamped, eventually, restamp, stamped_file, with_each_method,
};

const STEP: u32 = 64;

/// A pool over a file with two blocks of data.
struct Growing {
    disk: SimDisk,
    pool: BufferPool,
    file: FileId,
}

impl Growing {
    fn new(method: IoMethod, step: u32) -> Self {
        let disk = SimDisk::new();
        disk.put("data", stamped_file(2, 1));
        let builder = BufferPool::builder().frames(64).page_size(PAGE as u32).io_method(method);
        let pool = builder.storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new().grow_by_blocks(step)).unwrap();
        Self { disk, pool, file }
    }

    fn extend(&self, blocks: u32) -> Result<Extended> {
        self.pool.extend(self.file, NonZeroU32::new(blocks).unwrap()).wait()
    }

    /// Returns how often the disk was asked to grow the file or to write zeros.
    fn growing_operations(&self) -> usize {
        self.disk.count(Op::Resize) + self.disk.count(Op::Write)
    }

    fn len_on_disk(&self) -> u32 {
        (self.disk.image("data").unwrap().len() / PAGE) as u32
    }
}

/// Checks that the blocks are all those from `first` on, each once. Returns the end.
#[track_caller]
fn assert_in_a_row(mut all: Vec<Extended>, first: u32) -> u32 {
    all.sort_by_key(|extended| extended.first);
    all.iter().fold(first, |end, extended| {
        assert_eq!(extended.first.0, end, "a gap, or a block given twice");
        end + extended.blocks
    })
}

#[test]
fn many_extenders_get_blocks_without_gaps_or_overlaps_and_all_zero() {
    const THREADS: u32 = 16;
    with_each_method(|method| {
        for step in [0, STEP] {
            let growing = Growing::new(method.clone(), step);
            let extend = |thread: u32| {
                let one = |turn| {
                    let extended = growing.extend(1 + (thread + turn) % 3).unwrap();
                    for block in extended.first.0..extended.first.0 + extended.blocks {
                        let page = growing.pool.fetch(PageId::new(growing.file, block)).wait().unwrap();
                        assert!(page.read().iter().all(|&byte| byte == 0), "block {block} is not zero");
                        restamp(&page, 2);
                    }
                    extended
                };
                (0..20).map(one).collect::<Vec<_>>()
            };
            let all: Vec<Extended> = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || extend(n))).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            let end = assert_in_a_row(all, 2);
            assert_eq!(growing.pool.blocks(growing.file).unwrap(), end);
            // What was written into new blocks is not zeroed by later extensions.
            for block in 0..end {
                let page = growing.pool.fetch(PageId::new(growing.file, block)).wait().unwrap();
                assert_stamped(&page, if block < 2 { 1 } else { 2 });
            }
            growing.pool.close_file(growing.file).wait().unwrap();
            assert_eq!(growing.len_on_disk(), end);
        }
    });
}

#[test]
fn blocks_that_are_zeroed_ahead_cost_no_io() {
    with_each_method(|method| {
        let growing = Growing::new(method, STEP);
        assert_eq!(growing.extend(1).unwrap().first.0, 2);
        assert_eq!(growing.pool.file_info(growing.file).unwrap().blocks_ahead, STEP);
        let before = growing.growing_operations();
        for turn in 1..=STEP / 2 {
            assert_eq!(growing.extend(1).unwrap().first.0, 2 + turn);
        }
        assert_eq!(growing.growing_operations(), before);
        // When half of them are used, the next step is zeroed in the background, however long the disk takes for it.
        let gate = growing.disk.hold(Op::Resize);
        let (pool, file) = (growing.pool.clone(), growing.file);
        let extending = thread::spawn(move || pool.extend(file, NonZeroU32::MIN).wait());
        eventually("extended", || extending.is_finished());
        extending.join().unwrap().unwrap();
        gate.wait_for(1);
        gate.open();
        eventually("a full step ahead", || {
            growing.pool.file_info(growing.file).unwrap().blocks_ahead == STEP
        });
        assert!(growing.disk.image("data").unwrap()[2 * PAGE..].iter().all(|&byte| byte == 0));
    });
}

#[test]
fn what_is_ahead_is_given_back_by_a_close_and_by_a_shutdown() {
    with_each_method(|method| {
        for shutdown in [false, true] {
            let growing = Growing::new(method.clone(), STEP);
            growing.extend(3).unwrap();
            assert_eq!(growing.len_on_disk(), 2 + 3 + STEP);
            if shutdown {
                growing.pool.clone().shutdown(Shutdown::Flush).unwrap();
            } else {
                growing.pool.close_file(growing.file).wait().unwrap();
            }
            assert_eq!(growing.disk.durable_image("data").unwrap().len(), 5 * PAGE);
        }
    });
}

#[test]
fn an_extension_behind_a_cut_starts_at_the_cut_and_is_zero() {
    with_each_method(|method| {
        let growing = Growing::new(method, STEP);
        growing.extend(3).unwrap();
        growing.pool.truncate(growing.file, 1).wait().unwrap();
        assert_eq!((growing.len_on_disk(), growing.extend(1).unwrap().first.0), (1, 1));
        let page = growing.pool.fetch(PageId::new(growing.file, 1)).wait().unwrap();
        assert!(page.read().iter().all(|&byte| byte == 0), "the old page came back");
    });
}

#[test]
fn a_full_disk_leaves_the_file_as_it_was_and_fails_no_caller_for_the_wishes_of_others() {
    with_each_method(|method| {
        for step in [0, STEP] {
            let growing = Growing::new(method.clone(), step);
            growing.disk.set_capacity(Some(12 * PAGE as u64));
            let refused = growing.extend(11).unwrap_err();
            assert!(matches!(refused, Error::File { op: IoOp::Extend, .. }), "{refused}");
            assert_eq!(refused.raw_os_error(), Some(ENOSPC));
            assert_eq!((growing.pool.blocks(growing.file).unwrap(), growing.len_on_disk()), (2, 2));
            // There is room for one of the long extensions or for all of the short ones, and for no step.
            let gate = growing.disk.hold(Op::Resize);
            let wishes = [4, 100, 1, 1, 100, 1, 1];
            let outcomes: Vec<Result<Extended>> = thread::scope(|scope| {
                let threads = wishes.map(|wish| {
                    let growing = &growing;
                    scope.spawn(move || growing.extend(wish))
                });
                gate.wait_for(1);
                gate.open();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let failed: Vec<u32> = wishes
                .into_iter()
                .zip(&outcomes)
                .filter_map(|(wish, one)| one.is_err().then_some(wish))
                .collect();
            assert_eq!(failed, [100, 100]);
            let end = assert_in_a_row(outcomes.into_iter().flatten().collect(), 2);
            assert_eq!((end, growing.pool.blocks(growing.file).unwrap()), (10, 10));
            growing.disk.set_capacity(None);
            assert_eq!(growing.extend(100).unwrap().first.0, 10);
        }
    });
}

#[test]
fn an_error_half_way_leaves_the_file_as_it_was() {
    with_each_method(|method| {
        let growing = Growing::new(method, 0);
        // In the second of three pieces.
        growing.disk.inject(Fault::error(Op::Write, EIO).nth(2));
        assert_eq!(growing.extend(300).unwrap_err().raw_os_error(), Some(EIO));
        assert_eq!((growing.pool.blocks(growing.file).unwrap(), growing.len_on_disk()), (2, 2));
        assert_eq!(growing.extend(300).unwrap().first.0, 2);
        assert_eq!(growing.len_on_disk(), 302);
    });
}
