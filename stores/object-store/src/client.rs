//! Sends requests to the object store: no more than a number at once, each with a time limit, and again where that may help: [`Client`].
//!
//! All but a swap can be sent again and again, for a second time changes nothing: objects are written once under names of their own, so a put again
//! puts the same bytes. [`Client::put_once`] is for the swap, which `swap.rs` settles.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::settings::Settings;

/// How many requests of each kind were sent, attempts that failed included, and the bytes of pages and maps that they moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// Whole objects and parts of objects read.
    pub gets: u64,
    /// Objects written, the head among them.
    pub puts: u64,
    /// Listings. Each is a request for every 1,000 objects listed.
    pub lists: u64,
    /// Objects removed.
    pub deletes: u64,
    /// Attempts that failed and were sent again.
    pub retries: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    gets: AtomicU64,
    puts: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    retries: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Store(Error),
    TimedOut,
}

impl Failure {
    /// Returns whether the store has answered, and will answer the same again.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::TimedOut => false,
            Self::Store(error) => matches!(
                error,
                Error::NotFound { .. }
                    | Error::InvalidPath { .. }
                    | Error::NotSupported { .. }
                    | Error::NotImplemented { .. }
                    | Error::PermissionDenied { .. }
                    | Error::Unauthenticated { .. }
                    | Error::UnknownConfigurationKey { .. }
            ),
        }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error.into(),
            Failure::TimedOut => {
                Self::new(io::ErrorKind::TimedOut, "the object store did not answer in time")
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Client {
    store: Arc<dyn ObjectStore>,
    in_flight: Semaphore,
    request_timeout: Duration,
    retry_wait: Duration,
    give_up_after: Duration,
    /// Counts on from its seed: what makes the waits differ.
    random: AtomicU64,
    counts: Counts,
}

impl Client {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, settings: &Settings) -> Self {
        Self {
            store,
            in_flight: Semaphore::new(settings.in_flight as usize),
            request_timeout: settings.request_timeout,
            retry_wait: settings.retry_wait,
            give_up_after: settings.give_up_after,
            random: AtomicU64::new(settings.wait_seed.unwrap_or_else(random)),
            counts: Counts::default(),
        }
    }

    pub(crate) fn requests(&self) -> Requests {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        Requests {
            gets: read(&counts.gets),
            puts: read(&counts.puts),
            lists: read(&counts.lists),
            deletes: read(&counts.deletes),
            retries: read(&counts.retries),
            read_bytes: read(&counts.read_bytes),
            written_bytes: read(&counts.written_bytes),
        }
    }

    /// Reads an object whole, with what a swap must find to replace it. `None` where there is no such object.
    pub(crate) async fn get(&self, path: &Path) -> io::Result<Option<(Bytes, UpdateVersion)>> {
        let result = self
            .until_answered(&self.counts.gets, || async {
                let result = self.store.get_opts(path, GetOptions::default()).await?;
                let tag =
                    UpdateVersion { e_tag: result.meta.e_tag.clone(), version: result.meta.version.clone() };
                Ok((result.bytes().await?, tag))
            })
            .await;
        match result {
            Ok((bytes, tag)) => {
                add(&self.counts.read_bytes, bytes.len() as u64);
                Ok(Some((bytes, tag)))
            }
            Err(Failure::Store(Error::NotFound { .. })) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Reads a part of an object.
    pub(crate) async fn get_range(&self, path: &Path, range: std::ops::Range<u64>) -> io::Result<Bytes> {
        let get = || self.store.get_range(path, range.clone());
        let bytes = self.until_answered(&self.counts.gets, get).await?;
        add(&self.counts.read_bytes, bytes.len() as u64);
        if bytes.len() as u64 != range.end - range.start {
            let text = format!("{path} is too short: {} bytes came of {range:?}", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(bytes)
    }

    /// Writes an object that is written once.
    pub(crate) async fn put(&self, path: &Path, payload: PutPayload) -> io::Result<()> {
        add(&self.counts.written_bytes, payload.content_length() as u64);
        self.until_answered(&self.counts.puts, || self.store.put(path, payload.clone())).await?;
        Ok(())
    }

    /// Writes an object, in one attempt.
    pub(crate) async fn put_once(
        &self,
        path: &Path,
        bytes: Bytes,
        mode: PutMode,
    ) -> Result<UpdateVersion, Failure> {
        add(&self.counts.written_bytes, bytes.len() as u64);
        let put = self.store.put_opts(path, bytes.into(), PutOptions::from(mode));
        self.once(&self.counts.puts, put).await.map(UpdateVersion::from)
    }

    /// Lists the objects below `prefix`.
    pub(crate) async fn list(&self, prefix: &Path) -> io::Result<Vec<ObjectMeta>> {
        let list = || async {
            let mut found = Vec::new();
            let mut objects = self.store.list(Some(prefix));
            while let Some(object) = objects.next().await {
                found.push(object?);
            }
            Ok(found)
        };
        Ok(self.until_answered(&self.counts.lists, list).await?)
    }

    /// Removes an object. One that is not there is no error.
    pub(crate) async fn delete(&self, path: &Path) -> io::Result<()> {
        match self.until_answered(&self.counts.deletes, || self.store.delete(path)).await {
            Ok(()) | Err(Failure::Store(Error::NotFound { .. })) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn once<T>(
        &self,
        count: &AtomicU64,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let _slot = self.in_flight.acquire().await.expect("the semaphore is never closed");
        add(count, 1);
        match timeout(self.request_timeout, request).await {
            Ok(result) => result.map_err(Failure::Store),
            Err(_) => Err(Failure::TimedOut),
        }
    }

    async fn until_answered<T, F: Future<Output = Result<T, Error>>>(
        &self,
        count: &AtomicU64,
        request: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let mut attempts = self.attempts();
        loop {
            match self.once(count, request()).await {
                Err(failure) if !failure.is_final() && attempts.wait().await => (),
                result => return result,
            }
        }
    }

    /// Returns a random number from 0 to 1.
    fn part(&self) -> f64 {
        // splitmix64
        let mut number = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ number >> 31) as f64 / u64::MAX as f64
    }

    /// Returns the waits between the attempts of one request.
    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts { client: self, deadline: Instant::now() + self.give_up_after, wait: self.retry_wait }
    }
}

fn random() -> u64 {
    // Without random bytes all clients wait as long: a nuisance, no error.
    getrandom::u64().unwrap_or_default()
}

/// The waits between the attempts of one request.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    client: &'a Client,
    deadline: Instant,
    wait: Duration,
}

impl Attempts<'_> {
    /// Waits before another attempt. `false` when there should be no other.
    pub(crate) async fn wait(&mut self) -> bool {
        let wait = self.wait.mul_f64(0.5 + self.client.part());
        if Instant::now() + wait > self.deadline {
            return false;
        }
        add(&self.client.counts.retries, 1);
        sleep(wait).await;
        self.wait = (self.wait * 2).min(self.client.retry_wait * 64);
        true
    }
}
