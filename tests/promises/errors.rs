//! What errors tell: the path of the file, what kind they are, and whether to try again.

use std::{num::NonZeroU32, path::Path, time::Duration};

use ringpool::{
    CheckpointOptions, Error, ErrorKind, IoMethod, Lsn, OpenOptions,
    options::UnloggedChanges,
    testing::{Fault, Op},
};

use crate::support::{Bench, EIO, stamped_file, with_each_method};

fn bench(method: IoMethod) -> Bench {
    Bench::with(8, |builder| builder.frames(16).io_method(method).frame_wait(Duration::from_millis(30)))
}

/// Asserts that the error is of this kind, and names the path of the file beside its number.
#[track_caller]
fn assert_tells<T>(result: Result<T, Error>, kind: ErrorKind, is_transient: bool) {
    let error = result.err().expect("an error");
    assert_eq!((error.kind(), error.is_transient()), (kind, is_transient), "{error}");
    assert_eq!(error.path(), Some(Path::new("data")), "{error}");
    assert!(error.to_string().contains("data (file 0)"), "{error}");
}

#[test]
fn an_error_of_a_transfer_names_the_path() {
    with_each_method(|method| {
        let bench = bench(method);
        bench.disk.inject(Fault::error(Op::Read, EIO).once());
        assert_tells(bench.fetch(7), ErrorKind::Io, false);
        bench.disk.inject(Fault::error(Op::Read, EIO).once());
        assert_tells(pollster::block_on(bench.pool.read(bench.page(7))), ErrorKind::Io, false);
        bench.dirty([2], 2);
        bench.disk.inject(Fault::error(Op::Write, EIO).once());
        assert_tells(bench.pool.flush(bench.page(2)).wait(), ErrorKind::Io, false);
    });
}

#[test]
fn an_error_of_a_page_that_cannot_be_had_or_let_go_names_the_path() {
    with_each_method(|method| {
        let bench = bench(method);
        assert_tells(bench.fetch(8), ErrorKind::OutOfRange, false);
        let page = bench.fetch(3).unwrap();
        assert_tells(bench.pool.truncate(bench.file, 2).wait(), ErrorKind::Busy, true);
        assert_tells(bench.pool.close_file(bench.file).wait(), ErrorKind::Busy, true);
        let mut bytes = page.write().unwrap();
        bytes[0] ^= 1;
        assert_tells(bench.pool.flush(bench.page(3)).wait(), ErrorKind::Busy, true);
    });
}

#[test]
fn a_file_that_cannot_be_trusted_is_named_by_its_path() {
    with_each_method(|method| {
        let bench = bench(method);
        let checkpoint = || bench.pool.checkpoint(CheckpointOptions::new()).wait();
        bench.dirty([2], 2);
        bench.disk.inject(Fault::error(Op::Sync, EIO).once());
        let first = checkpoint().unwrap_err();
        assert_eq!((first.kind(), first.is_transient()), (ErrorKind::Poisoned, false), "{first}");
        bench.dirty([2], 3);
        assert_tells(checkpoint(), ErrorKind::Poisoned, false);
    });
}

#[test]
fn a_file_that_is_only_read_is_named_by_its_path_whatever_would_change_it() {
    with_each_method(|method| {
        let mut bench = bench(method);
        bench.pool.close_file(bench.file).wait().unwrap();
        bench.file = bench.pool.open_file("data", OpenOptions::new().read_only(true)).unwrap();
        let told = |error: Error| {
            assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Conflict, false), "{error}");
            assert_eq!(error.path(), Some(Path::new("data")), "{error}");
            assert!(error.to_string().starts_with("data (file 1) is open for reading only"), "{error}");
        };
        let page = bench.fetch(1).unwrap();
        told(page.write().map(drop).unwrap_err());
        told(bench.pool.write(bench.page(1)).wait().map(drop).unwrap_err());
        told(bench.pool.overwrite(bench.page(1)).wait().map(drop).unwrap_err());
        told(bench.pool.overwrite(bench.page(2)).wait().map(drop).unwrap_err());
        told(bench.pool.extend(bench.file, NonZeroU32::MIN).wait().map(drop).unwrap_err());
    });
}

#[test]
fn a_change_that_the_log_was_not_told_of_is_named_with_its_path() {
    with_each_method(|method| {
        let bench = Bench::with(8, |builder| {
            builder.frames(16).io_method(method).wal(Durable).unlogged_changes(UnloggedChanges::Refuse)
        });
        bench.dirty([5], 2);
        assert_tells(bench.pool.flush(bench.page(5)).wait(), ErrorKind::Log, false);
    });
}

#[test]
fn two_files_that_cannot_be_open_at_once_are_both_named() {
    with_each_method(|method| {
        let bench = bench(method);
        bench.disk.put("other", stamped_file(1, 1));
        let error = bench.pool.open_file("data", OpenOptions::new()).unwrap_err();
        assert!(error.to_string().contains("data is open already as data (file 0)"), "{error}");
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Conflict, false));
    });
}

#[test]
fn a_number_alone_is_told_of_a_file_that_is_closed() {
    with_each_method(|method| {
        let bench = bench(method);
        bench.pool.close_file(bench.file).wait().unwrap();
        let error = bench.fetch(0).unwrap_err();
        assert!(error.to_string().starts_with("file 0 is not open"), "{error}");
        assert_eq!((error.kind(), error.path()), (ErrorKind::Closed, None));
    });
}

#[test]
fn c6_frames_that_cannot_be_had_are_told_with_counts() {
    with_each_method(|method| {
        let bench = Bench::with(8, |builder| {
            builder.frames(4).io_method(method).frame_wait(Duration::from_millis(30))
        });
        let pins: Vec<_> = (0..4).map(|block| bench.fetch(block).unwrap()).collect();
        let told = |refused: Error, all: u32| {
            let Error::AllPinned { frames, pinned, .. } = refused else { panic!("{refused}") };
            assert_eq!((frames, pinned), (4, all), "{refused}");
            assert!(refused.to_string().contains(&format!("of 4 frames {all} are pinned")), "{refused}");
            assert_eq!((refused.kind(), refused.is_transient()), (ErrorKind::NoFrame, true));
        };
        told(bench.fetch(4).unwrap_err(), 4);
        told(pollster::block_on(bench.pool.fetch(bench.page(4))).unwrap_err(), 4);
        told(bench.pool.fetch_many(&[4, 5].map(|block| bench.page(block))).wait().unwrap_err(), 4);
        drop(pins);
    });
}

/// A log that is durable as far as is asked.
struct Durable;

impl ringpool::Wal for Durable {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(u64::MAX)
    }

    fn flush(&self, up_to: Lsn) -> std::io::Result<Lsn> {
        Ok(up_to)
    }
}
