//! The plain baseline: `pread` and `pwrite` in a loop, on one thread or several.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use super::{Ending, lengths, readable};
use crate::measure::{Latencies, Sample, on_threads};
use crate::places::Place;
use crate::region::Region;

/// How to read or write plainly.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    /// Bytes a page: the unit of places and samples.
    pub page_size: u32,
    /// Bytes a call, a multiple of the page.
    pub request_size: u32,
    /// Threads; each takes an equal stretch of the places.
    pub threads: usize,
    /// Whether to record the latency of every call.
    pub latencies: bool,
}

impl Plain {
    /// Makes options for one thread, one page a call, and no latencies.
    #[must_use]
    pub fn new(page_size: u32) -> Self {
        Self { page_size, request_size: page_size, threads: 1, latencies: false }
    }

    /// Reads a request at every place and shows its bytes to `visit`.
    ///
    /// # Errors
    ///
    /// If a read fails or a place is past the end of its file.
    pub fn read(
        &self,
        files: &[File],
        places: &[Place],
        visit: impl Fn(Place, &[u8]) + Sync,
    ) -> io::Result<Sample> {
        let lengths = lengths(files)?;
        self.run(places, &|place, buffer| {
            let wanted = readable(&lengths, place, self.page_size, self.request_size)?;
            read_at_least(&files[place.file as usize], buffer, wanted, place.offset(self.page_size))?;
            visit(place, &buffer[..wanted]);
            Ok(wanted)
        })
    }

    /// Writes a request at every place, filled by `fill`, and ends as `ending` says. A caller that needs only the time passes a
    /// `fill` that does nothing: zeros are written.
    ///
    /// # Errors
    ///
    /// If a write or the final sync fails.
    pub fn write(
        &self,
        files: &[File],
        places: &[Place],
        ending: Ending,
        fill: impl Fn(Place, &mut [u8]) + Sync,
    ) -> io::Result<Sample> {
        let meter = crate::Meter::start();
        let written = self.run(places, &|place, buffer| {
            fill(place, buffer);
            files[place.file as usize].write_all_at(buffer, place.offset(self.page_size))?;
            Ok(buffer.len())
        })?;
        ending.carry_out(files)?;
        let elapsed = meter.stop().sample(written.pages, written.bytes);
        Ok(Sample { latencies: written.latencies, ..elapsed })
    }

    /// Runs `transfer`, which returns how many bytes it moved, for every place.
    fn run(
        &self,
        places: &[Place],
        transfer: &(impl Fn(Place, &mut [u8]) -> io::Result<usize> + Sync),
    ) -> io::Result<Sample> {
        let buffers: Vec<_> = (0..self.threads).map(|_| Region::new(self.request_size as usize)).collect();
        let buffers: Vec<_> =
            buffers.into_iter().map(|buffer| buffer.map(std::sync::Mutex::new)).collect::<Result<_, _>>()?;
        let stretch = places.len().div_ceil(self.threads).max(1);
        let stretches: Vec<&[Place]> = places.chunks(stretch).collect();
        let (moved, elapsed) = on_threads(self.threads, |thread| {
            let mut region = buffers[thread].lock().expect("each thread locks its own");
            let buffer = &mut region.bytes_mut()[..self.request_size as usize];
            self.run_stretch(stretches.get(thread).copied().unwrap_or_default(), buffer, transfer)
        });
        let mut total = Moved::default();
        for moved in moved {
            total.add(&moved?);
        }
        let sample = elapsed.sample(total.pages, total.bytes);
        Ok(if self.latencies { sample.with_latencies(total.latencies) } else { sample })
    }

    fn run_stretch(
        &self,
        places: &[Place],
        buffer: &mut [u8],
        transfer: &impl Fn(Place, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Moved> {
        let mut moved = Moved::default();
        for &place in places {
            let started = self.latencies.then(Instant::now);
            let bytes = transfer(place, buffer)? as u64;
            if let Some(started) = started {
                moved.latencies.record(started.elapsed());
            }
            moved.bytes += bytes;
            moved.pages += bytes.div_ceil(u64::from(self.page_size));
        }
        Ok(moved)
    }
}

/// What one thread has moved.
#[derive(Default)]
struct Moved {
    pages: u64,
    bytes: u64,
    latencies: Latencies,
}

impl Moved {
    fn add(&mut self, other: &Self) {
        self.pages += other.pages;
        self.bytes += other.bytes;
        self.latencies.merge(&other.latencies);
    }
}

/// Asks for the whole buffer, since direct I/O takes whole blocks only, and is content with `wanted` bytes, since the file may
/// end there.
fn read_at_least(file: &File, buffer: &mut [u8], wanted: usize, offset: u64) -> io::Result<()> {
    let mut got = 0;
    while got < wanted {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => got += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
