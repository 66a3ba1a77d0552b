//! The bare ring: the most that one thread gets out of a device through io_uring, as the measure of everything else.
//!
//! One thread owns one ring (`SINGLE_ISSUER`, `DEFER_TASKRUN`), its descriptor registered too. The buffers are one huge-page
//! region that is faulted in and registered before the clock starts, the files are registered. Every slot of the depth has
//! its own part of the region and gets its next request as soon as its last is done; each `io_uring_enter` submits what has
//! gathered and waits for a batch of completions. There is no page table, no allocation, no queue between threads.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::time::Instant;

use io_uring::IoUring;

use super::kernel::{Lane, Slot, Step, Tally, build, enter, push, register};
use super::script::{Reads, Script, Updates, Writes};
use super::{Ending, lengths};
use crate::measure::{Meter, Sample};
use crate::places::Place;
use crate::region::Region;

/// How many completions a call waits for when nothing else is said. On a disk that is fast enough to matter, 8 take a
/// quarter of the CPU off each request against one at a time; more only adds latency and can starve the device.
pub const BATCH: usize = 8;

/// What the kernel takes as one registered buffer.
const LARGEST_BUFFER: usize = 1 << 30;

/// How a bare ring is built.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// Bytes a page: the unit of places and samples.
    pub page_size: u32,
    /// Bytes a request, a multiple of the page.
    pub request_size: u32,
    /// Requests in flight.
    pub depth: usize,
    /// Completions that one call waits for.
    pub batch: usize,
    /// Whether to record the latency of every request, from when it is prepared to when it is seen done.
    pub latencies: bool,
}

impl RingOptions {
    /// Makes options for one page a request, [`BATCH`] a call, and latencies recorded.
    #[must_use]
    pub fn new(page_size: u32, depth: usize) -> Self {
        Self { page_size, request_size: page_size, depth, batch: BATCH, latencies: true }
    }
}

/// A ring, its registered memory, and nothing else. It belongs to the thread that made it.
pub struct BareRing {
    ring: IoUring,
    region: Region,
    slots: Vec<Slot>,
    options: RingOptions,
    /// Whether the region is registered. An ordinary user may not lock enough memory for a deep ring of large requests.
    registered: bool,
    /// Not zero between runs only where a run ended in a panic.
    in_flight: usize,
    /// `SINGLE_ISSUER`: the kernel refuses other threads, so the type does.
    one_thread: PhantomData<*const ()>,
}

