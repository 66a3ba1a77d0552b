//! Pages as callers hold them: pins and guards.
//!
//! A **pin** ([`PinnedPage`]) keeps the page in its frame, a **latch** orders access to its bytes. A guard is a latch as a value:
//! [`PageRead`] and [`PageWrite`] borrow their pin, [`OwnedPageRead`] and [`OwnedPageWrite`] own it.
//!
//! The guards are the only way to the bytes, so this folder holds the only references ever made into a frame. There is none into
//! a frame that is being read from disk: no pin on it gets into these types before the read is over. Lock order: the caller orders
//! content latches. Within the pool only write-out takes them, one at a time. PostgreSQL's counterpart: `PinBuffer`, `LockBuffer`.

#![allow(unsafe_code)]

mod hint;
mod latching;
mod read;
mod verification;
mod write;

use bytes::Bytes;

pub use self::{
    hint::{PageAt, PageHint},
    read::{OwnedPageRead, PageRead},
    write::{OwnedPageWrite, PageWrite},
};
pub(crate) use self::{latching::Latching, verification::Verification};
use crate::{
    buffer::frame::{latch::Latch, pin::Pin},
    error::{Error, Result},
    id::PageId,
    sync::wait::PollStep,
};

/// A page that stays in its frame for as long as this value lives.
///
/// Can be sent to another thread, outlive the pool it came from, and be [cloned](Self::try_clone). Keep pins short: while all
/// frames of a pool are pinned, other callers get none.
///
/// # Errors of changes
///
/// A dirty page keeps its frame until it is written. So that a file whose storage refuses writes (a full disk, a writer that was
/// fenced) leaves frames to the others, its dirty pages have at most seven eighths of the frames, where other files are open. A
/// thread or task that wants to change a further page, clean so far, waits until one of the file's dirty pages is written. If the
/// storage refuses that, the change is refused with the error of that write: from [`write`](Self::write), for example. Nothing is
/// lost: the dirty pages stay, can be read, and can be changed further. Changes are allowed again from the first write on that succeeds.
/// A file that is open alone may have all frames.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, PageId};
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// let page = pool.fetch(PageId::new(file, 3)).wait()?;
/// page.write()?[..5].copy_from_slice(b"hello");
/// assert_eq!(&page.read()[..5], b"hello");
///
/// // Without a wait: nothing, where another guard is in the way.
/// let reader = page.read();
/// assert!(page.try_write()?.is_none());
/// assert!(page.try_read().is_some());
/// drop(reader);
///
/// // A second pin, for a guard that owns it.
/// let guard = page.try_clone()?.into_read();
/// assert_eq!((guard.id(), page.id()), (PageId::new(file, 3), PageId::new(file, 3)));
/// drop(guard);
/// page.try_clone()?.into_write()?[0] = b'H';
///
/// // The bytes for as long as they are wanted: a copy, or the frame itself.
/// let copy = page.to_bytes();
/// let frozen = page.freeze();
/// assert_eq!(copy, frozen);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A task:
/// ```
/// # use ringpool::{BufferPool, OpenOptions, PageId};
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// async fn add(pool: &BufferPool, page: PageId) -> ringpool::Result<u8> {
///     let page = pool.fetch(page).await?;
///     page.write_async().await?[0] += 1;
///     Ok(page.read_async().await[0])
/// }
/// assert_eq!(pollster::block_on(add(&pool, PageId::new(file, 0)))?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PinnedPage {
    pin: Pin,
}

impl PinnedPage {
    #[inline]
    pub(crate) fn new(pin: Pin) -> Self {
        debug_assert!(pin.frame().state.load().is_valid(), "handed out before it was read: {pin:?}");
        Self { pin }
    }

    /// Returns the pin inside, held by the state word.
    pub(crate) fn into_pin(self) -> Pin {
        self.pin.into_counted()
    }

    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Returns which page it is. Example: [`PinnedPage`].
    #[must_use]
    pub fn id(&self) -> PageId {
        self.pin.frame().page()
    }

    /// Returns where the page is, for [`PageId::at`] another time. Example: [`PageHint`].
    #[must_use]
    pub fn hint(&self) -> PageHint {
        PageHint(self.pin.frame_no())
    }

    /// Takes another pin on the same page. Example: [`PinnedPage`].
    ///
    /// # Errors
    /// [`Error::TooManyPins`] where the page has a million pins already.
    pub fn try_clone(&self) -> Result<Self> {
        let pin = self.pin.again().ok_or_else(|| self.pin.frames().too_many_pins(self.id()))?;
        Ok(Self { pin })
    }

