//! What a pool sends to `tracing`: each event of `src/events.md`, at its level, with its fields, and each span. (That the list has
//! all of them with their fields is tested beside it.)
//!
//! A process of their own, with one subscriber that exists before any pool. Each test gives its pool a name of its own, by which it
//! finds the pool's events, from whichever thread.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;
#[path = "support/told.rs"]
#[allow(unreachable_pub)]
mod told;

use std::{
    collections::BTreeSet,
    fmt::Display,
    fs,
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, Builder, CheckpointOptions, IoMethod, Lsn, OpenOptions, PageAddress, PageCodec, PageId,
    Shutdown, StreamOptions, Wal,
    options::{BackgroundWriter, DoubleWriteArea, Fallback, TornPages},
    testing::{Fault, Op, SimDisk, refuse_threads},
};
use support::{Bench, EIO, PAGE, eventually, fetch_apart, guarded, methods, outcome, restamp, stamped_file};
use told::{PANICKING, Told, listen, only, told, told_by_any};

/// Makes a bench whose pool has this name, with the sync method.
fn bench(name: &'static str, options: impl FnOnce(Builder) -> Builder) -> Bench {
    listen();
    Bench::with(8, |builder| options(builder.name(name).frames(16).io_method(IoMethod::Sync)))
}

/// Checks an event's level, and the fields that are known.
#[track_caller]
fn assert_told(event: &Told, level: &str, fields: &[(&str, &dyn Display)]) {
    assert_eq!(event.level, level, "{event:?}");
    for (field, value) in fields {
        assert_eq!(event.field(field), value.to_string(), "{field} of {event:?}");
    }
}

#[test]
fn a_pool_that_is_built_tells_of_its_method() {
    let bench = bench("opened", |builder| builder);
    let event = only("opened", "pool_opened");
    let fields: &[(&str, &dyn Display)] = &[("frames", &16), ("page_size", &PAGE), ("method", &"sync")];
    assert_told(&event, "INFO", fields);
    assert_told(&event, "INFO", &[("fixed_buffers", &"not applicable"), ("fixed_files", &"not applicable")]);
    assert!(told("opened", "method_fell_back").is_empty() && told("opened", "not_registered").is_empty());
    drop(bench);
}

#[test]
fn c7_a_method_that_had_to_be_settled_for_is_told_with_the_reason() {
    listen();
    let build = || BufferPool::builder().name("fell back").frames(16).storage(SimDisk::new()).build();
    let pool = refuse_threads(0, u64::MAX, build).unwrap();
    let event = only("fell back", "method_fell_back");
    let reason = pool.stats().method.reason.unwrap();
    assert_told(&event, "WARN", &[("method", &"sync"), ("reason", &reason)]);
}

#[test]
fn c7_io_without_a_thread_is_told_once_with_the_reason() {
    listen();
    let Some(uring) = methods().into_iter().find(|method| matches!(method, IoMethod::Uring(_))) else {
        return println!("skipped: no io_uring here");
    };
    // Its requests go to threads beside the ring, which are started on demand.
    let bench = Bench::with(8, |builder| builder.name("no thread").frames(16).io_method(uring));
    refuse_threads(0, u64::MAX, || {
        assert_eq!(bench.pool.prefetch(bench.file.pages([0, 4])).started, 2);
        assert_eq!(bench.pool.prefetch(bench.file.pages([2])).started, 1);
    });
    let event = only("no thread", "no_io_thread");
    assert_told(&event, "WARN", &[]);
    assert!(event.field("reason").contains("can be started"), "{event:?}");
}

