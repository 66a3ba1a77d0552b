//! Leases over memory: a thread stands for the device, which touches the bytes by their addresses alone, as a ring does.
//!
//! For miri above all (`.ci/miri`), which checks whose the bytes are and whether any other code touches them meanwhile.

use std::{io, path::Path, slice, thread};

use super::*;
use crate::{
    buffer::{
        frame::{latch::Latch, pin::Pin, waiters::want::Want},
        residency::{Mapped, Residency},
        small_pools::{page, pool_with_copies},
    },
    error::Error,
    id::{FileId, PageSize},
    io::file::{File, open_options::OpenOptions},
    observe::Counters,
    sync::{Arc, batch_status::BatchStatus, waking::Wakers},
    testing::SimDisk,
};

const SIZE: PageSize = PageSize::MIN;
const PAGE: usize = SIZE.bytes();
const COPIES: usize = 4;

fn pool_of(frames: u32) -> Arc<Residency> {
    Arc::new(pool_with_copies(frames, 0))
}

/// Makes the lease of a read of the first `pages` pages, and a pin on each.
fn begin_read(pool: &Arc<Residency>, pages: u32) -> (ReadLease, Vec<Pin>) {
    let mut pins = Vec::new();
    let leases = (0..pages).map(|block| {
        let claimed = pool.take_clean().unwrap();
        let Mapped { reading, own } = pool.map(claimed, page(block), false).unwrap();
        pins.push(own);
        ReadLease::new(pool, reading, usize::MAX, false)
    });
    let lease = leases.reduce(|mut lease, next| {
        lease.append(next);
        lease
    });
    (lease.unwrap(), pins)
}

/// Reads pages, each full of its number.
fn read(pool: &Arc<Residency>, pages: u32) -> Vec<Pin> {
    let (lease, pins) = begin_read(pool, pages);
    device_reads(PageLease::Read(lease), pages as usize * PAGE);
    pins
}

/// Does what a device does that reads this number of bytes: each page is full of its number. The frames were used before.
fn device_reads(mut lease: PageLease, bytes: usize) {
    let mut left = bytes;
    for (block, buffer) in lease.buffers().enumerate() {
        let len = left.min(buffer.len as usize);
        for (byte, count) in [(0xEE, buffer.len as usize), (block as u8, len)] {
            // SAFETY: the buffer is the lease's until it is finished.
            #[allow(unsafe_code)]
            unsafe {
                buffer.ptr.as_ptr().write_bytes(byte, count);
            }
        }
        left -= len;
    }
    lease.finish(Ok(bytes), &mut Wakers::new());
}

/// Returns what a device finds that writes: the bytes in their order. It looks at them twice, with time for other threads in
/// between.
fn device_writes(lease: &PageLease) -> Vec<u8> {
    let look = || {
        let pieces = lease.buffers().map(|buffer| {
            // SAFETY: the buffer is the lease's until it is finished, and a thread that changes the page does so elsewhere.
            #[allow(unsafe_code)]
            unsafe { slice::from_raw_parts(buffer.ptr.as_ptr(), buffer.len as usize) }.to_vec()
        });
        pieces.collect::<Vec<_>>().concat()
    };
    let before = look();
    (0..10).for_each(|_| thread::yield_now());
    assert!(look() == before, "bytes were changed while the device had them");
    before
}

/// Fills the page, as the owner of a guard may.
fn change(pin: &Pin, to: u8) {
    pin.latch(Latch::Exclusive);
    pin.make_own();
    // SAFETY: the exclusive latch is held, and the bytes are own.
    #[allow(unsafe_code)]
    unsafe {
        pin.address().as_ptr().write_bytes(to, PAGE);
    }
    pin.unlatch_exclusive(true);
}

fn bytes(pin: &Pin) -> Vec<u8> {
    pin.latch(Latch::Shared);
    // SAFETY: the share latch is held.
    #[allow(unsafe_code)]
    let bytes = unsafe { pin.bytes().as_ref() }.to_vec();
    pin.unlatch_shared();
    bytes
}

/// Makes the lease of a write of these pages, as write-out does.
fn begin_write(pins: &[Pin], mut run: WriteRun) -> (WriteLease, Arc<File>, Arc<BatchStatus>) {
    for pin in pins {
        let pin = pin.again().unwrap();
        pin.latch(Latch::Shared);
        assert!(run.begin(pin).is_some(), "the page is dirty");
    }
    let disk = SimDisk::new();
    disk.put("data", [0; 4 * PAGE]);
    let file = Arc::new(File::open(&disk, FileId(0), Path::new("data"), &OpenOptions::new(), SIZE).unwrap());
    file.sync(&Counters::new()).unwrap();
    let tally = BatchStatus::new();
    (WriteLease::new(Arc::clone(&file), run, tally.begin()), file, tally)
}

