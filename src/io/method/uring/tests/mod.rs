//! Rings whose calls fail, for a while and for good: no request is lost, none fails, and the statistics tell.

pub(super) mod refusals;

use std::{
    fs,
    io::{self, Write},
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use self::refusals::{Of, left, refuse};
use crate::{
    id::FileId,
    io::{
        buffers::Direction::{Read, Write as ToDisk},
        file::{File, open_options::OpenOptions},
        method::{Method, choice::open_method},
        operation::Operation,
        options::{IoMethod, UringOptions},
        report::MethodKind,
        storage::WhyNot,
        tests::{
            pipe_disk::{PAGE, pipe_file},
            support::{SCHEDULING, TestArena, TestLease, is_alone, os_file, stamped},
        },
    },
    observe::{Counter, Counters},
    sync::Arc,
    testing::Dice,
};

const BLOCKS: u64 = 64;

const EPERM: i32 = 1;
const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const EBUSY: i32 = 16;
const ENOSYS: i32 = 38;
const ECANCELED: i32 = 125;

/// In effect for ever.
const ALWAYS: usize = 1 << 20;

/// A method with a ring, and a file for it.
struct FrameBuffer {
    method: Arc<dyn Method<TestLease>>,
    counters: Arc<Counters>,
    file: Arc<File>,
    on_disk: tempfile::NamedTempFile,
    // Last, since it checks that all requests are gone.
    arena: TestArena,
}

impl FrameBuffer {
    /// Makes the method; `None`, with a message, where there is no ring, or none for the files of this file system.
    fn new(options: UringOptions) -> Option<Self> {
        let (arena, counters) = (TestArena::new(8 << 20), Arc::new(Counters::new()));
        let opened = open_method(&IoMethod::Uring(options), &arena.chunks(), &SCHEDULING, &counters);
        let Ok((method, _)) = opened else {
            println!("skipped: no io_uring here");
            return None;
        };
        let on_disk = tempfile::NamedTempFile::new().unwrap();
        fs::write(on_disk.path(), stamped((BLOCKS * PAGE) as usize)).unwrap();
        let mut file = os_file(on_disk.path(), &OpenOptions::new()).unwrap();
        file.opened.atomic_pages = Err(WhyNot::NotAsked);
        if let Some(reason) = &file.may_block {
            println!("skipped: no ring reads this file: {reason}");
            return None;
        }
        Some(Self { method, counters, file: Arc::new(file), on_disk, arena })
    }

    fn read(&self, block: u64) -> Operation<TestLease> {
        self.arena.request(Read, &self.file, block * PAGE, &[PAGE as u32])
    }

    /// Reads some blocks at once, and compares them.
    fn read_some(&self, blocks: u64) {
        self.arena.reuse();
        self.method.submit(&mut (0..blocks).map(|block| self.read(block)).collect());
        self.arena.expect_reads(blocks as usize);
    }

    /// Checks that the ring is lost, and that the method continues to work.
    fn assert_lost(&self, reason: &str) {
        let change = self.method.change().expect("a ring that is lost is told of");
        assert_eq!(change.in_use, MethodKind::Worker);
        assert!(
            change.reason.contains("io_uring was given up") && change.reason.contains(reason),
            "{change:?}"
        );
        let before = self.counters.get(Counter::Inline);
        assert!(self.method.room(&self.file) > 0, "nothing is read ahead any more");
        self.read_some(20);
        assert_eq!(self.counters.get(Counter::Inline), before, "the caller transfers by itself");
        let chunk = self.arena.chunks()[1];
        self.method.set_chunk(1, chunk).expect("a ring that is gone refuses nothing");
        self.method.forget(&self.file);
        self.method.shutdown();
        self.read_some(4);
    }
}

/// `.ci/places` runs it where calls of the set-up fail for a while, and demands the ring.
#[test]
fn c7_a_ring_is_used_where_there_is_one() {
    let Some(place) = FrameBuffer::new(UringOptions::default()) else {
        return assert!(std::env::var_os("RINGPOOL_RING_MUST_HOLD").is_none(), "it must hold here");
    };
    place.read_some(10);
    assert_eq!((place.method.change(), place.counters.get(Counter::Aside)), (None, 0));
}

#[test]
fn c7_a_storm_of_signals_is_no_failure() {
    let Some(place) = FrameBuffer::new(UringOptions::default()) else { return };
    for requests in [1, 4, 40] {
        refuse(&place.counters, Of::Calls, [EINTR; 1_500]);
        place.read_some(requests);
        assert_eq!((left(&place.counters, Of::Calls), place.method.change()), (0, None));
    }
    assert_eq!(place.counters.get(Counter::Aside), 0, "the ring has read everything");
}

#[test]
fn c7_calls_that_fail_for_a_while_are_made_again() {
    let Some(place) = FrameBuffer::new(UringOptions::default()) else { return };
    for errno in [EAGAIN, EBUSY, ENOMEM] {
        refuse(&place.counters, Of::Calls, [errno; 200]);
        place.read_some(4);
        assert_eq!((left(&place.counters, Of::Calls), place.method.change()), (0, None));
    }
    assert_eq!(place.counters.get(Counter::Aside), 0, "the ring has read everything");
}

/// Rows of failed calls and of requests that the kernel could not do, of all kinds in any order, while requests come and go.
#[test]
fn c7_storms_of_all_kinds_cost_no_request() {
    let Some(place) = FrameBuffer::new(UringOptions::default().queue_depth(8)) else { return };
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let mut any = |of: [i32; 4], most: u64| {
            let row = 1 + dice.below(most);
            (0..row).map(|_| of[dice.below(4) as usize]).collect::<Vec<_>>()
        };
        refuse(&place.counters, Of::Calls, any([EINTR, EAGAIN, EBUSY, ENOMEM], 60));
        refuse(&place.counters, Of::Completions, any([EINTR, EAGAIN, ECANCELED, ENOMEM], 6));
        for requests in [1, 20, 40] {
            place.read_some(requests);
        }
        assert_eq!(place.method.change(), None, "seed {seed}");
    }
}

