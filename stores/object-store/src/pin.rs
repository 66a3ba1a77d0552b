//! Keeps a version in the store for as long as a reader has it open: [`Pin`].
//!
//! A pin is a small object that names the version; `sweep.rs` removes no object of a pinned version. One task does all that concerns one pin, so that
//! its requests have an order: it puts the object, puts it again from time to time, and removes it once the [`Pin`] is dropped. [`Pins`] counts what
//! is still to be removed, so that a runtime, and a process, can wait for it. A pin that no task removes, since its process was killed or its runtime
//! ended, ends by its age.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::client::Client;
use crate::executor::Executor;
use crate::files::ObjectFiles;

/// The pins of a storage.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    counts: watch::Sender<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// The [`Pin`]s.
    held: usize,
    /// The tasks that keep them.
    kept: usize,
}

impl Pins {
    /// Waits until each pin that was dropped is removed, or its task has ended without that.
    pub(crate) async fn removed(&self) {
        let mut counts = self.counts.subscribe();
        counts.wait_for(|counts| counts.kept <= counts.held).await.expect("the sender is borrowed");
    }
}

/// A pin in the store.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    /// Its drop tells the task.
    end: Option<oneshot::Sender<()>>,
    /// Lives until the task was told: the runtime waits for it then.
    _executor: Executor,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.counts.send_modify(|counts| counts.held -= 1);
        drop(self.end.take());
    }
}

/// Counts a task, also where its runtime drops it.
struct Kept(Arc<Pins>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.counts.send_modify(|counts| counts.kept -= 1);
    }
}

impl Pin {
    /// Puts a pin. Where that fails, or the future is dropped, the object is removed: the store may have it nevertheless.
    pub(crate) async fn put(files: &ObjectFiles, path: Path) -> io::Result<Self> {
        let pins = Arc::clone(&files.executor.pins);
        pins.counts.send_modify(|counts| {
            counts.held += 1;
            counts.kept += 1;
        });
        let kept = Kept(Arc::clone(&pins));
        let (end, ended) = oneshot::channel();
        let pin = Self { pins, end: Some(end), _executor: files.executor.clone() };
        let (opened, is_put) = oneshot::channel();
        let (client, every) = (Arc::clone(&files.client), files.settings.pin_lifetime / 4);
        files.executor.handle.spawn(async move {
            let _kept = kept;
            // What opened it may be gone.
            let _ = opened.send(put(&client, &path).await);
            put_again(&client, &path, every, ended).await;
            // One that cannot be removed ends by its age.
            let _ = client.delete(&path).await;
        });
        is_put.await.map_err(|_| io::Error::other("the runtime of the object store has ended"))??;
        Ok(pin)
    }
}

async fn put(client: &Client, path: &Path) -> io::Result<()> {
    client.put(path, Bytes::new().into()).await
}

/// Puts the pin again from time to time, until its reader has ended.
async fn put_again(client: &Client, path: &Path, every: Duration, mut ended: oneshot::Receiver<()>) {
    while timeout(every, &mut ended).await.is_err() {
        // The next time comes long before the pin is over.
        let _ = put(client, path).await;
    }
}
