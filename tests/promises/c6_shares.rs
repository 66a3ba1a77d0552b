//! C6: a file whose writes are refused, or whose reads do not come back, leaves frames to the others.

use std::{
    pin::Pin,
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, Error, FileId, IoMethod, OpenOptions, PageId,
    options::BackgroundWriter,
    testing::{Fault, Op},
};

use crate::support::{
    Bench, ENOSPC, assert_stamped, eventually, fetch_apart, guarded, methods, outcome, restamp, stamped,
    stamped_file, with_each_method,
};

const FRAMES: u32 = 64;
const BLOCKS: u32 = 256;

/// How long a caller waits for pins, and for a disk that does not answer.
const WAITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(400)];

/// What a bounded wait may take beyond its bound on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(20);

fn bench(method: IoMethod, writer: BackgroundWriter) -> (Bench, FileId) {
    let [frame_wait, disk_wait] = WAITS;
    let bench = Bench::with(BLOCKS, |builder| {
        let builder = builder.frames(FRAMES).frame_wait(frame_wait).disk_wait(disk_wait);
        builder.background_writer(writer).io_method(method)
    });
    let other = open_other(&bench, "other");
    (bench, other)
}

fn open_other(bench: &Bench, name: &str) -> FileId {
    bench.disk.put(name, stamped_file(BLOCKS, 1));
    bench.pool.open_file(name, OpenOptions::new()).unwrap()
}

/// Changes a page, in one of four ways.
fn change(pool: &BufferPool, page: PageId, way: u32) -> Result<(), Error> {
    let bytes = stamped(page.block.0, 2);
    match way % 4 {
        0 => pool.write(page).wait()?.copy_from_slice(&bytes),
        1 => pool.fetch(page).wait()?.write()?.copy_from_slice(&bytes),
        2 => pollster::block_on(async {
            let page = pool.fetch(page).await?;
            page.write_async().await?.copy_from_slice(&bytes);
            Ok::<_, Error>(())
        })?,
        _ => pool.overwrite(page).wait()?.copy_from_slice(&bytes),
    }
    Ok(())
}

/// Changes page after page until a change is refused. Returns the changed blocks, and the error.
fn change_until_refused(pool: &BufferPool, file: FileId) -> (Vec<u32>, Error) {
    let mut changed = Vec::new();
    for block in 0..BLOCKS {
        match change(pool, PageId::new(file, block), block) {
            Ok(()) => changed.push(block),
            Err(error) => return (changed, error),
        }
    }
    panic!("{} pages of a file that takes no writes are dirty", changed.len());
}

fn is_refused(error: &Error, file: FileId) -> bool {
    matches!(error, Error::Io { page, .. } if page.file == file) && error.raw_os_error() == Some(ENOSPC)
}

const WRITERS: [BackgroundWriter; 2] = [BackgroundWriter::Off, BackgroundWriter::Auto];

#[test]
fn c6_changes_of_a_file_that_refuses_writes_are_refused_before_they_fill_the_pool() {
    with_each_method(|method| {
        for writer in WRITERS {
            let (bench, other) = bench(method.clone(), writer);
            bench.disk.inject(Fault::error(Op::Write.of("data"), ENOSPC));
            let (changed, error) = change_until_refused(&bench.pool, bench.file);
            assert!(is_refused(&error, bench.file), "{error}");
            assert!(changed.len() < FRAMES as usize && changed.len() >= FRAMES as usize / 2, "{changed:?}");
            // The others go on, for as long as they like, and change pages.
            let begun = Instant::now();
            for round in 0..3 {
                for block in 0..BLOCKS {
                    let page = PageId::new(other, block);
                    if block % 3 == 0 {
                        change(&bench.pool, page, block / 3)
                            .unwrap_or_else(|e| panic!("{round} {block}: {e}"));
                    } else {
                        outcome(fetch_apart(&bench.pool, page, block % 2 == 0))
                            .map(drop)
                            .unwrap_or_else(|e| panic!("{round} {block}: {e}"));
                    }
                }
            }
            assert!(begun.elapsed() < 3 * TOLERANCE);
            // Nothing is lost, and what is dirty can be changed further.
            for &block in &changed {
                let page = bench.fetch(block).unwrap();
                assert_stamped(&page, 2);
                restamp(&page, 3);
            }
            let clean = BLOCKS - 1;
            let refused = change(&bench.pool, bench.page(clean), 0).unwrap_err();
            assert!(is_refused(&refused, bench.file), "{refused}");
            let page = bench.fetch(clean).unwrap();
            assert_stamped(&page, 1);
            eventually("a try is told of, too", || match page.try_write() {
                Ok(guard) => {
                    assert!(guard.is_none(), "a change too many");
                    false
                }
                Err(error) => is_refused(&error, bench.file),
            });
            // At once, in each way.
            bench.disk.heal();
            (0..4).for_each(|way| change(&bench.pool, bench.page(clean - way), way).unwrap());
            drop(page);
            bench.pool.flush_file(bench.file).wait().unwrap();
            changed.iter().for_each(|&block| assert_stamped(&bench.fetch(block).unwrap(), 3));
        }
    });
}

