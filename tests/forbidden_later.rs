//! io_uring that is forbidden while it is in use, by a filter of system calls as a sandbox puts it on. A process cannot take one off, so
//! the test runs itself once more for each error.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

use std::{env, fs, mem::offset_of, process::Command};

use ringpool::{
    BufferPool, CheckpointOptions, FileId, IoMethod, OpenOptions, PageId, Shutdown, options::Fallback,
    stats::MethodKind,
};

#[path = "support/mod.rs"]
mod support;
#[cfg(feature = "tracing")]
#[path = "support/told.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used)] // Each test binary uses its own part of it.
mod told;

use support::{PAGE, assert_at_rest, assert_stamped, guarded, restamp, stamped_file};

const ERROR: &str = "RINGPOOL_FORBID_WITH";

const FRAMES: u32 = 64;
const BLOCKS: u32 = 256;

#[test]
fn c7_io_uring_that_is_forbidden_while_in_use_costs_nothing_but_the_ring() {
    if let Ok(errno) = env::var(ERROR) {
        return guarded(move || use_and_forbid(errno.parse().unwrap()));
    }
    for errno in [libc::EPERM, libc::ENOSYS] {
        let test = "c7_io_uring_that_is_forbidden_while_in_use_costs_nothing_but_the_ring";
        let mut once_more = Command::new(env::current_exe().unwrap());
        once_more.args(["--exact", test, "--nocapture"]).env(ERROR, errno.to_string());
        assert!(once_more.status().unwrap().success(), "with the error {errno}");
    }
}

/// Has `io_uring_enter` fail with this error from now on, in all threads.
fn forbid(errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let call = u32::try_from(libc::SYS_io_uring_enter).unwrap();
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset_of!(libc::seccomp_data, nr) as u32),
        libc::sock_filter { jf: 1, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call) },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: it has no arguments that are addresses.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC);
    // SAFETY: the program is there while the kernel copies it.
    assert_eq!(unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) }, 0);
}

fn use_and_forbid(errno: i32) {
    #[cfg(feature = "tracing")]
    told::listen();
    let build = |method| {
        BufferPool::builder()
            .name("forbidden")
            .page_size(PAGE as u32)
            .frames(FRAMES)
            .io_method(method)
            .build()
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("data");
    fs::write(&path, stamped_file(BLOCKS, 1)).unwrap();
    let pool = match build(IoMethod::uring()) {
        Ok(pool) => pool,
        Err(error) => return println!("skipped: {error}"),
    };
    // Past the page cache, where the file system can: then something is in flight at that moment.
    let file = pool.open_file(&path, OpenOptions::new().direct(Fallback::Prefer)).unwrap();
    let change = |blocks: std::ops::Range<u32>, version| {
        for block in blocks {
            restamp(&pollster::block_on(pool.fetch(page(file, block))).unwrap(), version);
        }
    };
    change(0..FRAMES / 2, 2);
    assert_eq!(pool.stats().method.in_use, MethodKind::Uring);
    pool.prefetch(file.pages(FRAMES..FRAMES + 16));
    forbid(errno);
    pool.prefetch(file.pages(FRAMES + 16..FRAMES + 32));
    assert_stamped(&pollster::block_on(pool.fetch(page(file, BLOCKS - 1))).unwrap(), 1);
    change(FRAMES / 2..BLOCKS, 2);
    pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    let method = pool.stats().method;
    if pool.file_info(file).unwrap().aside_because.is_none() {
        assert_eq!(method.in_use, MethodKind::Worker, "{method:?}");
        assert!(method.reason.as_ref().is_some_and(|reason| reason.contains("io_uring_enter")), "{method:?}");
        #[cfg(feature = "tracing")]
        {
            let event = told::only("forbidden", "ring_lost");
            assert!(event.level == "WARN" && event.field("reason").contains("io_uring_enter"), "{event:?}");
        }
    }
    assert_at_rest(&pool);
    assert!(fs::read(&path).unwrap() == stamped_file(BLOCKS, 2));
    pool.close_file(file).wait().unwrap();
    let file = pool.open_file(&path, OpenOptions::new()).unwrap();
    assert_stamped(&pool.fetch(page(file, 7)).wait().unwrap(), 2);
    pool.shutdown(Shutdown::Flush).unwrap();
    assert_eq!(event_counters(), 0, "the lost ring's wake event is still there");
    assert_ne!(build(IoMethod::Auto).unwrap().stats().method.in_use, MethodKind::Uring);
}

/// Returns how many descriptors of event counters this process has.
fn event_counters() -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("[eventfd]")).count()
}

fn page(file: FileId, block: u32) -> PageId {
    PageId::new(file, block)
}
