//! The background writer: a miss finds a clean frame, and the promises hold with a second writer at work.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoMethod, IoOp, Lsn, PageId, Wal,
    options::BackgroundWriter,
    testing::{Event, Fault, Moment, Op},
};

use crate::support::{Bench, EIO, PAGE, eventually, restamp, stamped_file, with_each_method};

const FRAMES: u32 = 64;
const BLOCKS: u32 = 4 * FRAMES;

fn bench_with(method: &IoMethod, frames: u32, writer: BackgroundWriter) -> Bench {
    Bench::with(BLOCKS, |builder| builder.frames(frames).io_method(method.clone()).background_writer(writer))
}

fn bench(method: &IoMethod) -> Bench {
    bench_with(method, FRAMES, BackgroundWriter::ReadyFrames { low: 8, high: 16 })
}

fn cleaned(pool: &BufferPool) -> u64 {
    pool.stats().counts.pages_cleaned
}

#[test]
fn a_fetch_finds_clean_frames_and_writes_nothing() {
    with_each_method(|method| {
        let has_cleaned_in_time = || {
            let bench = bench(&method);
            // As many as there are frames are dirty after the first quarter, and each miss needs one of them cleaned.
            for block in 0..BLOCKS {
                restamp(&bench.fetch(block).unwrap(), 2);
                thread::sleep(Duration::from_micros(200));
            }
            let counts = bench.pool.stats().counts;
            assert!(counts.pages_per_write() > 2.0, "neighbours go together: {counts:?}");
            bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
            assert!(bench.durable() == stamped_file(BLOCKS, 2));
            println!("{counts:?}");
            counts.dirty_evictions == 0 && counts.pages_cleaned >= u64::from(BLOCKS - FRAMES)
        };
        // Where other processes use the machine for too long at a stretch, a fetch rightly writes for itself.
        assert!((0..10).any(|_| has_cleaned_in_time()));
    });
}

#[test]
fn without_it_a_fetch_writes_victims_as_the_last_resort_and_that_is_counted() {
    with_each_method(|method| {
        let bench = bench_with(&method, FRAMES, BackgroundWriter::Off);
        bench.dirty(0..FRAMES, 2);
        assert_eq!(bench.pool.stats().counts.dirty_evictions, 0);
        bench.fetch(FRAMES).unwrap();
        let counts = bench.pool.stats().counts;
        assert!(counts.dirty_evictions > 0 && counts.pages_cleaned == 0, "{counts:?}");
        assert!(bench.image() != stamped_file(BLOCKS, 1), "nothing was written");
    });
}

#[test]
fn no_more_is_written_than_is_wanted_however_much_is_dirty() {
    with_each_method(|method| {
        let (frames, high, wanted) = (3 * FRAMES, 16, 4);
        let written_for_a_few = || {
            let bench = Bench::with(BLOCKS, |builder| {
                let writer = BackgroundWriter::ReadyFrames { low: 8, high };
                // Page by page, so that what is written is what is wanted.
                builder
                    .frames(frames)
                    .io_method(method.clone())
                    .background_writer(writer)
                    .combine_limit_bytes(PAGE)
            });
            bench.dirty(0..frames, 2);
            (frames..frames + wanted).for_each(|block| drop(bench.fetch(block).unwrap()));
            eventually("the writer is at rest", || {
                let before = cleaned(&bench.pool);
                thread::sleep(Duration::from_millis(20));
                cleaned(&bench.pool) == before && bench.pool.stats().frames.writing == 0
            });
            cleaned(&bench.pool)
        };
        // As many as were taken, and as many as are kept ready; a frame may be used again while it is made ready.
        let most = u64::from(wanted + 2 * high);
        // Where other processes use the machine for longer than a batch may take, the next one is rightly begun.
        let written: Vec<_> =
            (0..10).map(|_| written_for_a_few()).take_while(|&pages| pages > most).collect();
        assert!(written.len() < 10, "{wanted} frames were wanted, and so many written: {written:?}");
    });
}

