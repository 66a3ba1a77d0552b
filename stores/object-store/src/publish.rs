//! Publishes what a writer wrote, as one: [`Writer::sync`].
//!
//! A sync puts what is collected as segments, with the changes of the map behind the last of them, or with the whole map as an object of its own now
//! and then; waits for all puts since the last sync; and swaps the head. Before the swap no reader sees any of it, and after it all of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::compact::{self, Limits};
use crate::manifest::{Published, Table};
use crate::names::{ObjectId, unique};
use crate::page_map::Place;
use crate::swap::{self, Held, Swapped};
use crate::writer::{Inner, Put, Writer, lock};

/// Runs of changes since the last base, from which on a sync writes a base, however small the map is.
const FEWEST_CHANGED_RUNS: usize = 4096;
/// Places that a sync reads together to write them again, and how many such reads are in flight.
const REWRITTEN_TOGETHER: usize = 128;
const READS_TO_REWRITE: usize = 8;

/// What publishing goes on from.
#[derive(Debug)]
pub(crate) struct Publisher {
    held: Held,
    /// Runs in the changes since the base.
    changed_runs: usize,
}

impl Publisher {
    pub(crate) fn new(held: Held) -> Self {
        Self { held, changed_runs: 0 }
    }

    pub(crate) fn oldest_kept(&self) -> u64 {
        self.held.head.oldest_kept
    }
}

/// What one sync puts.
#[derive(Debug)]
struct Snapshot {
    published: Published,
    /// An object with a table and no page.
    table: Option<(ObjectId, Bytes)>,
    changed_runs: usize,
    /// The objects that the map names.
    named: Vec<ObjectId>,
    /// The tasks that put the segments.
    puts: Vec<Put>,
}

impl Writer {
    /// Makes all that was written before the call part of the file, durably and together, and returns the version that this is.
    ///
    /// It goes on when the future is dropped. A sync of a file to which nothing was written asks the store whether the file is still this writer's.
    ///
    /// # Errors
    ///
    /// [`Fenced`](crate::Fenced) when another writer opened the file: nothing since the last sync is in it. After any other error it is unknown whether it is; the
    /// next writer that opens the file finds all of it or nothing. Each later sync fails as well.
    pub async fn sync(&self) -> io::Result<u64> {
        let inner = Arc::clone(&self.inner);
        self.inner.executor.handle.spawn(async move { sync(&inner).await }).await.map_err(io::Error::other)?
    }
}

async fn sync(inner: &Arc<Inner>) -> io::Result<u64> {
    let mut publisher = inner.publisher.lock().await;
    inner.check()?;
    let mut unfinished = EndsUnlessFinished { inner, is_finished: false };
    let result = publish(inner, &mut publisher).await;
    unfinished.is_finished = true;
    match &result {
        Ok(version) => inner.version.store(*version, Ordering::Release),
        Err(error) => inner.end_with(error),
    }
    result
}

/// Ends the writer when a sync panics or its runtime ends, for what was to be published is known to no later sync.
struct EndsUnlessFinished<'a> {
    inner: &'a Inner,
    is_finished: bool,
}

impl Drop for EndsUnlessFinished<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.inner.end_with(&io::Error::other("a sync did not run to its end"));
        }
    }
}

async fn publish(inner: &Arc<Inner>, publisher: &mut Publisher) -> io::Result<u64> {
    if !inner.state().is_changed() {
        return unchanged(inner, publisher).await;
    }
    compact(inner).await?;
    let snapshot = snapshot(inner, publisher);
    if let Some((id, table)) = snapshot.table {
        inner.objects.client.put(&inner.objects.path(id), table.into()).await?;
    }
    let mut put = Vec::new();
    for (id, task) in snapshot.puts {
        task.await.map_err(io::Error::other)??;
        put.push(id);
    }
    let held = &publisher.held;
    let next = held.head.published(unique()?, snapshot.published, inner.settings.keep_versions);
    let version = next.latest().version;
    let mut named = snapshot.named;
    named.extend(next.tables());
    match swap::swap(&inner.objects.client, &inner.objects.names, Some(held), next).await? {
        Swapped::Done(held) => {
            publisher.held = held;
            publisher.changed_runs = snapshot.changed_runs;
            let oldest_kept = publisher.held.head.oldest_kept;
            {
                let mut removals = lock(&inner.removals);
                put.into_iter().filter(|id| !named.contains(id)).for_each(|id| removals.abandoned(id));
                removals.published(version, named.into_iter());
            }
            inner.sweep_soon(oldest_kept);
            Ok(version)
        }
        Swapped::Lost(now) => {
            let fenced = inner.fenced(now.as_ref());
            let same_file = |held: &Held| held.head.identity == inner.objects.identity;
            if now.filter(same_file).is_some_and(|held| held.head.has_published(inner.epoch, version)) {
                // The answer was lost, and another writer took over since: with this version.
                inner.end_with(&fenced.into());
                return Ok(version);
            }
            Err(fenced.into())
        }
    }
}

