//! The writes that the disk gets: in the order of the files, neighbours in one request of at most the allowed length, and never two
//! writes of a page at once.

use std::{collections::BTreeMap, thread, time::Duration};

use ringpool::{
    CheckpointOptions, IoMethod, OpenOptions, PageId,
    testing::{Fault, Moment, Op},
};

use crate::support::{Bench, PAGE, eventually, restamp, stamped, stamped_file, with_each_method};

/// The most pages of a request.
const COMBINED: usize = 4;

/// Returns the writes so far: path, first block, pages.
fn writes(bench: &Bench) -> Vec<(String, u64, usize)> {
    let log = bench.disk.log();
    let begun = log.iter().filter(|event| event.op == Op::Write && event.moment == Moment::Begin);
    let pages =
        begun.map(|event| (event.path.display().to_string(), event.offset / PAGE as u64, event.len / PAGE));
    pages.collect()
}

#[test]
fn pages_go_in_the_order_of_their_files_with_their_neighbours() {
    with_each_method(|method| {
        let bench = Bench::with(64, |builder| {
            builder.frames(64).io_method(method.clone()).combine_limit_bytes(COMBINED * PAGE)
        });
        bench.disk.put("other", stamped_file(8, 1));
        let other = bench.pool.open_file("other", OpenOptions::new()).unwrap();
        // Changed in no order.
        for block in [2, 1] {
            restamp(&bench.pool.fetch(PageId::new(other, block)).wait().unwrap(), 2);
        }
        bench.dirty([40, 9, 33, 31, 3, 36, 8, 34, 50, 30, 4, 35, 32, 37, 38, 39], 2);
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        let mut seen = writes(&bench);
        // Threads take what comes in order, and may begin it in another one.
        if !matches!(method, IoMethod::Sync) {
            seen.sort_unstable();
        }
        let data = [(3, 2), (8, 2), (30, 4), (34, 4), (38, 3), (50, 1)];
        let mut expected: Vec<_> =
            data.into_iter().map(|(first, pages)| ("data".to_owned(), first, pages)).collect();
        expected.push(("other".to_owned(), 1, 2));
        assert_eq!(seen, expected);
    });
}

/// More pages than shadow pages are kept are on their way to a disk that does not move.
#[test]
fn changes_of_pages_that_are_being_written_never_wait_for_the_disk_however_many_they_are() {
    const BLOCKS: u32 = 60;
    with_each_method(|method| {
        let bench = Bench::new(method, 64, BLOCKS);
        bench.dirty(0..BLOCKS, 2);
        let gate = bench.disk.hold(Op::Write);
        let pool = bench.pool.clone();
        let checkpoint = thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait().unwrap());
        gate.wait_for(1);
        let writing = || bench.pool.stats().frames.writing;
        let memory = || bench.pool.stats().overhead_bytes;
        let at_first = memory();
        eventually("all are on their way", || writing() == BLOCKS);
        let (pool, pages) = (bench.pool.clone(), (0..BLOCKS).map(|block| bench.page(block)));
        let pages: Vec<_> = pages.collect();
        let changes = thread::spawn(move || {
            // A second change finds the page where the first has left it.
            for version in [3, 4] {
                let (by_threads, by_tasks) = pages.split_at(pages.len() / 2);
                by_threads.iter().for_each(|&page| restamp(&pool.fetch(page).wait().unwrap(), version));
                for &id in by_tasks {
                    let page = pool.fetch(id).wait().unwrap();
                    let mut bytes = pollster::block_on(page.write_async()).unwrap();
                    bytes.copy_from_slice(&stamped(id.block.0, version));
                }
            }
        });
        eventually("all are changed", || changes.is_finished());
        changes.join().unwrap();
        assert_eq!(writing(), BLOCKS);
        assert_eq!(bench.pool.stats().counts.shadow_pages, u64::from(BLOCKS));
        // A writer still has one page latched when the writes end: the shadow page that it keeps is given back when it lets go.
        let page = bench.fetch(BLOCKS - 1).unwrap();
        let mut bytes = page.write().unwrap();
        bytes.fill(0);
        bytes.copy_from_slice(&stamped(BLOCKS - 1, 4));
        gate.open();
        assert_eq!(checkpoint.join().unwrap().pages_written, u64::from(BLOCKS));
        assert!(bench.durable() == stamped_file(BLOCKS, 2), "the disk has what it was given");
        assert!(memory() > at_first);
        drop(bytes);
        assert_eq!(memory(), at_first);
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert!(bench.durable() == stamped_file(BLOCKS, 4));
    });
}

