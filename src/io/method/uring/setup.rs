//! Makes a ring, registers memory and files with it, and finds out what it can do.
//!
//! Invariants: what is returned has done a real read, so a system that allows the setup and forbids the rest is refused here; a
//! ring that is refused leaves no descriptor behind. Runs on the thread that will own the ring, because a ring with a single
//! issuer belongs to the thread that made it.
//!
//! A call that fails for want of memory is repeated for a moment: the kernel frees late what closed rings had locked.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    ptr,
};

use io_uring::{IoUring, Probe, opcode, types::Fd};
use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
    process::{Resource, getrlimit},
};

use super::{trouble::Trouble, witness::Witness};
use crate::{
    io::{
        method::Chunk,
        options::{Fallback, UringOptions},
        report::Registration,
    },
    sync::{
        thread,
        time::{self, Duration},
    },
};

/// How many files can be registered at once; others work without.
pub(super) const FILE_SLOTS: u32 = 256;

/// How long a call of the set-up may fail for want of memory.
const PATIENCE: Duration = Duration::from_millis(250);

/// The most threads that the kernel may start for requests it cannot do at once: for files, for anything else.
const KERNEL_WORKERS: [u32; 2] = [8, 2];

#[derive(Clone, Debug)]
pub(in crate::io) struct Abilities {
    pub(in crate::io) fixed_buffers: Registration,
    pub(in crate::io) fixed_files: Registration,
    /// Several registered buffers in one request.
    pub(super) vectored_fixed: bool,
    pub(super) timed_waits: bool,
}

impl Abilities {
    /// Reduces this to what two rings can both do; of two refusals the first is kept.
    pub(super) fn settle_for(&mut self, other: Self) {
        for (own, other) in
            [(&mut self.fixed_buffers, other.fixed_buffers), (&mut self.fixed_files, other.fixed_files)]
        {
            if *own == Registration::InUse {
                *own = other;
            }
        }
        self.vectored_fixed &= other.vectored_fixed;
        self.timed_waits &= other.timed_waits;
    }
}

/// Makes a ring for `options.queue_depth` requests and one wake-up. The memory is registered, or cloned from a ring that has registered
/// it already. The witness tells when the kernel is done with the ring.
pub(super) fn open(
    options: &UringOptions,
    chunks: &[Chunk],
    registered_with: Option<RawFd>,
) -> Result<(IoUring, Witness, Abilities), String> {
    let mut ring = build(options.queue_depth + 1).map_err(refused("io_uring_setup"))?;
    let room = ring.params().cq_entries();
    if room <= options.queue_depth {
        return Err(format!(
            "queue_depth {}: a ring of this system holds {room} completions, choose fewer",
            options.queue_depth
        ));
    }
    let mut probe = Probe::new();
    patiently(|| ring.submitter().register_probe(&mut probe)).map_err(refused("io_uring_register(PROBE)"))?;
    let knows = |codes: &[u8]| codes.iter().all(|&code| probe.is_supported(code));
    if !knows(&[opcode::Read::CODE, opcode::Write::CODE, opcode::Readv::CODE, opcode::Writev::CODE]) {
        return Err(refused("io_uring_register(PROBE)")(Errno::OPNOTSUPP.into()));
    }
    try_a_read(&mut ring)?;
    // Bounds how many threads the kernel starts for a slow file. Where this is unknown, the kernel's own bound holds.
    let _ = ring.submitter().register_iowq_max_workers(&mut { KERNEL_WORKERS });
    let (fixed_files, witness) = register_files(&ring, options.fixed_files)?;
    let abilities = Abilities {
        fixed_buffers: register_buffers(&ring, options.fixed_buffers, chunks, registered_with)?,
        fixed_files,
        vectored_fixed: knows(&[opcode::ReadvFixed::CODE, opcode::WritevFixed::CODE]),
        timed_waits: ring.params().is_feature_ext_arg(),
    };
    Ok((ring, witness, abilities))
}

/// Makes a call until it succeeds, or fails for good, or has failed for long enough.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut trouble = Trouble::new(PATIENCE);
    loop {
        let error = match call() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match trouble.pause_after(&error, time::now()) {
            Some(pause) => thread::park_timeout(pause),
            None => return Err(error),
        }
    }
}