#[test]
fn a_file_is_told_as_it_comes_and_goes_and_its_opening_is_a_span() {
    let bench = bench("files", |builder| builder);
    let opened = only("files", "file_opened");
    let fields: &[(&str, &dyn Display)] =
        &[("file", &0), ("path", &"data"), ("blocks", &8), ("read_only", &false)];
    assert_told(&opened, "DEBUG", fields);
    assert_eq!(opened.field("direct"), bench.pool.file_info(bench.file).unwrap().direct.to_string());
    assert_eq!(opened.spans, ["INFO open_file path=data pool=files"]);
    bench.pool.close_file(bench.file).wait().unwrap();
    assert_told(&only("files", "file_closed"), "DEBUG", &[("file", &0), ("path", &"data")]);
    let again = bench.pool.open_file("data", OpenOptions::new()).unwrap();
    bench.pool.drop_file(again).wait().unwrap();
    assert_told(&only("files", "file_removed"), "DEBUG", &[("file", &1), ("path", &"data")]);
    assert_eq!(told("files", "file_closed").len(), 1);
}

#[test]
fn a_file_that_does_without_what_was_preferred_says_why() {
    let both = TornPages::AtomicOrDoubleWrite(DoubleWriteArea::new("area").bytes(0));
    listen();
    let disk = SimDisk::new();
    disk.put("data", stamped_file(8, 1));
    let builder = BufferPool::builder().name("without").frames(16).page_size(PAGE as u32).torn_pages(both);
    let pool = builder.io_method(IoMethod::Sync).storage(disk).build().unwrap();
    let file = pool.open_file("data", OpenOptions::new().tag(1).direct(Fallback::Off)).unwrap();
    let reason = pool.file_info(file).unwrap().not_atomic_because.unwrap();
    let event = only("without", "file_fell_back");
    let fields: &[(&str, &dyn Display)] =
        &[("file", &0), ("path", &"data"), ("without", &"atomic writes"), ("reason", &reason)];
    assert_told(&event, "WARN", fields);
}

#[test]
fn every_read_write_and_sync_beyond_the_threshold_is_told_and_counted_and_none_below() {
    let change = |bench: &Bench| {
        bench.dirty(2..4, 2);
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        bench.pool.stats().counts.slow_requests
    };
    let slow = bench("slow", |builder| builder.slow_io(Duration::ZERO));
    assert_eq!(change(&slow), 4);
    let events = told("slow", "slow_io");
    let ops: Vec<_> = events.iter().map(|event| event.field("op")).collect();
    assert_eq!(ops, ["read", "read", "write", "sync"]);
    for event in &events {
        assert_told(event, "WARN", &[("file", &0), ("path", &"data")]);
        assert!(event.field("took_seconds").parse::<f64>().unwrap() >= 0.0);
    }
    assert_told(&events[1], "WARN", &[("block", &3), ("pages", &1)]);
    assert_told(&events[2], "WARN", &[("block", &2), ("pages", &2)]);
    assert!(!events[3].fields.contains_key("block"), "a sync is of the whole file");
    let fast = bench("fast", |builder| builder.slow_io(Duration::from_secs(3600)));
    assert_eq!((change(&fast), told("fast", "slow_io").len()), (0, 0));
}

#[test]
fn a_read_that_was_held_is_slow_under_every_method() {
    const SLOW: Duration = Duration::from_millis(20);
    guarded(|| {
        listen();
        for (method, name) in methods().into_iter().zip(["slow 1", "slow 2", "slow 3"]) {
            let bench =
                Bench::with(8, |builder| builder.name(name).frames(16).io_method(method).slow_io(SLOW));
            let gate = bench.disk.hold(Op::Read);
            let fetching = fetch_apart(&bench.pool, bench.page(5), true);
            gate.wait_for(1);
            thread::sleep(SLOW);
            gate.open();
            drop(outcome(fetching).unwrap());
            // Sent when the page can be used, before sleeping waiters are woken: a caller that looks just then may come first.
            eventually("it is told", || !told(name, "slow_io").is_empty());
            let event = only(name, "slow_io");
            assert_told(&event, "WARN", &[("op", &"read"), ("block", &5), ("pages", &1)]);
            assert!(event.field("took_seconds").parse::<f64>().unwrap() >= SLOW.as_secs_f64(), "{event:?}");
        }
    });
}

