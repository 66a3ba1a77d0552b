//! An ordinary user may lock little memory (`RLIMIT_MEMLOCK` is 8 MiB on many systems), and a ring refuses to register a
//! larger pool. The pool must work all the same, and say so.
//!
//! Root is exempt from the limit, so as root the test runs itself once more as another user.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use ringpool::{
    BufferPool, Error, IoMethod, OpenOptions, PageId,
    options::{Fallback, UringOptions},
    stats::{MethodKind, Registration},
};

#[cfg(feature = "tracing")]
#[path = "support/told.rs"]
#[allow(dead_code, unreachable_pub)] // Each test binary uses its own part of it.
mod told;

const NAME: &str = "c7_a_pool_that_may_not_register_its_frames_works_and_says_so";
const FILE: &str = "RINGPOOL_TEST_UNREGISTERED";
const NOBODY: u32 = 65534;
const PAGE: usize = 8192;
const BLOCKS: u32 = 64;

/// More than an ordinary user may lock.
const MEMORY: usize = 64 << 20;

/// Memory that an ordinary user may lock here: for two steps of a pool that can be resized, and not for all.
const LOCKED: u64 = 40 << 20;

const AGAIN: &str = "c7_a_pool_is_registered_again_right_after_another_was_dropped";

/// The kernel counts locked memory for each user, so each test that comes close to the limit has a user of its own.
const ANOTHER_USER: u32 = 65533;

#[test]
fn c7_a_pool_is_registered_again_right_after_another_was_dropped() {
    if env::var_os(FILE).is_some() {
        return build_again_and_again();
    }
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: other processes of this user may have memory locked");
    }
    let mut again = Command::new(env::current_exe().unwrap());
    again
        .args(["--exact", AGAIN, "--nocapture"])
        .env(FILE, "-")
        .uid(ANOTHER_USER)
        .gid(NOBODY)
        .current_dir("/");
    match again.status() {
        Ok(status) => assert!(status.success(), "as an ordinary user: {status}"),
        Err(error) => println!("skipped: the test cannot run itself as an ordinary user here: {error}"),
    }
}

fn build_again_and_again() {
    let limit = rustix::process::Rlimit { current: Some(8 << 20), maximum: Some(8 << 20) };
    rustix::process::setrlimit(rustix::process::Resource::Memlock, limit).expect("it is lowered");
    let build =
        |memory: usize| BufferPool::builder().memory_bytes(memory).io_method(IoMethod::uring()).build();
    for round in 0..60 {
        match build(5 << 20) {
            Ok(pool) => assert_eq!(pool.stats().method.fixed_buffers, Registration::InUse, "round {round}"),
            Err(error) if round == 0 => return println!("skipped: no io_uring here: {error}"),
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    let _first = build(5 << 20).unwrap();
    match build(5 << 20).unwrap().stats().method.fixed_buffers {
        Registration::Refused(reason) => assert!(reason.contains("has room for them"), "{reason}"),
        other => panic!("10 MiB were locked: {other}"),
    }
}

const GROWING: &str = "growing_beyond_what_may_be_registered_is_refused_and_leaves_the_pool_as_it_was";

#[test]
fn growing_beyond_what_may_be_registered_is_refused_and_leaves_the_pool_as_it_was() {
    if env::var_os(FILE).is_some() {
        return grow_too_far();
    }
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: it takes root to set the limit");
    }
    // The other test's child may inherit it, and needs more.
    let limit = rustix::process::Rlimit { current: Some(LOCKED), maximum: Some(LOCKED) };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Memlock, limit) {
        return println!("skipped: the limit cannot be set here: {error}");
    }
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", GROWING, "--nocapture"]).env(FILE, "-").uid(NOBODY).gid(NOBODY).current_dir("/");
    match again.status() {
        Ok(status) => assert!(status.success(), "as an ordinary user: {status}"),
        Err(error) => println!("skipped: the test cannot run itself as an ordinary user here: {error}"),
    }
}

fn grow_too_far() {
    let required = IoMethod::Uring(UringOptions::default().fixed_buffers(Fallback::Require));
    let builder = BufferPool::builder().frames(10).frames_at_most(8_000).page_size(PAGE as u32);
    let pool = match builder.io_method(required).build() {
        Ok(pool) => pool,
        Err(error) => return println!("skipped: no io_uring here, or nothing can be locked: {error}"),
    };
    pool.resize(3_000).wait().unwrap();
    let before = pool.stats().page_bytes;
    match pool.resize(8_000).wait() {
        Err(error @ Error::CannotGrow { frames: 8_000, .. }) => {
            assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
        }
        other => panic!("62 MiB were registered: {other:?}"),
    }
    let stats = pool.stats();
    assert_eq!((stats.frames.total, stats.page_bytes), (3_000, before));
    pool.validate().unwrap();
    pool.resize(10).wait().unwrap();
    pool.resize(3_000).wait().expect("what was given back may be locked again");
}

#[test]
fn c7_a_pool_that_may_not_register_its_frames_works_and_says_so() {
    if let Some(file) = env::var_os(FILE) {
        return read_unregistered(file.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let bytes: Vec<u8> = (0..BLOCKS).flat_map(|block| [block as u8 + 1; PAGE]).collect();
    fs::write(&file, bytes).unwrap();
    if !rustix::process::geteuid().is_root() {
        return read_unregistered(&file);
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", NAME, "--nocapture"]).env(FILE, &file).uid(NOBODY).gid(NOBODY).current_dir("/");
    match again.status() {
        Ok(status) => assert!(status.success(), "as an ordinary user: {status}"),
        Err(error) => println!("skipped: the test cannot run itself as an ordinary user here: {error}"),
    }
}

fn read_unregistered(path: &Path) {
    #[cfg(feature = "tracing")]
    told::listen();
    let pool = match BufferPool::builder()
        .name("unregistered")
        .memory_bytes(MEMORY)
        .io_method(IoMethod::uring())
        .build()
    {
        Ok(pool) => pool,
        Err(error) => return println!("skipped: no io_uring here: {error}"),
    };
    let method = pool.stats().method;
    assert_eq!(method.in_use, MethodKind::Uring);
    match &method.fixed_buffers {
        Registration::Refused(reason) => {
            assert!(reason.contains("RLIMIT_MEMLOCK"), "{reason}");
            #[cfg(feature = "tracing")]
            {
                let event = told::only("unregistered", "not_registered");
                assert_eq!((&*event.level, event.field("what")), ("WARN", "frames"));
                assert_eq!(event.field("reason"), reason);
            }
        }
        other => return println!("skipped: this user may lock {MEMORY} bytes: {other}"),
    }
    let file = pool.open_file(path, OpenOptions::new().read_only(true)).unwrap();
    assert!(pool.prefetch(file.pages(0..BLOCKS)).started > 0);
    for block in 0..BLOCKS {
        let page = pollster::block_on(pool.fetch(PageId::new(file, block))).unwrap();
        assert!(page.read().iter().all(|&byte| byte == block as u8 + 1), "block {block}");
    }
    assert!(pool.stats().counts.handed_over_requests > 0, "the ring has read nothing");
    let required = UringOptions::default().fixed_buffers(Fallback::Require);
    let refused = BufferPool::builder().memory_bytes(MEMORY).io_method(IoMethod::Uring(required)).build();
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("RLIMIT_MEMLOCK"), "{text}");
}
