//! A file that is being closed: while a close waits for the last pins, no operation gets a new pin, no change is forgotten, and a
//! close that fails leaves everything as it was.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    num::NonZeroU32,
    thread::{self, JoinHandle},
    time::Duration,
};

use ringpool::{
    CheckpointOptions, Error, IoMethod, OpenOptions, PageId, Result,
    testing::{Fault, Op},
};
use support::{
    Bench, EIO, PAGE, assert_stamped, eventually, restamp, stamped, stamped_file, with_each_method,
};

/// How long a close waits for pins: long enough to look at it meanwhile.
const PIN_WAIT: Duration = Duration::from_secs(2);

fn bench(method: IoMethod) -> Bench {
    Bench::with(8, |builder| builder.frames(16).frame_wait(PIN_WAIT).io_method(method))
}

/// Starts to close the file.
fn start_closing(bench: &Bench) -> JoinHandle<Result<()>> {
    let (pool, file) = (bench.pool.clone(), bench.file);
    thread::spawn(move || pool.close_file(file).wait())
}

/// Starts a close in another thread, and returns when the file's id is not valid any more.
fn close_apart(bench: &Bench) -> JoinHandle<Result<()>> {
    let closing = start_closing(bench);
    eventually("on its way out", || bench.pool.blocks(bench.file).is_err());
    closing
}

#[test]
fn c1_a_file_that_is_being_closed_is_not_opened_a_second_time() {
    with_each_method(|method| {
        let bench = bench(method);
        let pinned = bench.fetch(3).unwrap();
        let closing = close_apart(&bench);
        let opened = bench.pool.open_file("data", OpenOptions::new());
        assert!(matches!(opened, Err(Error::AlreadyOpen { .. })), "two ids for one file: {opened:?}");
        assert!(matches!(closing.join().unwrap(), Err(Error::Pinned { .. })));
        assert_stamped(&pinned, 1);
        drop(pinned);
        bench.pool.close_file(bench.file).wait().unwrap();
        bench.pool.open_file("data", OpenOptions::new()).unwrap();
    });
}

#[test]
fn c3_a_checkpoint_writes_what_was_changed_while_its_file_was_being_closed() {
    with_each_method(|method| {
        let bench = bench(method);
        let pinned = bench.fetch(3).unwrap();
        let closing = close_apart(&bench);
        restamp(&pinned, 2);
        let report = bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert_eq!((report.pages_written, report.files_synced), (1, 1));
        assert!(bench.durable()[3 * PAGE..4 * PAGE] == stamped(3, 2), "reported, and not on disk");
        assert!(matches!(closing.join().unwrap(), Err(Error::Pinned { .. })));
        assert_eq!(bench.pool.blocks(bench.file).unwrap(), 8);
    });
}

#[test]
fn c3_a_page_that_is_changed_while_its_file_is_being_closed_stays_with_the_file() {
    with_each_method(|method| {
        let bench = bench(method);
        let pinned = bench.fetch(3).unwrap();
        let closing = close_apart(&bench);
        restamp(&pinned, 2);
        drop(pinned);
        let refused = closing.join().unwrap();
        assert!(matches!(refused, Err(Error::Pinned { page, .. }) if page == bench.page(3)), "{refused:?}");
        assert_stamped(&bench.fetch(3).unwrap(), 2);
        bench.pool.close_file(bench.file).wait().unwrap();
        assert!(bench.durable()[3 * PAGE..4 * PAGE] == stamped(3, 2));
    });
}

#[test]
fn c3_a_call_that_waits_to_change_the_length_of_a_file_finds_it_closed() {
    with_each_method(|method| {
        let bench = bench(method);
        bench.dirty([3], 2);
        let gate = bench.disk.hold(Op::Sync);
        let closing = start_closing(&bench);
        gate.wait_for(1);
        let late = [false, true].map(|grows| {
            let (pool, file) = (bench.pool.clone(), bench.file);
            thread::spawn(move || match NonZeroU32::new(4) {
                Some(more) if grows => pool.extend(file, more).wait().map(drop),
                _ => pool.truncate(file, 2).wait(),
            })
        });
        let again = start_closing(&bench);
        // Until they wait for the close; one that does not wait yet finds the file closed in any case.
        thread::sleep(Duration::from_millis(50));
        gate.open();
        closing.join().unwrap().unwrap();
        for refused in late.into_iter().chain([again]) {
            let refused = refused.join().unwrap();
            assert!(matches!(refused, Err(Error::NotOpen { .. })), "{refused:?}");
        }
        assert_eq!(bench.durable().len(), 8 * PAGE);
    });
}

