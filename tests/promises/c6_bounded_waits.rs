//! C6: no unbounded wait, spin or queue. All frames pinned is a typed error after a bounded wait; look-ahead never pins so
//! much that other fetches starve; one slow file does not stall other files.
//!
//! What bounds the last of these: a thread that waits for a page reads it itself, so it depends on no other file at all (unless the
//! file has a bound of its own). A task depends on the method's threads or its ring, of which a file gets three quarters and no more.

use std::{
    num::NonZeroU32,
    pin::Pin,
    sync::mpsc::channel,
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, CheckpointOptions, Error, FileId, IoMethod, OpenOptions, PageId, PinnedPage, Result,
    StreamOptions,
    report::Evicted,
    testing::{Fault, Op},
};

use crate::support::{
    Bench, EIO, Fetching, assert_stamped, eventually, fetch_apart, guarded, methods, outcome, restamp,
    stamped_file, with_each_method,
};

const FRAME_WAIT: Duration = Duration::from_millis(100);

/// What a bounded wait may take beyond its bound on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(20);

fn bench(method: IoMethod, frames: u32, blocks: u32) -> Bench {
    Bench::with(blocks, |builder| builder.frames(frames).frame_wait(FRAME_WAIT).io_method(method))
}

/// Makes a second file beside the bench's own.
fn open_other(bench: &Bench, blocks: u32) -> FileId {
    bench.disk.put("other", stamped_file(blocks, 1));
    bench.pool.open_file("other", OpenOptions::new()).unwrap()
}

#[track_caller]
fn assert_all_pinned(result: Result<PinnedPage>, begun: Instant, limit: Duration) {
    let took = begun.elapsed();
    match result {
        Err(ref error @ Error::AllPinned { waited, .. }) => {
            assert!(waited >= limit && took < limit + TOLERANCE, "limit {limit:?}, {error}, took {took:?}");
            assert!(error.to_string().contains("drop pins sooner, or give the pool more frames"), "{error}");
        }
        other => panic!("no frame can be had: {other:?}"),
    }
}

#[test]
fn c6_all_frames_pinned_is_an_error_after_a_bounded_wait() {
    with_each_method(|method| {
        let bench = bench(method, 4, 16);
        let all: Vec<_> = (0..4).map(|block| bench.fetch(block).unwrap()).collect();
        for as_task in [false, true] {
            let begun = Instant::now();
            assert_all_pinned(outcome(fetch_apart(&bench.pool, bench.page(9), as_task)), begun, FRAME_WAIT);
        }
        let begun = Instant::now();
        let impatient = Duration::ZERO;
        assert_all_pinned(
            bench.pool.fetch(bench.page(9)).frame_wait(impatient).wait(),
            begun,
            Duration::ZERO,
        );
        // What is resident can be fetched all the time, and fetches that failed have left nothing behind.
        assert_stamped(&bench.fetch(2).unwrap(), 1);
        drop(all);
        assert_stamped(&bench.fetch(9).unwrap(), 1);
        bench.assert_at_rest();
    });
}

#[test]
fn c6_a_pin_that_goes_ends_the_wait() {
    with_each_method(|method| {
        let patient = Duration::from_secs(20);
        for as_task in [false, true] {
            let bench = bench(method.clone(), 2, 16);
            let mut pins: Vec<_> = (0..2).map(|block| bench.fetch(block).unwrap()).collect();
            let fetch = bench.pool.fetch(bench.page(9)).frame_wait(patient);
            let waiting =
                thread::spawn(move || if as_task { pollster::block_on(fetch) } else { fetch.wait() });
            eventually("it waits", || bench.pool.stats().counts.frame_waits == 1);
            let begun = Instant::now();
            pins.pop();
            assert_stamped(&outcome(waiting).unwrap(), 1);
            assert!(begun.elapsed() < TOLERANCE, "{:?}", begun.elapsed());
        }
    });
}

