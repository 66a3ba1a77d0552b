//! What each fault does to a disk, and what a seed decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IoSlice},
    num::NonZeroU32,
    thread,
};

use super::*;
use crate::{
    BufferPool, CheckpointOptions, FileId, IoMethod, OpenOptions, PageId,
    id::PageSize,
    io::storage::Storage,
    options::{BackgroundWriter, DoubleWriteArea, TornPages},
    sync::time::Duration,
};

const PAGE: usize = 1024;

fn pool(disk: &SimDisk, method: IoMethod) -> (BufferPool, FileId) {
    let builder = BufferPool::builder().frames(8).page_size(PAGE as u32).io_method(method);
    let builder = builder.background_writer(BackgroundWriter::Off).frame_wait(Duration::from_secs(60));
    let pool = builder.storage(disk.clone()).build().unwrap();
    let file = pool.open_file("data", OpenOptions::new().create(true)).unwrap();
    (pool, file)
}

/// Makes a disk with a file of `pages` pages, each full of its number.
fn numbered(seed: u64, pages: u8) -> SimDisk {
    let disk = SimDisk::with_seed(seed);
    disk.put("data", (0..pages).flat_map(|page| [page; PAGE]).collect::<Vec<u8>>());
    disk
}

/// Performs many operations of every kind, of which many fail.
fn trouble(disk: &SimDisk, method: IoMethod) -> Vec<Event> {
    disk.disturb(5);
    disk.inject(Fault::error(Op::Write, 5).one_in(10));
    disk.inject(Fault::error(Op::Read, 5).one_in(10));
    disk.inject(Fault::error(Op::Sync, 5).one_in(3));
    disk.inject(Fault::torn(Op::Write).one_in(10));
    disk.inject(Fault::lost(Op::Write).one_in(10));
    disk.inject(Fault::misdirected(Op::Write).one_in(10));
    disk.inject(Fault::flipped(Op::Read).one_in(10));
    disk.inject(Fault::delay_up_to(Op::Write, Duration::from_millis(20)));
    let builder = BufferPool::builder().frames(8).page_size(PAGE as u32).io_method(method);
    let builder = builder.background_writer(BackgroundWriter::ReadyFrames { low: 1, high: 2 });
    let pool = builder.frame_wait(Duration::from_secs(60)).storage(disk.clone()).build().unwrap();
    let open = |path| pool.open_file(path, OpenOptions::new().create(true).grow_by_blocks(4));
    let files =
        ["data", "more"].map(|path| std::iter::repeat_with(|| open(path)).find_map(Result::ok).unwrap());
    let mut dice = Dice::new(1);
    for version in 0..100 {
        let file = files[dice.below(2) as usize];
        match dice.below(10) {
            0 => drop(pool.checkpoint(CheckpointOptions::new()).wait()),
            1 => drop(pollster::block_on(pool.extend(file, NonZeroU32::MIN))),
            2 => drop(pool.prefetch(file.pages(0..8))),
            n => {
                let fetch = pool.fetch(PageId::new(file, dice.below(20) as u32));
                let page = if n % 2 == 0 { fetch.wait() } else { pollster::block_on(fetch) };
                // A change may be refused, too.
                if let Ok(page) = page
                    && let Ok(mut bytes) = page.write()
                {
                    bytes.fill(version);
                }
            }
        }
    }
    drop(pool);
    disk.log()
}

#[test]
fn the_same_seed_makes_the_same_run_to_the_last_event() {
    let run = |seed, method| {
        let disk = numbered(seed, 20);
        let log = simulated(|| trouble(&disk, method));
        (log, disk.image("data"), disk.after_power_cut(seed).image("data"))
    };
    for method in [IoMethod::Sync, IoMethod::Auto] {
        let first = run(7, method.clone());
        assert!(first.0.len() > 200, "a test of nothing: {}", first.0.len());
        // The kernel's scheduler interrupts threads at other moments.
        for _ in 0..5 {
            assert!(first == run(7, method.clone()), "{method:?}");
        }
        assert!(first.0 != run(8, method).0);
    }
}

