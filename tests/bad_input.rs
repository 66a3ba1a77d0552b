//! Wrong arguments, and files that are not as they should be: each is a typed error that says what to do, or a documented
//! behaviour. Nothing panics, and nothing hangs.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    num::NonZeroU32,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use ringpool::{
    BlockNo, BufferPool, Builder, CheckpointOptions, Error, ErrorKind, FileId, IoMethod, IoOp, OpenOptions,
    PageId, Result, Shutdown,
    options::{BackgroundWriter, Fallback, UnloggedChanges, UringOptions},
    report::{Evicted, Prefetch},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::{PAGE, assert_stamped, error_text, guarded, methods, restamp, stamped_file, with_each_method};
use tempfile::TempDir;

const ONE: NonZeroU32 = NonZeroU32::MIN;

/// Makes a folder for real files, on the disk that the tests are built on.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn pool(method: &IoMethod) -> BufferPool {
    let wait = std::time::Duration::from_millis(100);
    BufferPool::builder().frames(16).frame_wait(wait).io_method(method.clone()).build().unwrap()
}

/// Makes a file of `blocks` blocks in version 1.
fn file_of(folder: &TempDir, blocks: u32) -> PathBuf {
    let path = folder.path().join("file");
    fs::write(&path, stamped_file(blocks, 1)).unwrap();
    path
}

/// Asserts that the option is refused, with this advice.
#[track_caller]
fn assert_refused(builder: Builder, advice: &str) {
    let error = builder.build().unwrap_err();
    assert!(matches!(error, Error::Config(_)) && error.to_string().contains(advice), "{error}");
}

#[track_caller]
fn assert_not_opened(opened: Result<FileId>, path: &Path, advice: &str) {
    match opened {
        Err(ref error @ Error::File { op: IoOp::Open, path: ref named, .. }) => {
            assert_eq!(&**named, path);
            assert!(error.to_string().contains(advice), "{error}");
        }
        other => panic!("{path:?} is no file of pages: {other:?}"),
    }
}

#[test]
fn page_sizes_are_powers_of_two_in_range() {
    for bytes in [0, 1, 256, 511, 513, 3000, 8191, 128 << 10, u32::MAX] {
        let builder = BufferPool::builder().frames(1).page_size(bytes);
        assert_refused(builder, &format!("page_size {bytes}: choose a power of two from 512 to 65536 bytes"));
    }
}

#[test]
fn a_pool_needs_frames_and_the_memory_for_them() {
    guarded(|| {
        assert_refused(BufferPool::builder().frames(0), "frames 0: a pool needs at least one");
        let advice = format!("memory_bytes {}: less than one page of 8 KiB", PAGE - 1);
        assert_refused(BufferPool::builder().memory_bytes(PAGE - 1), &advice);
        assert_refused(BufferPool::builder().memory_bytes(usize::MAX), "choose larger pages");
        assert_refused(BufferPool::builder().frames(u32::MAX), "memory");
        assert_refused(BufferPool::builder().frames(u32::MAX).page_size(64 << 10), "memory");
    });
}

#[test]
fn options_out_of_range_are_refused_with_the_range() {
    assert_refused(
        BufferPool::builder().frames(4).combine_limit_bytes((1 << 20) + 1),
        "at most 1048576 bytes",
    );
    for requests in [0, 4097, u32::MAX] {
        let ring = IoMethod::Uring(UringOptions::default().queue_depth(requests));
        assert_refused(BufferPool::builder().frames(4).io_method(ring), "choose 1 to 4096");
    }
    for threads in [0, 257, u32::MAX] {
        assert_refused(
            BufferPool::builder().frames(4).io_method(IoMethod::Worker { threads }),
            "choose 1 to 256",
        );
    }
}

/// An option that is refused, and what the error must say.
type Refused = (Builder, &'static str, Option<&'static str>);

