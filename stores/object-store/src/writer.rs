//! A file that is open for writing: [`Writer`].
//!
//! [`Writer::write`] keeps the bytes in memory and, once there are many, has tasks put segments ahead of the sync. [`Writer::sync`] is in
//! `publish.rs`. Opening raises the file's epoch, and from then on no older writer can publish.
//!
//! * `state` is locked for moments only, never over a request. The tasks that put segments are begun under that lock: a sync that finds a segment in
//!   the map finds its task in `puts`.
//! * What ends the writer (a fence, a put or swap that failed for good) is kept in `end`: every later write and sync fails with it, so no sync
//!   reports what an earlier failure may have lost.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_store::PutPayload;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::collect::Removals;
use crate::errors::Fenced;
use crate::executor::Executor;
use crate::files::ObjectFiles;
use crate::manifest::Head;
use crate::names::{Names, ObjectId, unique};
use crate::objects::Objects;
use crate::page_map::Place;
use crate::publish::Publisher;
use crate::settings::Settings;
use crate::state::{Segment, Source, State};
use crate::swap::{self, Held, Swapped};
use crate::sweep::Sweeping;

/// A file that is open for writing. Clones are the same open file.
#[derive(Debug, Clone)]
pub struct Writer {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    name: String,
    pub(crate) objects: Objects,
    pub(crate) settings: Settings,
    pub(crate) executor: Executor,
    pub(crate) epoch: u64,
    state: Mutex<State>,
    /// Told when a put ended, so that there is memory for writes again, and when the writer ended.
    room: Notify,
    /// The segments that were frozen since the last sync.
    puts: Mutex<Vec<Put>>,
    pub(crate) publisher: tokio::sync::Mutex<Publisher>,
    /// What the publisher published last.
    pub(crate) version: AtomicU64,
    pub(crate) removals: Mutex<Removals>,
    pub(crate) sweeping: tokio::sync::Mutex<Sweeping>,
    end: Mutex<Option<End>>,
}

/// A task that puts a segment.
pub(crate) type Put = (ObjectId, JoinHandle<io::Result<()>>);

/// Why a writer can publish no more.
#[derive(Debug, Clone)]
enum End {
    Fenced(Fenced),
    Failed(io::ErrorKind, String),
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn open(files: &ObjectFiles, name: &str, page: u32, create: bool) -> io::Result<Writer> {
    let names = files.names(name)?;
    let held = take_over(files, &names, create).await?;
    let objects = files.objects(names, held.head.identity);
    let latest = held.head.latest();
    let steps = held.head.steps_of(latest.version).expect("the latest version is kept");
    let map = objects.map(&steps).await?;
    let epoch = held.head.epoch;
    // What earlier writers left. Their epochs are over, so nothing of it will be named that is not named now.
    let found = objects.client.list(&objects.names.objects(objects.identity)).await?;
    let found =
        found.iter().filter_map(|object| Names::id_of(&object.location)).filter(|id| id.epoch() < epoch);
    let named = map.objects().map(|(id, _)| id).chain(held.head.tables());
    let removals = Removals::new(latest.version, named, found);
    let state = State::new(page.max(1).into(), latest.len, map, epoch);
    let inner = Inner {
        name: name.to_owned(),
        objects,
        settings: files.settings,
        executor: files.executor.clone(),
        epoch,
        state: Mutex::new(state),
        room: Notify::new(),
        puts: Mutex::default(),
        version: AtomicU64::new(latest.version),
        publisher: tokio::sync::Mutex::new(Publisher::new(held)),
        removals: Mutex::new(removals),
        sweeping: tokio::sync::Mutex::default(),
        end: Mutex::default(),
    };
    Ok(Writer { inner: Arc::new(inner) })
}

/// Makes the file this writer's: creates it, or raises its epoch.
async fn take_over(files: &ObjectFiles, names: &Names, create: bool) -> io::Result<Held> {
    let mut attempts = files.client.attempts();
    loop {
        let from = swap::read(&files.client, names).await?;
        let to = match &from {
            Some(held) => held.head.raised(unique()?)?,
            None if create => Head::new(unique()?, unique()?),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        match swap::swap(&files.client, names, from.as_ref(), to).await? {
            Swapped::Done(held) => return Ok(held),
            // Another writer opened it at the same time, or published: take over from that one.
            Swapped::Lost(_) => {
                if !attempts.wait().await {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "other writers open the file all the time",
                    ));
                }
            }
        }
    }
}

impl Writer {
    /// Returns the file's length in bytes, with all that was written.
    pub fn len(&self) -> u64 {
        self.inner.state().len()
    }

    /// Returns whether the file has no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cuts the file to `len` bytes, or adds zeros up to there. The next sync publishes it.
    pub fn set_len(&self, len: u64) {
        self.inner.state().set_len(len);
    }

