//! C4: a failed sync is sticky for its file. No later sync or checkpoint reports success until the file is opened anew,
//! since the system may have thrown away what it could not write, and then reports the next sync as a success.

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoMethod, IoOp, OpenOptions, PageId, Result, Shutdown,
    testing::{Fault, Op},
};

use crate::support::{Bench, EIO, PAGE, assert_stamped, restamp, stamped_file, with_each_method};

fn checkpoint(pool: &BufferPool) -> Result<()> {
    pool.checkpoint(CheckpointOptions::new()).wait().map(drop)
}

/// Makes a bench whose file has just failed to sync.
fn poisoned(method: IoMethod) -> Bench {
    let bench = Bench::new(method, 16, 8);
    bench.dirty(0..4, 2);
    bench.disk.inject(Fault::error(Op::Sync, EIO).once());
    match checkpoint(&bench.pool) {
        Err(Error::File { op: IoOp::Sync, path, source }) => {
            assert_eq!((path.to_str(), source.raw_os_error()), (Some("data"), Some(EIO)));
        }
        other => panic!("the sync was to fail: {other:?}"),
    }
    bench
}

#[track_caller]
fn assert_poisoned<T: std::fmt::Debug>(result: Result<T>, bench: &Bench) {
    match result {
        Err(ref error @ Error::SyncPoisoned { file, .. }) => {
            assert_eq!((file, error.raw_os_error()), (bench.file, Some(EIO)));
            assert!(
                error.to_string().contains("close it, open it again and recover from the log"),
                "{error}"
            );
        }
        other => panic!("to be refused for ever: {other:?}"),
    }
}

#[test]
fn c4_failed_sync_is_sticky() {
    with_each_method(|method| {
        let bench = poisoned(method);
        for round in 0..3 {
            assert_poisoned(bench.pool.sync_file(bench.file).wait(), &bench);
            assert_poisoned(pollster::block_on(bench.pool.sync_file(bench.file)), &bench);
            assert_poisoned(checkpoint(&bench.pool), &bench);
            bench.dirty([round], 3);
        }
        assert_eq!(bench.disk.count(Op::Sync), 1, "a second one would have reported success");
        assert!(
            bench.durable()[..4 * PAGE] != stamped_file(4, 2),
            "some of it is lost, and no call reported it"
        );
    });
}

#[test]
fn c4_opening_anew_is_the_way_on() {
    with_each_method(|method| {
        let bench = poisoned(method);
        bench.dirty([7], 3);
        assert_poisoned(bench.pool.close_file(bench.file).wait(), &bench);
        // It is closed all the same.
        assert!(matches!(bench.fetch(0), Err(Error::NotOpen { .. })));
        assert!(matches!(bench.pool.close_file(bench.file).wait(), Err(Error::NotOpen { .. })));
        let file = bench.pool.open_file("data", OpenOptions::new()).unwrap();
        let page = bench.pool.fetch(PageId::new(file, 1)).wait().unwrap();
        restamp(&page, 4);
        checkpoint(&bench.pool).unwrap();
        assert!(bench.durable()[8192..16384] == crate::support::stamped(1, 4));
    });
}

#[test]
fn c4_other_files_go_on() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.disk.put("other", stamped_file(4, 1));
        let other = bench.pool.open_file("other", OpenOptions::new()).unwrap();
        let change_other = |version| {
            (0..4).for_each(|block| {
                restamp(&bench.pool.fetch(PageId::new(other, block)).wait().unwrap(), version);
            });
        };
        bench.dirty(0..4, 2);
        change_other(2);
        bench.disk.inject(Fault::error(Op::Sync.of("data"), EIO).once());
        assert!(matches!(checkpoint(&bench.pool), Err(Error::File { op: IoOp::Sync, .. })));
        assert!(
            bench.disk.durable_image("other").unwrap() == stamped_file(4, 2),
            "the checkpoint synced it all the same"
        );
        change_other(3);
        assert_poisoned(checkpoint(&bench.pool), &bench);
        assert!(bench.disk.durable_image("other").unwrap() == stamped_file(4, 3));
        change_other(4);
        assert_eq!(bench.pool.flush_file(other).wait().unwrap().pages_written, 4);
        assert!(bench.pool.sync_file(other).wait().unwrap());
        bench.pool.close_file(other).wait().unwrap();
        assert!(bench.disk.durable_image("other").unwrap() == stamped_file(4, 4));
    });
}

#[test]
fn c4_a_close_whose_own_sync_fails_leaves_the_file_open_and_the_next_one_ends_it() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.dirty([3], 2);
        bench.disk.inject(Fault::error(Op::Sync, EIO).once());
        assert!(matches!(bench.pool.close_file(bench.file).wait(), Err(Error::File { op: IoOp::Sync, .. })));
        assert_eq!(bench.pool.blocks(bench.file).unwrap(), 8);
        assert_poisoned(bench.pool.close_file(bench.file).wait(), &bench);
        assert!(matches!(bench.pool.blocks(bench.file), Err(Error::NotOpen { .. })));
    });
}

#[test]
fn c4_a_shutdown_does_not_hide_it_and_hands_the_pool_back() {
    with_each_method(|method| {
        let bench = poisoned(method);
        let refused = bench.pool.clone().shutdown(Shutdown::Flush).unwrap_err();
        let (pool, error) = refused.into_parts();
        assert_poisoned(Err::<(), _>(error), &bench);
        assert_eq!(pool.blocks(bench.file).unwrap(), 8);
        pool.shutdown(Shutdown::Discard).unwrap();
        assert!(matches!(bench.pool.sync_file(bench.file).wait(), Err(Error::ShutDown)));
    });
}

#[test]
fn c4_a_checkpoint_covers_what_a_killed_process_had_written() {
    with_each_method(|method| {
        let before = Bench::new(method.clone(), 16, 8);
        before.dirty(0..8, 2);
        before.pool.flush_file(before.file).wait().unwrap();
        let disk = before.disk.after_kill(0);
        let pool = BufferPool::builder().frames(16).io_method(method).storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        // An engine that recovers finds the page as new as its log, does nothing to it, and takes a checkpoint.
        assert_stamped(&pool.fetch(PageId::new(file, 3)).wait().unwrap(), 2);
        checkpoint(&pool).unwrap();
        assert!(disk.durable_image("data").unwrap() == stamped_file(8, 2));
    });
}