#[test]
fn a_config_error_names_the_option_as_its_method_and_the_value() {
    let builder = || BufferPool::builder().io_method(IoMethod::Sync);
    let uring = |options| BufferPool::builder().frames(4).io_method(IoMethod::Uring(options));
    let writer = BackgroundWriter::ReadyFrames { low: 5, high: 4 };
    let refused: [Refused; 12] = [
        (builder().page_size(3000), "page_size", Some("3000")),
        (builder().frames(0), "frames", Some("0")),
        (builder().memory_bytes(100), "memory_bytes", Some("100")),
        (builder().frames(8).frames_at_most(7), "frames_at_most", Some("7")),
        (builder().frames(4).memory_bytes_at_most(100), "memory_bytes_at_most", Some("100")),
        (builder().combine_limit_bytes(2 << 20), "combine_limit_bytes", Some("2097152")),
        (
            builder().frames(8).background_writer(writer),
            "background_writer",
            Some("ready_frames:low=5,high=4"),
        ),
        (builder().unlogged_changes(UnloggedChanges::Refuse), "unlogged_changes", Some("refuse")),
        (uring(UringOptions::default().queue_depth(0)), "queue_depth", Some("0")),
        (uring(UringOptions::default().workers(65)), "workers", Some("65")),
        (builder().io_method(IoMethod::Worker { threads: 0 }), "threads", Some("0")),
        (builder().frames(u32::MAX).page_size(64 << 10), "frames", None),
    ];
    for (builder, option, value) in refused {
        let error = builder.build().unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Config, false), "{error}");
        let Error::Config(config) = &error else { panic!("{error}") };
        assert_eq!((config.option(), config.value(), config.path()), (option, value, None), "{error}");
        assert!(
            error.to_string().starts_with(option) && error.to_string().ends_with(config.advice()),
            "{error}"
        );
    }
}

#[test]
fn a_size_that_was_given_in_frames_and_in_bytes_is_refused_with_both_names() {
    let both = [
        (
            BufferPool::builder().memory_bytes(1 << 20).frames(10),
            "frames 10: memory_bytes 1048576 is set too",
        ),
        (
            BufferPool::builder().frames(10).memory_bytes(1 << 20),
            "frames 10: memory_bytes 1048576 is set too",
        ),
        (
            BufferPool::builder().frames(4).frames_at_most(9).memory_bytes_at_most(1 << 20),
            "frames_at_most 9: memory_bytes_at_most 1048576 is set too",
        ),
    ];
    for (builder, told) in both {
        assert_refused(builder, told);
    }
    // One for now, and one for later.
    let builder = BufferPool::builder().frames(4).memory_bytes_at_most(1 << 20);
    assert!(builder.io_method(IoMethod::Sync).build().is_ok());
}

#[test]
fn a_config_error_of_a_file_has_its_path() {
    let (folder, pool) = (folder(), pool(&IoMethod::Sync));
    let path = folder.path().join("new");
    for (options, option, value) in [
        (OpenOptions::new().create(true).mode(0o1777), "mode", "0o1777"),
        (OpenOptions::new().read_only(true).create(true), "read_only", "true"),
        (OpenOptions::new().read_only(true).grow_by_blocks(4), "read_only", "true"),
    ] {
        let error = pool.open_file(&path, options).unwrap_err();
        let Error::Config(config) = &error else { panic!("{error}") };
        assert_eq!((config.option(), config.value()), (option, Some(value)), "{error}");
        assert_eq!((config.path(), error.path()), (Some(&*path), Some(&*path)), "{error}");
        assert!(error.to_string().starts_with(&format!("{}: {option} {value}: ", path.display())), "{error}");
    }
}

#[test]
fn the_least_of_everything_works() {
    guarded(|| {
        let folder = folder();
        let path = file_of(&folder, 4);
        for method in [IoMethod::Worker { threads: 1 }, IoMethod::Sync] {
            let pool =
                BufferPool::builder().frames(1).combine_limit_bytes(0).io_method(method).build().unwrap();
            let file = pool.open_file(&path, OpenOptions::new()).unwrap();
            for block in 0..4 {
                let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
                assert_stamped(&page, 1);
                restamp(&page, 1);
            }
            pool.shutdown(Shutdown::Flush).unwrap();
        }
    });
}

#[test]
fn pages_below_the_disks_alignment_are_refused_at_open_or_buffered() {
    guarded(|| {
        let folder = folder();
        let path = file_of(&folder, 4);
        let pool = BufferPool::builder().frames(4).page_size(512).build().unwrap();
        match pool.open_file(&path, OpenOptions::new().direct(Fallback::Require)) {
            Ok(file) => {
                println!("skipped: this file system is direct in pages of 512 bytes");
                pool.close_file(file).wait().unwrap();
            }
            refused => {
                assert_not_opened(refused, &path, "allow buffered transfers with direct(Fallback::Prefer)");
            }
        }
        let file = pool.open_file(&path, OpenOptions::new().direct(Fallback::Prefer)).unwrap();
        assert_eq!(pool.blocks(file).unwrap(), 4 * 16);
        assert_eq!(*pool.fetch(PageId::new(file, 63)).wait().unwrap().read(), stamped_file(4, 1)[63 * 512..]);
    });
}

