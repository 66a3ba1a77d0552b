//! Pages that are overwritten without being read (`BufferPool::overwrite`).

use std::{
    mem,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use ringpool::{
    CheckpointOptions, Crc32c, Error, IoMethod, Lsn, OpenOptions, PageAddress, PageCodec, Wal, testing::Op,
};

use crate::support::{Bench, PAGE, assert_at_rest, eventually, guarded, stamped, with_each_method};

const BLOCKS: u32 = 8;
const BODY: usize = PAGE - Crc32c::TRAILER;

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Makes a bench with a codec, and a file whose pages it refuses.
fn damaged(method: IoMethod) -> Bench {
    let mut bench = Bench::with(1, |builder| builder.frames(4).io_method(method).codec(Crc32c));
    bench.disk.put("damaged", vec![0xdb; BLOCKS as usize * PAGE]);
    bench.file = bench.pool.open_file("damaged", OpenOptions::new().tag(7)).unwrap();
    bench
}

#[test]
fn c9_a_page_that_the_codec_refuses_can_be_overwritten() {
    with_each_method(|method| {
        let bench = damaged(method);
        for block in 0..BLOCKS {
            assert!(matches!(bench.fetch(block), Err(Error::Corrupt { .. })));
            let mut guard = bench.pool.overwrite(bench.page(block)).wait().unwrap();
            assert!(is_zero(&guard));
            guard[..BODY].copy_from_slice(&stamped(block, 2)[..BODY]);
        }
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        for block in 0..BLOCKS {
            bench.pool.evict(bench.page(block)).wait().unwrap();
            assert_eq!(bench.fetch(block).unwrap().read()[..BODY], stamped(block, 2)[..BODY]);
        }
        let mut sealed = stamped(3, 2);
        Crc32c.seal(PageAddress::new(7, 3), &mut sealed);
        assert!(bench.disk.image("damaged").unwrap()[3 * PAGE..4 * PAGE] == sealed);
        bench.assert_at_rest();
    });
}

#[test]
fn c9_a_page_that_was_read_and_not_verified_is_overwritten_without_a_look_at_it() {
    with_each_method(|method| {
        let bench = damaged(method);
        bench.pool.prefetch(bench.file.pages([3]));
        eventually("the read is over", || bench.pool.in_flight().is_empty());
        let guard = bench.pool.overwrite(bench.page(3)).wait().unwrap();
        assert!(is_zero(&guard));
        drop(guard);
        assert!(is_zero(&bench.pool.read(bench.page(3)).wait().unwrap()));
        bench.assert_at_rest();
    });
}

#[test]
fn c1_a_page_that_is_read_only_is_not_overwritten_whatever_its_state() {
    with_each_method(|method| {
        let mut bench = Bench::with(1, |builder| builder.frames(4).io_method(method).codec(Crc32c));
        bench.disk.put("damaged", vec![0xdb; PAGE]);
        bench.file = bench.pool.open_file("damaged", OpenOptions::new().tag(7).read_only(true)).unwrap();
        let (pool, page) = (&bench.pool, bench.page(0));
        assert!(matches!(pool.overwrite(page).wait(), Err(Error::ReadOnly { .. })), "absent");
        pool.prefetch(bench.file.pages([0]));
        eventually("the read is over", || pool.in_flight().is_empty());
        assert!(matches!(pool.overwrite(page).wait(), Err(Error::ReadOnly { .. })), "not verified");
        assert_eq!(pool.stats().frames.dirty, 0);
        bench.assert_at_rest();
    });
}

/// Overwrites without a read, and without a moment in which another thread sees the zeros.
#[test]
fn c1_no_other_thread_sees_an_overwritten_page_before_its_guard_ends() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, BLOCKS);
        let (pool, page) = (&bench.pool, bench.page(3));
        let reads = bench.disk.hold(Op::Read);
        let mut guard = pollster::block_on(pool.overwrite(page)).unwrap();
        let pinned = pool.fetch(page).now().unwrap();
        let is_seen = pinned.try_read().is_some() || pool.read(page).now().is_some();
        if is_seen {
            // Its end would panic, too.
            mem::forget(guard);
            panic!("the zeros are seen");
        }
        assert!(is_zero(&guard));
        guard.copy_from_slice(&stamped(3, 2));
        drop(guard);
        assert_eq!(&*pinned.read(), &*stamped(3, 2));
        assert_eq!((pool.stats().counts.pages_read, pool.stats().frames.dirty), (0, 1));
        reads.open();
        drop(pinned);
        bench.assert_at_rest();
    });
}