impl BareRing {
    /// Sets up the ring and its memory.
    ///
    /// # Errors
    ///
    /// If the system has no io_uring or forbids it, or has no memory, or the sizes are impossible.
    pub fn new(options: RingOptions) -> io::Result<Self> {
        let RingOptions { page_size, request_size, depth, .. } = options;
        let bytes = depth * request_size as usize;
        if depth == 0
            || page_size == 0
            || request_size == 0
            || request_size % page_size != 0
            || bytes > LARGEST_BUFFER
        {
            let why = format!(
                "a bare ring cannot have {depth} requests of {request_size} bytes, {page_size} a page"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let region = Region::new(bytes)?;
        let ring = build(depth as u32)?;
        // Saves a lookup for each call where the kernel has it (5.18); nothing depends on it.
        let _ = ring.submitter().register_ring_fd();
        let registered = register(&ring, &region)?;
        let slots = vec![Slot::idle(); depth];
        Ok(Self { ring, region, slots, options, registered, in_flight: 0, one_thread: PhantomData })
    }

    /// Returns whether the buffers are registered. If not, the memory that this user may lock is too small, and the figures of this
    /// ring are those of a lesser baseline.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// Returns the options it was made with.
    #[must_use]
    pub fn options(&self) -> RingOptions {
        self.options
    }

    /// Reads a request at every place and shows its bytes to `visit`.
    ///
    /// # Errors
    ///
    /// If a read fails or a place is past the end of its file.
    pub fn read(
        &mut self,
        files: &[File],
        places: &[Place],
        visit: impl FnMut(Place, &[u8]),
    ) -> io::Result<Sample> {
        self.run(files, Ending::Written, &mut Reads { places: places.iter(), visit })
    }

    /// Writes a request at every place, filled by `fill`, and ends as `ending` says. A `fill` that does nothing writes whatever the
    /// slot's memory holds, which is the fastest that this baseline can be.
    ///
    /// # Errors
    ///
    /// If a write or the final sync fails.
    pub fn write(
        &mut self,
        files: &[File],
        places: &[Place],
        ending: Ending,
        fill: impl FnMut(Place, &mut [u8]),
    ) -> io::Result<Sample> {
        self.run(files, ending, &mut Writes { places: places.iter(), fill })
    }

    /// Reads the first place of each pair, then writes the second, every slot on its own: as many reads as writes, `depth` in
    /// flight in all. The sample counts and times the **reads**; the writes are as many and as fast.
    ///
    /// # Errors
    ///
    /// If a read or a write fails, or a place to read is past the end of its file.
    pub fn update(
        &mut self,
        files: &[File],
        pairs: &[(Place, Place)],
        fill: impl FnMut(Place, &mut [u8]),
    ) -> io::Result<Sample> {
        let owed = vec![None; self.options.depth];
        let read = self.run(files, Ending::Written, &mut Updates { pairs: pairs.iter(), fill, owed })?;
        let RingOptions { page_size, request_size, .. } = self.options;
        let bytes = pairs.len() as u64 * u64::from(request_size);
        Ok(read.with_written(bytes / u64::from(page_size), bytes))
    }

    fn run(&mut self, files: &[File], ending: Ending, script: &mut impl Script) -> io::Result<Sample> {
        self.drain()?;
        let descriptors: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let lengths = lengths(files)?;
        self.ring.submitter().register_files(&descriptors)?;
        let meter = Meter::start();
        let outcome = self.pump(&lengths, script).and_then(|tally| ending.carry_out(files).map(|()| tally));
        let elapsed = meter.stop();
        self.ring.submitter().unregister_files()?;
        let Tally { pages, bytes, latencies } = outcome?;
        let sample = elapsed.sample(pages, bytes);
        Ok(if self.options.latencies { sample.with_latencies(latencies) } else { sample })
    }

    /// Keeps every slot busy until the script ends. After a failure nothing new is started, and what is in flight is waited
    /// for.
    fn pump<S: Script>(&mut self, lengths: &[u64], script: &mut S) -> io::Result<Tally> {
        let (submitter, mut submissions, mut completions) = self.ring.split();
        let mut lane = Lane {
            region: &self.region,
            options: self.options,
            registered: self.registered,
            lengths,
            script,
            tally: Tally::default(),
        };
        let mut failure = None;
        let mut now = Instant::now();
        for (number, slot) in self.slots.iter_mut().enumerate() {
            match lane.begin(number, slot, now) {
                Ok(Some(request)) => push(&mut submissions, &mut self.in_flight, &request),
                Ok(None) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        while self.in_flight > 0 {
            let batch = self.options.batch.min(self.in_flight);
            enter(&submitter, &mut submissions, &mut completions, batch)?;
            now = Instant::now();
            for completion in &mut completions {
                self.in_flight -= 1;
                let number = completion.user_data() as usize;
                let slot = &mut self.slots[number];
                let next = match lane.advance(number, slot, completion.result(), now) {
                    Ok(Step::More(request)) => Ok(Some(request)),
                    Ok(Step::Done) if failure.is_none() => lane.begin(number, slot, now),
                    Ok(Step::Done) => Ok(None),
                    Err(error) => Err(error),
                };
                match next {
                    Ok(Some(request)) => push(&mut submissions, &mut self.in_flight, &request),
                    Ok(None) => {}
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
        }
        failure.map_or(Ok(lane.tally), Err)
    }

    /// Waits for what a run that panicked has left in flight, and undoes its registration.
    fn drain(&mut self) -> io::Result<()> {
        if self.in_flight == 0 {
            return Ok(());
        }
        let (submitter, mut submissions, mut completions) = self.ring.split();
        while self.in_flight > 0 {
            enter(&submitter, &mut submissions, &mut completions, 1)?;
            self.in_flight -= completions.by_ref().count();
        }
        submitter.unregister_files()
    }
}

impl Drop for BareRing {
    fn drop(&mut self) {
        // The kernel may still write to the region. If waiting fails, its memory must outlive this value.
        if self.drain().is_err() {
            let leaked = Region::new(0).map(|empty| std::mem::replace(&mut self.region, empty));
            std::mem::forget(leaked);
        }
    }
}

impl std::fmt::Debug for BareRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BareRing")
            .field("options", &self.options)
            .field("registered", &self.registered)
            .finish()
    }
}