    /// Latches the page for reading: waits while another thread changes it. Any number of readers share it.
    ///
    /// A thread that already reads a page must not wait to read it again: a writer that got in line in between would wait for the
    /// first guard, and the second for the writer.
    ///
    /// Example: [`PinnedPage`].
    ///
    /// # Panics
    /// In a process that was [forked](crate::BufferPool#processes-that-are-forked) while the page was being changed, and so stays
    /// latched there. The other methods that wait for a latch to read a pinned page panic then, too.
    #[inline]
    #[must_use]
    pub fn read(&self) -> PageRead<'_> {
        self.pin.latch(Latch::Shared);
        PageRead::of_latched(&self.pin)
    }

    /// Latches the page for reading if that needs no wait. Example: [`PinnedPage`].
    #[inline]
    #[must_use]
    pub fn try_read(&self) -> Option<PageRead<'_>> {
        // Made only if the latch was taken: a guard releases it when it is dropped.
        self.pin.try_latch(Latch::Shared).then(|| PageRead::of_latched(&self.pin))
    }

    /// Latches the page for reading, for tasks. Dropping the future leaves the line. It gives way to other tasks now and then,
    /// [as a `Fetch` does](crate::pending::Fetch#turns-of-tasks).
    ///
    /// Do not hold a guard across an `.await` on another page: while a task is suspended with a latch, all other threads and
    /// tasks that want the page wait.
    ///
    /// Example: [`PinnedPage`].
    pub async fn read_async(&self) -> PageRead<'_> {
        let latched = Latching::through(&self.pin, Latch::Shared).await;
        latched.map_or_else(|error| panic!("{error}"), PageRead::of_latched)
    }

    /// Latches the page for changing: waits until no other thread reads or changes it. The page becomes dirty when the guard's
    /// bytes are first borrowed mutably. Example: [`PinnedPage`].
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for a page of a file that was opened for reading only; [`Error::Forked`]; [errors of
    /// changes](crate::PinnedPage#errors-of-changes).
    pub fn write(&self) -> Result<PageWrite<'_>> {
        self.latch_for_change()?;
        Ok(PageWrite::of_latched(&self.pin))
    }

    /// Latches the page for changing if that needs no wait: `None` where it would. Example: [`PinnedPage`].
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn try_write(&self) -> Result<Option<PageWrite<'_>>> {
        self.check_writable()?;
        let is_latched = self.pin.has_room()? && self.pin.try_latch(Latch::Exclusive);
        Ok(is_latched.then(|| PageWrite::of_latched(&self.pin)))
    }

    /// Latches the page for changing, for tasks. Dropping the future leaves the line. It gives way to other tasks now and then,
    /// [as a `Fetch` does](crate::pending::Fetch#turns-of-tasks). Example: [`PinnedPage`].
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub async fn write_async(&self) -> Result<PageWrite<'_>> {
        self.check_writable()?;
        Latching::through(&self.pin, Latch::Exclusive).await.map(PageWrite::of_latched)
    }

    /// Latches the page for reading, with the pin in the guard: waits until no other thread changes it.
    /// Example: [`PinnedPage`].
    #[must_use]
    pub fn into_read(self) -> OwnedPageRead {
        self.pin.latch(Latch::Shared);
        OwnedPageRead::of_latched(self.pin)
    }

    /// Latches the page for changing, with the pin in the guard: waits until no other thread reads or changes it.
    /// Example: [`PinnedPage`].
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn into_write(self) -> Result<OwnedPageWrite> {
        self.latch_for_change()?;
        Ok(OwnedPageWrite::of_latched(self.pin))
    }

    /// Returns the page's bytes without a copy, for as long as any clone or slice of the `Bytes` lives.
    ///
    /// They hold the pin **and a share latch**: a thread that wants to change the page waits until the last of them is dropped.
    /// If they live long, [copy](Self::to_bytes) instead.
    ///
    /// Example: [`PinnedPage`].
    #[must_use]
    pub fn freeze(self) -> Bytes {
        self.pin.latch(Latch::Shared);
        Bytes::from_owner(Frozen(self.pin))
    }

    /// Copies the page's bytes. Example: [`PinnedPage`].
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.read())
    }

    fn latch_for_change(&self) -> Result<()> {
        self.check_writable()?;
        if self.pin.wants_room() {
            return Latching::through(&self.pin, Latch::Exclusive).run_to_end().map(drop);
        }
        self.pin.latch(Latch::Exclusive);
        Ok(())
    }

    /// Returns the pin with that latch, if the latch is free now, and there is room for a change where it is for one.
    pub(crate) fn try_latched(self, latch: Latch) -> Result<Option<Pin>> {
        let has_room = latch == Latch::Shared || self.pin.has_room()?;
        Ok((has_room && self.pin.try_latch(latch)).then_some(self.pin))
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        let frames = self.pin.frames();
        frames.process.check()?;
        if self.pin.frame().state.load().is_read_only() {
            let file = self.id().file;
            return Err(Error::ReadOnly { file, path: frames.path_of(file) });
        }
        Ok(())
    }
}

/// A pin and a share latch, as the owner of a `Bytes`.
struct Frozen(Pin);

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `freeze` took a share latch, which `drop` releases.
        unsafe { bytes_of(&self.0) }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.unlatch_shared();
    }
}

/// Returns the bytes of a pinned page.
///
/// # Safety
/// The caller holds a latch on the frame through this pin, and goes on for as long as the slice lives.
#[inline]
unsafe fn bytes_of(pin: &Pin) -> &[u8] {
    // SAFETY: 1. the bytes are this frame's, initialised since the arena was mapped; 2. by the caller's right there is no `&mut` to
    // them, and no lease of a read exists any more; 3. the pin keeps the memory and the page.
    unsafe { pin.bytes().as_ref() }
}
