//! The store of the benches, and what plain requests get from it: the limit that a pool is compared with.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use ringpool::testing::Dice;
use tokio::task::JoinSet;

use crate::{PAGE, READERS, READS_EACH};

const LATENCY: Duration = Duration::from_millis(20);
const BYTES_A_SECOND: f64 = 100e6;

/// A store in memory that takes the time of one that is far away.
#[derive(Debug, Default)]
pub struct Simulated {
    store: InMemory,
}

impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated store")
    }
}

async fn takes(bytes: u64) {
    tokio::time::sleep(LATENCY + Duration::from_secs_f64(bytes as f64 / BYTES_A_SECOND)).await;
}

#[async_trait]
impl ObjectStore for Simulated {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        takes(payload.content_length() as u64).await;
        self.store.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unimplemented!("no segment is put in parts")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let result = self.store.get_opts(location, options).await?;
        takes(result.range.end - result.range.start).await;
        Ok(result)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

/// The objects of a file, as plain requests read them.
#[derive(Debug, Clone)]
pub struct Plain {
    store: Arc<dyn ObjectStore>,
    objects: Arc<[(Path, u64)]>,
}

impl Plain {
    /// Finds the objects of at least one request of a scan, which hold nearly all pages.
    pub async fn list(store: &Arc<dyn ObjectStore>, at_least: u64) -> Self {
        let found: Vec<_> = store.list(None).map(Result::unwrap).collect().await;
        let objects = found.into_iter().filter(|object| object.size >= at_least);
        Self {
            store: Arc::clone(store),
            objects: objects.map(|object| (object.location, object.size)).collect(),
        }
    }

    /// Gets all in requests of this many bytes, so many at a time. Returns the bytes.
    pub async fn scan(&self, request: u64, in_flight: usize) -> u64 {
        let parts = self.objects.iter().flat_map(|(path, size)| {
            (0..size / request).map(move |part| (path, part * request..(part + 1) * request))
        });
        let gets = parts.map(|(path, range)| self.store.get_range(path, range));
        let gets = stream::iter(gets.collect::<Vec<_>>()).buffer_unordered(in_flight);
        gets.fold(0, |sum, bytes| async move { sum + black_box(bytes.unwrap()).len() as u64 }).await
    }

    async fn random_page(&self, dice: &mut Dice) {
        let (path, size) = dice.pick(&self.objects);
        let page = dice.below(size / PAGE as u64) * PAGE as u64;
        black_box(self.store.get_range(path, page..page + PAGE as u64).await.unwrap());
    }

    /// Has readers get a page each, again and again.
    pub async fn random_reads(&self, seed: u64) -> u64 {
        let mut readers = JoinSet::new();
        for reader in 0..READERS {
            let plain = self.clone();
            readers.spawn(async move {
                let mut dice = Dice::new(seed + reader);
                for _ in 0..READS_EACH {
                    plain.random_page(&mut dice).await;
                }
            });
        }
        readers.join_all().await;
        READERS * READS_EACH
    }

    /// The same until `is_over`: readers that run beside what is measured.
    pub fn random_readers(&self, seed: u64, is_over: &Arc<AtomicBool>) -> JoinSet<()> {
        let mut readers = JoinSet::new();
        for reader in 0..READERS {
            let (plain, is_over) = (self.clone(), Arc::clone(is_over));
            readers.spawn(async move {
                let mut dice = Dice::new(seed + reader);
                while !is_over.load(Ordering::Relaxed) {
                    plain.random_page(&mut dice).await;
                }
            });
        }
        readers
    }
}