/// Refuses block 3 of each file.
struct RefusesOne;

impl PageCodec for RefusesOne {
    fn seal(&self, _: PageAddress, _: &mut [u8]) {}

    fn open(&self, at: PageAddress, _: &mut [u8]) -> Result<(), String> {
        if at.block.0 == 3 { Err("bad weather".to_owned()) } else { Ok(()) }
    }
}

#[test]
fn c9_a_page_that_the_codec_refuses_is_told_and_counted_each_time_that_it_is_read() {
    let bench = bench("corrupt", |builder| builder.codec(RefusesOne));
    let counts = || (bench.pool.stats().counts.corrupt_pages, bench.pool.files()[0].counts.corrupt_pages);
    bench.fetch(2).unwrap();
    assert_eq!((counts(), told("corrupt", "corrupt_page").len()), ((0, 0), 0));
    bench.fetch(3).unwrap_err();
    assert_eq!(counts(), (1, 1));
    let event = only("corrupt", "corrupt_page");
    let file = bench.file.get();
    let fields: [(&str, &dyn Display); 4] =
        [("file", &file), ("path", &"data"), ("block", &3), ("reason", &"bad weather")];
    assert_told(&event, "ERROR", &fields);
    let streamed: Vec<_> = bench.pool.read_stream(bench.file.pages(0..8), StreamOptions::new()).collect();
    assert_eq!(streamed.iter().filter(|page| page.is_err()).count(), 1);
    assert_eq!((counts(), told("corrupt", "corrupt_page").len()), ((2, 2), 2));
}

#[test]
fn c6_calls_that_get_no_frame_are_told() {
    let bench = bench("frames", |builder| builder.frames(2).frame_wait(Duration::from_millis(1)));
    let pinned = [bench.fetch(0).unwrap(), bench.fetch(1).unwrap()];
    let lone = bench.fetch(2).unwrap_err();
    let many = bench.pool.fetch_many(&[bench.page(3), bench.page(4)]).wait().unwrap_err();
    drop(pinned);
    let events = told("frames", "no_frame");
    assert!(events.iter().all(|event| event.level == "WARN"));
    let errors: Vec<_> = events.iter().map(|event| event.field("error").to_owned()).collect();
    assert_eq!(errors, [lone.to_string(), many.to_string()]);
}

#[test]
fn a_background_writer_that_cannot_write_says_so() {
    guarded(|| {
        listen();
        let bench = Bench::with(256, |builder| {
            let writer = BackgroundWriter::ReadyFrames { low: 8, high: 16 };
            let builder = builder.name("cleaning").frames(64).io_method(IoMethod::worker());
            builder.background_writer(writer).frame_wait(Duration::from_secs(2))
        });
        bench.disk.inject(Fault::error(Op::Write, EIO).without_trace());
        // Until all frames have changes that cannot be written.
        let refused = (0..256).find_map(|block| match bench.fetch(block) {
            Ok(page) => {
                restamp(&page, 2);
                None
            }
            Err(error) => Some(error),
        });
        assert!(refused.is_some());
        eventually("it has tried", || !told("cleaning", "cleaning_failed").is_empty());
        let event = &told("cleaning", "cleaning_failed")[0];
        assert!(event.level == "WARN" && event.field("error").contains("write of block"), "{event:?}");
        bench.disk.heal();
        bench.pool.clone().shutdown(Shutdown::Flush).unwrap();
    });
}