#[test]
fn c6_many_callers_that_wait_for_a_frame_all_get_one_or_an_error() {
    with_each_method(|method| {
        let bench = bench(method, 2, 64);
        let pins: Vec<_> = (0..2).map(|block| bench.fetch(block).unwrap()).collect();
        let waiting: Vec<_> =
            (0..32).map(|n| fetch_apart(&bench.pool, bench.page(8 + n), n % 2 == 0)).collect();
        thread::sleep(FRAME_WAIT / 4);
        drop(pins);
        for fetching in waiting {
            match outcome(fetching) {
                Ok(page) => assert_stamped(&page, 1),
                Err(error) => assert!(matches!(error, Error::AllPinned { .. }), "{error}"),
            }
        }
        bench.assert_at_rest();
        assert_stamped(&bench.fetch(5).unwrap(), 1);
    });
}

#[test]
fn c6_a_prefetch_ten_times_the_pool_takes_its_share_and_stops_no_fetch() {
    guarded(|| {
        let bench = bench(IoMethod::worker(), 16, 160);
        let other = open_other(&bench, 8);
        let gate = bench.disk.hold(Op::Read.of("data"));
        let begun = Instant::now();
        let ahead = bench.pool.prefetch(bench.file.pages(0..160));
        assert!(begun.elapsed() < TOLERANCE, "it waited: {:?}", begun.elapsed());
        // Look-ahead has three quarters of the frames. Of these a file that is not open alone has three quarters.
        assert_eq!((ahead.started, ahead.declined), (9, 151));
        for (block, as_task) in [(0, false), (1, true), (2, false), (3, true)] {
            assert_stamped(
                &outcome(fetch_apart(&bench.pool, PageId::new(other, block), as_task)).unwrap(),
                1,
            );
        }
        assert_eq!(bench.pool.prefetch(bench.file.pages(20..24)).started, 0, "the file has its share");
        assert_eq!(bench.pool.prefetch(other.pages(4..8)).started, 2, "three quarters of what it has left");
        gate.open();
        bench.assert_at_rest();
        let again = bench.pool.prefetch(other.pages(4..8));
        assert_eq!((again.already, again.started), (2, 2), "the share is given back");
    });
}

#[test]
fn c6_every_method_declines_what_a_prefetch_cannot_hold() {
    with_each_method(|method| {
        let bench = bench(method, 16, 160);
        let pins: Vec<_> = (0..16).map(|block| bench.fetch(block).unwrap()).collect();
        let ahead = bench.pool.prefetch(bench.file.pages(0..160));
        assert_eq!((ahead.started, ahead.already, ahead.declined), (0, 16, 144));
        drop(pins);
        let ahead = bench.pool.prefetch(bench.file.pages(16..176));
        assert_eq!(ahead.started + ahead.already + ahead.declined, 160);
        assert!(ahead.started >= 12 && ahead.declined >= 16, "{ahead:?}");
        bench.assert_at_rest();
        for block in 0..160 {
            assert_stamped(&bench.fetch(block).unwrap(), 1);
        }
    });
}

#[test]
fn c6_a_prefetch_stops_where_the_queue_is_full() {
    guarded(|| {
        let one_thread = IoMethod::Worker { threads: 1 };
        let bench = bench(one_thread, 256, 400);
        let gate = bench.disk.hold(Op::Read);
        // No two are neighbours, so each is a request.
        let ahead = bench.pool.prefetch(bench.file.pages((0..400).step_by(2)));
        // Three quarters of the 32 places of the queue, and what the thread has taken.
        assert!((24..=25).contains(&ahead.started), "{ahead:?}");
        gate.open();
        bench.assert_at_rest();
    });
}

#[test]
fn c6_a_file_that_does_not_answer_does_not_stop_fetches_of_another() {
    with_each_method(|method| {
        // More requests than any method has threads for such a file.
        const STUCK: u32 = 20;
        let bench = bench(method.clone(), 128, 64);
        let other = open_other(&bench, 32);
        let gate = bench.disk.hold(Op::Read.of("data"));
        let stuck: Vec<_> = (0..STUCK).map(|n| fetch_apart(&bench.pool, bench.page(2 * n), true)).collect();
        eventually("all are on their way", || bench.pool.stats().counts.misses == u64::from(STUCK));
        gate.wait_for(6);
        for block in 0..16 {
            let as_task = block % 2 == 0;
            let fetched = outcome(fetch_apart(&bench.pool, PageId::new(other, block), as_task));
            assert_stamped(&fetched.unwrap(), 1);
        }
        if method != IoMethod::Sync {
            assert_eq!(
                bench.pool.prefetch(other.pages(16..32)).started,
                16,
                "look-ahead is not stopped either"
            );
        }
        gate.open();
        stuck.into_iter().for_each(|fetching| assert_stamped(&outcome(fetching).unwrap(), 1));
        bench.assert_at_rest();
    });
}