#[test]
fn c6_small_pools_neither_hang_nor_lose_anything() {
    with_each_method(|method| {
        for frames in [1, 2, 3, 8] {
            let bench = bench_with(&method, frames, BackgroundWriter::ReadyFrames { low: 1, high: frames });
            let threads: Vec<_> = (0..4)
                .map(|first| {
                    let (pool, file) = (bench.pool.clone(), bench.file);
                    thread::spawn(move || {
                        for block in (first..BLOCKS).step_by(4) {
                            restamp(&pool.fetch(PageId::new(file, block)).wait().unwrap(), 2);
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
            assert!(bench.durable() == stamped_file(BLOCKS, 2), "{frames} frames");
            bench.assert_at_rest();
        }
    });
}

#[test]
fn c3_what_it_cannot_write_stays_dirty_and_the_disk_is_left_alone() {
    with_each_method(|method| {
        let bench = Bench::with(BLOCKS, |builder| {
            let writer = BackgroundWriter::ReadyFrames { low: 8, high: 16 };
            let builder = builder.frames(FRAMES).io_method(method.clone()).background_writer(writer);
            builder.frame_wait(Duration::from_secs(2))
        });
        bench.disk.inject(Fault::error(Op::Write, EIO).without_trace());
        let refused = (0..BLOCKS).find_map(|block| match bench.fetch(block) {
            Ok(page) => {
                restamp(&page, 2);
                None
            }
            Err(error) => Some(error),
        });
        assert!(matches!(refused, Some(Error::Io { op: IoOp::Write, .. })), "{refused:?}");
        assert!(bench.image() == stamped_file(BLOCKS, 1));
        // It pauses after each failure, and twice as long after the next.
        eventually("the failure is counted", || bench.pool.stats().counts.cleaning_failures > 0);
        assert!(bench.pool.stats().counts.cleaning_failures < 20);
        assert_eq!(bench.pool.stats().frames.dirty, FRAMES);
        // No frame is wanted: it does not try again, or at most once, having been woken just before.
        eventually("it has given up for now", || {
            let tried = bench.disk.count(Op::Write);
            thread::sleep(Duration::from_millis(50));
            bench.disk.count(Op::Write) == tried
        });
        bench.disk.heal();
        (0..BLOCKS).for_each(|block| restamp(&bench.fetch(block).unwrap(), 3));
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert!(bench.durable() == stamped_file(BLOCKS, 3));
    });
}

/// A log that is durable as far as it was asked to be.
#[derive(Clone, Default)]
struct Log(Arc<AtomicU64>);

impl Wal for Log {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(self.0.load(Ordering::SeqCst))
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        // Long enough for a write that does not wait to be there first.
        thread::sleep(Duration::from_micros(100));
        self.0.fetch_max(up_to.0, Ordering::SeqCst);
        Ok(self.flushed_lsn())
    }
}

#[test]
fn c8_it_writes_nothing_that_the_log_does_not_cover() {
    with_each_method(|method| {
        let log = Log::default();
        let bench = Bench::with(BLOCKS, |builder| {
            let writer = BackgroundWriter::ReadyFrames { low: 8, high: 16 };
            builder.frames(FRAMES).io_method(method.clone()).background_writer(writer).wal(log.clone())
        });
        let is_write = |event: &Event| event.op == Op::Write && event.moment == Moment::Begin;
        for block in 0..BLOCKS {
            let page = bench.fetch(block).unwrap();
            page.write().unwrap().set_lsn(Lsn(u64::from(block) + 1));
            drop(page);
            let durable = log.flushed_lsn().0;
            // Blocks get rising numbers, so no write may reach further than the log does; the log is looked at last.
            let writes = bench.disk.log();
            let furthest = writes.iter().filter(|event| is_write(event));
            let furthest =
                furthest.map(|event| (event.offset + event.len as u64) / PAGE as u64).max().unwrap_or(0);
            assert!(
                furthest <= log.flushed_lsn().0,
                "block {furthest} was written, the log was at {durable}"
            );
        }
        assert!(cleaned(&bench.pool) > 0);
    });
}

#[test]
fn c5_a_pool_goes_while_its_writer_is_at_work() {
    with_each_method(|method| {
        let log = Log::default();
        let (disk, pool, file) = Bench::with(BLOCKS, |builder| {
            let writer = BackgroundWriter::ReadyFrames { low: 8, high: 16 };
            builder.frames(FRAMES).io_method(method.clone()).background_writer(writer).wal(log.clone())
        })
        .into_parts();
        let gate = disk.hold(Op::Write);
        let dirtying = thread::spawn(move || {
            let options = Duration::from_millis(50);
            for block in 0..BLOCKS {
                match pool.fetch(PageId::new(file, block)).frame_wait(options).wait() {
                    Ok(page) => restamp(&page, 2),
                    Err(_) => break,
                }
            }
            drop(pool);
        });
        gate.wait_for(1);
        let begun = Instant::now();
        gate.open();
        dirtying.join().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20));
        eventually("the pool has let go of its log", || Arc::strong_count(&log.0) == 1);
        let writes = disk.count(Op::Write);
        thread::sleep(Duration::from_millis(10));
        assert_eq!(disk.count(Op::Write), writes, "nothing is written for a pool that is gone");
    });
}

#[test]
fn marks_that_cannot_be_kept_are_refused() {
    for (low, high) in [(0, 4), (5, 4), (4, 65)] {
        let writer = BackgroundWriter::ReadyFrames { low, high };
        let refused = BufferPool::builder().frames(FRAMES).background_writer(writer).build();
        let text = refused.expect_err("an error").to_string();
        assert!(text.contains("choose 1 to 64"), "{text}");
    }
}