#[test]
fn the_same_seed_makes_the_same_run_with_a_doublewrite_area() {
    let run = |seed| {
        let disk = numbered(seed, 20);
        disk.disturb(5);
        simulated(|| {
            let builder = BufferPool::builder().frames(8).page_size(PAGE as u32);
            let builder = builder.torn_pages(TornPages::DoubleWrite(DoubleWriteArea::new("area")));
            let pool = builder.storage(disk.clone()).build().unwrap();
            let files = [("data", 1), ("more", 2), ("most", 3)].map(|(path, tag)| {
                let create = OpenOptions::new().create(true).tag(tag).initial_blocks(20);
                pool.open_file(path, create).unwrap()
            });
            disk.inject(Fault::error(Op::Write, 5).one_in(20));
            let mut dice = Dice::new(1);
            for version in 0..60 {
                let page = PageId::new(*dice.pick(&files), dice.below(20) as u32);
                if let Ok(page) = pool.fetch(page).wait() {
                    page.write().unwrap().fill(version);
                }
                if dice.one_in(8) {
                    let _ = pool.checkpoint(CheckpointOptions::new()).wait();
                }
            }
        });
        (disk.log(), disk.image("data"), disk.after_power_cut(seed).image("more"))
    };
    let first = run(7);
    assert!(first.0.len() > 200, "a test of nothing: {}", first.0.len());
    assert!(first == run(7));
}

/// What came of the n-th operation of each kind at each place.
type Fates = BTreeMap<(String, u64, usize), Vec<Moment>>;

#[test]
fn what_befalls_an_operation_does_not_depend_on_other_operations() {
    let run = |threads: u64| {
        let disk = numbered(3, 64);
        disk.disturb(3);
        disk.inject(Fault::error(Op::Read, 5).one_in(5));
        disk.inject(Fault::delay_up_to(Op::Read, Duration::from_micros(200)));
        thread::scope(|scope| {
            for own in 0..threads {
                let file = disk.file("data");
                let read = move |place: u64| {
                    for _ in 0..5 {
                        let _ = file.read_at(&mut [0; PAGE], place * PAGE as u64);
                    }
                };
                scope.spawn(move || (0..64).filter(|place| place % threads == own).for_each(read));
            }
        });
        let mut fates = Fates::new();
        for event in disk.log().into_iter().filter(|event| event.moment != Moment::Begin) {
            fates.entry((format!("{:?}", event.op), event.offset, event.len)).or_default().push(event.moment);
        }
        fates
    };
    let alone = run(1);
    assert_eq!(alone.len(), 64);
    assert!(alone == run(8));
}

/// Returns the disk after a fault struck the only write to page 2, of new bytes.
fn after_write(fault: Fault, seed: u64) -> (Vec<u8>, bool) {
    let disk = numbered(seed, 4);
    disk.inject(fault);
    let (pool, file) = pool(&disk, IoMethod::Sync);
    pool.fetch(PageId::new(file, 2)).wait().unwrap().write().unwrap().fill(0xFF);
    let went_well = pool.checkpoint(CheckpointOptions::new()).wait().is_ok();
    assert!(disk.strikes() > 0);
    (disk.image("data").unwrap(), went_well)
}

#[test]
fn a_lost_write_and_a_sync_that_lies_report_success_and_do_nothing() {
    let before = numbered(0, 4).image("data").unwrap();
    assert_eq!(after_write(Fault::lost(Op::Write), 0), (before.clone(), true));
    let disk = numbered(0, 4);
    disk.inject(Fault::lost(Op::Sync).once());
    let file = disk.file("data");
    file.write_all_at(&[9; 10], 0).unwrap();
    file.sync().unwrap();
    assert!(disk.durable_image("data").unwrap() == before);
    file.sync().unwrap();
    assert!(disk.durable_image("data").unwrap() != before, "the next one tells the truth");
}

#[test]
fn a_torn_write_leaves_each_sector_old_or_new_and_fails_only_if_it_is_told_to() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..50 {
        let (image, went_well) = after_write(Fault::torn(Op::Write), seed);
        assert!(went_well);
        outcomes.insert([image[2 * PAGE], image[2 * PAGE + 512]]);
    }
    assert_eq!(outcomes, [[2, 2], [2, 0xFF], [0xFF, 2], [0xFF, 0xFF]].into());
    let disk = numbered(1, 4);
    disk.inject(Fault::torn(Op::Write));
    disk.inject(Fault::error(Op::Write, 5));
    let written = disk.file("data").write_at(&[0xFF; 4 * PAGE], 0);
    assert_eq!(written.unwrap_err().raw_os_error(), Some(5));
    let image = disk.image("data").unwrap();
    assert!(
        image.contains(&0xFF) && image.iter().any(|&byte| byte < 4),
        "a failed write may have written some of it"
    );
}

