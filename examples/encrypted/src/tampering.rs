//! What an attacker with access to the disk can do, and what the pool reports then.

use std::num::NonZeroU32;

use ringpool::{
    BufferPool, Error, FileId, IoMethod, OpenOptions, OwnedPageRead, PageAddress, PageCodec, PageId, Result,
    Shutdown,
    options::{DoubleWriteArea, TornPages},
    testing::SimDisk,
};

use crate::encrypted::Encrypted;

const PAGE: usize = 4096;
const BODY: usize = PAGE - Encrypted::TRAILER;
const BLOCKS: u32 = 4;
const KEY: [u8; 32] = [7; 32];

/// Returns the bytes of a version of a block.
fn plain(block: u32, version: u8) -> Vec<u8> {
    (0..BODY as u32).map(|at| (at ^ block << 4) as u8 ^ version).collect()
}

fn pool_on(disk: &SimDisk, key: [u8; 32]) -> BufferPool {
    let builder = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(IoMethod::Sync);
    builder.codec(Encrypted::new(&key)).storage(disk.clone()).build().expect("options that work")
}

fn open(pool: &BufferPool, tag: u64) -> FileId {
    let options = OpenOptions::new().create(true).tag(tag);
    pool.open_file(format!("file {tag}"), options).expect("a file that opens")
}

/// Writes a version of all blocks of a file, and ends the pool.
fn write(disk: &SimDisk, tag: u64, version: u8) {
    let pool = pool_on(disk, KEY);
    let file = open(&pool, tag);
    if pool.blocks(file).unwrap() == 0 {
        pool.extend(file, NonZeroU32::new(BLOCKS).unwrap()).wait().unwrap();
    }
    for block in 0..BLOCKS {
        let mut page = pool.write(PageId::new(file, block)).wait().unwrap();
        page[..BODY].copy_from_slice(&plain(block, version));
    }
    pool.shutdown(Shutdown::Flush).unwrap();
}

/// Makes a disk with two files.
fn disk() -> SimDisk {
    let disk = SimDisk::new();
    (1..3).for_each(|tag| write(&disk, tag, 1));
    disk
}

fn read(disk: &SimDisk, tag: u64, block: u32) -> Result<OwnedPageRead> {
    let pool = pool_on(disk, KEY);
    let file = open(&pool, tag);
    pool.read(PageId::new(file, block)).wait()
}

fn tamper(disk: &SimDisk, change: impl FnOnce(&mut [u8])) {
    let mut bytes = disk.image("file 1").unwrap();
    change(&mut bytes);
    disk.put("file 1", bytes);
}

#[track_caller]
fn assert_refused(disk: &SimDisk, block: u32) {
    match read(disk, 1, block) {
        Err(Error::Corrupt { .. }) => (),
        other => panic!("it was tampered with: {other:?}"),
    }
}

#[test]
fn what_is_written_comes_back_and_the_disk_has_none_of_it() {
    let disk = disk();
    let image = disk.image("file 1").unwrap();
    for block in 0..BLOCKS {
        let page = read(&disk, 1, block).unwrap();
        assert!(page[..BODY] == plain(block, 1) && page[BODY..] == [0; Encrypted::TRAILER]);
        let expected = plain(block, 1);
        assert!(!image.windows(8).any(|bytes| bytes == &expected[..8]));
    }
}

#[test]
fn a_bit_that_is_flipped_anywhere_is_noticed() {
    let (codec, at) = (Encrypted::new(&KEY), PageAddress::new(1, 2));
    let mut sealed = plain(2, 1);
    sealed.resize(PAGE, 0);
    codec.seal(at, &mut sealed);
    assert_eq!(codec.open(at, &mut sealed.clone()), Ok(()));
    // Each bit of some bytes of the body, and of all of nonce and tag.
    for byte in (0..BODY).step_by(97).chain(BODY..PAGE) {
        for bit in 0..8 {
            let mut flipped = sealed.clone();
            flipped[byte] ^= 1 << bit;
            assert!(codec.open(at, &mut flipped).is_err(), "bit {bit} of byte {byte}");
        }
    }
    let disk = disk();
    tamper(&disk, |file| file[2 * PAGE + 1000] ^= 1);
    assert_refused(&disk, 2);
    assert!(read(&disk, 1, 1).is_ok(), "its neighbour is as it was");
}

