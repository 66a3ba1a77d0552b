//! C8: no page reaches disk before the log is durable up to its LSN.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoMethod, Lsn, Shutdown, Wal,
    testing::{Op, SimDisk},
};

use crate::support::{Bench, assert_stamped, eventually, guarded, stamped, stamped_file, with_each_method};

/// A log that notes how far it was flushed, and how many writes the disk had been asked for by then.
#[derive(Clone, Default)]
struct Log(Arc<Inner>);

#[derive(Default)]
struct Inner {
    disk: Mutex<Option<SimDisk>>,
    flushed: AtomicU64,
    flushes: Mutex<Vec<(Lsn, usize)>>,
    fails: AtomicBool,
    lies: AtomicBool,
    panics: AtomicBool,
    /// A flush takes as long as this is locked.
    busy: Mutex<()>,
}

impl Wal for Log {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(self.0.flushed.load(Ordering::SeqCst))
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        let writes = self.0.disk.lock().unwrap().as_ref().map_or(0, |disk| disk.count(Op::Write));
        self.0.flushes.lock().unwrap().push((up_to, writes));
        drop(self.0.busy.lock().unwrap());
        assert!(!self.0.panics.load(Ordering::SeqCst), "the log's own panic");
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(crate::support::EIO));
        }
        if self.0.lies.load(Ordering::SeqCst) {
            return Ok(Lsn(up_to.0 - 1));
        }
        self.0.flushed.fetch_max(up_to.0, Ordering::SeqCst);
        Ok(self.flushed_lsn())
    }
}

impl Log {
    fn flushes(&self) -> Vec<(Lsn, usize)> {
        self.0.flushes.lock().unwrap().clone()
    }
}

fn bench(method: IoMethod, frames: u32, blocks: u32) -> (Bench, Log) {
    let log = Log::default();
    let bench = Bench::with(blocks, |builder| builder.frames(frames).io_method(method).wal(log.clone()));
    *log.0.disk.lock().unwrap() = Some(bench.disk.clone());
    (bench, log)
}

/// Changes a block under a log record.
fn change(bench: &Bench, block: u32, version: u8, lsn: u64) {
    let page = bench.fetch(block).unwrap();
    let mut page = page.write().unwrap();
    page.copy_from_slice(&stamped(block, version));
    page.set_lsn(Lsn(lsn.saturating_sub(5))..Lsn(lsn));
}

fn checkpoint(pool: &BufferPool) -> ringpool::Result<()> {
    pool.checkpoint(CheckpointOptions::new()).wait().map(drop)
}

#[test]
fn c8_the_log_is_flushed_before_the_batch_and_once_for_all_of_it() {
    with_each_method(|method| {
        let (bench, log) = bench(method, 64, 32);
        // No two are neighbours, so each is a request of its own; and neither the first nor the last of them is the highest.
        for n in 0..16 {
            change(&bench, 2 * n, 2, 1000 + u64::from((n + 8) % 16));
        }
        checkpoint(&bench.pool).unwrap();
        assert_eq!(log.flushes(), [(Lsn(1015), 0)], "one flush, up to the highest, before any write");
        assert_eq!(bench.disk.count(Op::Write), 16);
        (0..16).for_each(|n| assert!(bench.durable()[2 * n * 8192..][..8192] == stamped(2 * n as u32, 2)));
    });
}

#[test]
fn c8_each_batch_asks_for_its_own_highest_and_for_nothing_that_is_durable() {
    /// Requests that are handed over together.
    const BATCH: u32 = 32;
    with_each_method(|method| {
        let (bench, log) = bench(method, 4 * BATCH, 8 * BATCH);
        // By batches, in the order of their blocks: the third needs no more than the second.
        let highest = [1100, 1300, 1200, 1400];
        for n in 0..4 * BATCH {
            let below = u64::from(n.abs_diff(BATCH / 2) % BATCH);
            change(&bench, 2 * n, 2, highest[(n / BATCH) as usize] - below);
        }
        checkpoint(&bench.pool).unwrap();
        let asked: Vec<_> = log.flushes().into_iter().map(|(up_to, _)| up_to).collect();
        assert_eq!(asked, [1100, 1300, 1400].map(Lsn));
        for ((_, writes), batches) in log.flushes().into_iter().zip([0, 1, 3]) {
            assert!(writes <= (batches * BATCH) as usize, "{writes} writes before the flush");
        }
    });
}

