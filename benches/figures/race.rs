//! Arms that read the same places: first each shows that it sees what a plain read sees, then they are timed.

use lab::baseline::plain::Plain;
use lab::baseline::ring::{BareRing, RingOptions};
use lab::rounds::Outcome;
use lab::{Arm, Digest, Place, Result, Sample};

use ringpool::StreamOptions;

use crate::bench::{Bench, PAGE};
use crate::support::{Candidate, Input, PoolArm, PoolSpec, Visit, Window, look_at};

/// An arm that reads places, from cold.
pub(crate) struct Reader<'a> {
    name: String,
    /// Pages that it wants to be given as one place.
    stride: u32,
    /// The most places of a round that it reads, where it is too slow for all.
    most: usize,
    read: Box<Read<'a>>,
}

/// Empties all caches, then reads the places and shows the bytes.
type Read<'a> = dyn FnMut(&[Place], &Visit<'_>) -> Result<Sample> + 'a;

impl<'a> Reader<'a> {
    pub(crate) fn ring(input: &'a Input, name: &str, options: RingOptions) -> Result<Self> {
        let (mut ring, files) = (BareRing::new(options)?, input.open_plain(false)?);
        let stride = options.request_size / options.page_size;
        Ok(Self::new(name, stride, move |places, visit| {
            input.drop_caches()?;
            Ok(ring.read(&files, places, visit)?)
        }))
    }

    pub(crate) fn pread(input: &'a Input) -> Result<Self> {
        let (plain, files) = (Plain { latencies: true, ..Plain::new(PAGE) }, input.open_plain(false)?);
        Ok(Self::new("pread", 1, move |places, visit| {
            input.drop_caches()?;
            Ok(plain.read(&files, places, visit)?)
        }))
    }

    /// Makes the arm of the pool that reads by prefetch.
    pub(crate) fn ahead(
        input: &'a Input,
        name: &str,
        candidate: &Candidate,
        frames: u32,
        combine: usize,
        window: Window,
    ) -> Result<Self> {
        let mut pool = open(input, candidate, frames, combine)?;
        Ok(Self::new(name, 1, move |places, visit| {
            pool.make_cold()?;
            pool.read_ahead(places, window, visit)
        }))
    }

    /// Makes the arm of the pool that reads by a read stream.
    pub(crate) fn stream(
        input: &'a Input,
        name: &str,
        candidate: &Candidate,
        frames: u32,
        options: StreamOptions,
    ) -> Result<Self> {
        let mut pool = open(input, candidate, frames, PAGE as usize)?;
        Ok(Self::new(name, 1, move |places, visit| {
            pool.make_cold()?;
            pool.read_stream(places, options, visit)
        }))
    }

    /// Makes the arm of the pool that reads by tasks on one thread, each of which reads one page after another.
    pub(crate) fn tasks(
        input: &'a Input,
        name: &str,
        candidate: &Candidate,
        frames: u32,
        tasks: usize,
    ) -> Result<Self> {
        let mut pool = open(input, candidate, frames, PAGE as usize)?;
        Ok(Self::new(name, 1, move |places, visit| {
            pool.make_cold()?;
            pollster::block_on(pool.read_by_tasks(places, tasks, visit))
        }))
    }

    /// Makes the arm of the pool that reads one page after another.
    pub(crate) fn one_by_one(
        input: &'a Input,
        name: &str,
        candidate: &Candidate,
        frames: u32,
    ) -> Result<Self> {
        let mut pool = open(input, candidate, frames, PAGE as usize)?;
        Ok(Self::new(name, 1, move |places, visit| {
            pool.make_cold()?;
            pool.read_each(places, visit)
        }))
    }

    fn new(name: &str, stride: u32, read: impl FnMut(&[Place], &Visit<'_>) -> Result<Sample> + 'a) -> Self {
        Self { name: name.to_owned(), stride, most: usize::MAX, read: Box::new(read) }
    }

    /// Sets the most places that it reads in a round.
    pub(crate) fn at_most(self, most: usize) -> Self {
        Self { most, ..self }
    }
}

fn open<'a>(input: &'a Input, candidate: &Candidate, frames: u32, combine: usize) -> Result<PoolArm<'a>> {
    PoolArm::open(input, &PoolSpec { method: candidate.method.clone(), frames, combine }, false)
}

/// Proves and times the readers; `places_of` gives the places of a round, one for this number of pages.
pub(crate) fn race<'a>(
    bench: &Bench,
    input: &Input,
    figure: &str,
    mut readers: Vec<Reader<'a>>,
    places_of: impl Fn(u32, u32) -> Vec<Place> + 'a,
) -> Result<Outcome> {
    let twin = readers[0].name.clone();
    for reader in &mut readers {
        prove(input, reader, &places_of)?;
    }
    let places_of = &places_of;
    let arms = readers.into_iter().map(|mut reader| {
        Arm::new(reader.name.clone(), move |round| {
            let mut places = places_of(round, reader.stride);
            places.truncate(reader.most);
            (reader.read)(&places, &look_at)
        })
    });
    bench.run(figure, &twin, arms.collect())
}

/// Compares what a reader sees of the first round's places with a plain read of them.
fn prove(input: &Input, reader: &mut Reader<'_>, places_of: impl Fn(u32, u32) -> Vec<Place>) -> Result<()> {
    let mut places = places_of(0, reader.stride);
    places.truncate(reader.most);
    let (expected, seen) = (Digest::new(PAGE), Digest::new(PAGE));
    input.read_plainly(&places, reader.stride * PAGE, |first, bytes| {
        expected.add(first, bytes);
    })?;
    (reader.read)(&places, &|first, bytes| seen.add(first, bytes))?;
    if seen.value() == expected.value() {
        return Ok(());
    }
    Err(format!("{} saw other bytes than a plain read", reader.name).into())
}
