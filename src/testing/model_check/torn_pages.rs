//! The doublewrite area under several writers at once: so small that its halves are begun anew all the time, with the power cut at
//! any operation. Each page is whole then, and as new as what was durable; also where writes fail half the way and files are cut.

use shuttle::rand::{Rng, thread_rng};

use super::{check, join, spawn};
use crate::{
    BufferPool, CheckpointOptions, FileId, IoMethod, OpenOptions, PageId,
    options::{DoubleWriteArea, TornPages},
    sync::{Arc, Mutex},
    testing::{Fault, Op, SimDisk},
};

/// Two sectors, which a power cut keeps or loses each by itself.
const PAGE: usize = 1024;
const SECTOR: usize = 512;
const BLOCKS: usize = 4;

/// More than the operations of a scenario, so that some end with the power on.
const OPERATIONS: u64 = 70;

fn open(disk: &SimDisk, method: IoMethod) -> (BufferPool, FileId) {
    let builder = BufferPool::builder().frames(BLOCKS as u32).page_size(PAGE as u32).io_method(method);
    let area = DoubleWriteArea::new("area").bytes(0);
    let pool = builder.torn_pages(TornPages::DoubleWrite(area)).storage(disk.clone()).build().unwrap();
    let file = pool.open_file("data", OpenOptions::new().tag(7)).unwrap();
    (pool, file)
}

/// Returns the version of each sector of a page.
fn versions(bytes: &[u8]) -> [u8; 2] {
    [bytes[0], bytes[SECTOR]]
}

/// Adds one to the page's version, and has it written. Nothing can be read once the power is off.
fn change(pool: &BufferPool, page: PageId) {
    let Ok(pinned) = pool.fetch(page).wait() else { return };
    let mut bytes = pinned.write().unwrap();
    let next = bytes[0] + 1;
    [0, SECTOR].into_iter().for_each(|at| bytes[at] = next);
    drop(bytes);
    drop(pinned);
    let _ = pool.flush(page).wait();
}

/// Takes a checkpoint, and notes what it must have made durable.
fn checkpoint(pool: &BufferPool, file: FileId, durable: &Mutex<[u8; BLOCKS]>) {
    let version = |block| {
        let page = pool.fetch(PageId::new(file, block as u32)).wait().ok()?;
        Some(page.read()[0])
    };
    let found: [Option<u8>; BLOCKS] = std::array::from_fn(version);
    if pool.checkpoint(CheckpointOptions::new()).wait().is_ok() {
        let mut durable = durable.lock();
        for (durable, found) in durable.iter_mut().zip(found) {
            *durable = (*durable).max(found.unwrap_or(0));
        }
    }
}

#[test]
fn c9_a_power_cut_among_several_writers_tears_no_page() {
    check(|method| {
        let disk = SimDisk::new();
        disk.put("data", vec![0; BLOCKS * PAGE]);
        let (pool, file) = open(&disk, method);
        disk.cut_power_during(thread_rng().gen_range(1..OPERATIONS));
        let durable = Arc::new(Mutex::new([0; BLOCKS]));
        let writers = [[0, 1], [1, 2], [3, 0]].map(|blocks| {
            let pool = pool.clone();
            spawn(move || blocks.into_iter().for_each(|block| change(&pool, PageId::new(file, block))))
        });
        let checkpointing = {
            let (pool, durable) = (pool.clone(), Arc::clone(&durable));
            spawn(move || (0..2).for_each(|_| checkpoint(&pool, file, &durable)))
        };
        join(writers.into_iter().chain([checkpointing]));
        drop(pool);
        let found = disk.after_power_cut(thread_rng().gen_range(0..u64::MAX));
        let (pool, file) = open(&found, IoMethod::Sync);
        for (block, durable) in (0..).zip(*durable.lock()) {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            let [first, second] = versions(&page.read());
            assert_eq!(first, second, "block {block} is torn");
            assert!(first >= durable, "block {block} is version {first}, and {durable} was durable");
        }
    });
}

/// The end that is published is a lower one for as long as the cut takes, whatever becomes of it.
#[test]
fn c9_a_power_cut_around_a_cut_tears_no_page() {
    check(|method| {
        let disk = SimDisk::with_seed(thread_rng().gen_range(0..u64::MAX));
        disk.put("data", vec![0; BLOCKS * PAGE]);
        let (pool, file) = open(&disk, method);
        disk.inject(Fault::torn(Op::Write.of("data")).nth(1));
        disk.inject(Fault::error(Op::Write.of("data"), 5).nth(1));
        if thread_rng().gen_range(0..3) > 0 {
            disk.inject(Fault::error(Op::Resize.of("data"), 5).once());
        }
        let last = PageId::new(file, BLOCKS as u32 - 1);
        change(&pool, last);
        disk.cut_power_during(thread_rng().gen_range(1..OPERATIONS / 2));
        let cutting = {
            let pool = pool.clone();
            spawn(move || drop(pool.truncate(file, 2).wait()))
        };
        let writing = {
            let pool = pool.clone();
            spawn(move || [0, 1, 0].into_iter().for_each(|block| change(&pool, PageId::new(file, block))))
        };
        join([cutting, writing]);
        drop(pool);
        let found = disk.after_power_cut(thread_rng().gen_range(0..u64::MAX));
        let (pool, file) = open(&found, IoMethod::Sync);
        for block in 0..pool.blocks(file).unwrap() {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            let [first, second] = versions(&page.read());
            assert_eq!(first, second, "block {block} is torn");
        }
    });
}