/// It would never be synced: a later checkpoint does not know the file any more.
#[test]
fn c3_what_is_written_behind_the_sync_of_a_close_is_synced_too() {
    with_each_method(|method| {
        let bench = bench(method);
        bench.dirty([3], 2);
        let gate = bench.disk.hold(Op::Sync);
        let closing = start_closing(&bench);
        gate.wait_for(1);
        bench.dirty([5], 2);
        bench.pool.flush(bench.page(5)).wait().unwrap();
        gate.open();
        closing.join().unwrap().unwrap();
        assert!(bench.durable()[5 * PAGE..6 * PAGE] == stamped(5, 2));
    });
}

/// The checkpoint has written pages of that file, and cannot report that they are durable.
#[test]
fn c4_a_checkpoint_tells_of_a_file_that_was_closed_poisoned_meanwhile() {
    with_each_method(|method| {
        let bench = bench(method);
        bench.disk.put("other", stamped_file(2, 1));
        let other = bench.pool.open_file("other", OpenOptions::new()).unwrap();
        bench.dirty([3], 2);
        restamp(&bench.pool.fetch(PageId::new(other, 0)).wait().unwrap(), 2);
        let gate = bench.disk.hold(Op::Write.of("other"));
        let checkpoint = {
            let pool = bench.pool.clone();
            thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait())
        };
        gate.wait_for(1);
        bench.disk.inject(Fault::error(Op::Sync.of("data"), EIO).once());
        bench.pool.sync_file(bench.file).wait().unwrap_err();
        let closed = bench.pool.close_file(bench.file).wait();
        assert!(matches!(closed, Err(Error::SyncPoisoned { .. })), "{closed:?}");
        gate.open();
        let told = checkpoint.join().unwrap();
        assert!(matches!(told, Err(Error::SyncPoisoned { file, .. }) if file == bench.file), "{told:?}");
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    });
}

#[test]
fn c3_what_is_changed_while_a_close_waits_for_an_extension_is_written() {
    with_each_method(|method| {
        let bench = bench(method);
        let gate = bench.disk.hold(Op::Resize);
        let (pool, file) = (bench.pool.clone(), bench.file);
        let extending = thread::spawn(move || pool.extend(file, NonZeroU32::MIN).wait());
        gate.wait_for(1);
        let closing = start_closing(&bench);
        // Until it has written what there was, which is nothing, and waits; where it does not wait yet it writes this before.
        thread::sleep(Duration::from_millis(20));
        bench.dirty([3], 2);
        gate.open();
        extending.join().unwrap().unwrap();
        closing.join().unwrap().unwrap();
        assert!(bench.durable()[3 * PAGE..4 * PAGE] == stamped(3, 2));
    });
}

/// Otherwise the closing thread would wait for the thread that changes the page, and that thread for the close.
#[test]
fn c6_a_thread_that_changes_a_page_can_extend_its_file_while_a_close_waits_for_it() {
    with_each_method(|method| {
        let bench = bench(method);
        let page = bench.fetch(3).unwrap();
        let mut changing = page.write().unwrap();
        changing.copy_from_slice(&stamped(3, 2));
        let closing = start_closing(&bench);
        // Until it waits for the page; where it does not wait yet, it cannot hold up the extension.
        thread::sleep(Duration::from_millis(20));
        let (pool, file) = (bench.pool.clone(), bench.file);
        let extending = thread::spawn(move || pool.extend(file, NonZeroU32::MIN).wait());
        eventually("extended", || extending.is_finished());
        extending.join().unwrap().unwrap();
        drop(changing);
        drop(page);
        closing.join().unwrap().unwrap();
        assert!(bench.durable()[3 * PAGE..4 * PAGE] == stamped(3, 2));
    });
}