/// Returns the version of a writer that has nothing to publish, if its head is still the file's.
async fn unchanged(inner: &Inner, publisher: &Publisher) -> io::Result<u64> {
    let now = swap::read(&inner.objects.client, &inner.objects.names).await?;
    match now {
        Some(now) if now.head.swap == publisher.held.head.swap => Ok(now.head.latest().version),
        now => Err(inner.fenced(now.as_ref()).into()),
    }
}

/// Collects again what should be stored anew, as if it had been written.
async fn compact(inner: &Inner) -> io::Result<()> {
    let settings = &inner.settings;
    let limits = Limits {
        budget: settings.compact_bytes,
        garbage: settings.garbage_bytes,
        most_objects: settings.most_objects,
        most_runs: settings.most_runs,
    };
    let mut chosen = compact::choose(&inner.state().map, &limits);
    // Neighbours in an object are one get.
    chosen.sort_unstable_by_key(|(_, place)| (place.object, place.at));
    let batches: Vec<_> = chosen.chunks(REWRITTEN_TOGETHER).map(<[_]>::to_vec).collect();
    let reads = batches.into_iter().map(|places| read_again(inner, places));
    let mut reads = stream::iter(reads).buffer_unordered(READS_TO_REWRITE);
    while let Some((places, mut bytes)) = reads.try_next().await? {
        let mut state = inner.state();
        for (at, place) in places {
            state.rewrite(at, place, &bytes.split_to(place.len as usize));
        }
    }
    Ok(())
}

async fn read_again(inner: &Inner, places: Vec<(u64, Place)>) -> io::Result<(Vec<(u64, Place)>, Bytes)> {
    let sources = {
        let state = inner.state();
        places.iter().flat_map(|(_, place)| state.read_place(*place)).collect()
    };
    match inner.objects.fetch(sources).await {
        Ok(bytes) => Ok((places, bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            inner.still_owned(&error).await?;
            Err(inner.missing(&error))
        }
        Err(error) => Err(error),
    }
}

/// Lays out all that is to be published, and begins to put its segments.
fn snapshot(inner: &Arc<Inner>, publisher: &Publisher) -> Snapshot {
    let mut state = inner.state();
    let mut segments = Vec::new();
    while let Some(segment) = state.freeze(inner.settings.segment_bytes) {
        segments.push(segment);
    }
    let (changes, len) = state.take_changes();
    let named = state.map.objects().map(|(id, _)| id).collect();
    let changed_runs = publisher.changed_runs + changes.runs.len();
    let is_base = publisher.held.head.steps_since_base() >= inner.settings.base_every
        || changed_runs > FEWEST_CHANGED_RUNS.max(state.map.run_count() / 4);
    let bytes = if is_base { state.map.encoded() } else { changes.encoded() };
    let has_table = if is_base { state.map.run_count() > 0 } else { !changes.runs.is_empty() };
    // Changes lie behind the last segment's pages, which saves a request. A base outlives segments, so it is an object of its own.
    let mut alone = None;
    let last = if has_table && !is_base { segments.pop() } else { None };
    let table = has_table.then(|| {
        let (object, at) = match &last {
            Some(segment) => (segment.id, segment.size),
            None => (state.next_object(), 0),
        };
        Table { object, at, len: u32::try_from(bytes.len()).expect("a map is far smaller than 4 GiB") }
    });
    segments.into_iter().for_each(|segment| inner.put_segment(&state, segment, Bytes::new()));
    match (last, table) {
        (Some(segment), _) => inner.put_segment(&state, segment, bytes),
        (None, Some(table)) => alone = Some((table.object, bytes)),
        (None, None) => (),
    }
    let puts = inner.take_puts(&state);
    let published = if is_base {
        Published::Base { len, map: table }
    } else {
        Published::Changes { len, changes: table }
    };
    Snapshot { published, table: alone, changed_runs: if is_base { 0 } else { changed_runs }, named, puts }
}