#[test]
fn a_misdirected_write_lands_elsewhere_and_a_misdirected_read_comes_from_there() {
    let (image, went_well) = after_write(Fault::misdirected(Op::Write), 5);
    let changed: Vec<usize> = (0..4).filter(|page| image[page * PAGE] == 0xFF).collect();
    assert!(went_well && changed.len() == 1 && changed != [2], "{changed:?}");
    let disk = numbered(5, 4);
    disk.inject(Fault::misdirected(Op::Read));
    let (pool, file) = pool(&disk, IoMethod::Sync);
    assert_ne!(pool.fetch(PageId::new(file, 2)).wait().unwrap().read()[0], 2);
}

#[test]
fn a_bit_flips_on_the_disk_or_on_the_way() {
    let (image, _) = after_write(Fault::flipped(Op::Write), 1);
    assert_eq!(image[2 * PAGE..3 * PAGE].iter().map(|byte| byte.count_zeros()).sum::<u32>(), 1);
    let disk = numbered(1, 4);
    disk.inject(Fault::flipped(Op::Read).once());
    let file = disk.file("data");
    let mut bytes = [0; PAGE];
    let mut bits = || {
        file.read_at(&mut bytes, 0).unwrap();
        bytes.iter().map(|byte| byte.count_ones()).sum::<u32>()
    };
    assert_eq!((bits(), bits()), (1, 0));
}

#[test]
fn a_file_of_the_engine_is_written_whole_however_the_disk_disturbs() {
    let disk = SimDisk::with_seed(11);
    disk.disturb(2);
    let (log, bytes) = (disk.file("log"), (0..5000_u32).map(|n| n as u8).collect::<Vec<_>>());
    log.write_all_at(&bytes, 0).unwrap();
    assert!(log.read_all().unwrap() == bytes && log.len() == 5000 && !log.is_empty());
    log.sync().unwrap();
    log.set_len(10).unwrap();
    assert!(disk.after_power_cut(0).file("log").len() >= 10);
}

/// Returns what power cuts leave at a path, as the first byte of the file.
fn found_after_power_cuts(disk: &SimDisk, path: &str) -> BTreeSet<Option<u8>> {
    (0..64).map(|seed| disk.after_power_cut(seed).image(path).map(|bytes| bytes[0])).collect()
}

#[test]
fn a_name_is_durable_when_its_folder_was_synced_and_not_before() {
    let create = OpenOptions::new().create(true);
    let open = |disk: &SimDisk, path: &str| disk.open(path.as_ref(), &create, PageSize::MIN).unwrap();
    let make = |disk: &SimDisk, path: &str, byte| {
        let opened = open(disk, path);
        opened.disk.write_at(&[IoSlice::new(&[byte; 512])], 0).unwrap();
        opened.disk.sync_data().unwrap();
    };
    let disk = SimDisk::new();
    make(&disk, "here/new", 1);
    assert_eq!(found_after_power_cuts(&disk, "here/new"), [None, Some(1)].into());
    assert_eq!((disk.durable_image("here/new"), disk.image("here/new").is_some()), (None, true));
    disk.sync_folder("here/new".as_ref()).unwrap();
    assert_eq!(found_after_power_cuts(&disk, "here/new"), [Some(1)].into());

    disk.remove("here/new".as_ref()).unwrap();
    assert_eq!(disk.image("here/new"), None);
    assert_eq!(found_after_power_cuts(&disk.after_kill(0), "here/new"), [None, Some(1)].into());
    make(&disk, "here/new", 2);
    assert_eq!(found_after_power_cuts(&disk, "here/new"), [None, Some(1), Some(2)].into());
    for seed in 0..64 {
        let found = disk.after_power_cut(seed);
        if found.image("here/new").is_some() {
            found.remove("here/new".as_ref()).unwrap();
            assert_eq!(found.image("here/new"), None, "two files had one name");
        }
    }

    make(&disk, "elsewhere/new", 3);
    disk.inject(Fault::error(Op::SyncFolder, 5).once());
    disk.sync_folder("elsewhere/new".as_ref()).unwrap_err();
    disk.sync_folder("here/new".as_ref()).unwrap();
    assert_eq!(found_after_power_cuts(&disk, "here/new"), [Some(2)].into());
    assert_eq!(found_after_power_cuts(&disk, "elsewhere/new"), [None, Some(3)].into());
    disk.cut_power_during(1);
    disk.sync_folder("elsewhere/new".as_ref()).unwrap_err();
    assert_eq!(found_after_power_cuts(&disk, "elsewhere/new"), [None, Some(3)].into());
}

