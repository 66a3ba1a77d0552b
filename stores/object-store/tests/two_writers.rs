//! Lets writers fence each other under faults of the network, and checks each version against what its one writer meant to publish.

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ringpool::testing::Dice;
use ringpool_object_store::{Fenced, ObjectFiles, VersionGone, Writer};
use support::faulty::{Faults, Faulty};
use support::stamps::{self, PAGE};
use support::{files, percent, small};

/// What is known of each version.
#[derive(Debug, Default)]
struct Oracle {
    /// By version, what each epoch meant to publish as it.
    meant: HashMap<u64, HashMap<u64, Vec<u8>>>,
    /// Which epoch reported it as published.
    reported: HashMap<u64, u64>,
    /// What was refused: (version, epoch).
    fenced: Vec<(u64, u64)>,
    syncs: u64,
    fences: u64,
    reads: u64,
}

impl Oracle {
    /// Checks a version that was found in the store.
    fn check(&self, version: u64, found: &[u8]) {
        stamps::check(found);
        if version == 0 {
            assert!(found.is_empty());
            return;
        }
        let meant = &self.meant[&version];
        match self.reported.get(&version) {
            Some(epoch) => {
                assert!(found == meant[epoch], "version {version} is not what epoch {epoch} reported");
            }
            None => {
                let possible = meant.iter().filter(|(epoch, _)| !self.fenced.contains(&(version, **epoch)));
                assert!(
                    possible.into_iter().any(|(_, bytes)| found == bytes),
                    "version {version} is no writer's"
                );
            }
        }
    }

    fn latest_reported(&self) -> u64 {
        self.reported.keys().copied().max().unwrap_or(0)
    }
}

/// Writes and syncs until it is fenced, `syncs` times at the most.
async fn write(writer: &Writer, file: &mut Vec<u8>, syncs: u64, random: &mut Dice, oracle: &Mutex<Oracle>) {
    let epoch = writer.epoch();
    let mut version = writer.version();
    for _ in 0..syncs {
        version += 1;
        if percent(random, 10) {
            file.resize(random.below(20) as usize * PAGE, 0);
            writer.set_len(file.len() as u64);
        }
        for _ in 0..1 + random.below(6) {
            let block = random.below(20);
            let page = stamps::page(epoch, block, version);
            let at = block as usize * PAGE;
            file.resize(file.len().max(at + PAGE), 0);
            file[at..at + PAGE].copy_from_slice(&page);
            if let Err(error) = writer.write(at as u64, &page).await {
                assert!(Fenced::of(&error).is_some(), "{error}");
                return;
            }
        }
        oracle.lock().unwrap().meant.entry(version).or_default().insert(epoch, file.clone());
        match writer.sync().await {
            Ok(published) => {
                // Only a file that was cut to the length that it had is as it was.
                assert_eq!(published, version);
                let mut oracle = oracle.lock().unwrap();
                oracle.syncs += 1;
                let other = oracle.reported.insert(version, epoch);
                assert_eq!(other, None, "two writers published version {version}");
            }
            Err(error) => {
                assert!(Fenced::of(&error).is_some(), "{error}");
                // It stays so, and nothing more is accepted.
                assert!(Fenced::of(&writer.sync().await.unwrap_err()).is_some());
                assert!(Fenced::of(&writer.write(0, &[1; PAGE]).await.unwrap_err()).is_some());
                let mut oracle = oracle.lock().unwrap();
                oracle.fenced.push((version, epoch));
                oracle.fences += 1;
                return;
            }
        }
    }
}