#[test]
fn c8_holds_for_every_page_that_is_written_on_whatever_occasion() {
    with_each_method(|method| {
        let (bench, log) = bench(method, 4, 64);
        // More pages than frames: most are written to make room.
        for n in 0..256 {
            change(&bench, n * 29 % 64, 2, 100 + u64::from(n));
        }
        bench.pool.flush(bench.page(63 * 29 % 64)).wait().unwrap();
        bench.pool.evict(bench.page(62 * 29 % 64)).wait().unwrap();
        bench.pool.flush_file(bench.file).wait().unwrap();
        bench.pool.close_file(bench.file).wait().unwrap();
        assert!(bench.durable() == stamped_file(64, 2));
        // Each page's last record is one of the last 64, and no write may have come before a flush that covers it.
        let flushes = log.flushes();
        assert!(
            flushes.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "asked for what was durable: {flushes:?}"
        );
        assert_eq!(log.flushed_lsn(), Lsn(355));
        assert!(flushes.len() > 8 && flushes[0].1 == 0, "{flushes:?}");
    });
}

#[test]
fn c8_no_write_overtakes_a_slow_flush() {
    with_each_method(|method| {
        let (bench, log) = bench(method, 16, 16);
        change(&bench, 3, 2, 50);
        let busy = log.0.busy.lock().unwrap();
        let flushing = thread::spawn({
            let pool = bench.pool.clone();
            move || checkpoint(&pool)
        });
        eventually("the log is being flushed", || !log.flushes().is_empty());
        // The page can be read and changed meanwhile: only the caller that asked for the write waits for the log.
        assert_stamped(&bench.fetch(3).unwrap(), 2);
        change(&bench, 3, 3, 51);
        assert_eq!(bench.disk.count(Op::Write), 0);
        drop(busy);
        flushing.join().unwrap().unwrap();
        assert!(bench.image()[3 * 8192..4 * 8192] == stamped(3, 2), "only what the flushed log covers");
        checkpoint(&bench.pool).unwrap();
        assert_eq!(log.flushes().last(), Some(&(Lsn(51), 1)));
    });
}

#[test]
fn c8_where_the_log_fails_nothing_is_written_and_the_pages_stay_dirty() {
    with_each_method(|method| {
        let (bench, log) = bench(method, 16, 16);
        (0..8).for_each(|block| change(&bench, block, 2, 7));
        for cause in [&log.0.fails, &log.0.lies] {
            cause.store(true, Ordering::SeqCst);
            for refused in [
                checkpoint(&bench.pool),
                pollster::block_on(bench.pool.flush(bench.page(2))),
                pollster::block_on(bench.pool.checkpoint(CheckpointOptions::new())).map(drop),
                bench.pool.flush_file(bench.file).wait().map(drop),
                bench.pool.evict(bench.page(2)).wait().map(drop),
                bench.pool.close_file(bench.file).wait(),
                bench
                    .pool
                    .clone()
                    .shutdown(Shutdown::Flush)
                    .map(drop)
                    .map_err(|refused| refused.into_parts().1),
            ] {
                let error = refused.unwrap_err();
                assert!(matches!(error, Error::Wal { lsn: Lsn(7), .. }), "{error}");
            }
            cause.store(false, Ordering::SeqCst);
            assert_eq!((bench.disk.count(Op::Write), bench.pool.stats().frames.dirty), (0, 8));
            bench.assert_at_rest();
        }
        checkpoint(&bench.pool).unwrap();
        assert!(bench.durable()[..8 * 8192] == stamped_file(8, 2));
    });
}

#[test]
fn c8_a_fetch_that_needs_a_frame_reports_the_log_that_keeps_pages_dirty() {
    with_each_method(|method| {
        let log = Log::default();
        log.0.fails.store(true, Ordering::SeqCst);
        let bench = Bench::with(16, |builder| {
            builder
                .frames(4)
                .frame_wait(Duration::from_millis(500))
                .io_method(method.clone())
                .wal(log.clone())
        });
        (0..4).for_each(|block| change(&bench, block, 2, 7));
        assert!(matches!(bench.fetch(9), Err(Error::Wal { .. })));
        assert!(matches!(pollster::block_on(bench.pool.fetch(bench.page(9))), Err(Error::Wal { .. })));
        log.0.fails.store(false, Ordering::SeqCst);
        assert_stamped(&bench.fetch(9).unwrap(), 1);
    });
}

#[test]
fn c8_unlogged_changes_do_not_bother_the_log() {
    with_each_method(|method| {
        let (bench, log) = bench(method, 16, 16);
        bench.dirty(0..16, 2);
        checkpoint(&bench.pool).unwrap();
        assert_eq!(log.flushes(), []);
    });
}

#[test]
fn c8_a_log_that_panics_costs_the_operation_and_nothing_else() {
    guarded(|| {
        let (bench, log) = bench(IoMethod::worker(), 16, 16);
        change(&bench, 3, 2, 7);
        log.0.panics.store(true, Ordering::SeqCst);
        let failed = pollster::block_on(bench.pool.flush(bench.page(3)));
        assert!(matches!(failed, Err(Error::Panicked { .. })), "{failed:?}");
        log.0.panics.store(false, Ordering::SeqCst);
        bench.assert_at_rest();
        assert_eq!((bench.disk.count(Op::Write), bench.pool.stats().frames.dirty), (0, 1));
        checkpoint(&bench.pool).unwrap();
    });
}