#[test]
fn a_checkpoint_is_a_span_and_tells_what_it_did_or_why_it_failed() {
    let bench = bench("checkpoint", |builder| builder);
    bench.dirty(0..3, 2);
    let report = bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    let done = only("checkpoint", "checkpoint_done");
    assert_told(&done, "INFO", &[("pages_written", &3), ("files_synced", &1)]);
    assert!(!done.fields.contains_key("redo_lsn"), "there is no log");
    let took = done.field("took_seconds").parse::<f64>().unwrap();
    assert!(took >= report.took.as_secs_f64(), "{done:?}: {report:?}");
    bench.dirty([5], 2);
    bench.disk.inject(Fault::error(Op::Write, EIO).once());
    let over = Duration::from_millis(2);
    let error = bench.pool.checkpoint(CheckpointOptions::new().spread_over(over)).wait().unwrap_err();
    let failed = only("checkpoint", "checkpoint_failed");
    assert_told(&failed, "ERROR", &[("error", &error)]);
    assert_eq!(done.spans, ["INFO checkpoint pool=checkpoint"]);
    assert_eq!(failed.spans, ["INFO checkpoint pool=checkpoint spread_over_seconds=0.002"]);
}

#[test]
fn what_a_thread_of_the_pool_does_for_a_task_is_in_the_span_of_the_task() {
    let bench = bench("asking", |builder| builder);
    bench.dirty([1], 2);
    let task = tracing::info_span!("a task of the engine");
    let checkpoint = task.in_scope(|| bench.pool.checkpoint(CheckpointOptions::new()));
    // By a job thread, since this one only awaits.
    pollster::block_on(checkpoint).unwrap();
    let event = only("asking", "checkpoint_done");
    assert_eq!(event.spans, ["INFO a task of the engine", "INFO checkpoint pool=asking"]);
}

#[test]
fn syncs_that_a_checkpoint_has_others_do_are_in_its_span() {
    guarded(|| {
        let bench = bench("helpers", |builder| builder.slow_io(Duration::ZERO));
        bench.disk.put("other", stamped_file(8, 1));
        let other = bench.pool.open_file("other", OpenOptions::new().tag(1)).unwrap();
        bench.dirty([1], 2);
        restamp(&bench.pool.fetch(PageId::new(other, 1)).wait().unwrap(), 2);
        let gate = bench.disk.hold(Op::Sync);
        thread::scope(|scope| {
            scope.spawn(|| bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap());
            // Two at once: one is another thread's.
            gate.wait_for(2);
            gate.open();
        });
        let events = told("helpers", "slow_io");
        let syncs: Vec<_> = events.iter().filter(|event| event.field("op") == "sync").collect();
        assert_eq!(syncs.len(), 2);
        assert!(syncs.iter().all(|event| event.spans == ["INFO checkpoint pool=helpers"]), "{syncs:?}");
    });
}

#[test]
fn c4_the_first_sync_that_fails_is_told_and_no_later_one() {
    let bench = bench("sync", |builder| builder);
    bench.dirty([1], 2);
    bench.disk.inject(Fault::error(Op::Sync, EIO).once());
    let error = bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err();
    bench.pool.sync_file(bench.file).wait().unwrap_err();
    let event = only("sync", "sync_failed");
    assert_told(&event, "ERROR", &[("file", &0), ("path", &"data"), ("error", &error)]);
    assert_eq!(event.spans, ["INFO checkpoint pool=sync"]);
}

#[test]
fn a_resize_is_a_span_and_tells_what_it_did_or_why_it_failed() {
    let bench = bench("resize", |builder| builder.frames_at_most(32));
    bench.dirty(0..8, 2);
    bench.pool.resize(32).wait().unwrap();
    bench.pool.resize(99).wait().unwrap_err();
    let resized = only("resize", "resized");
    let fields: &[(&str, &dyn Display)] = &[("frames_before", &16), ("frames", &32), ("pages_written", &0)];
    assert_told(&resized, "INFO", fields);
    assert!(resized.field("took_seconds").parse::<f64>().unwrap() >= 0.0);
    assert_eq!(resized.spans, ["INFO resize frames=32 pool=resize"]);
    let failed = only("resize", "resize_failed");
    assert_told(&failed, "WARN", &[("frames", &99)]);
    assert!(failed.field("error").contains("choose 1 to 32"), "{failed:?}");
}

/// A log that is durable as far as it is asked for.
struct Log;

