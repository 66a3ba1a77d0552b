//! What a storage says of a file, so that the pool uses it well.

use std::num::{NonZeroU32, NonZeroUsize};

/// Which writes of a file happen as a whole or not at all, whatever happens meanwhile.
///
/// Example: [`Capabilities`].
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Atomicity {
    /// A power cut may leave a page that is half old and half new.
    #[default]
    Nothing,
    /// Each page: it is found old or new.
    Page,
    /// All that was written since the last sync appears together, with the next one.
    Sync,
}

/// What a file can do, as its storage says when it is [opened](super::Opened).
///
/// # Examples
/// ```
/// use ringpool::storage::{Atomicity, Capabilities};
///
/// let store = Capabilities::new().in_flight(256).best_transfer_bytes(1 << 20).atomicity(Atomicity::Sync);
/// assert_ne!(store, Capabilities::new());
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Capabilities {
    pub(crate) in_flight: Option<NonZeroU32>,
    pub(crate) best_transfer: Option<NonZeroUsize>,
    pub(crate) atomicity: Atomicity,
}

impl Capabilities {
    /// Makes the capabilities of a file of which nothing is known. Example: [`Capabilities`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most reads and writes in flight. Default (also for 0): 64 for an asynchronous file; for others what the I/O method
    /// allows a file. What the pool keeps for itself (a [doublewrite area](crate::options::TornPages)), syncs and changes of the length
    /// are not counted. The lesser of this and [`OpenOptions::max_in_flight`](crate::OpenOptions::max_in_flight) holds.
    /// Example: [`Capabilities`].
    pub fn in_flight(mut self, requests: u32) -> Self {
        self.in_flight = NonZeroU32::new(requests);
        self
    }

    /// Sets the size up to which neighbours are joined to one transfer, in bytes. Default (also for 0): the pool's
    /// [`combine_limit_bytes`](crate::Builder::combine_limit_bytes). At most 1 MiB counts. Example: [`Capabilities`].
    pub fn best_transfer_bytes(mut self, bytes: usize) -> Self {
        self.best_transfer = NonZeroUsize::new(bytes);
        self
    }

    /// Sets which writes happen as a whole. Default: none. A file that tears no page needs no copies in a
    /// [doublewrite area](crate::options::TornPages), and gets none. Example: [`Capabilities`].
    pub fn atomicity(mut self, atomicity: Atomicity) -> Self {
        self.atomicity = atomicity;
        self
    }
}