/// Explains why a call for a ring failed, and what the user can do.
pub(super) fn refused(call: &'static str) -> impl FnOnce(io::Error) -> String {
    move |error| {
        let advice = match Errno::from_io_error(&error) {
            Some(Errno::PERM | Errno::ACCESS) => {
                ": allow it in seccomp (containers) and in the sysctl kernel.io_uring_disabled"
            }
            Some(Errno::NOSYS) => ": this kernel, or a sandbox, has no io_uring",
            Some(Errno::NOMEM) => {
                ": raise RLIMIT_MEMLOCK (rings of this user count against it, those that are closed for a moment too), or \
                 choose a smaller queue_depth"
            }
            Some(Errno::MFILE | Errno::NFILE) => ": raise RLIMIT_NOFILE",
            Some(Errno::INVAL | Errno::OPNOTSUPP) => ": this kernel is too old",
            _ => "",
        };
        format!("{call}: {error}{advice}")
    }
}

/// Makes a ring with the best flags that this kernel knows. The completion queue is twice what can be in flight, so it never
/// overflows.
fn build(entries: u32) -> io::Result<IoUring> {
    let plain = || {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(2 * entries.next_power_of_two());
        builder
    };
    // The kernel interrupts the owner less, then not at all: it posts completions only when the owner enters.
    let mut cooperative = plain();
    cooperative.setup_coop_taskrun();
    let mut deferred = cooperative.clone();
    deferred.setup_single_issuer().setup_defer_taskrun();
    let mut outcome = Err(Errno::INVAL.into());
    for builder in [deferred, cooperative, plain()] {
        outcome = patiently(|| builder.build(entries));
        match &outcome {
            Err(error) if Errno::from_io_error(error) == Some(Errno::INVAL) => {}
            _ => break,
        }
    }
    outcome
}

/// Reads from an event counter, which is what the ring will do for ever.
fn try_a_read(ring: &mut IoUring) -> Result<(), String> {
    const CALL: &str = "a first read with io_uring_enter";
    let event = eventfd(1, EventfdFlags::CLOEXEC).map_err(|error| refused("eventfd")(error.into()))?;
    let mut count = Box::new(0_u64);
    let read = opcode::Read::new(Fd(event.as_raw_fd()), (&raw mut *count).cast(), 8).build();
    // SAFETY: `count` outlives the read: it is leaked where that may still be under way. The kernel keeps the counter itself.
    #[allow(unsafe_code)]
    let pushed = unsafe { ring.submission().push(&read) };
    pushed.expect("a new ring has room");
    let entered = patiently(|| ring.submit_and_wait(1));
    let completion = ring.completion().next();
    match (entered, completion) {
        (_, Some(done)) if done.result() == 8 => Ok(()),
        (_, Some(done)) => Err(refused(CALL)(io::Error::from_raw_os_error(-done.result().min(0)))),
        (entered, None) => {
            if ring.submission().is_empty() {
                std::mem::forget(count);
            }
            Err(refused(CALL)(entered.err().unwrap_or_else(|| Errno::IO.into())))
        }
    }
}

/// Returns what came of registering something, or an error where it is required.
fn registration(
    wanted: Fallback,
    outcome: io::Result<()>,
    explain: impl FnOnce(io::Error) -> String,
) -> Result<Registration, String> {
    match outcome {
        Ok(()) => Ok(Registration::InUse),
        Err(error) if wanted == Fallback::Require => Err(explain(error)),
        Err(error) => Ok(Registration::Refused(explain(error))),
    }
}

fn register_buffers(
    ring: &IoUring,
    wanted: Fallback,
    chunks: &[Chunk],
    registered_with: Option<RawFd>,
) -> Result<Registration, String> {
    if wanted == Fallback::Off {
        return Ok(Registration::NotAsked);
    }
    if chunks.is_empty() {
        return Ok(Registration::NotApplicable);
    }
    // Linux 6.12: both rings then use one registration, which is made, and counts against RLIMIT_MEMLOCK, only once.
    if registered_with.is_some_and(|other| ring.submitter().register_buffers_clone(other).is_ok()) {
        return Ok(Registration::InUse);
    }
    let vectors: Vec<libc::iovec> = chunks.iter().map(to_iovec).collect();
    // SAFETY: the chunks are mapped memory while this runs, which is their contract. The kernel keeps the pages themselves
    // from then on, so even a mapping that goes before the ring does leaves it nothing to write to but those pages.
    #[allow(unsafe_code)]
    let register = || unsafe { ring.submitter().register_buffers(&vectors) };
    let bytes = chunks.iter().map(|chunk| chunk.len).sum::<usize>();
    let limit = getrlimit(Resource::Memlock).current;
    // Memory that the limit can never allow is not waited for.
    let is_allowed = limit.is_none_or(|limit| bytes as u64 <= limit);
    let outcome = if is_allowed { patiently(register) } else { register() };
    registration(wanted, outcome, |error| {
        let mib = bytes.div_ceil(1 << 20);
        let advice = match (Errno::from_io_error(&error), limit) {
            (Some(Errno::NOMEM), Some(limit)) if is_allowed => format!(
                ": RLIMIT_MEMLOCK ({} MiB) has room for them, but other rings of this user have memory locked, or had until \
                 a moment ago: raise it (ulimit -l, LimitMEMLOCK=)",
                limit >> 20
            ),
            (Some(Errno::NOMEM), _) => {
                format!(": raise RLIMIT_MEMLOCK above {mib} MiB (ulimit -l, LimitMEMLOCK=)")
            }
            _ => String::new(),
        };
        format!("the frames ({mib} MiB) cannot be registered: {error}{advice}")
    })
}

