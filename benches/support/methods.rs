//! The pool's I/O methods as candidates of a comparison.

use ringpool::{
    IoMethod,
    options::{Fallback, UringOptions},
    stats::{MethodKind, MethodReport},
};

/// A method to try, and what it can have in flight.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) method: IoMethod,
    pub(crate) in_flight: u32,
}

/// Makes a candidate with io_uring and at most `depth` requests of one file in flight, which is what the bare ring beside it has: a
/// file gets three quarters of the queue depth.
pub(crate) fn uring(depth: u32) -> Candidate {
    let method = IoMethod::Uring(UringOptions::default().queue_depth(depth + depth.div_ceil(3)));
    Candidate { name: "io_uring", method, in_flight: depth }
}

/// Makes a candidate with io_uring whose frames are not registered with the ring.
pub(crate) fn uring_without_fixed_buffers(depth: u32) -> Candidate {
    let options = UringOptions::default().queue_depth(depth + depth.div_ceil(3)).fixed_buffers(Fallback::Off);
    Candidate { method: IoMethod::Uring(options), ..uring(depth) }
}

pub(crate) fn worker(threads: u32) -> Candidate {
    Candidate { name: "worker", method: IoMethod::Worker { threads }, in_flight: threads }
}

pub(crate) fn sync() -> Candidate {
    Candidate { name: "sync", method: IoMethod::Sync, in_flight: 1 }
}

/// Makes a candidate for each method.
pub(crate) fn all(depth: u32, threads: u32) -> [Candidate; 3] {
    [uring(depth), worker(threads), sync()]
}

/// Tells in words which method is in use and why not another, and what of it is registered.
pub(crate) fn in_words(report: &MethodReport) -> String {
    let mut words = format!("{} in use", report.in_use);
    if let Some(reason) = &report.reason {
        words += &format!(", because {reason}");
    }
    if report.in_use == MethodKind::Uring {
        words += &format!("; fixed buffers {}; fixed files {}", report.fixed_buffers, report.fixed_files);
    }
    words
}
