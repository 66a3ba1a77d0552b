//! An error is handed out in the place of its page, and no other page is lost. After PostgreSQL's `test_aio`.

use std::time::Duration;

use ringpool::{
    BlockNo, Error, IoMethod, IoOp, PageAddress, PageCodec, StreamOptions,
    testing::{Fault, Op},
};

use crate::{
    assert_nothing_held, reads,
    support::{Bench, EIO, PAGE, assert_stamped, guarded, stamped_file, with_each_method},
};

const BLOCKS: u32 = 64;

/// Returns what a stream gives for each block: itself, or the error's text.
fn outcomes(bench: &Bench, blocks: impl IntoIterator<Item = u32>) -> Vec<Result<u32, Error>> {
    let stream = bench.pool.read_stream(bench.file.pages(blocks), StreamOptions::new());
    let checked = stream.map(|page| {
        page.map(|page| {
            assert_stamped(&page, 1);
            page.id().block.0
        })
    });
    checked.collect()
}

/// Returns the blocks that failed to be read, as their errors name them.
fn failed(outcomes: &[Result<u32, Error>]) -> Vec<u32> {
    let failed = outcomes.iter().enumerate().filter_map(|(at, outcome)| match outcome {
        Ok(block) => {
            assert_eq!(*block, at as u32);
            None
        }
        Err(
            Error::Io { op: IoOp::Read, page, .. }
            | Error::Corrupt { page, .. }
            | Error::PastEof { page, .. },
        ) => {
            assert_eq!(page.block.0, at as u32, "the error names its block, at its place");
            Some(at as u32)
        }
        Err(error) => panic!("{error}"),
    });
    failed.collect()
}

#[test]
fn a_hard_error_once_in_a_combined_read_costs_no_caller_its_page() {
    with_each_method(|method| {
        for nth in 1..8 {
            let bench = Bench::new(method.clone(), 256, BLOCKS);
            bench.disk.inject(Fault::error(Op::Read, EIO).nth(nth));
            let outcomes = outcomes(&bench, 0..BLOCKS);
            // The first read is that of a page by itself, which is final.
            let expected = if nth == 1 { vec![0] } else { vec![] };
            assert_eq!(failed(&outcomes), expected, "read {nth} fails");
            assert_nothing_held(&bench);
        }
    });
}

#[test]
fn a_bad_sector_fails_its_own_page_only_and_reading_succeeds_once_it_is_mended() {
    with_each_method(|method| {
        let (bench, page) = (Bench::new(method, 256, BLOCKS), PAGE as u64);
        bench.disk.inject(Fault::error(Op::Read, EIO).touching(21 * page..22 * page));
        assert_eq!(failed(&outcomes(&bench, 0..BLOCKS)), [21]);
        assert_nothing_held(&bench);
        bench.disk.heal();
        assert_eq!(failed(&outcomes(&bench, 0..BLOCKS)), []);
    });
}

#[test]
fn short_reads_of_less_than_a_block_and_of_some_blocks_are_finished() {
    with_each_method(|method| {
        for bytes in [512, PAGE - 512, PAGE, 2 * PAGE, 3 * PAGE + 512] {
            let bench = Bench::new(method.clone(), 256, BLOCKS);
            bench.disk.inject(Fault::short(Op::Read, bytes));
            assert_eq!(failed(&outcomes(&bench, 0..BLOCKS)), [], "at most {bytes} bytes at a time");
            assert_nothing_held(&bench);
        }
    });
}

/// Refuses a page whose first byte is 0xBD.
struct Picky;

impl PageCodec for Picky {
    fn seal(&self, _: PageAddress, _: &mut [u8]) {}

    fn open(&self, _: PageAddress, page: &mut [u8]) -> Result<(), String> {
        if page[0] == 0xBD { Err("bad".into()) } else { Ok(()) }
    }
}

#[test]
fn a_bad_page_in_a_shortened_read_is_the_only_one_that_is_refused() {
    with_each_method(|method| {
        for bad in [0, 1, 5, 40] {
            let bench =
                Bench::with(BLOCKS, |builder| builder.frames(256).io_method(method.clone()).codec(Picky));
            let mut image = stamped_file(BLOCKS, 1);
            image[bad as usize * PAGE] = 0xBD;
            bench.disk.put("data", image);
            bench.disk.inject(Fault::short(Op::Read, 2 * PAGE));
            assert_eq!(failed(&outcomes(&bench, 0..BLOCKS)), [bad]);
            assert_nothing_held(&bench);
        }
    });
}

#[test]
fn blocks_behind_the_end_give_an_error_each() {
    with_each_method(|method| {
        let bench = Bench::new(method, 256, BLOCKS);
        let behind: Vec<_> = (BLOCKS..BLOCKS + 20).collect();
        assert_eq!(failed(&outcomes(&bench, 0..BLOCKS + 20)), behind);
        assert_nothing_held(&bench);
    });
}

#[test]
fn a_file_that_is_cut_by_another_program_gives_what_is_there() {
    with_each_method(|method| {
        let bench = Bench::new(method, 256, BLOCKS);
        bench.disk.put("data", stamped_file(30, 1));
        assert_eq!(failed(&outcomes(&bench, 0..BLOCKS)), (30..BLOCKS).collect::<Vec<_>>());
        assert_nothing_held(&bench);
    });
}

#[test]
fn a_file_that_is_cut_or_closed_meanwhile_gives_errors_from_there_on() {
    with_each_method(|method| {
        for cut in [true, false] {
            let bench = Bench::new(method.clone(), 256, BLOCKS);
            let options = StreamOptions::new().look_ahead_pages(4);
            let mut stream = bench.pool.read_stream(bench.file.pages(0..BLOCKS), options);
            stream.by_ref().take(10).for_each(|page| assert_stamped(&page.unwrap(), 1));
            // What it holds in advance must be released first.
            stream.pause();
            stream.by_ref().for_each(|page| assert_stamped(&page.unwrap(), 1));
            if cut {
                bench.pool.truncate(bench.file, 3).wait().unwrap();
            } else {
                bench.pool.close_file(bench.file).wait().unwrap();
            }
            stream.resume();
            let mut errors = 0;
            for page in stream {
                match page.unwrap_err() {
                    Error::PastEof { blocks: 3, .. } if cut => errors += 1,
                    Error::NotOpen { .. } if !cut => errors += 1,
                    error => panic!("{error}"),
                }
            }
            assert!((40..BLOCKS).contains(&errors), "{errors}");
            assert_nothing_held(&bench);
        }
    });
}

#[test]
fn what_a_stream_holds_cannot_be_cut_away() {
    guarded(|| {
        let bench = Bench::with(BLOCKS, |builder| {
            builder.frames(256).io_method(IoMethod::worker()).frame_wait(Duration::from_millis(50))
        });
        let mut stream = bench.pool.read_stream(bench.file.pages(0..BLOCKS), StreamOptions::new());
        stream.by_ref().take(5).for_each(|page| drop(page.unwrap()));
        let held = stream.distance();
        assert!(held > 1);
        assert!(matches!(bench.pool.truncate(bench.file, 0).wait(), Err(Error::Pinned { .. })));
        drop(stream);
        bench.pool.truncate(bench.file, 0).wait().unwrap();
        assert!(reads(&bench).len() < BLOCKS as usize);
        assert_eq!(bench.pool.blocks(bench.file).unwrap(), BlockNo(0).0);
    });
}
