//! Cuts the power of a pool's client at each of its requests: the next pool finds the last checkpoint that was reported, or the one that was under
//! way, whole.

mod support;

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ringpool::testing::Dice;
use ringpool::{BufferPool, CheckpointOptions, Error, FileId, OpenOptions, PageId};
use ringpool_object_store::{ObjectFiles, Settings};
use support::faulty::{Faults, Faulty};
use support::small;
use support::stamps::{self, PAGE};
use tokio::runtime::Runtime;

const BLOCKS: u32 = 40;
/// Fewer than the file has pages, so that pages are evicted between checkpoints.
const FRAMES: u32 = 16;

/// The file at each checkpoint, as the pool's caller means to write it, and the number of those that were reported.
struct Log {
    versions: Vec<Vec<u8>>,
    reported: usize,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn pool(store: Arc<dyn ObjectStore>, settings: Settings, runtime: &Runtime) -> BufferPool {
    let files = ObjectFiles::new(store, "test", settings, runtime.handle().clone());
    BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).storage(files).build().unwrap()
}

fn open(pool: &BufferPool) -> ringpool::Result<FileId> {
    pool.open_file("file", OpenOptions::new().create(true).initial_blocks(BLOCKS))
}

/// Writes pages at random, more than there are frames, and makes checkpoints. A version is in the log before its checkpoint begins.
fn work(
    pool: &BufferPool,
    owner: u64,
    checkpoints: u64,
    dice: &mut Dice,
    log: &mut Log,
) -> Result<(), Error> {
    let file = open(pool)?;
    let mut bytes = log.versions[log.reported - 1].clone();
    for checkpoint in 1..=checkpoints {
        for _ in 0..dice.below(60) {
            let block = dice.below(BLOCKS.into());
            let page = stamps::page(owner, block, checkpoint);
            let place = &mut bytes[block as usize * PAGE..][..PAGE];
            let found = pool.read(PageId::new(file, block as u32)).wait()?;
            assert!(*found == *place, "block {block} is not as it was written");
            drop(found);
            pool.write(PageId::new(file, block as u32)).wait()?.copy_from_slice(&page);
            place.copy_from_slice(&page);
        }
        log.versions.push(bytes.clone());
        pool.checkpoint(CheckpointOptions::new()).wait()?;
        log.reported = log.versions.len();
    }
    Ok(())
}

fn read_all(pool: &BufferPool, file: FileId) -> Vec<u8> {
    let blocks = pool.blocks(file).unwrap();
    (0..blocks).flat_map(|block| pool.read(PageId::new(file, block)).wait().unwrap().to_vec()).collect()
}

/// Runs a pool until the power of its client is cut at `cut_at`, and looks at what the next one finds. Returns whether it came to the cut.
fn run(seed: u64, checkpoints: u64, faults: Faults, cut_at: u64) -> bool {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let settings = Settings { retry_wait: Duration::from_millis(1), ..small(seed) };
    let healthy = runtime();
    let mut dice = Dice::new(seed);
    let mut log = Log { versions: vec![vec![0; BLOCKS as usize * PAGE]], reported: 1 };

    // Of some seeds the pool that is cut makes the file.
    if seed.is_multiple_of(2) {
        let earlier = pool(Arc::clone(&store), settings, &healthy);
        work(&earlier, 1, 2, &mut dice, &mut log).unwrap();
    }

    let faulty = Faulty::cut_at(&store, faults, seed, cut_at);
    let of_client = runtime();
    let client = pool(faulty.store(), settings, &of_client);
    let worker = std::thread::spawn(move || {
        let result = work(&client, 2, checkpoints, &mut dice, &mut log);
        (result, dice, log)
    });
    let is_cut = healthy.block_on(async {
        loop {
            tokio::select! {
                () = faulty.is_cut() => return true,
                () = tokio::time::sleep(Duration::from_millis(2)) => if worker.is_finished() { return false },
            }
        }
    });
    // Nothing of it is sent any more. Its requests end with its runtime, so that the pool can end.
    of_client.shutdown_background();
    let (result, mut dice, mut log) = worker.join().unwrap();
    let context = format!("seed {seed}, cut at request {cut_at}, {} reported", log.reported);
    // A cut amid removals in the background is seen by no caller.
    assert!(result.is_ok() || is_cut, "{context}: {result:?}");

    let next = pool(Arc::clone(&store), settings, &healthy);
    let file = open(&next).unwrap();
    assert_eq!(next.blocks(file).unwrap(), BLOCKS, "{context}");
    let found = read_all(&next, file);
    stamps::check(&found);
    let expected = &log.versions[log.reported - 1..];
    assert!(expected.len() <= 2, "{context}");
    let version = expected.iter().position(|version| *version == found);
    assert!(version.is_some(), "{context}: it is neither the checkpoint before the cut nor the one amid it");
    // The next pool goes on from there, and what it publishes is whole, too.
    next.close_file(file).wait().unwrap();
    log.versions = vec![found];
    log.reported = 1;
    work(&next, 3, 2, &mut dice, &mut log).unwrap();
    let reader = pool(Arc::clone(&store), settings, &healthy);
    let file = reader.open_file("file", OpenOptions::new().read_only(true)).unwrap();
    assert!(read_all(&reader, file) == *log.versions.last().unwrap(), "{context}");
    is_cut
}

#[test]
fn a_checkpoint_that_was_reported_is_there_whole_wherever_the_power_was_cut() {
    for seed in 0..4 {
        let cuts = (0..).take_while(|&cut_at| run(seed, 3, Faults::default(), cut_at)).count();
        assert!(cuts > 15, "{cuts} requests are too few for three checkpoints");
    }
}

#[test]
fn so_it_is_in_long_runs_over_a_network_that_fails() {
    let faults = Faults { no_answer: 0, delay: 1, ..Faults::MANY };
    let mut cuts = 0;
    for seed in 0..40 {
        cuts += u64::from(run(seed, 20, faults, Dice::new(!seed).below(400)));
    }
    assert!(cuts > 20, "{cuts} of the runs came to their cut");
}