#[test]
fn c6_a_task_that_wants_a_page_of_a_slow_file_does_not_block_its_executor() {
    guarded(|| {
        for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
            let bench = bench(method, 16, 16);
            let gate = bench.disk.hold(Op::Read);
            let mut fetches: Vec<_> = (0..8).map(|n| bench.pool.fetch(bench.page(2 * n))).collect();
            let mut context = Context::from_waker(Waker::noop());
            for fetch in &mut fetches {
                assert!(Pin::new(fetch).poll(&mut context).is_pending());
            }
            gate.open();
            fetches.into_iter().for_each(|fetch| assert_stamped(&fetch.wait().unwrap(), 1));
        }
    });
}

#[test]
fn c6_a_file_that_takes_no_writes_stops_no_fetch_of_another_file() {
    guarded(|| {
        for as_task in [false, true] {
            let bench = bench(IoMethod::worker(), 64, 64);
            let other = open_other(&bench, 128);
            bench.dirty(0..40, 2);
            (0..24).for_each(|block| drop(bench.pool.fetch(PageId::new(other, block)).wait().unwrap()));
            let gate = bench.disk.hold(Op::Write.of("data"));
            for block in 24..64 {
                let fetched = outcome(fetch_apart(&bench.pool, PageId::new(other, block), as_task));
                assert_stamped(&fetched.unwrap(), 1);
            }
            gate.open();
            bench.assert_at_rest();
        }
    });
}

#[test]
fn c6_a_pool_full_of_changes_to_a_file_that_takes_no_writes_gives_an_error_in_time() {
    guarded(|| {
        for as_task in [false, true] {
            let bench = Bench::with(16, |b| b.frames(8).disk_wait(FRAME_WAIT).io_method(IoMethod::worker()));
            bench.dirty(0..8, 2);
            let gate = bench.disk.hold(Op::Write);
            let refused = outcome(fetch_apart(&bench.pool, bench.page(9), as_task));
            assert!(matches!(refused, Err(Error::NoFrame { writing: 8, .. })), "{refused:?}");
            gate.open();
            assert_stamped(&bench.fetch(9).unwrap(), 1);
        }
    });
}

#[test]
fn c6_a_slow_sync_of_one_file_lets_the_others_work() {
    with_each_method(|method| {
        let bench = bench(method, 16, 8);
        let other = open_other(&bench, 8);
        bench.dirty(0..8, 2);
        let gate = bench.disk.hold(Op::Sync.of("data"));
        bench.pool.flush_file(bench.file).wait().unwrap();
        let (pool, file) = (bench.pool.clone(), bench.file);
        let syncing = thread::spawn(move || pool.sync_file(file).wait());
        gate.wait_for(1);
        let page = bench.pool.fetch(PageId::new(other, 3)).wait().unwrap();
        restamp(&page, 2);
        assert_eq!(bench.pool.flush_file(other).wait().unwrap().pages_written, 1);
        assert!(bench.pool.sync_file(other).wait().unwrap());
        // Nor does it stop work on the file itself.
        bench.dirty([1], 3);
        bench.pool.flush(bench.page(1)).wait().unwrap();
        gate.open();
        assert!(syncing.join().unwrap().unwrap());
        assert!(bench.pool.sync_file(file).wait().unwrap(), "what was written meanwhile was not covered");
    });
}