#[test]
fn c7_what_the_kernel_never_took_is_done_by_threads() {
    for errno in [EPERM, ENOSYS] {
        let Some(place) = FrameBuffer::new(UringOptions::default().queue_depth(8)) else { return };
        place.read_some(4);
        refuse(&place.counters, Of::Calls, std::iter::repeat_n(errno, ALWAYS));
        // Some are in the ring when its calls are refused, others wait for their turn.
        place.arena.reuse();
        let of_block = |block| match block % 2 {
            0 => place.read(block),
            _ => place.arena.request(ToDisk, &place.file, block * PAGE, &[PAGE as u32]),
        };
        place.method.submit(&mut (0..30).map(of_block).collect());
        (0..30).for_each(|_| place.arena.expect(|_| PAGE as usize));
        assert_eq!(fs::read(place.on_disk.path()).unwrap(), stamped((BLOCKS * PAGE) as usize));
        place.assert_lost(&io::Error::from_raw_os_error(errno).to_string());
    }
}

#[test]
fn c7_a_ring_that_fails_for_too_long_is_given_up() {
    let Some(place) = FrameBuffer::new(UringOptions::default()) else { return };
    // With the pauses in between, for longer than calls may fail, and not for ever.
    refuse(&place.counters, Of::Calls, std::iter::repeat_n(EAGAIN, 20_000));
    place.read_some(4);
    place.assert_lost("unavailable");
}

#[test]
fn c7_of_several_rings_one_may_be_lost() {
    let Some(place) = FrameBuffer::new(UringOptions::default().workers(2)) else { return };
    refuse(&place.counters, Of::Calls, [EPERM]);
    place.read_some(4);
    let change = place.method.change().expect("a ring that is lost is told of");
    assert_eq!(change.in_use, MethodKind::Uring);
    assert!(change.reason.starts_with("1 of 2 rings of io_uring was given up: "), "{}", change.reason);
    assert!(place.method.room(&place.file) > 0);
    place.on_disk.as_file().set_len(64 << 20).unwrap();
    let far = |stretch: u64| place.arena.request(Read, &place.file, stretch * (4 << 20), &[PAGE as u32]);
    place.arena.reuse();
    place.method.submit(&mut [0, 1, 2, 3].map(far).into());
    (0..4).for_each(|_| drop(place.arena.next_report()));
    refuse(&place.counters, Of::Calls, [EPERM]);
    place.arena.reuse();
    place.method.submit(&mut [0, 1, 2, 3].map(far).into());
    (0..4).for_each(|_| drop(place.arena.next_report()));
    let change = place.method.change().expect("a ring that is lost is told of");
    assert_eq!(change.in_use, MethodKind::Worker);
    assert_eq!(change.reason.matches("io_uring was given up").count(), 1, "{}", change.reason);
    assert!(!change.reason.contains("of 2"), "{}", change.reason);
}

