//! C8: a change that is not in the log is reported, and is not written where that is refused.

use std::io;

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoMethod, Lsn, PageId, Shutdown, Wal, options::UnloggedChanges,
};

use crate::support::{Bench, PAGE, guarded, stamped, stamped_file, with_each_method};

/// A log that is durable as far as it is asked to be.
struct Log;

impl Wal for Log {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(u64::MAX)
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        Ok(up_to)
    }
}

fn bench(method: IoMethod, rule: UnloggedChanges) -> Bench {
    Bench::with(8, |builder| builder.frames(16).io_method(method).wal(Log).unlogged_changes(rule))
}

/// Changes the page to version 2, and states this LSN.
fn change(bench: &Bench, block: u32, lsn: Option<Lsn>) {
    let page = bench.fetch(block).unwrap();
    let mut bytes = page.write().unwrap();
    bytes.copy_from_slice(&stamped(block, 2));
    if let Some(lsn) = lsn {
        bytes.set_lsn(lsn);
    }
}

fn is_refused<T: std::fmt::Debug>(outcome: &Result<T, Error>, page: PageId) {
    assert!(
        matches!(outcome, Err(Error::UnloggedChange { page: named, .. }) if *named == page),
        "{outcome:?}"
    );
}

#[test]
fn c8_each_change_without_a_position_is_counted_in_a_pool_with_a_log() {
    guarded(|| {
        let bench = bench(IoMethod::Sync, UnloggedChanges::Count);
        let counted = || bench.pool.stats().counts.unlogged_changes;
        change(&bench, 0, Some(Lsn(5)));
        change(&bench, 1, Some(Lsn::UNLOGGED));
        drop(bench.fetch(2).unwrap().write().unwrap());
        assert_eq!(counted(), 0, "stated, stated to need none, and no change");
        change(&bench, 0, None);
        change(&bench, 3, None);
        let page = bench.fetch(4).unwrap();
        let mut bytes = page.write().unwrap();
        bytes[0] = 9;
        drop(bytes.downgrade());
        assert_eq!(counted(), 3);
        assert_eq!(bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap().pages_written, 4);
        let without_a_log = Bench::new(IoMethod::Sync, 4, 1);
        change(&without_a_log, 0, None);
        assert_eq!(without_a_log.pool.stats().counts.unlogged_changes, 0);
    });
}

#[test]
fn c8_a_page_that_is_changed_without_a_position_is_refused_until_its_image_is_logged() {
    with_each_method(|method| {
        let bench = bench(method, UnloggedChanges::Refuse);
        (0..4).for_each(|block| change(&bench, block, (block != 1).then_some(Lsn(5))));
        let checkpoint = || bench.pool.checkpoint(CheckpointOptions::new()).wait();
        is_refused(&checkpoint(), bench.page(1));
        let mut expected = stamped_file(4, 2);
        expected[PAGE..2 * PAGE].copy_from_slice(&stamped(1, 1));
        assert!(bench.durable()[..4 * PAGE] == expected, "the others are written, and this one is not");
        // A later change that is logged does not log the one before.
        change(&bench, 1, Some(Lsn(6)));
        is_refused(&bench.pool.flush(bench.page(1)).wait(), bench.page(1));
        is_refused(&bench.pool.evict(bench.page(1)).wait(), bench.page(1));
        is_refused(&bench.pool.close_file(bench.file).wait(), bench.page(1));
        assert!(*bench.fetch(1).unwrap().read() == stamped(1, 2), "it stays as it is");
        bench.fetch(1).unwrap().write().unwrap().set_image_lsn(Lsn(7));
        checkpoint().unwrap();
        assert!(bench.durable()[..4 * PAGE] == stamped_file(4, 2));
    });
}

#[test]
fn changes_that_are_refused_can_be_thrown_away() {
    guarded(|| {
        let bench = bench(IoMethod::Sync, UnloggedChanges::Refuse);
        (0..2).for_each(|block| change(&bench, block, None));
        bench.pool.truncate(bench.file, 1).wait().unwrap();
        is_refused(&bench.pool.flush_file(bench.file).wait(), bench.page(0));
        bench.pool.extend(bench.file, std::num::NonZeroU32::MIN).wait().unwrap();
        change(&bench, 1, Some(Lsn(8)));
        bench.pool.flush(bench.page(1)).wait().unwrap();
        let report = bench.into_pool().shutdown(Shutdown::Discard).unwrap();
        assert_eq!(report.pages_discarded, 1);
    });
}

#[test]
fn a_pool_without_a_log_cannot_refuse() {
    let refused = BufferPool::builder().frames(4).unlogged_changes(UnloggedChanges::Refuse).build();
    assert!(matches!(refused, Err(Error::Config(error)) if error.advice().contains("wal")));
}
