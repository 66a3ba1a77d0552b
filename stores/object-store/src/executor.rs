//! Runs the tasks of a storage, on the caller's runtime or on one of its own: [`Executor`].
//!
//! The end of a runtime drops its tasks, and with them the removal of the pins of readers that ended a moment before. So the end of an own runtime
//! waits for these, where the thread that ends it may wait.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::time::timeout;

use crate::pin::Pins;

/// What runs the tasks of a storage. A runtime of its own ends with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Executor {
    pub(crate) handle: Handle,
    pub(crate) pins: Arc<Pins>,
    _own: Option<Arc<OwnRuntime>>,
}

impl Executor {
    /// Runs tasks on the caller's runtime.
    pub(crate) fn of(handle: Handle) -> Self {
        Self { handle, pins: Arc::default(), _own: None }
    }

    /// Runs tasks on a runtime of its own.
    ///
    /// # Errors
    ///
    /// The threads cannot be started.
    pub(crate) fn own(threads: usize) -> io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(threads.max(1)).thread_name("ringpool-store").enable_all().build()?;
        let (handle, pins) = (runtime.handle().clone(), Arc::<Pins>::default());
        let own = Some(Arc::new(OwnRuntime { runtime: Some(runtime), pins: Arc::clone(&pins) }));
        Ok(Self { handle, pins, _own: own })
    }
}

/// How long the end of a runtime waits for the pins of readers to be removed.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct OwnRuntime {
    runtime: Option<Runtime>,
    pins: Arc<Pins>,
}

impl OwnRuntime {
    fn end(runtime: Runtime, pins: &Pins) {
        // One that is not removed by then ends by its age.
        let _ = runtime.block_on(async { timeout(PATIENCE, pins.removed()).await });
        runtime.shutdown_background();
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let pins = Arc::clone(&self.pins);
        if Handle::try_current().is_err_and(|error| error.is_missing_context()) {
            return Self::end(runtime, &pins);
        }
        // A thread that runs tasks, of this runtime or of another, must not wait; one that is about to end cannot.
        let (to_thread, to_end) = mpsc::channel();
        let thread = std::thread::Builder::new().name("ringpool-store-end".to_owned());
        let waits = thread.spawn(move || to_end.recv().map(|runtime| Self::end(runtime, &pins)));
        let unsent =
            if waits.is_ok() { to_thread.send(runtime).err().map(|unsent| unsent.0) } else { Some(runtime) };
        if let Some(runtime) = unsent {
            runtime.shutdown_background();
        }
    }
}
