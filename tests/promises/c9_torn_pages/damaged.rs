//! An area that is damaged between a crash and the next life: it never puts an older page back over a newer one that was durable,
//! as far as damage can be distinguished from a write that was never finished.

use ringpool::{
    BufferPool, CheckpointOptions, Error, FileId, IoMethod, OpenOptions, PageAddress, PageId,
    testing::{Fault, Op, SimDisk},
};

use super::{Allowed, FRAMES, TAGS, area, change, lives, new_disk, open, pool_on, torn_pages, version_at};
use crate::support::{EIO, PAGE, guarded, stamped, with_each_method};

/// Returns the bytes at which an area is damaged: some of each header, and some of what lies behind.
fn places_to_damage(area: &[u8], page: usize) -> impl Iterator<Item = usize> + use<> {
    let header = 56 + 2 * 16;
    (0..area.len()).filter(move |at| (at % page < header && at % 7 == 0) || at % 601 == 0)
}

/// Returns the bytes of the record with the greatest number that is whole, if only in its header.
fn last_record(area: &[u8], page: usize) -> std::ops::Range<usize> {
    let number = |at: usize| u64::from_le_bytes(area[at + 16..at + 24].try_into().unwrap());
    let begins = (0..area.len()).step_by(page).filter(|&at| area[at..].starts_with(b"ringcopy"));
    let last = begins.max_by_key(|&at| number(at)).expect("a record");
    let entries = u32::from_le_bytes(area[last + 48..last + 52].try_into().unwrap()) as usize;
    last..last + (1 + entries) * page
}

/// Makes a disk after a power cut with the area in use: block 0 of the first file was made durable as version 2, and as version 3,
/// and block 1 as version 2 after that.
fn after_three_checkpoints(method: IoMethod) -> SimDisk {
    let disk = new_disk();
    let pool = pool_on(&disk, method, area()).unwrap();
    let [file, _] = TAGS.map(|tag| open(&pool, tag).unwrap());
    for (block, version) in [(0, 2), (0, 3), (1, 2)] {
        change(&pool, file, block, version);
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    }
    disk.after_power_cut(0)
}

/// Returns where the copies of these pages lie in the area.
fn copy_of(disk: &SimDisk, block: u32, version: u8) -> usize {
    let copy = stamped(block, version);
    disk.image("area").unwrap().chunks(PAGE).position(|unit| unit == copy).expect("a copy") * PAGE
}

/// Returns the disk with one bit of the area flipped.
fn flipped(disk: &SimDisk, at: usize) -> SimDisk {
    let disk = disk.after_kill(0);
    let mut area = disk.image("area").unwrap();
    area[at] ^= 4;
    disk.put("area", area);
    disk
}

#[test]
fn c9_a_damaged_copy_brings_no_older_page_back() {
    with_each_method(|method| {
        let disk = after_three_checkpoints(method.clone());
        let disk = flipped(&disk, copy_of(&disk, 0, 3) + 700);
        let pool = pool_on(&disk, method, area()).unwrap();
        for _ in 0..2 {
            let refused = open(&pool, TAGS[0]).unwrap_err();
            let page = Some(PageAddress::new(TAGS[0], 0_u32));
            assert!(matches!(&refused, Error::AreaDamaged { page: at, .. } if *at == page), "{refused:?}");
            assert!(refused.to_string().contains("give_up_torn_pages(11)"), "{refused}");
            assert_eq!((version_at(&disk, 0), pool.torn_page_tags()), (Some(3), vec![TAGS[0]]));
        }
        pool.give_up_torn_pages(TAGS[0]).unwrap();
        let file = open(&pool, TAGS[0]).unwrap();
        assert!(*pool.fetch(PageId::new(file, 0_u32)).wait().unwrap().read() == stamped(0, 3));
        // For good, and the area can be used again.
        let mut allowed = Allowed::new();
        [(0, 3), (1, 2)].into_iter().for_each(|(block, version)| allowed.may_be(0, block, version));
        allowed.is_durable();
        assert_eq!(torn_pages(&disk.after_power_cut(1), area(), &allowed), 0);
        change(&pool, file, 0, 4);
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    });
}

#[test]
fn c9_an_area_that_has_lost_a_record_is_refused() {
    with_each_method(|method| {
        let disk = after_three_checkpoints(method.clone());
        // The first bytes of the header before the copy.
        let disk = flipped(&disk, copy_of(&disk, 0, 3) - PAGE + 3);
        let refused = pool_on(&disk, method.clone(), area()).unwrap_err();
        assert!(matches!(refused, Error::AreaDamaged { page: None, .. }), "{refused:?}");
        assert!(refused.to_string().contains("remove the area"), "{refused}");
        assert_eq!(version_at(&disk, 0), Some(3));
        disk.put("area", []);
        let pool = pool_on(&disk, method, area()).unwrap();
        assert!(TAGS.iter().all(|&tag| open(&pool, tag).is_ok()));
        assert_eq!((version_at(&disk, 0), version_at(&disk, 1)), (Some(3), Some(2)));
    });
}

