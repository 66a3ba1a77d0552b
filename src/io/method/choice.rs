//! Chooses the I/O method: io_uring, else worker threads, else sync.
//!
//! `IoMethod::Auto` tries them in this order until one works, and keeps the reason for each that does not. A method that was
//! asked for by name is used or refused, never replaced.

use crate::{
    error::{ConfigError, Result},
    io::{
        method::{Chunk, Method, calling_thread::Inline, threads::Threads},
        operation::Lease,
        options::{IoMethod, Scheduling, UringOptions},
        report::{MethodKind, MethodReport, Registration},
    },
    observe::Counters,
    sync::Arc,
};

/// A method that works, with what it registered.
type Rung<L> = (Arc<dyn Method<L>>, MethodKind, [Registration; 2]);

const NOTHING_TO_REGISTER: [Registration; 2] = [Registration::NotApplicable, Registration::NotApplicable];

/// Opens the method that was asked for. `chunks` is the memory that all buffers of all requests come from.
pub(crate) fn open_method<L: Lease>(
    asked: &IoMethod,
    chunks: &[Chunk],
    scheduling: &Scheduling,
    counters: &Arc<Counters>,
) -> Result<(Arc<dyn Method<L>>, MethodReport)> {
    asked.validate()?;
    let mut reasons = Vec::new();
    let mut holds = |rung: Result<Rung<L>, String>| rung.map_err(|reason| reasons.push(reason)).ok();
    let rung = match asked {
        IoMethod::Auto => holds(ring(&UringOptions::default(), chunks, scheduling, counters))
            .or_else(|| holds(threads(IoMethod::DEFAULT_THREADS, scheduling, counters)))
            .unwrap_or_else(|| sync(counters)),
        IoMethod::Uring(options) => ring(options, chunks, scheduling, counters).map_err(|reason| {
            refused(asked, &format!("{reason}; or let IoMethod::Auto choose what works here"))
        })?,
        IoMethod::Worker { threads: count } => threads(*count, scheduling, counters)
            .map_err(|reason| refused(asked, &format!("{reason}; IoMethod::Sync needs none")))?,
        IoMethod::Sync => sync(counters),
    };
    let (method, in_use, [fixed_buffers, fixed_files]) = rung;
    let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    Ok((method, MethodReport { asked: asked.clone(), in_use, reason, fixed_buffers, fixed_files }))
}

fn refused(asked: &IoMethod, advice: &str) -> ConfigError {
    ConfigError::new("io_method", asked, advice)
}

fn threads<L: Lease>(
    count: u32,
    scheduling: &Scheduling,
    counters: &Arc<Counters>,
) -> Result<Rung<L>, String> {
    match Threads::open(count, scheduling, Arc::clone(counters)) {
        Ok(threads) => Ok((Arc::new(threads), MethodKind::Worker, NOTHING_TO_REGISTER)),
        Err(error) => Err(format!("no worker thread can be started: {error}")),
    }
}

fn sync<L: Lease>(counters: &Arc<Counters>) -> Rung<L> {
    (Arc::new(Inline(Arc::clone(counters))), MethodKind::Sync, NOTHING_TO_REGISTER)
}

#[cfg_attr(
    not(all(feature = "uring", target_os = "linux", not(any(loom, shuttle)))),
    allow(unused_variables)
)]
fn ring<L: Lease>(
    options: &UringOptions,
    chunks: &[Chunk],
    scheduling: &Scheduling,
    counters: &Arc<Counters>,
) -> Result<Rung<L>, String> {
    #[cfg(all(feature = "uring", target_os = "linux", not(any(loom, shuttle))))]
    {
        let (uring, abilities) = super::uring::Uring::open(options, chunks, scheduling, counters)?;
        let registered = [abilities.fixed_buffers, abilities.fixed_files];
        Ok((Arc::new(uring), MethodKind::Uring, registered))
    }
    #[cfg(not(all(feature = "uring", target_os = "linux", not(any(loom, shuttle)))))]
    Err("io_uring is not built in: it needs Linux and the feature `uring`".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tests::support::{SCHEDULING, TestArena, TestLease};

    fn open(asked: &IoMethod, chunks: &[Chunk]) -> Result<(Arc<dyn Method<TestLease>>, MethodReport)> {
        open_method(asked, chunks, &SCHEDULING, &Arc::new(Counters::new()))
    }

    #[test]
    fn what_is_asked_for_by_name_is_what_is_used() {
        let arena = TestArena::new(1 << 20);
        for (asked, kind, name) in
            [(IoMethod::worker(), MethodKind::Worker, "worker"), (IoMethod::Sync, MethodKind::Sync, "sync")]
        {
            let (_, report) = open(&asked, &arena.chunks()).unwrap();
            assert_eq!((report.in_use, report.in_use.to_string().as_str()), (kind, name));
            assert_eq!((report.asked, report.reason), (asked, None));
            assert_eq!(report.fixed_buffers, Registration::NotApplicable);
        }
    }

    #[test]
    fn options_are_checked() {
        let error = open(&IoMethod::Worker { threads: 0 }, &[]).err().unwrap();
        assert!(error.to_string().contains("choose 1 to 256"), "{error}");
    }

    #[test]
    fn auto_gives_the_ring_or_a_reason() {
        let arena = TestArena::new(1 << 20);
        let (_, report) = open(&IoMethod::Auto, &arena.chunks()).unwrap();
        println!("{report:?}");
        assert_eq!(report.in_use == MethodKind::Uring, report.reason.is_none());
        let ring = cfg!(all(feature = "uring", target_os = "linux", not(any(loom, shuttle))));
        if !ring {
            assert!(report.reason.unwrap().contains("feature `uring`"));
        }
    }
}