#[test]
fn what_is_no_file_of_pages_is_not_opened() {
    with_each_method(|method| {
        let (folder, pool) = (folder(), pool(&method));
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let missing = folder.path().join("missing");
        let nowhere = folder.path().join("missing/file");
        for create in [false, true] {
            let open = |path: &Path| pool.open_file(path, OpenOptions::new().create(create));
            let advice = "a pool keeps pages in regular files and block devices";
            assert_not_opened(open(folder.path()), folder.path(), &format!("it is a directory; {advice}"));
            assert_not_opened(open(&pipe), &pipe, &format!("it is a pipe; {advice}"));
            assert_not_opened(
                open(Path::new("/dev/null")),
                Path::new("/dev/null"),
                "it is a character device",
            );
            assert_not_opened(open(&nowhere), &nowhere, "No such file or directory");
            assert_not_opened(open(Path::new("")), Path::new(""), "No such file or directory");
        }
        assert_not_opened(
            pool.open_file(&missing, OpenOptions::new()),
            &missing,
            "No such file or directory",
        );
        assert!(!missing.exists());
        pool.open_file(&missing, OpenOptions::new().create(true)).unwrap();
        assert!(missing.exists());
    });
}

#[test]
fn one_file_is_open_once_by_whatever_name() {
    with_each_method(|method| {
        let (folder, pool) = (folder(), pool(&method));
        let path = file_of(&folder, 4);
        let (hard, soft) = (folder.path().join("hard"), folder.path().join("soft"));
        fs::hard_link(&path, &hard).unwrap();
        symlink(&path, &soft).unwrap();
        let around = folder.path().join("../").join(folder.path().file_name().unwrap()).join("file");
        let file = pool.open_file(&soft, OpenOptions::new()).unwrap();
        for name in [&path, &hard, &soft, &around] {
            match pool.open_file(name, OpenOptions::new().read_only(true)) {
                Err(ref error @ Error::AlreadyOpen { path: ref named, file: as_file, .. }) => {
                    assert_eq!((&**named, as_file), (name.as_path(), file));
                    assert!(error.to_string().contains("one file, one id"), "{error}");
                }
                other => panic!("{name:?} is open: {other:?}"),
            }
        }
        pool.close_file(file).wait().unwrap();
        assert_ne!(pool.open_file(&hard, OpenOptions::new()).unwrap(), file, "an id is never given twice");
    });
}

#[test]
fn blocks_behind_the_end_are_an_error_that_names_the_end() {
    with_each_method(|method| {
        let (folder, pool) = (folder(), pool(&method));
        let file = pool.open_file(file_of(&folder, 3), OpenOptions::new()).unwrap();
        for block in [3, 4, 1000, u32::MAX] {
            let page = PageId::new(file, block);
            for refused in [pool.fetch(page).wait(), pollster::block_on(pool.fetch(page))] {
                let text = error_text(refused.map(drop));
                let path = folder.path().join("file");
                let told = format!("block {block} of {} ({file}) lies past the end", path.display());
                assert_eq!(text, format!("{told}: the file has 3 blocks; extend it first"));
            }
            assert!(pool.fetch(page).now().is_none());
            assert_eq!(pool.evict(page).wait().unwrap(), Evicted::NotResident);
            pool.flush(page).wait().unwrap();
        }
        let ahead = pool.prefetch(file.pages([2, 3, u32::MAX]));
        assert_eq!((ahead.started, ahead.declined), (1, 2));
        pool.truncate(file, u32::MAX).wait().unwrap();
        assert_eq!(pool.blocks(file).unwrap(), 3, "a cut never makes a file longer");
        pool.truncate(file, 0).wait().unwrap();
        assert!(matches!(pool.fetch(PageId::new(file, 0)).wait(), Err(Error::PastEof { blocks: 0, .. })));
    });
}

#[test]
fn a_file_that_ends_in_the_middle_of_a_block_is_completed_by_writing_or_growing() {
    with_each_method(|method| {
        for grows in [false, true] {
            let (folder, pool) = (folder(), pool(&method));
            let path = folder.path().join("odd");
            fs::write(&path, &stamped_file(2, 1)[..PAGE + 1000]).unwrap();
            let file = pool.open_file(&path, OpenOptions::new()).unwrap();
            if grows {
                assert_eq!(pool.extend(file, ONE).wait().unwrap().first, BlockNo(2));
            } else {
                pool.fetch(PageId::new(file, 1)).wait().unwrap().write().unwrap()[PAGE - 1] = 7;
            }
            pool.shutdown(Shutdown::Flush).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(bytes.len(), if grows { 3 * PAGE } else { 2 * PAGE });
            assert!(bytes[..PAGE + 1000] == stamped_file(2, 1)[..PAGE + 1000]);
            assert!(bytes[PAGE + 1000..2 * PAGE - 1].iter().all(|&byte| byte == 0));
            assert_eq!(bytes[2 * PAGE - 1], if grows { 0 } else { 7 });
        }
    });
}