#[test]
fn a_file_of_the_engine_is_written_by_the_pool_s_rule_for_short_and_interrupted_writes() {
    let written = |fault: Fault| {
        let disk = SimDisk::new();
        disk.inject(fault);
        let outcome = disk.file("log").write_all_at(&[1; 100], 0);
        (outcome.map_err(|error| error.kind()), disk.count(Op::Write))
    };
    assert_eq!(written(Fault::short(Op::Write, 0)), (Err(io::ErrorKind::WriteZero), 1));
    assert_eq!(written(Fault::short(Op::Write, 30)), (Ok(()), 4));
    for errno in [4, 11, 125] {
        assert_eq!(written(Fault::error(Op::Write, errno).times(3)), (Ok(()), 4));
        let (outcome, writes) = written(Fault::error(Op::Write, errno));
        assert!(outcome.is_err() && writes < 100, "{errno}: {outcome:?} after {writes} writes");
    }
    let disk = SimDisk::new();
    let log = disk.file("log");
    log.write_all_at(&[1; 100], 0).unwrap();
    disk.inject(Fault::error(Op::Read, 11));
    assert_eq!(log.read_all().unwrap_err().raw_os_error(), Some(11));
}

#[test]
fn a_write_that_fails_leaves_none_of_its_sectors_the_first_ones_or_any() {
    /// Returns what this fault leaves of one write of four sectors and a fifth behind the end: the first byte of each sector.
    fn left_by(fault: &Fault) -> BTreeSet<Vec<u8>> {
        let left = |seed| {
            let disk = SimDisk::with_seed(seed);
            disk.put("data", vec![1; 4 * 512]);
            disk.inject(fault.clone());
            disk.file("data").write_at(&[2; 5 * 512], 0).unwrap_err();
            disk.image("data").unwrap().chunks(512).map(|sector| sector[0]).collect()
        };
        (0..1000).map(left).collect()
    }
    let all: BTreeSet<_> = (0..16).map(|bits| (0..4).map(|at| 1 + (bits >> at & 1)).collect()).collect();
    assert_eq!(left_by(&Fault::error(Op::Write, 5)), all);
    for errno in [4, 11, 125] {
        assert_eq!(left_by(&Fault::error(Op::Write, errno)), [vec![1; 4]].into(), "{errno}");
    }
    assert_eq!(left_by(&Fault::error(Op::Write, 5).without_trace()), [vec![1; 4]].into());
}

#[test]
fn an_atomic_write_that_fails_is_there_as_a_whole_or_not_at_all() {
    let left = |seed| {
        let disk = SimDisk::with_seed(seed);
        disk.put("data", vec![1; 4 * 512]);
        disk.set_atomic_writes(2048);
        disk.inject(Fault::error(Op::Write, 5));
        let file = disk.open("data".as_ref(), &OpenOptions::new(), PageSize::new(2048).unwrap()).unwrap();
        file.disk.write_atomically_at(&[IoSlice::new(&[2; 4 * 512])], 0).unwrap_err();
        disk.image("data").unwrap()
    };
    let all: BTreeSet<_> = (0..50).map(left).collect();
    assert_eq!(all, [vec![1; 4 * 512], vec![2; 4 * 512]].into());
}