/// The record that was damaged may have been the last one that was begun.
#[test]
fn c9_damage_of_the_last_record_is_taken_for_an_unfinished_write() {
    guarded(|| {
        let disk = after_three_checkpoints(IoMethod::Sync);
        let disk = flipped(&disk, copy_of(&disk, 1, 2) + 700);
        let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
        assert!(TAGS.iter().all(|&tag| open(&pool, tag).is_ok()));
        assert_eq!((version_at(&disk, 0), version_at(&disk, 1)), (Some(3), Some(2)));
    });
}

/// A batch that was refused leaves a record that is not whole, or none, with others behind it: no damage.
#[test]
fn c9_a_batch_that_was_refused_is_no_damage() {
    with_each_method(|method| {
        for pages in [0, 3] {
            let disk = new_disk();
            let pool = pool_on(&disk, method.clone(), area()).unwrap();
            let file = open(&pool, TAGS[0]).unwrap();
            let write = |version| {
                (0..4).for_each(|block| change(&pool, file, block, version));
                pool.flush_file(file).wait()
            };
            write(2).unwrap();
            let written = Op::Write.of("area");
            if pages > 0 {
                disk.inject(Fault::short(written.clone(), pages * PAGE).once());
            }
            disk.inject(Fault::error(written, EIO).nth(if pages > 0 { 2 } else { 1 }).once());
            assert_eq!(write(3).unwrap_err().raw_os_error(), Some(EIO));
            // The other blocks have no later copy.
            for version in 3..5 {
                change(&pool, file, 0, version);
                pool.flush(PageId::new(file, 0_u32)).wait().unwrap();
            }
            let mut allowed = Allowed::new();
            (0..4).for_each(|block| allowed.may_be(0, block, 4));
            for seed in 0..8 {
                assert_eq!(torn_pages(&disk.after_power_cut(seed), area(), &allowed), 0);
            }
        }
    });
}

/// Wherever it is damaged, but in the record that may be unfinished: each page is as if nothing had happened, or its file is refused.
#[test]
fn c9_no_bit_that_flips_in_an_area_puts_an_older_page_back() {
    guarded(|| {
        let (disk, known) = lives::after_a_life_of_copies();
        let area = disk.image("area").unwrap();
        let last = last_record(&area, lives::PAGE);
        let (mut opened, mut refused) = (0, 0);
        for at in places_to_damage(&area, lives::PAGE).filter(|at| !last.contains(at)) {
            match lives::look_if_opened(&flipped(&disk, at), &known, &format!("a flip at {at}")) {
                Ok(()) => opened += 1,
                Err(Error::AreaDamaged { .. }) => refused += 1,
                Err(other) => panic!("a flip at {at}: {other:?}"),
            }
        }
        assert!(opened > 100 && refused > 100, "a test of little: {opened} and {refused}");
    });
}

/// A codec tells which pages are whole in their places: a whole page is left, a torn one gets its newest copy.
#[cfg(feature = "crc32c")]
#[test]
fn c9_with_a_codec_a_damaged_area_is_used_as_far_as_it_goes() {
    use std::num::NonZeroU32;

    let pool_on = |disk: &SimDisk, method: IoMethod| -> BufferPool {
        let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).io_method(method);
        builder.codec(ringpool::Crc32c).torn_pages(area()).storage(disk.clone()).build().unwrap()
    };
    let open = |pool: &BufferPool| -> FileId {
        pool.open_file("sealed", OpenOptions::new().create(true).tag(TAGS[0])).unwrap()
    };
    with_each_method(move |method| {
        let disk = SimDisk::new();
        let pool = pool_on(&disk, method.clone());
        let file = open(&pool);
        pool.extend(file, NonZeroU32::new(3).unwrap()).wait().unwrap();
        for (block, version) in [(0_u32, 2), (1, 2), (0, 3), (2, 2)] {
            pool.fetch(PageId::new(file, block)).wait().unwrap().write().unwrap()[..8].fill(version);
            pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        }
        let disk = disk.after_power_cut(0);
        let area = disk.image("area").unwrap();
        // The third record of copies has the newer version of block 0.
        let is_newer = |record: &[u8], copy: &[u8]| record.starts_with(b"ringcopy") && copy[..8] == [3; 8];
        let units: Vec<&[u8]> = area.chunks(PAGE).collect();
        let header = units.windows(2).position(|pair| is_newer(pair[0], pair[1])).expect("a record");
        // Its copy, and its header.
        for at in [(header + 1) * PAGE + 700, header * PAGE + 3] {
            // Block 1 was written only half to its place.
            for is_torn in [false, true] {
                let disk = flipped(&disk, at);
                let mut bytes = disk.image("sealed").unwrap();
                if is_torn {
                    bytes[PAGE..PAGE + 512].fill(0);
                }
                disk.put("sealed", bytes);
                let pool = pool_on(&disk, method.clone());
                let file = open(&pool);
                assert_eq!(pool.stats().counts.pages_restored, u64::from(is_torn));
                for (block, version) in [(0_u32, 3), (1, 2), (2, 2)] {
                    assert_eq!(
                        pool.fetch(PageId::new(file, block)).wait().unwrap().read()[..8],
                        [version; 8]
                    );
                }
            }
        }
    });
}