#[test]
fn a_page_in_another_place_is_noticed() {
    let disk = disk();
    tamper(&disk, |file| file.copy_within(..PAGE, PAGE));
    assert_refused(&disk, 1);
    let other = disk.image("file 2").unwrap();
    tamper(&disk, |file| file[2 * PAGE..3 * PAGE].copy_from_slice(&other[2 * PAGE..3 * PAGE]));
    assert_refused(&disk, 2);
}

#[test]
fn a_page_of_another_key_is_noticed() {
    let disk = disk();
    let pool = pool_on(&disk, [8; 32]);
    let file = open(&pool, 1);
    assert!(matches!(pool.read(PageId::new(file, 0)).wait(), Err(Error::Corrupt { .. })));
}

#[test]
fn a_page_that_is_half_of_one_version_and_half_of_another_is_noticed() {
    let disk = disk();
    let older = disk.image("file 1").unwrap();
    write(&disk, 1, 2);
    tamper(&disk, |file| file[..PAGE / 2].copy_from_slice(&older[..PAGE / 2]));
    assert_refused(&disk, 0);
}

#[test]
fn zeros_are_noticed() {
    let disk = disk();
    tamper(&disk, |file| file[PAGE..2 * PAGE].fill(0));
    assert_refused(&disk, 1);
}

/// The limit of what a page alone can show. The module [`encrypted`](crate::encrypted) says what would notice it.
#[test]
fn an_older_version_of_a_page_that_is_put_back_is_not_noticed() {
    let disk = disk();
    let older = disk.image("file 1").unwrap();
    write(&disk, 1, 2);
    tamper(&disk, |file| file[PAGE..2 * PAGE].copy_from_slice(&older[PAGE..2 * PAGE]));
    assert!(read(&disk, 1, 1).unwrap()[..BODY] == plain(1, 1));
    assert!(read(&disk, 1, 2).unwrap()[..BODY] == plain(2, 2));
}

#[test]
fn no_two_writes_have_the_same_nonce() {
    let (codec, at) = (Encrypted::new(&KEY), PageAddress::new(1, 0));
    let mut nonces: Vec<Vec<u8>> = (0..1000)
        .map(|_| {
            let mut page = vec![0; PAGE];
            codec.seal(at, &mut page);
            page[BODY..BODY + 24].to_vec()
        })
        .collect();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 1000);
}

/// The copies in a doublewrite area are encrypted too, and put a torn page right.
#[test]
fn a_torn_page_is_restored_from_an_encrypted_copy() {
    let build = |disk: &SimDisk| {
        let area = TornPages::DoubleWrite(DoubleWriteArea::new("area").bytes(0));
        let builder = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(IoMethod::Sync);
        builder.codec(Encrypted::new(&KEY)).torn_pages(area).storage(disk.clone()).build().unwrap()
    };
    let disk = disk();
    let pool = build(&disk);
    let file = open(&pool, 1);
    pool.write(PageId::new(file, 1)).wait().unwrap()[..BODY].copy_from_slice(&plain(1, 2));
    pool.flush(PageId::new(file, 1)).wait().unwrap();
    // The power is cut before the file is synced, when half of the page has been written to its place.
    let disk = disk.after_kill(0);
    tamper(&disk, |file| file[PAGE..PAGE + PAGE / 2].fill(0xAA));
    let secret = plain(1, 2);
    assert!(!disk.image("area").unwrap().windows(8).any(|bytes| bytes == &secret[..8]));
    let pool = build(&disk);
    let file = open(&pool, 1);
    assert!(pool.read(PageId::new(file, 1)).wait().unwrap()[..BODY] == secret);
}