impl Wal for Log {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(u64::MAX)
    }

    fn flush(&self, up_to: Lsn) -> std::io::Result<Lsn> {
        Ok(up_to)
    }
}

#[test]
fn c8_the_first_change_without_a_log_position_is_told() {
    let bench = bench("unlogged", |builder| builder.wal(Log));
    bench.dirty([3, 4], 2);
    assert_told(&only("unlogged", "unlogged_change"), "WARN", &[("page", &bench.page(3))]);
}

/// Makes a pool of this name with a doublewrite area, on that disk.
fn with_area(name: &'static str, disk: &SimDisk, bytes: usize) -> BufferPool {
    let area = TornPages::DoubleWrite(DoubleWriteArea::new("area").bytes(bytes));
    let builder = BufferPool::builder().name(name).frames(64).page_size(PAGE as u32).torn_pages(area);
    builder.io_method(IoMethod::Sync).storage(disk.clone()).build().unwrap()
}

#[test]
fn c9_pages_that_are_put_right_after_a_crash_are_told() {
    listen();
    let disk = SimDisk::new();
    disk.put("data", stamped_file(16, 1));
    let pool = with_area("before the crash", &disk, 0);
    let file = pool.open_file("data", OpenOptions::new().tag(1)).unwrap();
    for block in 0..16 {
        pool.fetch(PageId::new(file, block)).wait().unwrap().write().unwrap().fill(7);
    }
    pool.flush_file(file).wait().unwrap();
    let names = ["crash 0", "crash 1", "crash 2", "crash 3", "crash 4", "crash 5", "crash 6", "crash 7"];
    let restored = names.into_iter().zip(0..).map(|(name, seed)| {
        let after = with_area(name, &disk.after_power_cut(seed), 0);
        after.open_file("data", OpenOptions::new().tag(1)).unwrap();
        let pages = after.stats().counts.pages_restored;
        let events = told(name, "pages_restored");
        assert_eq!(events.len(), usize::from(pages > 0));
        events.iter().for_each(|event| assert_told(event, "WARN", &[("path", &"data"), ("pages", &pages)]));
        pages
    });
    assert!(restored.sum::<u64>() > 0, "no power cut has torn anything");
}

#[test]
fn c9_copies_that_the_area_cannot_do_without_are_told() {
    listen();
    let disk = SimDisk::new();
    disk.put("data", stamped_file(16, 1));
    disk.put("other", stamped_file(16, 1));
    let pool = with_area("copies", &disk, 0);
    let open = |name, tag| pool.open_file(name, OpenOptions::new().tag(tag)).unwrap();
    let (file, other) = (open("data", 1), open("other", 2));
    let change = |file, block| pool.fetch(PageId::new(file, block)).wait().unwrap().write().unwrap().fill(7);
    disk.inject(Fault::error(Op::Write.of("data"), EIO));
    change(file, 0);
    pool.flush_file(file).wait().unwrap_err();
    // Until the half of the area with its copy is begun anew.
    for _ in 0..2000 {
        change(other, 1);
        let _ = pool.flush_file(other).wait();
        if let Some(event) = told("copies", "copies_needed").first() {
            assert_told(event, "ERROR", &[("path", &"data")]);
            assert!(event.field("error").contains("write"), "{event:?}");
            return;
        }
    }
    panic!("the area was never begun anew");
}

/// A waker that panics.
struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics, for a test");
    }
}

#[test]
fn c10_a_waker_that_panics_is_told() {
    guarded(|| {
        listen();
        let bench = Bench::new(IoMethod::worker(), 8, 8);
        let gate = bench.disk.hold(Op::Read);
        let mut fetch = Box::pin(bench.pool.fetch(bench.page(1)));
        let waker = Waker::from(Arc::new(PanickingWaker));
        assert!(matches!(fetch.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending));
        gate.wait_for(1);
        gate.open();
        eventually("it was called", || !told_by_any("waker_panicked").is_empty());
        assert_eq!(told_by_any("waker_panicked")[0].level, "ERROR");
    });
}

