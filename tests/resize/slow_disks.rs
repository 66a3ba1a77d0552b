//! Shrinks that wait for a disk that does not answer: until it does, the frames that are to go serve other files as before.

use std::{sync::mpsc::channel, thread, time::Duration};

use ringpool::{
    BufferPool, FileId, IoMethod, OpenOptions, PageId, StreamOptions,
    options::BackgroundWriter,
    testing::{Gate, Op},
};

use crate::support::{
    Bench, assert_stamped, eventually, guarded, methods, restamp, stamped_file, with_each_method,
};

const FRAMES: u32 = 32;
/// Frames that have pages of the file whose disk does not answer.
const TAKEN: u32 = 20;
/// Frames that stay, all of them taken.
const FEWER: u32 = 8;

/// Longer than any operation on another file takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn bench(method: IoMethod) -> (Bench, FileId) {
    bench_with(method, Duration::from_millis(50))
}

fn bench_with(method: IoMethod, frame_wait: Duration) -> (Bench, FileId) {
    let bench = Bench::with(64, |builder| {
        let builder = builder.frames(FRAMES).frame_wait(frame_wait);
        builder.background_writer(BackgroundWriter::Off).io_method(method)
    });
    bench.disk.put("other", stamped_file(64, 1));
    let other = bench.pool.open_file("other", OpenOptions::new()).unwrap();
    (bench, other)
}

/// Reads more pages of the other file than there are free frames, where a fetch does not write for itself.
fn read_others(pool: &BufferPool, other: FileId, method: &IoMethod) {
    let free = FRAMES - TAKEN;
    let blocks = if *method == IoMethod::Sync { free } else { 2 * free };
    for block in 0..blocks {
        assert_stamped(&pool.fetch(PageId::new(other, block)).wait().unwrap(), 1);
    }
    restamp(&pool.fetch(PageId::new(other, blocks - 1)).wait().unwrap(), 2);
    pool.flush(PageId::new(other, blocks - 1)).wait().unwrap();
    for page in pool.read_stream(other.pages(blocks - 4..blocks - 1), StreamOptions::new()) {
        assert_stamped(&page.unwrap(), 1);
    }
}

/// Shrinks the pool, uses the other file while the gate holds what the shrink waits for, and lets the shrink go on.
fn shrink_past(gate: Gate, bench: &Bench, other: FileId, method: &IoMethod) {
    thread::scope(|scope| {
        let shrinking = scope.spawn(|| bench.pool.resize(FEWER).wait());
        gate.wait_for(1);
        // Long enough for the shrink to come to its wait for the disk.
        thread::sleep(Duration::from_millis(50));
        let (pool, method, (done, used)) = (bench.pool.clone(), method.clone(), channel());
        let reading = thread::spawn(move || {
            read_others(&pool, other, &method);
            let _ = done.send(());
        });
        let is_served = used.recv_timeout(PATIENCE).is_ok();
        assert!(!shrinking.is_finished(), "the disk still has its frames");
        gate.open();
        reading.join().unwrap();
        assert_eq!(shrinking.join().unwrap().unwrap().frames, FEWER);
        assert!(is_served, "the other file had no frames while the shrink waited for the disk");
    });
}

#[test]
fn c6_a_shrink_that_waits_for_a_hung_files_writes_leaves_frames_to_others() {
    with_each_method(|method| {
        let (bench, other) = bench(method.clone());
        bench.dirty(0..TAKEN, 2);
        shrink_past(bench.disk.hold(Op::Write.of("data")), &bench, other, &method);
        (0..TAKEN).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 2));
        bench.assert_at_rest();
    });
}

#[test]
fn c6_a_shrink_that_waits_for_a_hung_files_reads_leaves_frames_to_others() {
    with_each_method(|method| {
        let (bench, other) = bench(method.clone());
        bench.dirty(0..FEWER, 2);
        let _writes = bench.disk.hold(Op::Write.of("data"));
        let reads = bench.disk.hold(Op::Read.of("data"));
        let read = |block| {
            let fetch = bench.pool.fetch(bench.page(block));
            // The pin is released at once: only the disk stops the shrink.
            thread::spawn(move || assert_stamped(&fetch.wait().unwrap(), 1))
        };
        let reading: Vec<_> = (FEWER..TAKEN).map(read).collect();
        eventually("reads into frames that are to go", || bench.pool.stats().frames.reading == TAKEN - FEWER);
        shrink_past(reads, &bench, other, &method);
        reading.into_iter().for_each(|read| read.join().unwrap());
    });
}

/// Not under [`IoMethod::Sync`]: there the thread that shrinks the pool is in the write.
#[test]
fn c6_frames_that_the_disk_keeps_from_going_serve_again() {
    guarded(|| {
        for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
            let (bench, other) = bench_with(method.clone(), Duration::from_secs(60));
            bench.dirty(0..TAKEN, 2);
            thread::scope(|scope| {
                let page = bench.fetch(TAKEN - 1).unwrap();
                let guard = page.write().unwrap();
                let shrinking = scope.spawn(|| bench.pool.resize(FEWER).wait());
                let total = || bench.pool.stats().frames.total;
                eventually("frames out of service", || total() == FEWER);
                let gate = bench.disk.hold(Op::Write.of("data"));
                drop(guard);
                drop(page);
                gate.wait_for(1);
                eventually("frames in service again", || total() == FRAMES);
                read_others(&bench.pool, other, &method);
                assert!(!shrinking.is_finished(), "the disk still has a frame");
                gate.open();
                assert_eq!(shrinking.join().unwrap().unwrap().frames, FEWER);
            });
            (0..TAKEN).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 2));
        }
    });
}