    /// Reads up to `len` bytes at `at`: fewer at the end of the file. A byte that was written and not synced is read as it was written.
    ///
    /// # Errors
    ///
    /// Errors of the store; [`Fenced`] where another writer has removed what is read.
    pub async fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.read_from(self.sources(at, len), at, len).await
    }

    /// Returns where the bytes of a read are.
    pub(crate) fn sources(&self, at: u64, len: usize) -> Vec<Source> {
        self.inner.state().read(at..at.saturating_add(len as u64))
    }

    /// Reads, where it is known already where the bytes are, or were a moment ago.
    pub(crate) async fn read_from(&self, mut sources: Vec<Source>, at: u64, len: usize) -> io::Result<Bytes> {
        loop {
            let places = places(&sources);
            match self.inner.objects.fetch(sources).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.inner.still_owned(&error).await?;
                    // A sync may have stored the page anew meanwhile, and the old object was removed.
                    sources = self.sources(at, len);
                    if self::places(&sources) == places {
                        return Err(self.inner.missing(&error));
                    }
                }
                result => return result,
            }
        }
    }

    /// Writes `bytes` at `at`. They are in memory afterwards, and in the file after the next sync.
    ///
    /// Waits while [`Settings::memory_bytes`] are in memory.
    ///
    /// # Errors
    ///
    /// What ended the writer.
    pub async fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.wait_for_room().await?;
        self.inner.collect(at, std::iter::once(bytes));
        Ok(())
    }

    /// Waits until there is memory for a write.
    pub(crate) async fn wait_for_room(&self) -> io::Result<()> {
        loop {
            let told = self.inner.room.notified();
            self.inner.check()?;
            if self.inner.has_room() {
                return Ok(());
            }
            told.await;
        }
    }

    /// Returns the version of the last sync, or the one that was there when the file was opened.
    pub fn version(&self) -> u64 {
        self.inner.version.load(Ordering::Acquire)
    }

    /// Returns the epoch that opening the file began: higher than that of each writer before.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.state().memory_bytes() < self.settings.memory_bytes
    }

    /// Keeps the bytes, and has the first segment in the order of the file put once they are half of what may be in memory.
    pub(crate) fn collect<'a>(self: &Arc<Self>, at: u64, pieces: impl Iterator<Item = &'a [u8]>) {
        let mut state = self.state();
        let mut at = at;
        for piece in pieces {
            state.write(at, piece);
            at += piece.len() as u64;
        }
        // With less memory than two segments, smaller ones: a write must never wait for a sync.
        let half = self.settings.memory_bytes / 2;
        let most = self.settings.segment_bytes.min(u32::try_from(half).unwrap_or(u32::MAX));
        // A pool evicts in no order. The longer pages are collected, the more of them follow each other in a segment, and a scan has fewer gets.
        while state.collected_bytes() >= half {
            if let Some(segment) = state.freeze(most) {
                self.put_segment(&state, segment, Bytes::new());
            }
        }
    }

    /// Has a task put a segment with `table` behind its pages. `_state` is locked since before the segment was frozen.
    pub(crate) fn put_segment(
        self: &Arc<Self>,
        _state: &MutexGuard<'_, State>,
        segment: Segment,
        table: Bytes,
    ) {
        let inner = Arc::clone(self);
        let id = segment.id;
        let put = async move {
            let payload: PutPayload = segment.payload.iter().cloned().chain(Some(table)).collect();
            let result = inner.objects.client.put(&inner.objects.path(id), payload).await;
            match &result {
                Ok(()) => {
                    inner.objects.keep(id, &segment.payload);
                    inner.state().put_ended(id);
                }
                Err(error) => inner.end_with(error),
            }
            inner.room.notify_waiters();
            result
        };
        lock(&self.puts).push((id, self.executor.handle.spawn(put)));
    }

    /// Returns the tasks that put what was frozen since the last sync. `_state` is locked since before the map was taken.
    pub(crate) fn take_puts(&self, _state: &MutexGuard<'_, State>) -> Vec<Put> {
        std::mem::take(&mut *lock(&self.puts))
    }

    /// Returns what ended the writer, if anything did.
    pub(crate) fn check(&self) -> io::Result<()> {
        match &*lock(&self.end) {
            None => Ok(()),
            Some(End::Fenced(fenced)) => Err(fenced.clone().into()),
            Some(End::Failed(kind, text)) => Err(io::Error::new(*kind, text.clone())),
        }
    }

    /// Ends the writer, unless something did before.
    pub(crate) fn end_with(&self, error: &io::Error) {
        let end = match Fenced::of(error) {
            Some(fenced) => End::Fenced(fenced.clone()),
            None => End::Failed(error.kind(), format!("an earlier request of {} failed: {error}", self.name)),
        };
        lock(&self.end).get_or_insert(end);
        self.room.notify_waiters();
    }

    /// Returns the error for a writer that finds `now` in the place of its head.
    pub(crate) fn fenced(&self, now: Option<&Held>) -> Fenced {
        let same_file = now.filter(|held| held.head.identity == self.objects.identity);
        Fenced { file: self.name.clone(), epoch: self.epoch, owner: same_file.map(|held| held.head.epoch) }
    }

    /// Fails with [`Fenced`] where another writer owns the file, which may be why an object of it is not there.
    pub(crate) async fn still_owned(&self, error: &io::Error) -> io::Result<()> {
        match swap::read(&self.objects.client, &self.objects.names).await {
            Ok(Some(held))
                if held.head.identity == self.objects.identity && held.head.epoch == self.epoch =>
            {
                Ok(())
            }
            Ok(now) => {
                let fenced = self.fenced(now.as_ref()).into();
                self.end_with(&fenced);
                Err(fenced)
            }
            Err(_) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    /// Returns the error for an object that the file's owner misses.
    pub(crate) fn missing(&self, error: &io::Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("an object of {} is missing: {error}", self.name))
    }
}

/// Returns what of a range must be fetched.
fn places(sources: &[Source]) -> Vec<Place> {
    let place = |source: &Source| if let Source::Stored(place) = source { Some(*place) } else { None };
    sources.iter().filter_map(place).collect()
}
