//! Cuts the client's power at each of its requests, with and without faults of the network: what a sync reported is there, whole, and what is there is
//! what one sync wrote.

mod support;

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ringpool::testing::Dice;
use ringpool_object_store::{Reader, Writer};
use support::faulty::{Faults, Faulty};
use support::stamps::{self, PAGE};
use support::{files, percent, small};

const SYNCS: u64 = 6;

/// The file after each sync, as the client means to write it, and how far the client came.
#[derive(Default)]
struct Log {
    versions: Vec<Vec<u8>>,
    reported: usize,
}

/// Writes to a file at random, and syncs. A version of it is in the log before it is written.
async fn work(writer: &Writer, random: &mut Dice, log: &mut Log, owner: u64) {
    let mut file = log.versions.last().cloned().unwrap_or_default();
    for sync in 1..=SYNCS {
        if percent(random, 30) {
            let pages = random.below(30) as usize;
            file.resize(pages * PAGE, 0);
            writer.set_len(file.len() as u64);
        }
        for _ in 0..random.below(8) {
            let (block, count) = (random.below(30), 1 + random.below(6));
            let pages: Vec<u8> =
                (block..block + count).flat_map(|block| stamps::page(owner, block, sync)).collect();
            let at = block as usize * PAGE;
            file.resize(file.len().max(at + pages.len()), 0);
            file[at..at + pages.len()].copy_from_slice(&pages);
            writer.write(at as u64, &pages).await.unwrap();
        }
        log.versions.push(file.clone());
        writer.sync().await.unwrap();
        log.reported = log.versions.len();
        assert!(writer.read(0, usize::MAX).await.unwrap() == file);
    }
}

async fn read_all(reader: &Reader) -> Vec<u8> {
    let bytes = reader.read(0, usize::MAX).await.unwrap();
    stamps::check(&bytes);
    bytes.to_vec()
}

/// Runs a client until its power is cut at `cut_at`, and looks at what is there then. Returns how many requests the client sent.
async fn run(seed: u64, faults: Faults, cut_at: u64) -> u64 {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let settings = small(seed);
    let healthy = files(Arc::clone(&store), settings);
    let mut random = Dice::new(seed);
    let mut log = Log { versions: vec![Vec::new()], reported: 1 };

    // An earlier writer, without faults; a reader stays at its last version.
    let earlier = healthy.open_writer("file", PAGE as u32, true).await.unwrap();
    work(&earlier, &mut random, &mut log, 1).await;
    let old = log.versions.last().unwrap().clone();
    let reader = healthy.open_reader("file", None).await.unwrap();

    let faulty = Faulty::cut_at(&store, faults, seed, cut_at);
    let client = files(faulty.store(), settings);
    let work = async {
        let writer = client.open_writer("file", PAGE as u32, false).await.unwrap();
        assert!(writer.read(0, usize::MAX).await.unwrap() == old);
        work(&writer, &mut random, &mut log, 2).await;
        writer.sweep().await.unwrap();
    };
    tokio::select! {
        () = work => (),
        () = faulty.is_cut() => (),
    }
    // What is under way of the dead client may still arrive.
    tokio::time::sleep(Duration::from_millis(seed * 100 % 3000)).await;

    let context = format!("seed {seed}, cut at request {cut_at}, {} reported", log.reported);
    let next = healthy.open_writer("file", PAGE as u32, false).await.unwrap();
    let found = next.read(0, usize::MAX).await.unwrap();
    stamps::check(&found);
    // The last that was reported, or the one that was under way. The same bytes may be there twice.
    let expected = &log.versions[log.reported - 1..];
    assert!(expected.len() <= 2);
    assert!(expected.iter().any(|version| found == version), "{context}");
    // The new writer removes what the dead one left, and the reader's version stays.
    next.write(0, &stamps::page(3, 0, 1)).await.unwrap();
    next.sync().await.unwrap();
    next.sweep().await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(read_all(&reader).await == old, "{context}");
    let mut after = found.to_vec();
    after.resize(after.len().max(PAGE), 0);
    after[..PAGE].copy_from_slice(&stamps::page(3, 0, 1));
    assert!(read_all(&healthy.open_reader("file", None).await.unwrap()).await == after, "{context}");
    faulty.requests()
}

#[tokio::test(start_paused = true)]
async fn what_a_sync_reported_is_there_whole_wherever_the_power_was_cut() {
    for seed in 0..8 {
        let requests = run(seed, Faults::default(), u64::MAX).await;
        assert!(requests > 20);
        for cut_at in 0..requests {
            run(seed, Faults::default(), cut_at).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn so_it_is_when_the_network_fails_besides() {
    for seed in 0..8 {
        let requests = run(seed, Faults::MANY, u64::MAX).await;
        for cut_at in 0..requests {
            run(seed, Faults::MANY, cut_at).await;
        }
    }
}
