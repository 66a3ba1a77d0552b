//! C6: what all share, nobody has alone: the pages for sealed copies.

use std::{thread, time::Duration};

use ringpool::{IoMethod, OpenOptions, PageAddress, PageCodec, PageId, testing::Op};

use crate::support::{Bench, eventually, restamp, stamped_file, with_each_method};

struct Plain;

impl PageCodec for Plain {
    fn seal(&self, _: PageAddress, _: &mut [u8]) {}

    fn verify(&self, _: PageAddress, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// With a codec, whose copies have room that all files share.
#[test]
fn c6_a_file_whose_writes_do_not_come_back_leaves_room_for_copies_to_others() {
    with_each_method(|method| {
        const FRAMES: u32 = 64;
        let bench =
            Bench::with(FRAMES, |builder| builder.frames(FRAMES).codec(Plain).io_method(method.clone()));
        bench.disk.put("other", stamped_file(2 * FRAMES, 1));
        let other = bench.pool.open_file("other", OpenOptions::new().tag(1)).unwrap();
        // No two are neighbours: more requests than there is room for copies.
        bench.dirty((0..FRAMES).step_by(2), 2);
        let gate = bench.disk.hold(Op::Write.of("data"));
        thread::scope(|scope| {
            let stuck = scope.spawn(|| bench.pool.flush_file(bench.file).wait());
            gate.wait_for(1);
            if method != IoMethod::Sync {
                eventually("it has all copies that it gets", || bench.pool.stats().frames.writing >= 12);
            }
            let change = |block, version| {
                restamp(&bench.pool.fetch(PageId::new(other, block)).wait().unwrap(), version);
            };
            (0..8).for_each(|block| change(block, 2));
            let flushed = bench.pool.flush_file(other).wait_timeout(Duration::from_secs(30));
            assert_eq!(flushed.expect("it waits for the other file's writes").unwrap().pages_written, 8);
            // Misses that must write dirty pages of this file.
            (0..2 * FRAMES).for_each(|block| change(block, 3));
            gate.open();
            stuck.join().unwrap().unwrap();
        });
        bench.assert_at_rest();
    });
}