#[test]
fn c6_pages_that_are_resident_cannot_all_become_dirty_either() {
    with_each_method(|method| {
        let (bench, other) = bench(method, BackgroundWriter::Off);
        (0..FRAMES).for_each(|block| drop(bench.fetch(block).unwrap()));
        bench.disk.inject(Fault::error(Op::Write.of("data"), ENOSPC));
        let (changed, error) = change_until_refused(&bench.pool, bench.file);
        assert!(is_refused(&error, bench.file) && changed.len() < FRAMES as usize, "{error}: {changed:?}");
        (0..BLOCKS).for_each(|block| drop(bench.pool.fetch(PageId::new(other, block)).wait().unwrap()));
        bench.disk.heal();
    });
}

#[test]
fn c6_pages_that_were_written_count_no_more() {
    with_each_method(|method| {
        let (bench, _) = bench(method, BackgroundWriter::Off);
        bench.dirty(0..20, 2);
        assert_eq!(bench.pool.validate(), Ok(()), "as many are counted as are dirty");
        bench.pool.flush_file(bench.file).wait().unwrap();
        assert_eq!(bench.pool.validate(), Ok(()), "none is dirty");
    });
}

#[test]
fn c6_several_files_that_refuse_writes_leave_frames_to_the_next() {
    with_each_method(|method| {
        let (bench, other) = bench(method, BackgroundWriter::Off);
        let third = open_other(&bench, "third");
        for (file, name) in [(bench.file, "data"), (other, "other")] {
            bench.disk.inject(Fault::error(Op::Write.of(name), ENOSPC));
            let (changed, error) = change_until_refused(&bench.pool, file);
            assert!(is_refused(&error, file) && !changed.is_empty(), "{error}: {changed:?}");
        }
        for block in 0..BLOCKS {
            change(&bench.pool, PageId::new(third, block), block).unwrap();
        }
        bench.disk.heal();
    });
}

#[test]
fn c6_a_file_that_takes_its_time_to_write_is_waited_for() {
    guarded(|| {
        for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
            let bench = Bench::with(BLOCKS, |builder| {
                builder.frames(FRAMES).background_writer(BackgroundWriter::Off).io_method(method)
            });
            let other = open_other(&bench, "other");
            (0..FRAMES).for_each(|block| drop(bench.fetch(block).unwrap()));
            let gate = bench.disk.hold(Op::Write.of("data"));
            let pool = bench.pool.clone();
            let pages: Vec<_> = (0..FRAMES).map(|block| bench.page(block)).collect();
            let changing = thread::spawn(move || {
                pages.iter().enumerate().try_for_each(|(way, &page)| change(&pool, page, way as u32))
            });
            gate.wait_for(1);
            (0..BLOCKS).for_each(|block| drop(bench.pool.fetch(PageId::new(other, block)).wait().unwrap()));
            assert!(bench.pool.stats().frames.dirty < FRAMES);
            gate.open();
            changing.join().unwrap().unwrap();
        }
    });
}

