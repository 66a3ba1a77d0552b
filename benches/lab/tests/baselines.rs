//! The baselines move the bytes they say they move.

#![cfg(target_os = "linux")]

use std::path::Path;

use lab::baseline::Ending;
use lab::baseline::plain::Plain;
use lab::baseline::ring::{BareRing, RingOptions};
use lab::files::{Access, TestFile, open};
use lab::{Digest, Place, digest, places, stamp};

const PAGE: u32 = 8192;
const BLOCKS: u32 = 300;

fn test_file() -> TestFile {
    TestFile::create(Path::new(env!("CARGO_TARGET_TMPDIR")), PAGE, BLOCKS, 5, |_| ())
        .expect("room for a small file")
}

fn ring(request_size: u32) -> BareRing {
    let options = RingOptions { request_size, ..RingOptions::new(PAGE, 16) };
    BareRing::new(options).expect("a ring")
}

#[test]
fn all_arms_read_the_same_bytes() {
    let file = test_file();
    let sources = [open(file.path(), Access { direct: true, write: false }).unwrap()];
    let random = places::random(&[BLOCKS], 1000, 3);
    let expected = digest::of_plain_read(&sources, &random, PAGE).unwrap();

    let seen = Digest::new(PAGE);
    let sample = ring(PAGE).read(&sources, &random, |place, bytes| seen.add(place, bytes)).unwrap();
    assert_eq!((seen.value(), sample.pages, sample.bytes), (expected, 1000, 1000 * 8192));
    assert_eq!(sample.latencies.unwrap().count(), 1000);

    let seen = Digest::new(PAGE);
    let threads = Plain { threads: 3, ..Plain::new(PAGE) };
    threads.read(&sources, &random, |place, bytes| seen.add(place, bytes)).unwrap();
    assert_eq!(seen.value(), expected);
}

#[test]
fn a_scan_ends_with_the_file_even_inside_a_page() {
    let file = test_file();
    let length = u64::from(BLOCKS) * u64::from(PAGE) - 5000;
    std::fs::OpenOptions::new().write(true).open(file.path()).unwrap().set_len(length).unwrap();
    let sources = [open(file.path(), Access { direct: true, write: false }).unwrap()];
    let expected = digest::of_plain_read(&sources, &places::sequential(&[BLOCKS], 1), PAGE).unwrap();
    let seen = Digest::new(PAGE);
    let scan = places::sequential(&[BLOCKS], 16);
    let sample = ring(16 * PAGE).read(&sources, &scan, |place, bytes| seen.add(place, bytes)).unwrap();
    assert_eq!((seen.value(), sample.pages, sample.bytes), (expected, u64::from(BLOCKS), length));
}

#[test]
fn a_place_past_the_end_is_an_error_and_the_ring_can_be_used_again() {
    let file = test_file();
    let sources = [open(file.path(), Access { direct: true, write: false }).unwrap()];
    let mut ring = ring(PAGE);
    let mut wrong = places::random(&[BLOCKS], 100, 1);
    wrong[50].block = BLOCKS;
    assert_eq!(ring.read(&sources, &wrong, |_, _| ()).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(ring.read(&sources, &wrong[..50], |_, _| ()).unwrap().pages, 50);
}

#[test]
fn a_panic_in_the_middle_leaves_a_ring_that_can_be_used_again() {
    let file = test_file();
    let sources = [open(file.path(), Access { direct: true, write: false }).unwrap()];
    let random = places::random(&[BLOCKS], 100, 1);
    let mut ring = ring(PAGE);
    let stop = |place: Place, _: &[u8]| assert_ne!(place, random[20], "on purpose");
    let run = std::panic::AssertUnwindSafe(|| ring.read(&sources, &random, stop).map(drop));
    assert!(std::panic::catch_unwind(run).is_err());
    assert_eq!(ring.read(&sources, &random, |_, _| ()).unwrap().pages, 100);
}

#[test]
fn written_pages_are_where_they_belong() {
    let file = test_file();
    let targets = [open(file.path(), Access { direct: true, write: true }).unwrap()];
    let half: Vec<Place> = (0..BLOCKS).step_by(2).map(|block| Place { file: 0, block }).collect();
    let fill = |version| move |place: Place, page: &mut [u8]| stamp::stamp(page, 5, place.block, version);
    ring(PAGE).write(&targets, &half, Ending::Synced, fill(7)).unwrap();
    Plain::new(PAGE).write(&targets, &half[..50], Ending::Synced, fill(8)).unwrap();
    let all = places::sequential(&[BLOCKS], 1);
    let expected = |block: u32| match block {
        0..100 if block.is_multiple_of(2) => 8,
        _ if block.is_multiple_of(2) => 7,
        _ => 0,
    };
    let check =
        |place: Place, page: &[u8]| assert_eq!(stamp::check(page, 5, place.block), Ok(expected(place.block)));
    ring(PAGE).read(&targets, &all, check).unwrap();
}

#[test]
fn updates_read_one_page_and_write_another() {
    let file = test_file();
    let targets = [open(file.path(), Access { direct: true, write: true }).unwrap()];
    let (read, written) = (places::random(&[BLOCKS / 2], 500, 1), places::random(&[BLOCKS / 2], 500, 2));
    let written = written.into_iter().map(|place| Place { block: place.block + BLOCKS / 2, ..place });
    let pairs: Vec<(Place, Place)> = read.into_iter().zip(written).collect();
    let mut writes = 0;
    let fill = |place: Place, page: &mut [u8]| {
        // The slot's memory still holds the page that was read before.
        assert!(stamp::check(page, 5, place.block).is_err());
        stamp::stamp(page, 5, place.block, 1);
        writes += 1;
    };
    let sample = ring(PAGE).update(&targets, &pairs, fill).unwrap();
    assert_eq!((sample.pages, sample.written.pages, writes), (500, 500, 500));
    assert_eq!(sample.written.bytes, 500 * u64::from(PAGE));
    for (_, place) in pairs {
        let check = |place: Place, page: &[u8]| assert_eq!(stamp::check(page, 5, place.block), Ok(1));
        Plain::new(PAGE).read(&targets, &[place], check).unwrap();
    }
}