/// A tree that splits a node works like this: tasks that wait for that node, however many, do not take the threads that the split
/// needs.
#[test]
fn c6_a_task_that_changes_a_page_can_extend_a_file_however_many_wait_for_the_page() {
    with_each_method(|method| {
        // The flushes wait for the change for as long as it takes on a busy machine.
        let patient = Duration::from_secs(600);
        let bench = Bench::with(8, |builder| builder.frames(16).frame_wait(patient).io_method(method));
        let page = bench.fetch(3).unwrap();
        let changing = page.write().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut flushes: Vec<_> = (0..8).map(|_| bench.pool.flush(bench.page(3))).collect();
        for flush in &mut flushes {
            assert!(Pin::new(flush).poll(&mut context).is_pending());
        }
        let mut extension = bench.pool.extend(bench.file, NonZeroU32::MIN);
        let mut extended = Pin::new(&mut extension).poll(&mut context);
        eventually("extended", || {
            if extended.is_pending() {
                extended = Pin::new(&mut extension).poll(&mut context);
            }
            extended.is_ready()
        });
        drop(changing);
        flushes.into_iter().for_each(|flush| flush.wait().unwrap());
    });
}

#[test]
fn c6_extensions_of_a_file_that_does_not_answer_leave_threads_for_the_others() {
    with_each_method(|method| {
        let bench = bench(method, 16, 8);
        let other = open_other(&bench, 8);
        let gate = bench.disk.hold(Op::Resize.of("data"));
        let mut context = Context::from_waker(Waker::noop());
        let mut stuck: Vec<_> = (0..8).map(|_| bench.pool.extend(bench.file, NonZeroU32::MIN)).collect();
        for extension in &mut stuck {
            assert!(Pin::new(extension).poll(&mut context).is_pending());
        }
        gate.wait_for(1);
        let (pool, (done, over)) = (bench.pool.clone(), channel());
        thread::spawn(move || done.send(pollster::block_on(pool.extend(other, NonZeroU32::MIN))));
        assert_eq!(over.recv_timeout(TOLERANCE).expect("it is not held up").unwrap().first.0, 8);
        gate.open();
        stuck.into_iter().for_each(|extension| assert_eq!(extension.wait().unwrap().blocks, 1));
    });
}

/// More jobs than there may be job threads.
const MANY_JOBS: usize = 40;

type Job = Pin<Box<dyn Future<Output = ()>>>;

/// Jobs of a file, of one kind: each waits for the file's disk.
fn jobs_of(pool: &BufferPool, file: FileId, kind: usize) -> Job {
    let pool = pool.clone();
    let page = PageId::new(file, 3);
    Box::pin(async move {
        // Whether the file's own jobs succeed is not the subject here.
        match kind {
            0 => drop(pool.flush_file(file).await),
            1 => drop(pool.flush(page).await),
            2 => drop(pool.evict(page).await),
            3 => drop(pool.close_file(file).await),
            4 => drop(pool.truncate(file, 2).await),
            5 => drop(pool.sync_file(file).await),
            _ => drop(pool.warm_up((4..8).map(|block| PageId::new(file, block))).await),
        }
    })
}

#[test]
fn c6_jobs_of_a_file_that_does_not_answer_leave_threads_for_the_others() {
    with_each_method(|method| {
        for kind in 0..7 {
            let bench = bench(method.clone(), 16, 8);
            let other = open_other(&bench, 8);
            restamp(&bench.fetch(3).unwrap(), 2);
            restamp(&bench.pool.fetch(PageId::new(other, 3)).wait().unwrap(), 2);
            let gates = [Op::Read, Op::Write, Op::Sync, Op::Resize].map(|op| bench.disk.hold(op.of("data")));
            let mut context = Context::from_waker(Waker::noop());
            let mut stuck: Vec<_> = (0..MANY_JOBS).map(|_| jobs_of(&bench.pool, bench.file, kind)).collect();
            let mut begin = |job: &mut Job| _ = job.as_mut().poll(&mut context);
            stuck.iter_mut().for_each(&mut begin);
            eventually("one of them waits for the disk", || gates.iter().any(|gate| gate.held() > 0));
            // In this order none needs what another has done.
            for healthy in [6, 0, 2, 5, 4, 3] {
                let (pool, (done, over)) = (bench.pool.clone(), channel());
                thread::spawn(move || {
                    pollster::block_on(jobs_of(&pool, other, healthy));
                    done.send(())
                });
                assert_eq!(over.recv_timeout(TOLERANCE), Ok(()), "job {healthy} beside jobs {kind}");
            }
            drop(gates);
            stuck.into_iter().for_each(pollster::block_on);
        }
    });
}

