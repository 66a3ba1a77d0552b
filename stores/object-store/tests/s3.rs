//! The same over HTTP, with an S3 server on the loopback: names, conditions and tags are those of S3.

#[path = "support/s3_server.rs"]
mod s3_server;
mod support;

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use ringpool::testing::Dice;
use ringpool_object_store::{Fenced, ObjectFiles, Settings, VersionGone};
use s3_server::S3Server;
use support::faulty::{Faults, Faulty};
use support::files;
use support::stamps::{self, PAGE};

fn settings() -> Settings {
    Settings {
        segment_bytes: 16 << 10,
        keep_versions: 2,
        remove_together: 1,
        garbage_bytes: 32 << 10,
        base_every: 3,
        retry_wait: Duration::from_millis(2),
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_lives_in_s3() {
    let server = S3Server::start().await;
    let first = files(server.client(), settings());
    let writer = first.open_writer("a/file with spaces", PAGE as u32, true).await.unwrap();
    let mut expected = vec![0; 40 * PAGE];
    let mut random = Dice::new(3);
    for sync in 1..=12 {
        for _ in 0..10 {
            let block = random.below(40);
            let page = stamps::page(1, block, sync);
            expected[block as usize * PAGE..][..PAGE].copy_from_slice(&page);
            writer.write(block * PAGE as u64, &page).await.unwrap();
        }
        writer.set_len(expected.len() as u64);
        assert_eq!(writer.sync().await.unwrap(), sync);
    }
    writer.sweep().await.unwrap();

    let second = files(server.client(), settings());
    let reader = second.open_reader("a/file with spaces", None).await.unwrap();
    assert_eq!(reader.version(), 12);
    assert!(reader.read(0, usize::MAX).await.unwrap() == expected);
    let error = second.open_reader("a/file with spaces", Some(3)).await.unwrap_err();
    assert_eq!(VersionGone::of(&error).unwrap().kept, 11..=12);

    let next = second.open_writer("a/file with spaces", PAGE as u32, false).await.unwrap();
    writer.write(0, &stamps::page(1, 0, 13)).await.unwrap();
    let fenced = writer.sync().await.unwrap_err();
    assert_eq!(Fenced::of(&fenced).unwrap().owner, Some(2));
    assert!(next.read(0, usize::MAX).await.unwrap() == expected);
    next.write(0, &stamps::page(2, 0, 13)).await.unwrap();
    assert_eq!(next.sync().await.unwrap(), 13);
    assert!(reader.read(0, usize::MAX).await.unwrap() == expected, "it stays at its version");
    second.remove("a/file with spaces").await.unwrap();
    let error = second.open_writer("a/file with spaces", PAGE as u32, false).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

/// Takes the file over and syncs some times, until this client has published eight versions. Returns what this client published, by version.
async fn take_turns(files: ObjectFiles, mut random: Dice) -> Vec<(u64, Vec<u8>)> {
    let mut published = Vec::new();
    // Where the other client opens the file all the time, this one publishes nothing for a while.
    for _ in 0..100 {
        if published.len() >= 8 {
            break;
        }
        let writer = files.open_writer("file", PAGE as u32, true).await.unwrap();
        let epoch = writer.epoch();
        // A writer can be fenced before it has read anything.
        let Ok(bytes) = writer.read(0, usize::MAX).await else { continue };
        let mut file = bytes.to_vec();
        stamps::check(&file);
        for _ in 0..1 + random.below(6) {
            let block = random.below(10);
            let at = block as usize * PAGE;
            file.resize(file.len().max(at + PAGE), 0);
            file[at..at + PAGE].copy_from_slice(&stamps::page(epoch, block, writer.version() + 1));
            if writer.write(at as u64, &file[at..at + PAGE]).await.is_err() {
                break;
            }
            match writer.sync().await {
                Ok(version) => published.push((version, file.clone())),
                Err(error) => {
                    assert!(Fenced::of(&error).is_some(), "{error}");
                    break;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(random.below(200))).await;
    }
    published
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_of_s3_fence_each_other() {
    let server = S3Server::start().await;
    // Answers get lost on the way, besides.
    let faults = Faults { lost_answer: 5, doubled: 5, throttled: 5, late: 5, no_answer: 0, delay: 3 };
    let client = |seed: u64| {
        let store: Arc<dyn ObjectStore> = Faulty::new(&server.client(), faults, seed).store();
        tokio::spawn(take_turns(files(store, settings()), Dice::new(seed)))
    };
    let (one, other) = (client(1), client(2));
    let mut published = one.await.unwrap();
    published.extend(other.await.unwrap());
    published.sort_unstable_by_key(|(version, _)| *version);
    assert!(published.len() >= 16);
    let versions: Vec<_> = published.iter().map(|(version, _)| *version).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "two clients published one version: {versions:?}");
    let reader = files(server.client(), settings()).open_reader("file", None).await.unwrap();
    let (version, last) = published.last().unwrap();
    if reader.version() == *version {
        assert!(reader.read(0, usize::MAX).await.unwrap() == *last);
    }
    assert!(reader.version() >= *version);
}
