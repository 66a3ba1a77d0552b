//! A call that takes blocks or a whole file away, against a miss of a page there: one of the two sees the other, under every
//! schedule with every reordering that the memory model allows. From the call to the disk, which is simulated, all of it is the
//! library's own code.

use crate::{
    BufferPool, Error, FileId, IoMethod, OpenOptions, PageId, Result,
    id::PageSize,
    options::BackgroundWriter,
    sync::every_schedule::{check, spawn},
    testing::SimDisk,
};

/// Fetches the page, and checks that nothing is read that no longer exists.
fn fetch(pool: &BufferPool, page: PageId) {
    match pool.fetch(page).wait() {
        Ok(page) => assert_eq!(page.read()[0], 1),
        Err(error) => assert!(matches!(error, Error::PastEof { .. } | Error::NotOpen { .. }), "{error}"),
    }
}

/// Takes blocks away while another thread fetches one of them. For a file with one block the page is looked up in the table, for
/// one with two all frames are looked at.
fn against_a_miss(blocks: usize, take_away: fn(&BufferPool, FileId) -> Result<()>) {
    let disk = SimDisk::new();
    disk.put("data", vec![1; blocks * PageSize::MIN.bytes()]);
    let builder = BufferPool::builder().frames(1).page_size(PageSize::MIN.bytes() as u32);
    let builder = builder.io_method(IoMethod::Sync).background_writer(BackgroundWriter::Off);
    let pool = builder.storage(disk).build().unwrap();
    let file = pool.open_file("data", OpenOptions::new()).unwrap();
    let page = PageId::new(file, 0);
    let taking_away = {
        let pool = pool.clone();
        spawn(move || take_away(&pool, file).unwrap())
    };
    fetch(&pool, page);
    taking_away.join().unwrap();
    assert!(!pool.shared().pool.is_mapped(page), "a page of what is gone stays");
}

#[test]
fn c1_a_page_that_is_cut_off_does_not_come_in() {
    check(2, || against_a_miss(2, |pool, file| pool.truncate(file, 0).wait()));
}

#[test]
fn c1_a_page_that_is_cut_off_does_not_come_in_where_it_is_looked_up() {
    check(2, || against_a_miss(1, |pool, file| pool.truncate(file, 0).wait()));
}

#[test]
fn c1_a_page_of_a_file_that_is_closed_does_not_come_in() {
    check(2, || against_a_miss(1, |pool, file| pool.close_file(file).wait()));
}

#[test]
fn c1_a_page_of_a_file_that_is_removed_does_not_come_in() {
    check(2, || against_a_miss(2, |pool, file| pool.drop_file(file).wait()));
}
