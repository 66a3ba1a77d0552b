//! C8, by an order log: whichever thread writes pages, for whatever reason and however many at once, the disk never has a change
//! that the log lacks. Pages hold the position of their last change, so that what has reached the disk can be read off it.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, CheckpointOptions, FileId, IoMethod, Lsn, PageId, Wal, options::BackgroundWriter,
    testing::SimDisk,
};

use crate::support::{Bench, PAGE, with_each_method};

const FRAMES: u32 = 16;
const BLOCKS: u32 = 64;

/// Changes of each of the threads.
const CHANGES: u32 = 250;

/// A log that looks at the disk right before its durable position moves on: all that was written until then was written while the
/// log was durable up to the old position.
#[derive(Clone, Default)]
struct OrderLog(Arc<Inner>);

#[derive(Default)]
struct Inner {
    disk: Mutex<Option<SimDisk>>,
    flushed: AtomicU64,
    flushing: Mutex<()>,
    /// Where the disk was ahead of the log: its position, and the log's.
    broken: Mutex<Option<(u64, u64)>>,
}

impl OrderLog {
    fn look(&self) {
        let image = self.0.disk.lock().unwrap().as_ref().and_then(|disk| disk.image("data"));
        let position = |page: &[u8]| u64::from_le_bytes(page[..8].try_into().unwrap());
        let reached = image.iter().flat_map(|image| image.chunks(PAGE)).map(position).max().unwrap_or(0);
        let flushed = self.0.flushed.load(Ordering::SeqCst);
        if reached > flushed {
            self.0.broken.lock().unwrap().get_or_insert((reached, flushed));
        }
    }
}

impl Wal for OrderLog {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(self.0.flushed.load(Ordering::SeqCst))
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        let _one_at_a_time = self.0.flushing.lock().unwrap();
        if self.flushed_lsn() < up_to {
            // Long enough for a write that does not wait to arrive.
            thread::sleep(Duration::from_micros(300));
            self.look();
            self.0.flushed.store(up_to.0, Ordering::SeqCst);
        }
        Ok(self.flushed_lsn())
    }
}

/// Changes pages at random, under positions that rise.
fn change(pool: &BufferPool, file: FileId, positions: &AtomicU64, mut seed: u32) {
    for _ in 0..CHANGES {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let page = pool.fetch(PageId::new(file, (seed >> 16) % BLOCKS)).wait().unwrap();
        let mut bytes = page.write().unwrap();
        let position = positions.fetch_add(1, Ordering::SeqCst) + 1;
        bytes.set_lsn(Lsn(position));
        bytes[..8].copy_from_slice(&position.to_le_bytes());
    }
}

fn play(method: &IoMethod, writer: BackgroundWriter) {
    let log = OrderLog::default();
    let bench = Bench::with(BLOCKS, |builder| {
        builder.frames(FRAMES).io_method(method.clone()).background_writer(writer).wal(log.clone())
    });
    bench.disk.put("data", vec![0; BLOCKS as usize * PAGE]);
    *log.0.disk.lock().unwrap() = Some(bench.disk.clone());
    let positions = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in 0..3 {
            let (pool, positions) = (&bench.pool, &positions);
            scope.spawn(move || change(pool, bench.file, positions, seed));
        }
        scope.spawn(|| {
            for block in 0..40 {
                bench.pool.flush(bench.page(block)).wait().unwrap();
                if block % 10 == 0 {
                    bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
                }
            }
        });
    });
    bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    log.look();
    assert_eq!(*log.0.broken.lock().unwrap(), None, "the disk was at the first, the log at the second");
    assert!(log.flushed_lsn() >= Lsn(u64::from(3 * CHANGES) - u64::from(BLOCKS)));
}

#[test]
fn c8_the_disk_never_knows_more_than_the_log() {
    with_each_method(|method| {
        play(&method, BackgroundWriter::Off);
        play(&method, BackgroundWriter::ReadyFrames { low: 2, high: 4 });
    });
}