/// Changes all pages on one thread while the device writes them on another.
fn c1_what_is_changed_meanwhile(pool: &Arc<Residency>, copies: usize, run: WriteRun) {
    let pins = read(pool, 3);
    pins.iter().for_each(|pin| change(pin, 10));
    let (lease, _file, tally) = begin_write(&pins, run);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut lease = PageLease::Write(lease);
            assert!(device_writes(&lease) == [10; 3 * PAGE]);
            lease.finish(Ok(3 * PAGE), &mut Wakers::new());
        });
        pins.iter().for_each(|pin| change(pin, 20));
    });
    assert_eq!(tally.wait().unwrap(), 3);
    for pin in &pins {
        assert!(pin.frame().state.load().is_dirty() && bytes(pin) == [20; PAGE]);
    }
    let shadowed = pins.iter().filter(|pin| pin.frame().state.load().is_shadowed()).count();
    assert_eq!(pool.shadow_pages.owners().len(), shadowed, "a shadow page is lost");
    let free = (0..).map_while(|file| pool.copy_room.try_take(1, FileId(file))).count();
    assert_eq!(free, copies, "room for a copy is lost");
}

#[test]
fn c1_a_page_is_seen_once_its_read_is_over_and_zero_behind_the_end_of_the_file() {
    let pool = pool_of(3);
    let (lease, pins) = begin_read(&pool, 3);
    thread::scope(|scope| {
        for (block, pin) in pins.iter().enumerate() {
            scope.spawn(move || {
                pin.wait_for_io(Want::ReadDone);
                let mut expected = vec![block as u8; PAGE];
                if block == 2 {
                    expected[100..].fill(0);
                }
                assert!(pin.frame().state.load().is_valid() && bytes(pin) == expected);
            });
        }
        scope.spawn(|| device_reads(PageLease::Read(lease), 2 * PAGE + 100));
    });
}

#[test]
fn c2_a_read_that_is_dropped_half_way_is_gone_for_its_waiters() {
    let pool = pool_of(1);
    let (lease, pins) = begin_read(&pool, 1);
    thread::scope(|scope| {
        scope.spawn(|| pins[0].wait_for_io(Want::ReadDone));
        scope.spawn(|| drop(lease));
    });
    assert!(!pins[0].frame().state.load().is_valid() && !pool.is_mapped(page(0)));
}

#[test]
fn c1_the_device_has_what_it_was_lent_whichever_thread_changes_the_page_meanwhile() {
    c1_what_is_changed_meanwhile(&pool_of(3), 0, WriteRun::lent());
}

#[test]
fn c1_the_device_has_the_copies_whichever_thread_changes_the_page_meanwhile() {
    let pool = Arc::new(pool_with_copies(3, COPIES));
    let room = pool.copy_room.try_take(3, FileId(0)).unwrap();
    c1_what_is_changed_meanwhile(&pool, COPIES, WriteRun::copied(room));
}

/// Users have the frames that were written, so these come to no fetch.
#[test]
fn c6_a_write_that_gives_room_for_copies_back_wakes_the_fetch_that_wanted_some() {
    let pool = Arc::new(pool_with_copies(3, COPIES));
    let (pins, line) = (read(&pool, 3), &pool.frame_waiters);
    pins.iter().for_each(|pin| change(pin, 1));
    for is_wanted in [true, false] {
        let room = pool.copy_room.try_take(3, FileId(0)).unwrap();
        let (lease, ..) = begin_write(&pins, WriteRun::copied(room));
        assert!(!is_wanted || !pool.copy_room.has_room_for(FileId(0)), "one file has all");
        let mut place = None;
        line.enlist(&mut place, std::task::Waker::noop());
        PageLease::Write(lease).finish(Ok(3 * PAGE), &mut Wakers::new());
        assert_eq!(line.leave(&place.unwrap()), is_wanted, "woken");
        pins.iter().for_each(|pin| change(pin, 1));
    }
}

#[test]
fn c3_a_write_that_is_dropped_or_fails_leaves_its_pages_as_dirty_as_before() {
    let endings: [fn(WriteLease); 3] = [
        drop,
        |mut lease| lease.finish(Err(io::ErrorKind::StorageFull.into()), &mut Wakers::new()),
        |lease| lease.abort(Error::ShutDown),
    ];
    for end in endings {
        let pool = pool_of(2);
        let pins = read(&pool, 2);
        pins.iter().for_each(|pin| change(pin, 1));
        let (lease, file, tally) = begin_write(&pins, WriteRun::lent());
        assert!(!file.is_unsynced());
        thread::scope(|scope| {
            scope.spawn(|| end(lease));
            assert!(tally.wait().is_err());
        });
        assert!(pins.iter().all(|pin| pin.frame().state.load().is_dirty() && bytes(pin) == [1; PAGE]));
        assert!(file.is_unsynced(), "what a failed write left on the disk is not known");
    }
}
