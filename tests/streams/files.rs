//! Streams and prefetches of pages of several files.

use std::time::Duration;

use ringpool::{
    BufferPool, Error, FileId, IoMethod, OpenOptions, PageId, StreamOptions,
    testing::{Fault, Op},
};

use crate::{
    assert_nothing_held,
    support::{Bench, assert_stamped, eventually, guarded, methods, stamped_file, with_each_method},
};

const BLOCKS: u32 = 64;

/// Makes a bench with a second file, whose pages have version 2.
fn two_files(method: IoMethod, frames: u32) -> (Bench, FileId) {
    let bench = Bench::new(method, frames, BLOCKS);
    bench.disk.put("other", stamped_file(BLOCKS, 2));
    let other = bench.pool.open_file("other", OpenOptions::new()).unwrap();
    (bench, other)
}

/// Returns the pages of both files by turns.
fn by_turns(files: [FileId; 2]) -> impl Iterator<Item = PageId> {
    (0..BLOCKS).flat_map(move |block| files.map(|file| PageId::new(file, block)))
}

/// Returns how many pages a prefetch of the file's first blocks can start.
fn places_of(pool: &BufferPool, file: FileId) -> u32 {
    let started = pool.prefetch(file.pages(0..BLOCKS)).started;
    eventually("the pages are here", || pool.stats().frames.in_flight() == 0);
    (0..BLOCKS).for_each(|block| _ = pool.evict(PageId::new(file, block)).wait().unwrap());
    started
}

#[test]
fn pages_of_several_files_come_in_the_order_in_which_they_were_asked_for() {
    with_each_method(|method| {
        let (bench, other) = two_files(method, 64);
        let mut asked = by_turns([bench.file, other]);
        for page in bench.pool.read_stream(by_turns([bench.file, other]), StreamOptions::new()) {
            let page = page.unwrap();
            assert_eq!(Some(page.id()), asked.next());
            assert_stamped(&page, if page.id().file == other { 2 } else { 1 });
        }
        assert_eq!(asked.next(), None);
        assert_nothing_held(&bench);
    });
}

#[test]
fn neighbours_become_one_request_though_pages_of_another_file_stand_between_them() {
    with_each_method(|method| {
        let (bench, other) = two_files(method, 256);
        let pages = bench.pool.read_stream(by_turns([bench.file, other]), StreamOptions::new());
        assert_eq!(pages.filter(Result::is_ok).count() as u32, 2 * BLOCKS);
        let reads = bench.disk.count(Op::Read) as u32;
        assert!(reads <= BLOCKS, "{reads} reads for {} pages", 2 * BLOCKS);
        assert_nothing_held(&bench);
    });
}

#[test]
fn c6_each_file_has_its_places_back_after_a_stream_of_both() {
    with_each_method(|method| {
        let (bench, other) = two_files(method, 32);
        let places = [bench.file, other].map(|file| places_of(&bench.pool, file));
        assert!(places.iter().all(|&places| places > 0), "{places:?}");
        for pages in [3, 20, 2 * BLOCKS as usize] {
            let stream = bench.pool.read_stream(by_turns([bench.file, other]), StreamOptions::new());
            assert_eq!(stream.take(pages).filter(Result::is_ok).count(), pages);
            assert_nothing_held(&bench);
            [bench.file, other].into_iter().flat_map(|file| file.pages(0..BLOCKS)).for_each(|page| {
                bench.pool.evict(page).wait().unwrap();
            });
            assert_eq!([bench.file, other].map(|file| places_of(&bench.pool, file)), places);
        }
    });
}

#[test]
fn pages_of_a_file_that_is_not_open_are_errors_at_their_places() {
    with_each_method(|method| {
        let (bench, other) = two_files(method, 64);
        bench.pool.close_file(other).wait().unwrap();
        let pages = bench.pool.read_stream(by_turns([bench.file, other]), StreamOptions::new());
        for (page, id) in pages.zip(by_turns([bench.file, other])) {
            match page {
                Ok(page) => assert_eq!((page.id(), id.file), (id, bench.file)),
                Err(Error::NotOpen { file, .. }) => assert_eq!((file, id.file), (other, other)),
                Err(error) => panic!("{error}"),
            }
        }
        let ahead = bench.pool.prefetch(by_turns([bench.file, other]).take(8));
        assert_eq!((ahead.started + ahead.already, ahead.declined), (4, 4));
        assert_nothing_held(&bench);
    });
}

/// A stream that waits lets some more pages arrive than the one it needs, but not of a file that may not answer.
#[test]
fn c6_a_stream_waits_for_no_file_but_that_of_the_page_whose_turn_it_is() {
    for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
        let (bench, other) = two_files(method, 256);
        // So that the stream looks far ahead, and has its next page in flight whenever it waits.
        bench.disk.inject(Fault::delay(Op::Read.of("data"), Duration::from_millis(2)));
        let never = bench.disk.hold(Op::Read.of("other"));
        // No two are neighbours.
        let blocks = || (0..BLOCKS).step_by(2);
        let pages = bench.file.pages(blocks()).chain(other.pages(blocks()));
        let mut stream = bench.pool.read_stream(pages, StreamOptions::new());
        assert_eq!(stream.by_ref().take(blocks().count()).filter(Result::is_ok).count(), blocks().count());
        never.open();
        assert_eq!(stream.filter(Result::is_ok).count(), blocks().count());
        assert_nothing_held(&bench);
    }
}

#[test]
fn c6_a_file_that_does_not_answer_stops_no_prefetch_of_another_in_the_same_call() {
    guarded(|| {
        let (bench, other) = two_files(IoMethod::worker(), 64);
        let gate = bench.disk.hold(Op::Read.of("data"));
        let ahead = bench.pool.prefetch(bench.file.pages(0..BLOCKS).chain(other.pages(0..4)));
        assert!(ahead.started > 4 && ahead.declined > 0, "{ahead:?}");
        let came = |block| bench.pool.fetch(PageId::new(other, block)).now().is_some();
        eventually("the other file's pages", || (0..4).all(came));
        gate.open();
        assert_nothing_held(&bench);
    });
}