/// No caller of another file is told of what this one's disk refuses.
#[test]
fn c6_a_miss_never_gets_the_error_of_another_file() {
    with_each_method(|method| {
        // The file is open alone while it takes all frames.
        let [frame_wait, disk_wait] = WAITS;
        let bench = Bench::with(BLOCKS, |builder| {
            builder.frames(8).frame_wait(frame_wait).disk_wait(disk_wait).io_method(method)
        });
        bench.disk.inject(Fault::error(Op::Write.of("data"), ENOSPC));
        bench.dirty(0..8, 2);
        let other = open_other(&bench, "other");
        for as_task in [false, true] {
            let begun = Instant::now();
            let refused = outcome(fetch_apart(&bench.pool, PageId::new(other, 0), as_task));
            assert!(matches!(refused, Err(Error::NoFrame { frames: 8, .. })), "{refused:?}");
            assert!(begun.elapsed() < TOLERANCE);
            let own = outcome(fetch_apart(&bench.pool, bench.page(20), as_task)).unwrap_err();
            assert!(is_refused(&own, bench.file), "{own}");
        }
        bench.disk.heal();
        assert_stamped(&bench.pool.fetch(PageId::new(other, 0)).wait().unwrap(), 1);
    });
}

/// A file whose reads do not come back, and more callers that want its pages than there are frames.
#[test]
fn c6_demand_reads_of_a_file_that_does_not_answer_leave_frames_to_others() {
    guarded(|| {
        for method in methods() {
            demand_reads_leave_frames(&method, false);
            demand_reads_leave_frames(&method, true);
        }
    });
}

fn demand_reads_leave_frames(method: &IoMethod, as_tasks: bool) {
    let (bench, other) = bench(method.clone(), BackgroundWriter::Off);
    let gate = bench.disk.hold(Op::Read.of("data"));
    let callers = 2 * FRAMES;
    let start = |n: u32| {
        let fetch = bench.pool.fetch(bench.page(2 * n % BLOCKS));
        thread::spawn(
            move || if as_tasks { pollster::block_on(fetch).map(drop) } else { fetch.wait().map(drop) },
        )
    };
    let waiting: Vec<_> = (0..callers).map(start).collect();
    let reading = || bench.pool.stats().frames.reading;
    eventually("it has its share", || reading() >= FRAMES / 2);
    for block in 0..BLOCKS {
        let fetched = outcome(fetch_apart(&bench.pool, PageId::new(other, block), block % 2 == 0));
        assert_stamped(&fetched.unwrap(), 1);
    }
    assert!(reading() < FRAMES, "{} of {FRAMES}", reading());
    // Those that have no frame are told so in time.
    eventually("callers without a frame are told", || {
        waiting.iter().filter(|one| one.is_finished()).count() > 0
    });
    gate.open();
    let outcomes: Vec<_> = waiting.into_iter().map(|one| one.join().unwrap()).collect();
    assert!(outcomes.iter().any(Result::is_ok));
    for outcome in &outcomes {
        assert!(matches!(outcome, Ok(()) | Err(Error::NoFrame { .. })), "{outcome:?}");
    }
    drop(bench.fetch(BLOCKS - 1).unwrap());
}

#[test]
fn c6_a_file_that_is_open_alone_may_read_into_all_frames() {
    guarded(|| {
        for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
            let bench = Bench::with(BLOCKS, |builder| builder.frames(FRAMES).io_method(method));
            let gate = bench.disk.hold(Op::Read);
            let mut context = Context::from_waker(Waker::noop());
            let mut fetches: Vec<_> = (0..FRAMES).map(|n| bench.pool.fetch(bench.page(2 * n))).collect();
            for fetch in &mut fetches {
                assert!(Pin::new(fetch).poll(&mut context).is_pending());
            }
            assert_eq!(bench.pool.stats().frames.reading, FRAMES);
            gate.open();
            fetches.into_iter().for_each(|fetch| assert_stamped(&fetch.wait().unwrap(), 1));
        }
    });
}