/// Describes a chunk as the kernel wants it; one without memory is a place in the table that is empty for now (Linux 5.13).
pub(super) fn to_iovec(chunk: &Chunk) -> libc::iovec {
    let start = if chunk.len == 0 { ptr::null_mut() } else { chunk.ptr.as_ptr().cast() };
    libc::iovec { iov_base: start, iov_len: chunk.len }
}

/// Registers a table for files, where that is wanted; and in any case the witness.
fn register_files(ring: &IoUring, wanted: Fallback) -> Result<(Registration, Witness), String> {
    let submitter = ring.submitter();
    let mut witness = Witness::new().map_err(refused("pipe"))?;
    let registered = if wanted == Fallback::Off {
        Registration::NotAsked
    } else {
        let outcome = patiently(|| submitter.register_files_sparse(FILE_SLOTS + 1)).and_then(|()| {
            patiently(|| witness.hand_over(|fd| submitter.register_files_update(FILE_SLOTS, &[fd]).map(drop)))
                .inspect_err(|_| drop(submitter.unregister_files()))
        });
        registration(wanted, outcome, |error| {
            format!(
                "a table of {FILE_SLOTS} files cannot be registered: {error} (RLIMIT_NOFILE, or a kernel before 5.19)"
            )
        })?
    };
    if registered != Registration::InUse {
        patiently(|| witness.hand_over(|fd| submitter.register_files(&[fd])))
            .map_err(refused("io_uring_register(FILES)"))?;
    }
    Ok((registered, witness))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tests::support::is_alone;
    use std::{cell::Cell, fs};

    #[test]
    fn every_refusal_is_explained() {
        for (errno, advice) in [
            (1, "kernel.io_uring_disabled"),
            (38, "no io_uring"),
            (12, "RLIMIT_MEMLOCK"),
            (24, "RLIMIT_NOFILE"),
            (22, "too old"),
            (5, "io_uring_setup: "),
        ] {
            let text = refused("io_uring_setup")(io::Error::from_raw_os_error(errno));
            assert!(text.starts_with("io_uring_setup: ") && text.contains(advice), "{text}");
        }
    }

    #[test]
    fn a_call_that_fails_for_a_while_is_repeated_and_one_that_is_refused_is_not() {
        for (errno, times) in [(Errno::AGAIN, 3), (Errno::BUSY, 3), (Errno::NOMEM, 3), (Errno::INTR, 5_000)] {
            let left = Cell::new(times);
            let call = || if left.replace(left.get() - 1) > 0 { Err(io::Error::from(errno)) } else { Ok(7) };
            assert_eq!(patiently(call).unwrap(), 7, "{errno:?}");
        }
        let calls = Cell::new(0);
        let refused = patiently::<()>(|| {
            calls.set(calls.get() + 1);
            Err(Errno::PERM.into())
        });
        assert_eq!((refused.unwrap_err().raw_os_error(), calls.get()), (Some(Errno::PERM.raw_os_error()), 1));
    }

    #[test]
    fn a_ring_that_is_refused_leaves_no_descriptor_behind() {
        if !is_alone() {
            return;
        }
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for _ in 0..5 {
            // Its first call is refused (EBADFD).
            let Ok(mut ring) = IoUring::builder().setup_r_disabled().build(4) else {
                return println!("skipped: no io_uring here");
            };
            assert!(try_a_read(&mut ring).is_err());
        }
        let depths = UringOptions { queue_depth: 1 << 20, ..UringOptions::default() };
        assert!(super::open(&depths, &[], None).is_err(), "more than a ring holds");
        assert_eq!(open(), before);
    }
}