#[test]
fn c6_a_folder_that_does_not_answer_holds_up_no_removal_from_another() {
    with_each_method(|method| {
        let bench = bench(method, 16, 8);
        let other = open_other(&bench, 8);
        let gate = bench.disk.hold(Op::SyncFolder.of("data"));
        let (pool, (done, over)) = (bench.pool.clone(), channel());
        let remover = thread::spawn({
            let (pool, file) = (bench.pool.clone(), bench.file);
            move || pool.drop_file(file).wait()
        });
        gate.wait_for(1);
        thread::spawn(move || done.send(pool.drop_file(other).wait()));
        over.recv_timeout(TOLERANCE).expect("it is not held up").unwrap();
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        drop(gate);
        remover.join().unwrap().unwrap();
    });
}

#[test]
fn c6_what_is_read_ahead_of_a_file_that_does_not_answer_holds_up_no_stream_of_another() {
    with_each_method(|method| {
        if method == IoMethod::Sync {
            return; // The calling thread reads ahead itself.
        }
        let bench = bench(method, 128, 64);
        let other = open_other(&bench, 64);
        let gate = bench.disk.hold(Op::Read.of("data"));
        // One by one: neighbours would be one request.
        (0..24).for_each(|n| _ = bench.pool.prefetch(bench.file.pages([2 * n])));
        gate.wait_for(1);
        let (pool, (done, over)) = (bench.pool.clone(), channel());
        thread::spawn(move || {
            let _ = pool.prefetch(other.pages([7]));
            let fetched = pool.fetch(PageId::new(other, 7)).wait().map(|page| page.id().block.0);
            let streamed =
                pool.read_stream(other.pages(20..40), StreamOptions::new()).filter(Result::is_ok).count();
            done.send((fetched, streamed))
        });
        let (fetched, streamed) = over.recv_timeout(TOLERANCE).expect("it is not held up");
        assert_eq!((fetched.unwrap(), streamed), (7, 20));
        drop(gate);
    });
}

#[test]
fn c6_a_caller_that_needs_a_page_alone_is_told_of_its_pins_in_time() {
    with_each_method(|method| {
        let bench = bench(method, 8, 8);
        let pin = bench.fetch(6).unwrap();
        restamp(&pin, 2);
        assert_eq!(bench.pool.evict(bench.page(6)).wait().unwrap(), Evicted::Pinned);
        for refused in [bench.pool.truncate(bench.file, 3).wait(), bench.pool.close_file(bench.file).wait()] {
            match refused {
                Err(ref error @ Error::Pinned { page, .. }) => {
                    assert_eq!(page, bench.page(6));
                    assert!(error.to_string().contains("drop its pins and try again"), "{error}");
                }
                other => panic!("a page is pinned: {other:?}"),
            }
            // The file is as it was.
            assert_eq!(bench.pool.blocks(bench.file).unwrap(), 8);
            assert_stamped(&bench.fetch(6).unwrap(), 2);
        }
        bench.pool.truncate(bench.file, 7).wait().unwrap();
        drop(pin);
        bench.pool.truncate(bench.file, 3).wait().unwrap();
        bench.pool.close_file(bench.file).wait().unwrap();
    });
}

#[test]
fn c6_a_pin_too_many_is_refused() {
    guarded(|| {
        // Beyond these the state word has room for what threads hold without it.
        const MOST: usize = (1 << 20) - 1 - (1 << 12);
        let bench = bench(IoMethod::Sync, 2, 2);
        let page = bench.fetch(0).unwrap();
        let mut pins: Vec<_> = (1..MOST).map(|_| page.try_clone().unwrap()).collect();
        for refused in [page.try_clone(), bench.fetch(0), pollster::block_on(bench.pool.fetch(bench.page(0)))]
        {
            let error = refused.unwrap_err();
            assert!(matches!(error, Error::TooManyPins { .. }), "{error}");
            assert!(
                error.to_string().contains("data (file 0)") && error.to_string().contains("leaked"),
                "{error}"
            );
        }
        assert!(bench.pool.fetch(bench.page(0)).now().is_none());
        pins.pop();
        assert_stamped(&bench.fetch(0).unwrap(), 1);
        drop((pins, page));
        bench.assert_at_rest();
    });
}

