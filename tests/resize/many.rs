//! Calls for many pages that were let in while there were frames for all of them, in a pool that then has fewer.

use std::{thread, time::Duration};

use ringpool::{IoMethod, options::BackgroundWriter, pending::FetchMany, testing::Op};

use crate::support::{Bench, with_each_method};

const FRAMES: u32 = 8;
const FEWER: u32 = 4;

/// Longer than the pages take on a busy machine: a call that waits for as long was held up by the other.
const PATIENCE: Duration = Duration::from_secs(5);

type Outcome = ringpool::Result<usize>;

/// Has two calls for three pages each pin two of them, in all four frames that stay when the pool shrinks, and then go on.
fn shrink_under_two_calls(method: IoMethod, wait: fn(FetchMany) -> Outcome) {
    let bench = Bench::with(64, |builder| {
        let builder = builder.frames(FRAMES).frame_wait(PATIENCE);
        builder.background_writer(BackgroundWriter::Off).io_method(method)
    });
    let mut pins: Vec<_> = (0..FRAMES).map(|block| bench.fetch(block).unwrap()).collect();
    let gate = bench.disk.hold(Op::Read);
    thread::scope(|scope| {
        let mut call = |number: u32| {
            // The first page gets no frame: those that come first on disk do, and are being read.
            let wanted = [30, 10, 11].map(|block| bench.page(block + 10 * number));
            drop(pins.drain(..2));
            let pool = &bench.pool;
            let calling = scope.spawn(move || wait(pool.fetch_many(&wanted)));
            gate.wait_for(number as usize);
            calling
        };
        let calls = [call(1), call(2)];
        let shrinking = scope.spawn(|| bench.pool.resize(FEWER).wait());
        pins.clear();
        assert_eq!(shrinking.join().unwrap().unwrap().frames, FEWER);
        gate.open();
        for calling in calls {
            assert_eq!(calling.join().unwrap().map_err(|error| error.to_string()), Ok(3));
        }
    });
    bench.assert_at_rest();
}

#[test]
fn c6_calls_of_threads_that_were_let_in_do_not_keep_fewer_frames_from_each_other() {
    with_each_method(|method| shrink_under_two_calls(method, |many| many.wait().map(|pages| pages.len())));
}

#[test]
fn c6_calls_of_tasks_that_were_let_in_do_not_keep_fewer_frames_from_each_other() {
    with_each_method(|method| {
        shrink_under_two_calls(method, |many| pollster::block_on(many).map(|pages| pages.len()));
    });
}
