//! An object store that does to its clients what networks and clouds do, as a seed decides: [`Faulty`].
//!
//! A request may be throttled, answered late, carried out and not answered, carried out twice (the second time later), or carried out long after its
//! client was told that it failed. Each client of a test has a `Faulty` of its own around one store. [`Faulty::cut_at`] cuts its client's power.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use ringpool::testing::Dice;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::percent;

/// How often what happens, in percent of the requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Refused at once.
    pub throttled: u64,
    /// Carried out, and the answer is an error.
    pub lost_answer: u64,
    /// Carried out, and the answer never comes.
    pub no_answer: u64,
    /// Carried out a second time, later.
    pub doubled: u64,
    /// The answer is an error, and the request is carried out later.
    pub late: u64,
    /// The longest delay before and after, in milliseconds.
    pub delay: u64,
}

impl Faults {
    pub const MANY: Self =
        Self { throttled: 5, lost_answer: 5, no_answer: 2, doubled: 5, late: 5, delay: 40 };
}

#[derive(Debug, Clone)]
pub struct Faulty(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn ObjectStore>,
    faults: Faults,
    random: Mutex<Dice>,
    requests: AtomicU64,
    cut_at: u64,
    is_cut: Notify,
}

/// What happens to one request.
struct Fate {
    is_cut: bool,
    is_carried_out: bool,
    throttled: bool,
    lost_answer: bool,
    no_answer: bool,
    doubled: bool,
    late: bool,
    before: Duration,
    after: Duration,
    later: Duration,
}

impl Faulty {
    pub fn new(store: &Arc<dyn ObjectStore>, faults: Faults, seed: u64) -> Self {
        Self::cut_at(store, faults, seed, u64::MAX)
    }

    /// Cuts the power of the client at its request number `cut_at`: that one may be carried out still, and is not answered. None after it is sent.
    pub fn cut_at(store: &Arc<dyn ObjectStore>, faults: Faults, seed: u64, cut_at: u64) -> Self {
        Self(Arc::new(Inner {
            store: Arc::clone(store),
            faults,
            random: Mutex::new(Dice::new(seed)),
            requests: AtomicU64::new(0),
            cut_at,
            is_cut: Notify::new(),
        }))
    }

    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.clone())
    }

    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Waits until the power is cut.
    pub async fn is_cut(&self) {
        let told = self.0.is_cut.notified();
        if self.requests() <= self.0.cut_at {
            told.await;
        }
    }

    fn fate(&self) -> Fate {
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let mut random = self.0.random.lock().unwrap();
        let faults = self.0.faults;
        let is_cut = number >= self.0.cut_at;
        if is_cut {
            self.0.is_cut.notify_waiters();
        }
        Fate {
            is_cut,
            is_carried_out: number == self.0.cut_at && percent(&mut random, 50),
            throttled: percent(&mut random, faults.throttled),
            lost_answer: percent(&mut random, faults.lost_answer),
            no_answer: percent(&mut random, faults.no_answer),
            doubled: percent(&mut random, faults.doubled),
            late: percent(&mut random, faults.late),
            before: Duration::from_millis(random.below(faults.delay + 1)),
            after: Duration::from_millis(random.below(faults.delay + 1)),
            later: Duration::from_millis(random.below(faults.delay * 50 + 1)),
        }
    }

    /// Does to a request what its fate is. `carry_out` may be called more than once.
    async fn suffer<T, F>(&self, carry_out: impl Fn(Arc<dyn ObjectStore>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let fate = self.fate();
        let store = || Arc::clone(&self.0.store);
        if fate.is_cut {
            if fate.is_carried_out {
                let _ = carry_out(store()).await;
            }
            return std::future::pending().await;
        }
        sleep(fate.before).await;
        if fate.throttled {
            return Err(fault("slow down"));
        }
        if fate.doubled || fate.late {
            let again = carry_out(store());
            let later = fate.later;
            tokio::spawn(async move {
                sleep(later).await;
                let _ = again.await;
            });
        }
        if fate.late {
            return Err(fault("connection reset before the request arrived, it seemed"));
        }
        let result = carry_out(store()).await;
        if fate.no_answer {
            return std::future::pending().await;
        }
        sleep(fate.after).await;
        if fate.lost_answer { Err(fault("connection reset before the answer")) } else { result }
    }
}

fn fault(text: &'static str) -> Error {
    Error::Generic { store: "faulty", source: text.into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store with faults")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.suffer(|store| {
            let (location, payload, opts) = (location.clone(), payload.clone(), opts.clone());
            async move { store.put_opts(&location, payload, opts).await }
        })
        .await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unimplemented!("no segment is put in parts")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.suffer(|store| {
            let (location, options) = (location.clone(), options.clone());
            async move { store.get_opts(&location, options).await }
        })
        .await
    }

    async fn get_ranges(&self, _: &Path, _: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        unimplemented!("the package makes gets of its own")
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let faulty = self.clone();
        locations
            .then(move |location| {
                let faulty = faulty.clone();
                async move {
                    let location = location?;
                    let path = location.clone();
                    let delete = move |store: Arc<dyn ObjectStore>| {
                        let path = path.clone();
                        async move { store.delete(&path).await }
                    };
                    faulty.suffer(delete).await.map(|()| location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let faulty = self.clone();
        let prefix = prefix.cloned();
        let list = async move {
            let found = faulty
                .suffer(|store| {
                    let prefix = prefix.clone();
                    async move { Ok(store.list(prefix.as_ref()).collect::<Vec<_>>().await) }
                })
                .await;
            found.unwrap_or_else(|error| vec![Err(error)])
        };
        list.into_stream().flat_map(stream::iter).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unimplemented!("the package does not use it")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unimplemented!("the package does not use it")
    }
}