#[test]
fn a_read_only_file_is_not_changed() {
    with_each_method(|method| {
        let (folder, pool) = (folder(), pool(&method));
        let path = file_of(&folder, 3);
        let options = OpenOptions::new().read_only(true);
        for contradiction in [options.create(true), options.initial_blocks(9)] {
            let text = error_text(pool.open_file(&path, contradiction));
            assert!(
                text.contains("a file opened for reading only can be neither created nor grown"),
                "{text}"
            );
        }
        let file = pool.open_file(&path, options).unwrap();
        let page = pool.fetch(PageId::new(file, 1)).wait().unwrap();
        for refused in [
            page.write().map(drop),
            page.try_write().map(drop),
            pollster::block_on(page.write_async()).map(drop),
            pool.extend(file, ONE).wait().map(drop),
            pool.truncate(file, 1).wait(),
        ] {
            let text = error_text(refused);
            let told = format!("{} (file 0) is open for reading only", path.display());
            assert_eq!(text, format!("{told}: open it without read_only to change it"));
        }
        assert_stamped(&page, 1);
        drop(page);
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        pool.close_file(file).wait().unwrap();
        assert!(fs::read(&path).unwrap() == stamped_file(3, 1));
    });
}

#[test]
fn a_file_that_is_removed_while_it_is_open_goes_on() {
    with_each_method(|method| {
        let (folder, pool) = (folder(), pool(&method));
        let path = file_of(&folder, 3);
        let file = pool.open_file(&path, OpenOptions::new()).unwrap();
        fs::remove_file(&path).unwrap();
        restamp(&pool.fetch(PageId::new(file, 1)).wait().unwrap(), 2);
        assert_eq!(pool.evict(PageId::new(file, 1)).wait().unwrap(), Evicted::Yes);
        assert_stamped(&pool.fetch(PageId::new(file, 1)).wait().unwrap(), 2);
        // Another file of that name is another file.
        file_of(&folder, 3);
        let other = pool.open_file(&path, OpenOptions::new()).unwrap();
        assert_stamped(&pool.fetch(PageId::new(other, 1)).wait().unwrap(), 1);
        pool.shutdown(Shutdown::Flush).unwrap();
    });
}

#[test]
fn a_file_that_another_program_cuts_gives_read_errors_and_takes_writes() {
    with_each_method(|method| {
        let (folder, pool) = (folder(), pool(&method));
        let path = file_of(&folder, 4);
        let file = pool.open_file(&path, OpenOptions::new()).unwrap();
        let resident = pool.fetch(PageId::new(file, 3)).wait().unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(PAGE as u64).unwrap();
        let text = error_text(pool.fetch(PageId::new(file, 2)).wait());
        assert!(
            text.ends_with("the file is shorter than when it was opened; was it cut by another program?"),
            "{text}"
        );
        restamp(&resident, 2);
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert!(fs::read(&path).unwrap()[3 * PAGE..] == stamped_file(4, 2)[3 * PAGE..]);
    });
}

#[test]
fn a_prefetch_of_ten_times_the_pool_is_declined_in_part() {
    with_each_method(|method| {
        let (folder, pool) = (folder(), pool(&method));
        let file = pool.open_file(file_of(&folder, 160), OpenOptions::new()).unwrap();
        let Prefetch { started, already, declined, .. } = pool.prefetch(file.pages(0..160));
        assert!(started >= 12 && started + already + declined == 160, "{started} {already} {declined}");
        (0..160).for_each(|block| assert_stamped(&pool.fetch(PageId::new(file, block)).wait().unwrap(), 1));
        assert_eq!(pool.prefetch(file.pages(std::iter::empty::<u32>())), Prefetch::default());
        assert_eq!(pool.prefetch(file.pages([159, 159, 159])).already, 3);
    });
}