#[test]
fn a_disk_is_as_large_after_a_crash_as_before() {
    let disk = numbered(0, 4);
    disk.set_capacity(Some(5 * PAGE as u64));
    for found in [disk.after_power_cut(1), disk.after_kill(1)] {
        let file = found.file("data");
        file.set_len(5 * PAGE as u64).unwrap();
        assert_eq!(file.set_len(6 * PAGE as u64).unwrap_err().raw_os_error(), Some(28));
    }
}

/// The write of a page is held when its first sector is copied; then the page is changed.
#[test]
fn c8_a_page_that_is_changed_in_the_middle_of_its_write_arrives_as_it_was_lent() {
    let disk = numbered(0, 4);
    let (pool, file) = pool(&disk, IoMethod::Sync);
    let page = pool.fetch(PageId::new(file, 2)).wait().unwrap();
    page.write().unwrap().fill(7);
    let gate = disk.hold_midway(Op::Write);
    thread::scope(|scope| {
        let writing = scope.spawn(|| pool.flush(page.id()).wait());
        gate.wait_for(1);
        page.write().unwrap().fill(8);
        gate.open();
        writing.join().unwrap().unwrap();
    });
    let on_disk = || disk.image("data").unwrap()[2 * PAGE..3 * PAGE].to_vec();
    assert!(on_disk() == [7; PAGE], "sectors of before and after the change");
    pool.flush(page.id()).wait().unwrap();
    assert!(on_disk() == [8; PAGE]);
}

#[test]
fn c1_a_page_that_is_half_read_is_not_to_be_had() {
    let disk = numbered(0, 4);
    let (pool, file) = pool(&disk, IoMethod::Sync);
    let page = PageId::new(file, 3);
    let gate = disk.hold_midway(Op::Read);
    thread::scope(|scope| {
        let reading = scope.spawn(|| pool.fetch(page).wait().unwrap());
        gate.wait_for(1);
        assert!(pool.fetch(page).now().is_none());
        gate.open();
        assert!(*reading.join().unwrap().read() == [3; PAGE]);
    });
}

#[test]
fn transfers_in_pieces_carry_the_same_bytes() {
    let disk = numbered(0, 4);
    disk.transfer_in_pieces();
    let file = disk.file("data");
    let bytes: Vec<u8> = (0..3000_u32).map(|at| (at % 251) as u8).collect();
    file.write_all_at(&bytes, 100).unwrap();
    assert!(file.read_all().unwrap()[100..3100] == bytes);
    assert!(disk.image("data").unwrap()[100..3100] == bytes);
}

#[test]
fn an_opening_that_fails_makes_no_file_and_may_be_repeated() {
    let disk = SimDisk::new();
    disk.inject(Fault::error(Op::Open.of("new"), 5).times(2));
    let open = |options: OpenOptions| disk.open("new".as_ref(), &options, PageSize::MIN).map(drop);
    for _ in 0..2 {
        assert_eq!(open(OpenOptions::new().create(true)).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(open(OpenOptions::new()).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.image("new"), None);
    }
    open(OpenOptions::new().create(true)).unwrap();
    assert_eq!((disk.image("new"), disk.strikes()), (Some(Vec::new()), 2));
    assert_eq!(disk.count(Op::Open.of("new")), 3);
    assert_eq!(found_after_openings(&disk), 1);
}

/// Returns how many files a disk has after more openings of the same name, by several threads.
fn found_after_openings(disk: &SimDisk) -> usize {
    let gate = disk.hold(Op::Open);
    let identities: BTreeSet<_> = thread::scope(|scope| {
        let create = OpenOptions::new().create(true);
        let open = move || disk.open("other".as_ref(), &create, PageSize::MIN).unwrap().identity;
        let all = [(); 4].map(|()| scope.spawn(open));
        gate.wait_for(4);
        gate.open();
        all.map(|one| one.join().unwrap()).into()
    });
    identities.len()
}

#[test]
fn an_opening_takes_its_time_and_is_over_with_the_power() {
    let disk = numbered(0, 1);
    disk.inject(Fault::delay(Op::Open, Duration::from_millis(30)));
    let begun = std::time::Instant::now();
    disk.open("data".as_ref(), &OpenOptions::new(), PageSize::MIN).map(drop).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(30));
    disk.cut_power_during(1);
    let error = disk.open("data".as_ref(), &OpenOptions::new(), PageSize::MIN).map(drop).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5));
}
