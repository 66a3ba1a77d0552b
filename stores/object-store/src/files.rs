//! Opens and removes files in an object store: [`ObjectFiles`].

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, Weak};

use futures_util::future::try_join_all;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::Handle;

use crate::client::{Client, Requests};
use crate::executor::Executor;
use crate::names::{Identity, Names};
use crate::objects::Objects;
use crate::reader::{self, Reader};
use crate::settings::Settings;
use crate::swap;
use crate::tier::LocalTier;
use crate::writer::{self, Writer};

/// Files of pages below a prefix of an object store. Clones have one limit of requests in flight. Each pool gets a clone of its own: of two clones that open
/// a file for writing, the later fences the earlier, as two processes do.
#[derive(Debug)]
pub struct ObjectFiles {
    pub(crate) client: Arc<Client>,
    prefix: Path,
    pub(crate) settings: Settings,
    pub(crate) executor: Executor,
    tier: Option<LocalTier>,
    /// The version that a pool opens its files at.
    pub(crate) version: Option<u64>,
    /// The writers that pools have, by the names of their files.
    pub(crate) of_pools: Arc<Mutex<HashMap<String, Weak<writer::Inner>>>>,
}

impl Clone for ObjectFiles {
    fn clone(&self) -> Self {
        Self { of_pools: Arc::default(), ..self.share() }
    }
}

impl ObjectFiles {
    /// Returns the same storage, with the same writers, for a task of it.
    pub(crate) fn share(&self) -> Self {
        Self {
            client: Arc::clone(&self.client),
            prefix: self.prefix.clone(),
            settings: self.settings,
            executor: self.executor.clone(),
            tier: self.tier.clone(),
            version: self.version,
            of_pools: Arc::clone(&self.of_pools),
        }
    }

    /// Keeps files below `prefix` of `store`, with tasks on the runtime of `handle`. That must have its timers on, and must outlive all files.
    ///
    /// A call of the pool that blocks (`wait`, `open_file`, the drop of the last clone) must not be made in a task of that runtime: it may wait for a task
    /// that the runtime has set aside for the very thread that waits. Await it there, or give the storage a
    /// [runtime of its own](Self::with_own_runtime).
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str, settings: Settings, handle: Handle) -> Self {
        Self::with_executor(store, prefix, settings, Executor::of(handle))
    }

    /// Keeps files below `prefix` of `store`, with tasks on a runtime of its own that has `threads` threads. The runtime ends with the last clone,
    /// pool and file of the storage.
    ///
    /// # Errors
    ///
    /// The threads cannot be started.
    pub fn with_own_runtime(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        settings: Settings,
        threads: usize,
    ) -> io::Result<Self> {
        Ok(Self::with_executor(store, prefix, settings, Executor::own(threads)?))
    }

    fn with_executor(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        settings: Settings,
        executor: Executor,
    ) -> Self {
        let settings = settings.within_ranges();
        let client = Arc::new(Client::new(store, &settings));
        let of_pools = Arc::default();
        Self { client, prefix: Path::from(prefix), settings, executor, tier: None, version: None, of_pools }
    }

    /// Returns the same storage with a local tier: what files opened with it fetch or put is kept there, and is fetched from there.
    #[must_use]
    pub fn with_tier(mut self, tier: LocalTier) -> Self {
        self.tier = Some(tier);
        self
    }

    /// Opens a file for writing, which fences each writer that has it open. `page` is how many bytes are written together, mostly: memory of a write is
    /// kept in parts of this size. From 1 byte on; a pool passes the size of its pages.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] where there is no such file and `create` is not set; [`InvalidName`](crate::InvalidName); errors of the store.
    pub async fn open_writer(&self, name: &str, page: u32, create: bool) -> io::Result<Writer> {
        writer::open(self, name, page, create).await
    }

    /// Opens a file for reading at `version`, or at its latest. It stays at that version, whatever is written meanwhile.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] where there is no such file; [`VersionGone`](crate::VersionGone); [`InvalidName`](crate::InvalidName);
    /// errors of the store.
    pub async fn open_reader(&self, name: &str, version: Option<u64>) -> io::Result<Reader> {
        reader::open(self, name, version).await
    }

    /// Removes a file with all its versions. A writer that has it open is fenced; a reader that has it open finds its pages gone.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] where there is no such file; [`InvalidName`](crate::InvalidName); errors of the store. After an error the file may
    /// be removed, and some of its objects still be there: the same call again removes them.
    pub async fn remove(&self, name: &str) -> io::Result<()> {
        let names = self.names(name)?;
        let found = self.client.list(names.folder()).await?;
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        // The head first: without it there is no file, whatever of it is left.
        self.client.delete(&names.head()).await?;
        let rest = found.iter().filter(|object| object.location != names.head());
        try_join_all(rest.map(|object| self.client.delete(&object.location))).await?;
        Ok(())
    }

    /// Waits until the pins of all readers that were dropped, by a pool or elsewhere, are removed from the store.
    ///
    /// A reader's pin is removed by a task, after the drop. A process that ends before may leave the pin, and with it what the version alone needs,
    /// in the store for [`Settings::pin_lifetime`]. The end of a [runtime of its own](Self::with_own_runtime) waits by itself, for 5 seconds at the
    /// most, where the last clone is dropped outside of all runtimes. Otherwise call this before the process, or the runtime, ends.
    pub async fn wait_for_pins(&self) {
        self.executor.pins.removed().await;
    }

    /// Returns the settings in use: those that it was made with, each within its range.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Returns how many requests were sent since this was made, and the bytes that they moved.
    pub fn requests(&self) -> Requests {
        self.client.requests()
    }

    /// Returns what tells the file from others that had its name. `None` where there is no such file.
    pub(crate) async fn identity(&self, name: &str) -> io::Result<Option<Identity>> {
        Ok(swap::read(&self.client, &self.names(name)?).await?.map(|held| held.head.identity))
    }

    /// # Errors
    ///
    /// [`InvalidName`](crate::InvalidName)
    pub(crate) fn names(&self, name: &str) -> io::Result<Names> {
        Ok(Names::new(&self.prefix, name)?)
    }

    pub(crate) fn objects(&self, names: Names, identity: Identity) -> Objects {
        let tier = self.tier.clone().map(|tier| (tier, self.executor.handle.clone()));
        Objects {
            client: Arc::clone(&self.client),
            names,
            identity,
            combine_gap: self.settings.combine_gap,
            tier,
        }
    }
}