async fn host(files: ObjectFiles, mut random: Dice, oracle: Arc<Mutex<Oracle>>) {
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(random.below(1500))).await;
        let before = oracle.lock().unwrap().latest_reported();
        let writer = files.open_writer("file", PAGE as u32, true).await.unwrap();
        let version = writer.version();
        assert!(version >= before, "version {before} was reported, and {version} is the latest");
        let mut file = match writer.read(0, usize::MAX).await {
            Ok(bytes) => bytes.to_vec(),
            Err(error) => {
                assert!(Fenced::of(&error).is_some(), "{error}");
                continue;
            }
        };
        oracle.lock().unwrap().check(version, &file);
        let syncs = 1 + random.below(12);
        write(&writer, &mut file, syncs, &mut random, &oracle).await;
    }
}

/// Opens the latest version again and again, and reads it a while later, too.
async fn reader(files: ObjectFiles, mut random: Dice, oracle: Arc<Mutex<Oracle>>) {
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(random.below(800))).await;
        let before = oracle.lock().unwrap().latest_reported();
        let reader = match files.open_reader("file", None).await {
            Ok(reader) => reader,
            // The file is not there yet, or is written faster than it can be opened.
            Err(error) => {
                assert!(VersionGone::of(&error).is_some() || before == 0, "{error}");
                continue;
            }
        };
        assert!(reader.version() >= before);
        for _ in 0..2 {
            let found = reader.read(0, usize::MAX).await.unwrap();
            {
                let mut oracle = oracle.lock().unwrap();
                oracle.check(reader.version(), &found);
                oracle.reads += 1;
            }
            tokio::time::sleep(Duration::from_millis(random.below(3000))).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_writers_that_fence_each_other_one_publishes_each_version() {
    let seeds = std::env::var("STORE_SEEDS").map_or(60, |seeds| seeds.parse().unwrap());
    let first = std::env::var("STORE_FIRST_SEED").map_or(0, |seed| seed.parse().unwrap());
    let (mut syncs, mut fences, mut reads) = (0, 0, 0);
    for seed in first..first + seeds {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let oracle = Arc::new(Mutex::new(Oracle::default()));
        let client = |number: u64| {
            let seed = seed * 10 + number;
            let faulty = Faulty::new(&store, Faults::MANY, seed);
            (files(faulty.store(), small(seed)), Dice::new(seed ^ 0xabcd), Arc::clone(&oracle))
        };
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..2 {
            let (files, random, oracle) = client(number);
            tasks.spawn(host(files, random, oracle));
        }
        let (files, random, for_reader) = client(2);
        tasks.spawn(reader(files, random, for_reader));
        while let Some(result) = tasks.join_next().await {
            if let Err(error) = result {
                panic!("seed {seed}: {error}");
            }
        }
        let oracle = oracle.lock().unwrap();
        (syncs, fences, reads) = (syncs + oracle.syncs, fences + oracle.fences, reads + oracle.reads);
    }
    println!("{seeds} seeds: {syncs} syncs reported, {fences} refused, {reads} versions read");
    assert!(syncs > seeds * 10 && fences > seeds && reads > seeds * 10, "{syncs} {fences} {reads}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_slower_than_the_removal_of_its_version_is_told_so() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let settings = ringpool_object_store::Settings { keep_versions: 1, ..small(0) };
    let writer = files(Arc::clone(&store), settings).open_writer("file", PAGE as u32, true).await.unwrap();
    let write = async {
        for sync in 1.. {
            writer.write(0, &stamps::page(1, 0, sync)).await.unwrap();
            writer.sync().await.unwrap();
            writer.sweep().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let read = async {
        // Between its look at the head and its pin, many versions come and go.
        for seed in 0..10 {
            let slow = Faulty::new(&store, Faults { delay: 400, ..Faults::default() }, seed).store();
            let settings =
                ringpool_object_store::Settings { request_timeout: Duration::from_secs(5), ..settings };
            match files(slow, settings).open_reader("file", None).await {
                Ok(reader) => stamps::check(&reader.read(0, usize::MAX).await.unwrap()),
                Err(error) => assert!(VersionGone::of(&error).is_some(), "{error}"),
            }
        }
    };
    tokio::select! {
        () = write => unreachable!("it writes for ever"),
        () = read => (),
    }
}