#[test]
fn c7_a_request_that_the_kernel_has_no_thread_for_is_done_by_others() {
    let Some(place) = FrameBuffer::new(UringOptions::default()) else { return };
    for errno in [ECANCELED, EAGAIN, ENOMEM, EINTR] {
        refuse(&place.counters, Of::Completions, [errno; 3]);
        place.read_some(10);
        place.arena.reuse();
        refuse(&place.counters, Of::Completions, [errno]);
        place.method.submit_one(place.arena.request(ToDisk, &place.file, PAGE, &[PAGE as u32]));
        place.arena.expect(|_| PAGE as usize);
    }
    assert_eq!((place.counters.get(Counter::Aside), place.method.change()), (16, None));
    // What the device says is final.
    refuse(&place.counters, Of::Completions, [5]);
    place.method.submit_one(place.read(1));
    assert_eq!(place.arena.expect_error().raw_os_error(), Some(5));
}

/// Makes a method with a read that the kernel has, and returns what ends the read.
fn with_a_read_in_the_kernel() -> Option<(FrameBuffer, io::PipeWriter)> {
    let place = FrameBuffer::new(UringOptions::default())?;
    let (file, writer) = pipe_file(FileId(u32::MAX));
    place.method.submit_one(place.arena.request(Read, &file, 0, &[PAGE as u32]));
    // Whatever comes later is submitted later.
    place.method.submit_one(place.read(0));
    place.arena.expect_reads(1);
    Some((place, writer))
}

/// Takes another descriptor of the one ring of this process, which keeps the kernel from closing it down, as a forked process
/// does.
#[allow(unsafe_code)]
fn hold_the_ring() -> OwnedFd {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let is_ring = |path: &Path| fs::read_link(path).is_ok_and(|to| to.ends_with("anon_inode:[io_uring]"));
    let ring = descriptors.map(|entry| entry.path()).find(|path| is_ring(path)).expect("a ring is open");
    let ring = ring.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // SAFETY: the worker has it open.
    unsafe { BorrowedFd::borrow_raw(ring) }.try_clone_to_owned().unwrap()
}

/// Waits long enough for what must not happen to happen.
fn wait_a_while() {
    std::thread::sleep(Duration::from_millis(200));
}

#[test]
fn c5_what_the_kernel_has_of_a_lost_ring_is_made_again_when_the_kernel_is_done() {
    if !is_alone() {
        return;
    }
    let Some((place, writer)) = with_a_read_in_the_kernel() else { return };
    let held = hold_the_ring();
    refuse(&place.counters, Of::Calls, std::iter::repeat_n(EPERM, ALWAYS));
    // The ring does not report it any more.
    place.method.submit_one(place.read(1));
    place.arena.expect_reads(1);
    wait_a_while();
    assert_eq!(place.arena.in_flight.list().len(), 1, "the kernel has it");
    drop(held);
    place.arena.expect_reads(1);
    drop(writer);
    place.assert_lost("not permitted");
}

#[test]
fn c5_what_the_kernel_has_is_waited_for_where_only_submitting_is_refused() {
    let Some((place, mut writer)) = with_a_read_in_the_kernel() else { return };
    refuse(&place.counters, Of::Calls, [EPERM]);
    place.method.submit_one(place.read(1));
    place.arena.expect_reads(1);
    wait_a_while();
    assert_eq!(place.arena.in_flight.list().len(), 1, "the kernel has it");
    writer.write_all(&stamped(PAGE as usize)).unwrap();
    place.arena.expect_reads(1);
    place.assert_lost("not permitted");
}

#[test]
#[allow(unsafe_code)]
fn c10_signals_to_the_thread_of_a_ring_harm_nothing() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn see(_: i32) {
        SEEN.fetch_add(1, Ordering::SeqCst);
    }
    if !is_alone() {
        return;
    }
    let Some((place, mut writer)) = with_a_read_in_the_kernel() else { return };
    // SAFETY: all zeros are such a value: no flag, SA_RESTART neither, and no signal blocked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = see as *const () as usize;
    // SAFETY: sets a handler that touches an atomic.
    let set = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while SEEN.load(Ordering::SeqCst) < 1_500 {
        assert!(Instant::now() < deadline, "only {SEEN:?} signals came through");
        assert_eq!(place.method.change(), None, "after {SEEN:?} signals");
        for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
            // One that has ended meanwhile has no name.
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if name.trim() == "ringpool-uring" {
                let thread: i32 = task.file_name().to_str().unwrap().parse().unwrap();
                // SAFETY: sends a signal that is handled to a thread of this process.
                unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, libc::SIGUSR1) };
            }
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    writer.write_all(&stamped(PAGE as usize)).unwrap();
    place.arena.expect_reads(1);
    place.read_some(40);
    assert_eq!((place.method.change(), place.counters.get(Counter::Aside)), (None, 0));
}
