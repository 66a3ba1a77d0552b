//! Removes objects that no kept or pinned version names: [`Writer::sweep`].
//!
//! The order is what makes it safe: a head says that older versions are not kept any more; then the pins of readers are listed; then what neither
//! names is removed. A reader puts its pin first and then looks whether its version is still kept, so either its pin is listed here, or it sees that
//! it came too late.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt, stream};
use object_store::ObjectMeta;

use crate::names::Names;
use crate::writer::{Inner, Writer, lock};

const REMOVALS_AT_ONCE: usize = 16;

/// Held while objects are removed.
#[derive(Debug, Default)]
pub(crate) struct Sweeping {
    /// How many the last time left, since they are pinned or could not be removed.
    left: usize,
}

impl Writer {
    /// Removes the objects that no kept version names and no reader's, and returns how many. Syncs do it by themselves, now and then.
    ///
    /// # Errors
    ///
    /// The pins of readers cannot be listed. An object that cannot be removed is no error: the next time comes.
    pub async fn sweep(&self) -> io::Result<usize> {
        let oldest_kept = self.inner.publisher.lock().await.oldest_kept();
        self.inner.sweep(oldest_kept).await
    }
}

impl Inner {
    /// Has a task remove what can be removed, if that is enough to be worth it. `oldest_kept` is published.
    pub(crate) fn sweep_soon(self: &Arc<Self>, oldest_kept: u64) {
        let Ok(sweeping) = self.sweeping.try_lock() else { return };
        let removable = lock(&self.removals).removable(oldest_kept, &[]).len();
        if removable < sweeping.left.saturating_add(self.settings.remove_together) {
            return;
        }
        drop(sweeping);
        let inner = Arc::clone(self);
        self.executor.handle.spawn(async move {
            // Another sync tries again, and so does the next writer.
            let _ = inner.sweep(oldest_kept).await;
        });
    }

    async fn sweep(&self, oldest_kept: u64) -> io::Result<usize> {
        let mut sweeping = self.sweeping.lock().await;
        let pinned = self.pinned().await?;
        let removable = lock(&self.removals).removable(oldest_kept, &pinned);
        let removals = removable.into_iter().map(|id| async move {
            let removed = self.objects.client.delete(&self.objects.path(id)).await.is_ok();
            if removed {
                lock(&self.removals).removed(id);
            }
            removed
        });
        let removals = stream::iter(removals).buffer_unordered(REMOVALS_AT_ONCE);
        let removed = removals.filter(|&removed| std::future::ready(removed)).count().await;
        sweeping.left = lock(&self.removals).removable(oldest_kept, &[]).len();
        Ok(removed)
    }

    /// Returns the versions that readers have open, and removes the pins of readers that were not heard of for long.
    async fn pinned(&self) -> io::Result<Vec<u64>> {
        let client = &self.objects.client;
        let pins = client.list(&self.objects.names.pins(self.objects.identity)).await?;
        let now = SystemTime::now();
        let is_over = |pin: &ObjectMeta| {
            let age = now.duration_since(SystemTime::from(pin.last_modified)).unwrap_or_default();
            age > self.settings.pin_lifetime
        };
        let (over, live): (Vec<_>, Vec<_>) = pins.into_iter().partition(is_over);
        for pin in over {
            client.delete(&pin.location).await?;
        }
        Ok(live.iter().filter_map(|pin| Names::pinned_version(&pin.location)).collect())
    }
}
