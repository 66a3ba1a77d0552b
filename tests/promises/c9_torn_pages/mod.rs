//! C9, for power cuts: with the doublewrite area a page is its old or its new version at whatever moment the power is cut, and
//! never a mix.

mod damaged;
mod failed_syncs;
mod keeping;
mod letting_go;
mod lives;
mod opening;
mod power_cuts;

use std::ops::RangeInclusive;

use ringpool::{
    BufferPool, FileId, IoMethod, OpenOptions, PageId, Result,
    options::{DoubleWriteArea, TornPages},
    testing::{Fault, Op, SimDisk},
};

use crate::support::{EIO, PAGE, stamped, stamped_file};

/// Few, so that the area is small and its halves are begun anew often.
const FRAMES: u32 = 32;
const BLOCKS: u32 = 12;
const TAGS: [u64; 2] = [11, 12];

fn path(tag: u64) -> String {
    format!("data-{tag}")
}

/// Makes the smallest area.
fn area() -> TornPages {
    area_at("area")
}

fn area_at(path: &str) -> TornPages {
    TornPages::DoubleWrite(DoubleWriteArea::new(path).bytes(0))
}

fn pool_on(disk: &SimDisk, method: IoMethod, protection: TornPages) -> Result<BufferPool> {
    let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).io_method(method);
    builder.torn_pages(protection).storage(disk.clone()).build()
}

fn open(pool: &BufferPool, tag: u64) -> Result<FileId> {
    pool.open_file(path(tag), OpenOptions::new().tag(tag))
}

/// Makes a disk with both files, all blocks in version 1.
fn new_disk() -> SimDisk {
    let disk = SimDisk::new();
    // Without protection, pages are torn all the same: writes are atomic only where they are asked to be.
    disk.set_atomic_writes(PAGE as u32);
    TAGS.iter().for_each(|&tag| disk.put(path(tag), stamped_file(BLOCKS, 1)));
    disk
}

/// The versions that each block of each file may have after a crash.
#[derive(Clone)]
struct Allowed([Vec<RangeInclusive<u8>>; 2]);

impl Allowed {
    fn new() -> Self {
        Self([(); 2].map(|()| vec![1..=1; BLOCKS as usize]))
    }

    /// Notes that a version was written into the frame.
    fn may_be(&mut self, file: usize, block: u32, version: u8) {
        let versions = &mut self.0[file][block as usize];
        *versions = *versions.start()..=version;
    }

    /// Notes that a checkpoint has covered what was written.
    fn is_durable(&mut self) {
        for versions in self.0.iter_mut().flatten() {
            *versions = *versions.end()..=*versions.end();
        }
    }
}

/// Changes a block in its frame.
fn change(pool: &BufferPool, file: FileId, block: u32, version: u8) {
    let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
    page.write().unwrap().copy_from_slice(&stamped(block, version));
}

/// Changes a block of the first file to version 2, and has half of it written to its place.
fn write_half_way(disk: &SimDisk, pool: &BufferPool, file: FileId, block: u32) {
    change(pool, file, block, 2);
    let write = Op::Write.of(path(TAGS[0]));
    disk.inject(Fault::short(write.clone(), 512).once());
    disk.inject(Fault::error(write, EIO).nth(2).once());
    assert_eq!(pool.flush_file(file).wait().unwrap_err().raw_os_error(), Some(EIO));
    assert_eq!(version_at(disk, block), None, "a test of nothing");
}

/// Returns the version of a block in its place in the first file.
fn version_at(disk: &SimDisk, block: u32) -> Option<u8> {
    let at = block as usize * PAGE;
    version_of(&disk.image(path(TAGS[0])).unwrap()[at..at + PAGE], block)
}

/// Returns the version of a block, if all of it has the same.
fn version_of(bytes: &[u8], block: u32) -> Option<u8> {
    let version = bytes[0];
    (bytes == stamped(block, version)).then_some(version)
}

/// Opens the files as after a crash and counts the pages that are torn. Those that are not must have an allowed version.
fn torn_pages(disk: &SimDisk, protection: TornPages, allowed: &Allowed) -> usize {
    let pool = pool_on(disk, IoMethod::Sync, protection).unwrap();
    let files = TAGS.map(|tag| open(&pool, tag).unwrap());
    assert_eq!(pool.torn_page_tags(), [], "both were opened");
    let mut torn = 0;
    for (file, versions) in files.iter().zip(&allowed.0) {
        for (block, versions) in (0..).zip(versions) {
            let page = pool.fetch(PageId::new(*file, block)).wait().unwrap();
            match version_of(&page.read(), block) {
                Some(version) => {
                    assert!(versions.contains(&version), "block {block}: {version}, not {versions:?}");
                }
                None => torn += 1,
            }
        }
    }
    torn
}
