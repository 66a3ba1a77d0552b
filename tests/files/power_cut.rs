//! What a power cut leaves of a file's length: never less than was synced, never more than was asked for, and zeros behind.

use std::num::NonZeroU32;

use ringpool::{BufferPool, CheckpointOptions, IoMethod, OpenOptions, PageId, Result, testing::SimDisk};

use crate::support::{PAGE, guarded, stamped, with_each_method};

const STEP: u32 = 5;

/// What a workload did before the power was cut.
#[derive(Default)]
struct Reached {
    /// Blocks that a checkpoint has covered.
    synced: u32,
    /// Blocks that extensions have asked for.
    asked: u32,
}

fn open(disk: &SimDisk, method: IoMethod) -> Result<(BufferPool, ringpool::FileId)> {
    let builder = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(method);
    let pool = builder.storage(disk.clone()).build()?;
    let file = pool.open_file("data", OpenOptions::new().create(true).grow_by_blocks(STEP))?;
    Ok((pool, file))
}

/// Grows a file, writes its new blocks in version 1, and makes that durable, again and again.
fn grow(disk: &SimDisk, method: IoMethod, reached: &mut Reached) -> Result<()> {
    let (pool, file) = open(disk, method)?;
    for blocks in [1, 2, 7, 1, 1] {
        reached.asked += blocks;
        let extended = pool.extend(file, NonZeroU32::new(blocks).unwrap()).wait()?;
        for block in extended.first.0..extended.first.0 + blocks {
            pool.fetch(PageId::new(file, block)).wait()?.write()?.copy_from_slice(&stamped(block, 1));
        }
        pool.checkpoint(CheckpointOptions::new()).wait()?;
        reached.synced = extended.first.0 + blocks;
    }
    pool.close_file(file).wait()
}

#[test]
fn a_length_survives_a_power_cut_at_any_operation() {
    with_each_method(|method| {
        for operation in 1.. {
            let disk = SimDisk::new();
            disk.put("data", []);
            disk.cut_power_during(operation);
            let mut reached = Reached::default();
            let ended = grow(&disk, method.clone(), &mut reached);
            for seed in 0..5 {
                let found = disk.after_power_cut(seed);
                let bytes = found.image("data").unwrap();
                let (pool, file) = open(&found, IoMethod::Sync).unwrap();
                let blocks = pool.blocks(file).unwrap();
                assert!(
                    (reached.synced..=reached.asked + STEP).contains(&blocks),
                    "{blocks} blocks, {} were synced and {} asked for",
                    reached.synced,
                    reached.asked
                );
                for (block, page) in (0..).zip(bytes.chunks(PAGE)) {
                    let mut sectors = page
                        .chunks(512)
                        .zip(stamped(block, 1).chunks(512).map(<[u8]>::to_vec).collect::<Vec<_>>());
                    let is_synced = block < reached.synced;
                    assert!(
                        sectors.all(|(found, written)| found == written
                            || !is_synced && found.iter().all(|&byte| byte == 0)),
                        "block {block} has bytes that no thread wrote"
                    );
                }
            }
            if !disk.is_without_power() {
                ended.unwrap();
                assert_eq!(disk.durable_image("data").unwrap().len(), reached.asked as usize * PAGE);
                break;
            }
        }
    });
}

#[test]
fn a_file_that_was_removed_stays_removed() {
    guarded(|| {
        let disk = SimDisk::new();
        disk.put("data", stamped(0, 1));
        let (pool, file) = open(&disk, IoMethod::Sync).unwrap();
        pool.drop_file(file).wait().unwrap();
        assert_eq!(disk.after_power_cut(0).image("data"), None);
    });
}
