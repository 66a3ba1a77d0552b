//! A file is open in one pool for writing, or in several for reading.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::symlink,
    path::Path,
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, Error, FileId, IoMethod, OpenOptions, PageId, Result, Shutdown,
    options::{DoubleWriteArea, Fallback, TornPages},
};

use crate::support::{PAGE, assert_stamped, guarded, restamp, stamped_file, with_each_method};

const BLOCKS: u32 = 64;

fn pool(method: &IoMethod) -> BufferPool {
    let builder = BufferPool::builder().frames(BLOCKS).page_size(PAGE as u32).io_method(method.clone());
    builder.build().unwrap()
}

#[track_caller]
fn assert_in_use(opened: Result<FileId>, path: &Path) {
    match opened {
        Err(ref error @ Error::InUse { path: ref named }) => {
            assert_eq!(&**named, path);
            assert!(error.to_string().contains("in use by another pool: close it there first"), "{error}");
        }
        other => panic!("{path:?} is another pool's: {other:?}"),
    }
}

#[test]
fn two_pools_do_not_have_one_file_unless_both_only_read_it() {
    guarded(|| {
        let method = IoMethod::Sync;
        let folder = tempfile::tempdir().unwrap();
        let [path, hard, soft] = ["data", "hard", "soft"].map(|name| folder.path().join(name));
        fs::write(&path, stamped_file(4, 1)).unwrap();
        fs::hard_link(&path, &hard).unwrap();
        symlink(&path, &soft).unwrap();
        let (one, two) = (pool(&method), pool(&method));
        let (write, read) = (OpenOptions::new(), OpenOptions::new().read_only(true));
        let file = one.open_file(&path, write.lock(Fallback::Require)).unwrap();
        assert_eq!(one.file_info(file).unwrap().unlocked_because, None);
        assert_in_use(two.open_file(&path, write.create(true)), &path);
        assert_in_use(two.open_file(&hard, read.lock(Fallback::Require)), &hard);
        assert_in_use(two.open_file(&soft, write), &soft);
        // Another program may ask for the same lock.
        assert!(matches!(File::open(&path).unwrap().try_lock_shared(), Err(TryLockError::WouldBlock)));
        let unlocked = two.open_file(&path, write.lock(Fallback::Off)).unwrap();
        two.close_file(unlocked).wait().unwrap();
        assert_in_use(two.open_file(&path, read), &path);

        one.close_file(file).wait().unwrap();
        let readers = [&one, &two].map(|pool| pool.open_file(&path, read).unwrap());
        assert_in_use(pool(&method).open_file(&path, write), &path);
        one.close_file(readers[0]).wait().unwrap();
        assert_in_use(one.open_file(&path, write), &path);
        two.close_file(readers[1]).wait().unwrap();
        one.open_file(&path, write).unwrap();
    });
}

#[test]
fn a_file_is_free_as_soon_as_it_is_closed_or_removed_or_its_pool_is_gone() {
    with_each_method(|method| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs::write(&path, stamped_file(BLOCKS, 1)).unwrap();
        let other = pool(&method);
        // Asked for once: an open that waits for it a little shows nothing here.
        let is_free = || File::open(&path).unwrap().try_lock().is_ok();
        for round in 0..20 {
            let own = pool(&method);
            let file = own.open_file(&path, OpenOptions::new()).unwrap();
            assert!(!is_free());
            restamp(&own.fetch(PageId::new(file, 0)).wait().unwrap(), 1);
            // Some of them are under way when the pool is dropped.
            own.prefetch(file.pages(1..BLOCKS));
            if round % 2 == 0 {
                own.close_file(file).wait().unwrap();
            } else {
                drop(own);
            }
            assert!(is_free(), "round {round}");
            let again = other.open_file(&path, OpenOptions::new()).unwrap();
            assert_stamped(&other.fetch(PageId::new(again, 1)).wait().unwrap(), 1);
            other.close_file(again).wait().unwrap();
        }
        let removed = other.open_file(&path, OpenOptions::new()).unwrap();
        let still_open = File::open(&path).unwrap();
        other.drop_file(removed).wait().unwrap();
        still_open.try_lock().unwrap();
    });
}

#[test]
fn two_pools_do_not_have_one_doublewrite_area() {
    guarded(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("area");
        let build = || {
            let area = TornPages::DoubleWrite(DoubleWriteArea::new(&path).bytes(1 << 20));
            BufferPool::builder().frames(16).page_size(PAGE as u32).torn_pages(area).build()
        };
        let one = build().unwrap();
        let error = build().unwrap_err();
        assert!(matches!(&error, Error::InUse { path: named } if **named == path), "{error}");
        one.shutdown(Shutdown::Flush).unwrap();
        build().unwrap();
    });
}

#[test]
fn an_open_waits_a_little_for_a_lock_that_is_about_to_go() {
    guarded(|| {
        let method = IoMethod::Sync;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs::write(&path, stamped_file(4, 1)).unwrap();
        let lock = File::open(&path).unwrap();
        lock.lock().unwrap();
        let pool = pool(&method);
        let used = pool.open_file(&path, OpenOptions::new());
        assert_in_use(used, &path);
        // Other files do not wait for this one.
        let opening = thread::spawn({
            let (pool, path) = (pool.clone(), path.clone());
            move || pool.open_file(path, OpenOptions::new())
        });
        pool.open_file(folder.path().join("other"), OpenOptions::new().create(true)).unwrap();
        thread::sleep(Duration::from_millis(50));
        drop(lock);
        opening.join().unwrap().unwrap();
    });
}