/// Tries every operation that names a file with this one; returns their errors.
fn all_refusals(pool: &BufferPool, file: FileId) -> Vec<Error> {
    let page = PageId::new(file, 0);
    let ahead = pool.prefetch(file.pages(0..3));
    assert_eq!((ahead.started, ahead.declined), (0, 3));
    assert!(pool.fetch(page).now().is_none());
    let refused = [
        pool.fetch(page).wait().map(drop),
        pollster::block_on(pool.fetch(page)).map(drop),
        pool.extend(file, ONE).wait().map(drop),
        pool.truncate(file, 0).wait(),
        pool.evict(page).wait().map(drop),
        pool.flush(page).wait(),
        pool.flush_file(file).wait().map(drop),
        pool.sync_file(file).wait().map(drop),
        pollster::block_on(pool.sync_file(file)).map(drop),
        pool.close_file(file).wait(),
    ];
    refused.into_iter().map(|refused| refused.expect_err("a file that cannot be used")).collect()
}

#[test]
fn an_id_that_is_not_open_is_refused_everywhere() {
    with_each_method(|method| {
        let (folder, pool) = (folder(), pool(&method));
        let path = file_of(&folder, 3);
        let closed = pool.open_file(&path, OpenOptions::new()).unwrap();
        drop(pool.fetch(PageId::new(closed, 0)).wait().unwrap());
        pool.close_file(closed).wait().unwrap();
        let of_another_pool = {
            let other = self::pool(&method);
            for _ in 0..4 {
                let file = other.open_file(&path, OpenOptions::new()).unwrap();
                other.close_file(file).wait().unwrap();
            }
            other.open_file(&path, OpenOptions::new()).unwrap()
        };
        for file in [closed, of_another_pool] {
            for error in all_refusals(&pool, file) {
                let text = format!("{file} is not open in this pool: it was closed, or is another pool's");
                assert_eq!(error.to_string(), text);
            }
            assert!(matches!(pool.blocks(file), Err(Error::NotOpen { .. })));
        }
    });
}

#[test]
fn nothing_is_done_after_a_shutdown() {
    with_each_method(|method| {
        for how in [Shutdown::Flush, Shutdown::Discard] {
            let (folder, pool) = (folder(), pool(&method));
            let path = file_of(&folder, 3);
            let file = pool.open_file(&path, OpenOptions::new()).unwrap();
            let page = pool.fetch(PageId::new(file, 2)).wait().unwrap();
            restamp(&page, 2);
            let report = pool.clone().shutdown(how).unwrap();
            let kept = how == Shutdown::Flush;
            assert_eq!((report.pages_written, report.pages_discarded), if kept { (1, 0) } else { (0, 1) });
            let mut refused = all_refusals(&pool, file);
            refused.push(pool.open_file(folder.path().join("new"), OpenOptions::new()).unwrap_err());
            refused.push(pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err());
            refused.push(pool.clone().shutdown(how).unwrap_err().into_parts().1);
            for error in refused {
                assert_eq!(error.to_string(), "the pool is shut down: build a new one");
            }
            // What is pinned, or resident, is still good.
            assert_stamped(&page, 2);
            assert_stamped(&pool.fetch(PageId::new(file, 2)).wait().unwrap(), 2);
            assert!(
                fs::read(&path).unwrap()[2 * PAGE..] == stamped_file(3, if kept { 2 } else { 1 })[2 * PAGE..]
            );
        }
    });
}

#[test]
fn block_numbers_end_where_they_end() {
    guarded(|| {
        let folder = folder();
        let path = folder.path().join("sparse");
        let sparse = fs::File::create(&path).unwrap();
        let most = u64::from(u32::MAX) * 512;
        if let Err(error) = sparse.set_len(most + 512) {
            return println!("skipped: no sparse files of 2 TiB here: {error}");
        }
        for method in methods() {
            let pool = BufferPool::builder().frames(4).page_size(512).io_method(method).build().unwrap();
            sparse.set_len(most + 1).unwrap();
            let text = error_text(pool.open_file(&path, OpenOptions::new()));
            assert!(text.ends_with("use larger pages or several files"), "{text}");
            sparse.set_len(most).unwrap();
            let file = pool.open_file(&path, OpenOptions::new()).unwrap();
            assert_eq!(pool.blocks(file).unwrap(), u32::MAX);
            let last = pool.fetch(PageId::new(file, u32::MAX - 1)).wait().unwrap();
            last.write().unwrap().fill(9);
            pool.flush(last.id()).wait().unwrap();
            assert!(matches!(pool.fetch(PageId::new(file, u32::MAX)).wait(), Err(Error::PastEof { .. })));
            for more in [1, u32::MAX] {
                let text = error_text(pool.extend(file, NonZeroU32::new(more).unwrap()).wait());
                assert!(text.ends_with("a file has at most 4294967295 blocks"), "{text}");
            }
            drop(last);
            pool.close_file(file).wait().unwrap();
        }
    });
}