#[test]
fn c10_a_subscriber_that_panics_harms_neither_calls_nor_threads_of_the_pool() {
    guarded(|| {
        listen();
        for (method, name) in methods().into_iter().zip(["panicking 1", "panicking 2", "panicking 3"]) {
            assert!(name.starts_with(PANICKING));
            let builder = |builder: Builder| {
                builder.name(name).frames(16).io_method(method).slow_io(Duration::ZERO).wal(Log)
            };
            let bench = Bench::with(8, builder);
            bench.disk.put("other", stamped_file(8, 1));
            let other = bench.pool.open_file("other", OpenOptions::new().tag(1)).unwrap();
            for round in 2..4 {
                bench.dirty(0..4, round);
                for block in 0..4 {
                    // A change without a log position.
                    restamp(&bench.pool.fetch(PageId::new(other, block)).wait().unwrap(), round);
                }
                let report = bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
                assert_eq!((report.pages_written, report.files_synced), (8, 2));
            }
            let syncs = told(name, "slow_io").into_iter().filter(|event| event.field("op") == "sync");
            assert_eq!(syncs.count(), 4);
            bench.into_pool().shutdown(Shutdown::Flush).unwrap();
        }
    });
}

#[test]
fn a_shutdown_is_a_span_and_tells_what_it_did_or_why_it_failed() {
    let bench = bench("shutdown", |builder| builder);
    bench.dirty(0..2, 2);
    let (disk, pool, _) = bench.into_parts();
    disk.inject(Fault::error(Op::Write, EIO).once());
    let refused = pool.shutdown(Shutdown::Flush).unwrap_err();
    let failed = only("shutdown", "shutdown_failed");
    let (pool, error) = refused.into_parts();
    assert_told(&failed, "ERROR", &[("error", &error)]);
    pool.shutdown(Shutdown::Flush).unwrap();
    let ended = only("shutdown", "pool_shut_down");
    let fields: &[(&str, &dyn Display)] =
        &[("pages_written", &2), ("files_synced", &1), ("pages_discarded", &0)];
    assert_told(&ended, "INFO", fields);
    for event in [&failed, &ended] {
        assert_eq!(event.spans, ["INFO shutdown flush=true pool=shutdown"]);
    }
}

#[test]
fn c5_a_pool_that_goes_with_changes_says_how_many() {
    for (name, dirty, how) in [
        ("dropped", 3, None),
        ("discarded", 2, Some(Shutdown::Discard)),
        ("flushed", 0, Some(Shutdown::Flush)),
        ("clean", 0, None),
    ] {
        let bench = bench(name, |builder| builder);
        bench.dirty(0..dirty, 2);
        let pool = bench.into_pool();
        match how {
            Some(how) => drop(pool.shutdown(how).unwrap()),
            None => drop(pool),
        }
        let events = told(name, "pages_discarded");
        assert_eq!(events.len(), usize::from(dirty > 0), "{how:?}");
        events.iter().for_each(|event| assert_told(event, "WARN", &[("pages", &dirty)]));
    }
}

/// Events that need a process in which something is forbidden are tested in such a process.
#[test]
fn every_span_and_event_of_the_documentation_is_looked_for_by_a_test() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let tests = ["tests/events.rs", "tests/unregistered.rs", "tests/forbidden_later.rs"].map(read).concat();
    let list = read("src/events.md");
    let names: BTreeSet<_> =
        list.lines().filter_map(|line| line.strip_prefix("| `ringpool::")?.split('`').next()).collect();
    assert!(names.len() > 20, "{names:?}");
    let is_tested =
        |name: &&str| tests.contains(&format!("\"{name}\"")) || tests.contains(&format!("INFO {name} "));
    let untested: Vec<_> = names.into_iter().filter(|name| !is_tested(name)).collect();
    assert!(untested.is_empty(), "no test looks for {untested:?}");
}
