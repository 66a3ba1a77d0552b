//! An object store that notes each request that arrives, and can hold gets back until many are in flight: [`Watched`].

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Barrier;

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A get of a part, or of a whole object.
    Get(String, Option<Range<u64>>),
    Put(String, Bytes),
    /// A put that asks for what is there, or for nothing to be there.
    Swap(String, Bytes),
    List(String),
    Delete(String),
}

#[derive(Debug, Default)]
pub struct Watched {
    store: InMemory,
    arrived: Mutex<Vec<Request>>,
    together: Mutex<Option<Arc<Barrier>>>,
}

impl Watched {
    /// Returns what arrived since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.arrived.lock().unwrap())
    }

    /// Holds gets back from now on until so many are in flight.
    pub fn hold_gets_until(&self, in_flight: usize) {
        *self.together.lock().unwrap() = Some(Arc::new(Barrier::new(in_flight)));
    }

    fn note(&self, request: Request) {
        self.arrived.lock().unwrap().push(request);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that notes its requests")
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let (path, bytes) = (location.to_string(), Bytes::from(payload.clone()));
        self.note(match opts.mode {
            PutMode::Overwrite => Request::Put(path, bytes),
            PutMode::Create | PutMode::Update(_) => Request::Swap(path, bytes),
        });
        self.store.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unimplemented!("no segment is put in parts")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let range = match &options.range {
            Some(GetRange::Bounded(range)) => Some(range.clone()),
            Some(range) => panic!("the package does not use {range:?}"),
            None => None,
        };
        self.note(Request::Get(location.to_string(), range));
        let together = self.together.lock().unwrap().clone();
        if let Some(together) = together {
            together.wait().await;
        }
        self.store.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // The package removes one object at a time.
        let noted: Vec<_> = futures_util::FutureExt::now_or_never(locations.collect()).unwrap();
        for location in noted.iter().flatten() {
            self.note(Request::Delete(location.to_string()));
        }
        self.store.delete_stream(futures_util::stream::iter(noted).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.note(Request::List(prefix.map(ToString::to_string).unwrap_or_default()));
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unimplemented!("the package does not use it")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unimplemented!("the package does not use it")
    }
}