/// Several threads change pages and have them written, alone, with their file and with everything, while writes take their time.
#[test]
fn a_page_changed_while_it_is_written_is_written_again_and_not_before_that_is_over() {
    const BLOCKS: u32 = 8;
    with_each_method(|method| {
        let bench = Bench::new(method, 16, BLOCKS);
        bench.disk.inject(Fault::delay_up_to(Op::Write, Duration::from_millis(2)));
        thread::scope(|scope| {
            for way in 0..3 {
                let bench = &bench;
                scope.spawn(move || {
                    for version in 2..22 {
                        bench.dirty(0..BLOCKS, version);
                        match way {
                            0 => bench.pool.flush(bench.page(u32::from(version) % BLOCKS)).wait().unwrap(),
                            1 => drop(bench.pool.flush_file(bench.file).wait().unwrap()),
                            _ => drop(bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap()),
                        }
                    }
                });
            }
        });
        let mut under_way = BTreeMap::new();
        for event in bench.disk.log().into_iter().filter(|event| event.op == Op::Write) {
            if event.moment != Moment::Begin {
                under_way.remove(&event.number);
                continue;
            }
            let (begin, end) = (event.offset, event.offset + event.len as u64);
            let is_free = under_way.values().all(|&(other, other_end)| end <= other || other_end <= begin);
            assert!(is_free, "{begin}..{end} is being written: {under_way:?}");
            under_way.insert(event.number, (begin, end));
        }
        assert!(bench.pool.stats().counts.pages_written > u64::from(BLOCKS), "a test of nothing");
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert!(bench.durable() == bench.image());
        (0..BLOCKS).for_each(|block| {
            let at = block as usize * PAGE;
            assert!(*bench.fetch(block).unwrap().read() == bench.durable()[at..at + PAGE]);
        });
    });
}

/// With a codec pages are written from copies, for which there is little room.
#[cfg(feature = "crc32c")]
#[test]
fn a_change_of_a_page_never_waits_for_the_disk_while_its_writer_waits_for_room_for_a_copy() {
    const BLOCKS: u32 = 40;
    with_each_method(|method| {
        let bench = Bench::new(method.clone(), 64, 1);
        bench.disk.put("sealed", []);
        let builder =
            ringpool::BufferPool::builder().frames(64).page_size(PAGE as u32).io_method(method.clone());
        let pool = builder.codec(ringpool::Crc32c).storage(bench.disk.clone()).build().unwrap();
        let file = pool.open_file("sealed", OpenOptions::new()).unwrap();
        pool.extend(file, std::num::NonZeroU32::new(BLOCKS).unwrap()).wait().unwrap();
        // No two of them go in one request.
        let pages: Vec<_> = (0..BLOCKS).step_by(2).map(|block| PageId::new(file, block)).collect();
        let change = |page: &PageId| pool.fetch(*page).wait().unwrap().write().unwrap()[0] = 1;
        pages.iter().for_each(change);
        let gate = bench.disk.hold(Op::Write);
        let checkpointing = thread::spawn({
            let pool = pool.clone();
            move || pool.checkpoint(CheckpointOptions::new()).wait().unwrap()
        });
        gate.wait_for(1);
        let writing = || pool.stats().frames.writing;
        // The three quarters of room for 16 copies that one file may have.
        eventually("all room for its file is taken", || writing() == 12);
        thread::sleep(Duration::from_millis(50));
        let changing = thread::spawn({
            let (pool, pages) = (pool.clone(), pages.clone());
            move || {
                for page in pages {
                    pool.fetch(page).wait().unwrap().write().unwrap()[0] = 2;
                }
            }
        });
        eventually("all are changed", || changing.is_finished());
        changing.join().unwrap();
        assert_eq!(writing(), 12);
        gate.open();
        checkpointing.join().unwrap();
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert_eq!(pool.stats().frames.dirty, 0);
    });
}
