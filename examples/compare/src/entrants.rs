//! The arms: the ways that a workload compares, what is reported of each, and what this machine lacks.

use lab::Result;
use lab::baseline::ring::{BareRing, RingOptions};

use crate::findings::Findings;
use crate::options::Options;
use crate::support::{Candidate, Input, PoolArm, PoolSpec, memory, methods};

/// The name of the arm with which all other arms are compared.
pub(crate) const BARE_RING: &str = "bare ring";

/// The arms that go through the page cache where the others do not.
pub(crate) const PAGE_CACHE: [&str; 2] = ["pread, page cache", "pwrite, page cache"];

/// One of the ways that a workload compares.
pub(crate) struct Entrant<W> {
    pub(crate) card: Card,
    pub(crate) way: W,
}

/// What the rows of an arm say beside its measurements.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    pub(crate) name: String,
    /// The I/O method that was really in use.
    pub(crate) method: String,
    pub(crate) in_flight: u32,
}

impl Card {
    pub(crate) fn ring(in_flight: u32) -> Self {
        Self { name: BARE_RING.into(), method: "io_uring".into(), in_flight }
    }

    pub(crate) fn plain(name: &str) -> Self {
        Self { name: name.into(), method: "sync".into(), in_flight: 1 }
    }

    /// Makes the arm of a pool, and notes in the findings what the pool says of its method.
    pub(crate) fn pool(pool: &PoolArm<'_>, candidate: &Candidate, findings: &mut Findings) -> Self {
        let (name, report) = (format!("pool, {}", candidate.name), pool.method());
        findings.tell(format!("{name}: {}", methods::in_words(&report)));
        Self { name, method: report.in_use.to_string(), in_flight: candidate.in_flight }
    }

    /// Makes the same arm under another name.
    pub(crate) fn named(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self.clone() }
    }
}

/// What the pools of a workload are built with, whatever their method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pools {
    /// Requests that may be in flight.
    pub(crate) depth: u32,
    pub(crate) frames: u32,
    /// The most bytes that one request covers.
    pub(crate) combine: u32,
    pub(crate) writes: bool,
}

impl Pools {
    /// Opens pools that write, in which `pages` pages are all dirty at once; the table needs some slack to take them.
    pub(crate) fn with_room_for(pages: u32, depth: u32) -> Self {
        Self { depth, frames: pages + pages / 4 + 64, combine: 128 << 10, writes: true }
    }

    /// Opens a pool for each method; what this machine lacks is left out.
    pub(crate) fn open<'a>(
        self,
        input: &'a Input,
        options: &Options,
        advice: &str,
        findings: &mut Findings,
    ) -> Result<Vec<Entrant<PoolArm<'a>>>> {
        let candidates = methods::all(self.depth, options.worker_threads);
        let bytes = u64::from(self.frames) * u64::from(input.page_size());
        memory::check(candidates.len() as u64 * bytes, advice)?;
        let open = |candidate: Candidate| {
            let (method, combine) = (candidate.method.clone(), self.combine as usize);
            let spec = PoolSpec { method, frames: self.frames, combine };
            let way = or_leave_out(candidate.name, PoolArm::open(input, &spec, self.writes), findings)?;
            Some(Entrant { card: Card::pool(&way, &candidate, findings), way })
        };
        Ok(candidates.into_iter().filter_map(open).collect())
    }
}

/// Opens a bare ring, unless this machine forbids it.
pub(crate) fn ring(options: RingOptions, findings: &mut Findings) -> Option<BareRing> {
    let ring = or_leave_out(BARE_RING, BareRing::new(options).map_err(Into::into), findings)?;
    if !ring.is_registered() {
        findings.tell(format!(
            "{BARE_RING}: this user may not lock enough memory (ulimit -l), so its buffers are not registered and it is \
             slower than it could be"
        ));
    }
    Some(ring)
}

/// Returns what was opened. What is not available here is not compared, but reported.
pub(crate) fn or_leave_out<T>(name: &str, opened: Result<T>, findings: &mut Findings) -> Option<T> {
    opened.map_err(|error| findings.leave_out(format!("{name}: left out: {error}"))).ok()
}
