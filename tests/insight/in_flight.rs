//! `in_flight` lists what is under way, as it is, and nothing else.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use ringpool::{
    CheckpointOptions, Error, IoMethod, IoOp, Lsn, PageAddress, PageCodec, Wal,
    stats::{InFlight, Stage},
    testing::{Fault, Op},
};

use crate::support::{
    Bench, EIO, PAGE, eventually, fetch_apart, guarded, outcome, restamp, with_each_method,
};

/// Returns the one request that is under way.
#[track_caller]
fn only(bench: &Bench) -> InFlight {
    match bench.pool.in_flight().as_slice() {
        [request] => request.clone(),
        other => panic!("not one request: {other:?}"),
    }
}

#[test]
fn a_read_that_is_held_is_listed_with_its_place_and_its_age() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 16);
        let gate = bench.disk.hold(Op::Read);
        let begun = Instant::now();
        thread::scope(|scope| {
            let reading = scope.spawn(|| bench.pool.prefetch(bench.file.pages(3..6)));
            gate.wait_for(1);
            let first = only(&bench);
            assert_eq!((first.op, first.page, first.stage), (IoOp::Read, bench.page(3), Stage::Submitted));
            assert_eq!((first.pages, first.bytes), (3, 3 * PAGE as u64));
            thread::sleep(Duration::from_millis(5));
            let later = only(&bench);
            assert!(later.age >= first.age + Duration::from_millis(5), "{first} and then {later}");
            assert!(later.age <= begun.elapsed(), "{later}");
            gate.open();
            assert_eq!(reading.join().unwrap().started, 3);
        });
        for block in 3..6 {
            let page = bench.fetch(block).unwrap();
            assert_eq!(bench.pool.in_flight(), [], "a caller that has {page:?} finds its read gone");
        }
    });
}

#[test]
fn a_write_that_is_held_is_listed_until_the_checkpoint_is_over() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 16);
        bench.dirty(4..6, 2);
        assert_eq!(bench.pool.in_flight(), []);
        let gate = bench.disk.hold(Op::Write);
        thread::scope(|scope| {
            let writing = scope.spawn(|| bench.pool.checkpoint(CheckpointOptions::new()).wait());
            gate.wait_for(1);
            let request = only(&bench);
            assert_eq!((request.op, request.page, request.pages), (IoOp::Write, bench.page(4), 2));
            gate.open();
            writing.join().unwrap().unwrap();
        });
        assert_eq!(bench.pool.in_flight(), []);
    });
}

#[test]
fn what_waits_for_a_thread_is_queued() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Worker { threads: 1 }, 16, 16);
        let gate = bench.disk.hold(Op::Read);
        assert_eq!(bench.pool.prefetch(bench.file.pages([2, 9])).started, 2);
        gate.wait_for(1);
        let listed: Vec<_> = bench.pool.in_flight().iter().map(|it| (it.page.block.0, it.stage)).collect();
        assert_eq!(listed, [(2, Stage::Submitted), (9, Stage::Queued)]);
        gate.open();
        bench.assert_at_rest();
    });
}

#[test]
fn c5_what_failed_or_was_abandoned_is_not_listed() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 8);
        bench.disk.inject(Fault::error(Op::Read, EIO).once());
        bench.fetch(0).unwrap_err();
        assert_eq!(bench.pool.in_flight(), []);
        bench.dirty(0..3, 2);
        bench.disk.inject(Fault::error(Op::Write, EIO));
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err();
        assert_eq!(bench.pool.in_flight(), []);
        bench.disk.heal();
        let gate = bench.disk.hold(Op::Read);
        let abandoned = fetch_apart(&bench.pool, bench.page(7), false);
        gate.wait_for(1);
        assert_eq!(only(&bench).page, bench.page(7));
        gate.open();
        drop(outcome(abandoned));
        assert_eq!(bench.pool.in_flight(), []);
    });
}

/// A log that cannot be flushed.
struct BrokenLog;

impl Wal for BrokenLog {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(0)
    }

    fn flush(&self, _: Lsn) -> io::Result<Lsn> {
        Err(io::Error::from_raw_os_error(EIO))
    }
}

#[test]
fn c5_a_write_whose_log_fails_is_not_listed_and_took_no_time() {
    with_each_method(|method| {
        let bench = Bench::with(8, |builder| builder.frames(8).io_method(method).wal(BrokenLog));
        let page = bench.fetch(1).unwrap();
        page.write().unwrap().set_lsn(Lsn(7));
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err();
        assert_eq!(bench.pool.in_flight(), []);
        assert_eq!(bench.pool.stats().latencies.write.count(), 0);
    });
}

/// A codec that seals nothing.
struct PanickingCodec;

impl PageCodec for PanickingCodec {
    fn seal(&self, _: PageAddress, _: &mut [u8]) {
        panic!("a codec that panics, for a test");
    }

    fn open(&self, _: PageAddress, _: &mut [u8]) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn c5_a_write_whose_codec_panics_is_not_listed() {
    with_each_method(|method| {
        let bench = Bench::with(8, |builder| builder.frames(8).io_method(method).codec(PanickingCodec));
        restamp(&bench.fetch(1).unwrap(), 2);
        let written = bench.pool.checkpoint(CheckpointOptions::new()).wait();
        assert!(matches!(written, Err(Error::Panicked { .. })), "{written:?}");
        eventually("nothing under way", || bench.pool.in_flight().is_empty());
        assert_eq!(bench.pool.stats().frames.dirty, 1);
    });
}