#[test]
fn c6_a_disk_that_only_ever_says_later_is_given_up() {
    const EAGAIN: i32 = 11;
    with_each_method(|method| {
        let bench = bench(method, 8, 8);
        bench.disk.inject(Fault::error(Op::Read, EAGAIN));
        assert_eq!(bench.fetch(1).unwrap_err().raw_os_error(), Some(EAGAIN));
        bench.disk.heal();
        bench.dirty([1], 2);
        bench.disk.inject(Fault::error(Op::Write, EAGAIN));
        assert_eq!(bench.pool.flush(bench.page(1)).wait().unwrap_err().raw_os_error(), Some(EAGAIN));
    });
}

#[test]
fn c6_a_fetch_does_not_hammer_a_disk_that_refuses_its_victims() {
    with_each_method(|method| {
        let bench = Bench::with(8, |builder| {
            builder.frames(2).io_method(method).frame_wait(Duration::from_millis(100))
        });
        bench.dirty(0..2, 2);
        bench.disk.inject(Fault::error(Op::Write, EIO));
        assert_eq!(bench.fetch(5).unwrap_err().raw_os_error(), Some(EIO));
        // Every 2 ms at the most, and once more in the end, for two frames.
        let writes = bench.disk.count(Op::Write);
        assert!((2..=110).contains(&writes), "{writes} writes in 100 ms");
    });
}

/// Starts a thread or a task that fetches a page again and again, as long as the disk refuses to write.
fn fetch_until_it_is_here(pool: &BufferPool, page: PageId, as_task: bool) -> Fetching {
    let pool = pool.clone();
    thread::spawn(move || {
        loop {
            let fetch = pool.fetch(page);
            let fetched = if as_task { pollster::block_on(fetch) } else { fetch.wait() };
            if !fetched.as_ref().is_err_and(|error| error.raw_os_error() == Some(EIO)) {
                return fetched;
            }
        }
    })
}

#[test]
fn c6_however_many_want_a_frame_a_disk_that_refuses_victims_is_asked_now_and_then() {
    const FRAMES: u32 = 32;
    const FETCHES: u32 = 24;
    // As many batches as all begin with, and some before the pauses reach 16 ms; a batch may be all frames.
    const AT_FIRST: usize = (FETCHES + 4) as usize;
    with_each_method(|method| {
        let bench = Bench::new(method, FRAMES, 4 * FRAMES);
        // No two are neighbours, so each is a write of its own.
        bench.dirty((0..FRAMES).map(|n| 2 * n), 2);
        bench.disk.inject(Fault::error(Op::Write, EIO));
        let begun = Instant::now();
        let fetching: Vec<_> = (0..FETCHES)
            .map(|n| fetch_until_it_is_here(&bench.pool, bench.page(2 * FRAMES + n), n % 2 == 0))
            .collect();
        // Until this differs from the beginning, however long that takes: the slower the machine, the more tries are allowed.
        eventually("they go on trying", || {
            assert_eq!(bench.pool.prefetch(bench.file.pages(3 * FRAMES..4 * FRAMES)).started, 0);
            bench.disk.count(Op::Write) > 3 * AT_FIRST * FRAMES as usize
        });
        let writes = bench.disk.count(Op::Write);
        let millis = begun.elapsed().as_millis() as usize;
        let batches = AT_FIRST + 1 + millis / 16;
        // Each fetch that gets the error, after 50 ms, has tried twice for itself.
        let tries = FETCHES as usize * 2 * (1 + millis / 50);
        println!("{writes} writes in {millis} ms");
        assert!(
            writes <= batches * FRAMES as usize + tries,
            "{writes} writes, {batches} batches, {tries} tries"
        );
        // A caller that does not wait gets an error that says why there is no frame. One that tries again gets a frame when the
        // disk works again.
        let impatient = Duration::ZERO;
        // (A task is, before it knows the result of its own try.)
        let fetch = || bench.pool.fetch(bench.page(1)).frame_wait(impatient);
        for refused in [fetch().wait(), pollster::block_on(fetch())] {
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(EIO));
        }
        bench.disk.heal();
        fetching.into_iter().for_each(|fetch| assert_stamped(&outcome(fetch).unwrap(), 1));
        assert_stamped(&bench.fetch(1).unwrap(), 1);
        bench.assert_at_rest();
    });
}