#[test]
fn c4_an_overwritten_page_is_dirty_whether_it_was_touched_or_not() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, BLOCKS);
        drop(bench.fetch(1).unwrap());
        for block in [0, 1] {
            drop(bench.pool.overwrite(bench.page(block)).wait().unwrap());
        }
        assert_eq!(bench.pool.stats().frames.dirty, 2);
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert!(is_zero(&bench.disk.image("data").unwrap()[..2 * PAGE]));
        bench.assert_at_rest();
    });
}

/// The read of another caller goes on, and that caller gets the page; a read that fails is that caller's error alone.
#[test]
fn c2_a_page_that_another_thread_reads_is_overwritten_when_that_read_is_over() {
    // Under `sync` the reader's thread reads, and the reader is a task of this one.
    with_each_method(|method| {
        if method == IoMethod::Sync {
            return;
        }
        let bench = Bench::new(method, 4, BLOCKS);
        let (pool, page) = (&bench.pool, bench.page(3));
        let reads = bench.disk.hold(Op::Read);
        thread::scope(|scope| {
            let reader = scope.spawn(|| pollster::block_on(pool.fetch(page)).unwrap());
            reads.wait_for(1);
            let waited = pool.overwrite(page).wait_timeout(Duration::from_millis(5));
            let overwriting = waited.expect_err("the page is being read");
            drop(pool.overwrite(page).wait_timeout(Duration::ZERO));
            let writer = scope.spawn(move || {
                overwriting.wait().unwrap().copy_from_slice(&stamped(3, 2));
            });
            reads.open();
            writer.join().unwrap();
            assert_eq!(&*reader.join().unwrap().read(), &*stamped(3, 2));
        });
        bench.assert_at_rest();
    });
}

#[test]
fn c6_an_overwrite_that_cannot_be_is_an_error_in_time() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 2, BLOCKS);
        let overwrite =
            |block| bench.pool.overwrite(bench.page(block)).frame_wait(Duration::from_millis(20)).wait();
        assert!(matches!(overwrite(BLOCKS), Err(Error::PastEof { .. })));
        let pins = [0, 1].map(|block| bench.fetch(block).unwrap());
        assert!(matches!(overwrite(2), Err(Error::AllPinned { .. })));
        drop(pins);
        drop(overwrite(2).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, stamped(0, 1)).unwrap();
        let pool = ringpool::BufferPool::builder().page_size(PAGE as u32).frames(2).build().unwrap();
        let file = pool.open_file(&path, OpenOptions::new().read_only(true)).unwrap();
        let page = ringpool::PageId::new(file, 0);
        for _ in ["absent", "here"] {
            assert!(matches!(pool.overwrite(page).wait(), Err(Error::ReadOnly { .. })));
            assert_eq!(&*pool.read(page).wait().unwrap(), &*stamped(0, 1));
        }
        pool.close_file(file).wait().unwrap();
        assert!(matches!(pool.overwrite(page).wait(), Err(Error::NotOpen { .. })));
        bench.assert_at_rest();
    });
}

#[test]
fn c8_an_overwritten_page_waits_for_the_log_as_others_do() {
    with_each_method(|method| {
        let log = Log::default();
        let asked = Arc::clone(&log.0);
        let bench = Bench::with(BLOCKS, |builder| builder.frames(2).io_method(method).wal(log));
        let mut guard = bench.pool.overwrite(bench.page(1)).wait().unwrap();
        guard.set_image_lsn(Lsn(5)..Lsn(11));
        assert_eq!(guard.downgrade().lsn(), Lsn(11));
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert_eq!(*asked.lock().unwrap(), [Lsn(11)]);
        bench.assert_at_rest();
    });
}

/// A log that notes what it is asked for.
#[derive(Default)]
struct Log(Arc<Mutex<Vec<Lsn>>>);

impl Wal for Log {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(0)
    }

    fn flush(&self, up_to: Lsn) -> std::io::Result<Lsn> {
        self.0.lock().unwrap().push(up_to);
        Ok(up_to)
    }
}

/// A cut goes on beside overwrites of the pages behind it: none of them comes back.
#[test]
fn c1_a_page_that_is_cut_off_while_it_is_overwritten_is_gone() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, BLOCKS);
        let (pool, file) = (&bench.pool, bench.file);
        thread::scope(|scope| {
            let cutting = scope.spawn(|| {
                for _ in 0..50 {
                    pool.truncate(file, 4).wait().unwrap();
                    assert!(pool.fetch(bench.page(6)).now().is_none());
                    pool.extend(file, NonZeroU32::new(4).unwrap()).wait().unwrap();
                }
            });
            while !cutting.is_finished() {
                match pool.overwrite(bench.page(6)).wait() {
                    Ok(mut guard) => guard[0] = 1,
                    Err(Error::PastEof { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            cutting.join().unwrap();
        });
        assert_at_rest(pool);
    });
}
