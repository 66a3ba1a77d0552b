//! A page in the user's hands: pins and guards.
//!
//! Two steps, as in every buffer manager of this kind: a **pin** ([`PinnedPage`]) keeps the page in its frame, a **latch**
//! ([`PageRead`], [`PageWrite`]) orders access to its bytes. The guards are the only way to the bytes, so this module holds
//! the only references ever made into a frame; a frame that is being read from disk has none, because nobody gets a pin on
//! it into these types before the read is over.
//!
//! A [`PageView`] is both in one value, for readers that need no more than that. A [`PageHint`] is where a page was.
//!
//! Lock order: content latches are the user's to order. Within the pool only write-out takes them, one at a time.

#![allow(unsafe_code)]

mod hint;
mod view;

use std::{
    fmt,
    ops::{Deref, DerefMut},
    pin::Pin as StdPin,
    slice,
    task::{Context, Poll},
};

use bytes::Bytes;

pub use hint::PageHint;
pub use view::PageView;
pub(crate) use view::Viewing;

use crate::{
    buffer::{
        frame::{latch::Latch, pin::Pin, state::State, waiters::Ticket},
        residency::Residency,
    },
    error::{Error, Result},
    id::{Lsn, PageId},
    sync::{poll_budget, wait::Drive},
};

/// A page that stays in its frame for as long as this value lives.
///
/// Can be sent to another thread, outlive the pool it came from, and be [cloned](Self::try_clone). Keep pins short: a pool
/// whose frames are all pinned has none for anybody else.
pub struct PinnedPage {
    pin: Pin,
}

impl PinnedPage {
    #[inline]
    pub(crate) fn new(pin: Pin) -> Self {
        debug_assert!(pin.frame().state.load().is_valid(), "handed out before it was read: {pin:?}");
        Self { pin }
    }

    /// The pin inside, held by the state word.
    pub(crate) fn into_pin(self) -> Pin {
        self.pin.into_counted()
    }

    /// Which page it is.
    #[must_use]
    pub fn id(&self) -> PageId {
        self.pin.frame().page()
    }

    /// Where it is, for [`BufferPool::try_fetch_at`](crate::BufferPool::try_fetch_at) another time.
    #[must_use]
    pub fn hint(&self) -> PageHint {
        PageHint(self.pin.frame_no())
    }

    /// Another pin on the same page.
    ///
    /// # Errors
    /// [`Error::TooManyPins`] where the page has a million pins already.
    pub fn try_clone(&self) -> Result<Self> {
        let pin = self.pin.again().ok_or(Error::TooManyPins { page: self.id() })?;
        Ok(Self { pin })
    }

    /// Reads the page: waits until no one changes it. Any number of readers share it.
    ///
    /// A thread that already reads a page must not wait to read it again: a writer that got in line in between would wait for the
    /// first guard, and the second for the writer.
    ///
    /// # Panics
    /// In a process that was [forked](crate::BufferPool#processes-that-are-forked) while the page was being changed, and so stays
    /// latched there. So do the other ways to wait for a page in hand to read it.
    #[inline]
    #[must_use]
    pub fn read(&self) -> PageRead<'_> {
        self.pin.latch(Latch::Shared);
        PageRead { pin: &self.pin }
    }

    /// Reads the page if that needs no wait.
    #[inline]
    #[must_use]
    pub fn try_read(&self) -> Option<PageRead<'_>> {
        // Made only where the latch was had: a guard releases it when it is dropped.
        self.pin.try_latch(Latch::Shared).then(|| PageRead { pin: &self.pin })
    }

    /// [`read`](Self::read) for tasks. Dropping the future leaves the line. It gives way to other tasks now and then,
    /// [as a `Fetch` does](crate::Fetch#turns-of-tasks).
    ///
    /// Do not hold a guard across an `.await` on another page: a task that sleeps with a latch stops everybody who wants it.
    pub async fn read_async(&self) -> PageRead<'_> {
        let latched = LatchWait { pin: &self.pin, latch: Latch::Shared, ticket: None }.await;
        latched.unwrap_or_else(|error| panic!("{error}"));
        PageRead { pin: &self.pin }
    }

    /// Changes the page: waits until no one else reads or changes it. It becomes dirty when the guard's bytes are first
    /// borrowed mutably.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for a page of a file that was opened for reading only; [`Error::Forked`].
    pub fn write(&self) -> Result<PageWrite<'_>> {
        self.check_writable()?;
        self.pin.latch(Latch::Exclusive);
        Ok(PageWrite::new(&self.pin))
    }

    /// Changes the page if that needs no wait: `None` where it would.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn try_write(&self) -> Result<Option<PageWrite<'_>>> {
        self.check_writable()?;
        Ok(self.pin.try_latch(Latch::Exclusive).then(|| PageWrite::new(&self.pin)))
    }

    /// [`write`](Self::write) for tasks. Dropping the future leaves the line. It gives way to other tasks now and then,
    /// [as a `Fetch` does](crate::Fetch#turns-of-tasks).
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_async(&self) -> Result<PageWrite<'_>> {
        self.check_writable()?;
        LatchWait { pin: &self.pin, latch: Latch::Exclusive, ticket: None }.await?;
        Ok(PageWrite::new(&self.pin))
    }

    /// The page and its bytes as one value: waits until no one changes it.
    #[must_use]
    pub fn into_view(self) -> PageView {
        self.pin.latch(Latch::Shared);
        PageView::of_latched(self.pin)
    }

    /// The page's bytes without a copy, for as long as any clone or slice of the `Bytes` lives.
    ///
    /// They hold the pin **and a share latch**: whoever wants to change the page waits for the last of them. Where they are to
    /// live long, [copy](Self::to_bytes) instead.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        self.pin.latch(Latch::Shared);
        Bytes::from_owner(Frozen(self.pin))
    }

    /// A copy of the page's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.read())
    }

    fn check_writable(&self) -> Result<()> {
        self.pin.frames().process.check()?;
        if self.pin.frame().state.load().is_read_only() {
            Err(Error::ReadOnly { file: self.id().file })
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for PinnedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedPage({:?})", self.pin)
    }
}

/// The bytes of a page that nobody changes meanwhile.
pub struct PageRead<'a> {
    pin: &'a Pin,
}

impl PageRead<'_> {
    /// Which page it is.
    #[must_use]
    pub fn id(&self) -> PageId {
        self.pin.frame().page()
    }

    /// The highest log position that was [set](PageWrite::set_lsn) on the page since it was read from disk.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.pin.frame().page_lsn()
    }
}

impl Deref for PageRead<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the guard holds a share latch.
        unsafe { bytes_of(self.pin) }
    }
}

impl Drop for PageRead<'_> {
    #[inline]
    fn drop(&mut self) {
        self.pin.unlatch_shared();
    }
}

impl fmt::Debug for PageRead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageRead({:?})", self.pin)
    }
}

/// The bytes of a page that nobody else sees meanwhile.
///
/// Borrowing them mutably marks the page dirty; dropping the guard makes that known, in the same step that lets others in.
/// A guard that is forgotten (`mem::forget`) keeps the page latched, and so in its frame, for ever.
pub struct PageWrite<'a> {
    pin: &'a Pin,
    changed: bool,
    /// The bytes are not lent, nor will they be while the guard lives.
    own: bool,
    /// What was stated first, if anything was.
    first_lsn: Option<Lsn>,
}

impl<'a> PageWrite<'a> {
    fn new(pin: &'a Pin) -> Self {
        Self { pin, changed: false, own: false, first_lsn: None }
    }

    /// Which page it is.
    #[must_use]
    pub fn id(&self) -> PageId {
        self.pin.frame().page()
    }

    /// States the log record that covers the change. The page is then not written before the log is durable up to the
    /// highest of them (C8). Call it for every record, in rising order.
    ///
    /// The record must have got its place in the log while this guard was held: by that a
    /// [checkpoint](crate::CheckpointReport::redo_lsn) knows that changes which it did not wait for are behind the end that the log
    /// had before it.
    ///
    /// A change that needs no record says so, by [`Lsn::UNLOGGED`]: a guard that is dropped after a change without any call
    /// counts as a call that was [forgotten](crate::UnloggedChanges).
    pub fn set_lsn(&mut self, lsn: Lsn) {
        if self.first_lsn.is_none_or(|first| first == Lsn::UNLOGGED) {
            self.first_lsn = Some(lsn);
        }
        self.changed = true;
        self.pin.frame().raise_lsn(lsn);
    }

    /// The same for a record that holds the whole page, as it is when the guard is dropped. It covers whatever was changed before, so a
    /// page that was [refused](crate::UnloggedChanges::Refuse) can be written again.
    pub fn set_image_lsn(&mut self, lsn: Lsn) {
        self.set_lsn(lsn);
        self.pin.note_image();
    }

    /// The highest log position of the page since it was read from disk.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.pin.frame().page_lsn()
    }

    /// Lets other readers in and keeps on reading, with no gap for another writer.
    #[must_use]
    pub fn downgrade(self) -> PageRead<'a> {
        self.publish();
        let (pin, changed) = (self.pin, self.changed);
        std::mem::forget(self);
        pin.downgrade_latch(changed);
        PageRead { pin }
    }

    /// Makes the change ready to be seen.
    fn publish(&self) {
        if !self.pin.frames().process.is_current() {
            return;
        }
        if self.changed {
            self.pin.note_change(self.first_lsn.unwrap_or(Lsn::UNLOGGED));
            if self.first_lsn.is_none() {
                self.pin.note_unlogged_change();
            }
        }
        if self.own {
            self.pin.leave_shadow();
        }
    }
}

impl Deref for PageWrite<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the guard holds the exclusive latch.
        unsafe { bytes_of(self.pin) }
    }
}

impl DerefMut for PageWrite<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.changed = true;
        if !self.own {
            self.pin.make_own();
            self.own = true;
        }
        let frames = self.pin.frames();
        let address = frames.address_of(self.pin.frame_no()).as_ptr();
        // SAFETY: 1. `page_size` bytes from `address` on are this frame's, initialised since the arena was mapped;
        // 2. the exclusive latch, which the guard holds until it is dropped, excludes every other reference, and `make_own` every
        //    transfer;
        // 3. the borrow of the guard keeps this reference from outliving it.
        unsafe { slice::from_raw_parts_mut(address, frames.page_size().bytes()) }
    }
}

impl Drop for PageWrite<'_> {
    fn drop(&mut self) {
        self.publish();
        self.pin.unlatch_exclusive(self.changed);
    }
}

impl fmt::Debug for PageWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageWrite({:?}, changed: {})", self.pin, self.changed)
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

/// The right to look at a page that was read but not verified; for the others its read goes on meanwhile.
///
/// Dropped without a verdict, as by a panic in the codec, it fails the read.
pub(crate) struct Verification<'a> {
    pool: &'a Residency,
    /// The pin of the read, taken when it ends.
    reading: Option<Pin>,
}

impl<'a> Verification<'a> {
    /// Takes the verification upon the caller, unless the page is verified, being verified, or gone.
    pub(crate) fn begin(pool: &'a Residency, pin: &Pin) -> Option<Self> {
        // A pin of its own, as every read has.
        let own = pin.again()?;
        // Made only where it was begun: dropped, it ends the verification.
        own.frame().state.try_update(State::begin_verify).is_ok().then(|| Self { pool, reading: Some(own) })
    }

    /// Has `verify` look at the bytes, and ends the read accordingly.
    pub(crate) fn run(mut self, verify: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        // SAFETY: the frame is READING by this very value, so no guard and no lease on it exists, and nobody can claim it.
        let outcome = self.reading.as_ref().map_or(Ok(()), |pin| verify(unsafe { bytes_of(pin) }));
        self.end(&outcome);
        outcome
    }

    fn end(&mut self, outcome: &Result<()>) {
        if let Some(reading) = self.reading.take() {
            self.pool.end_read(reading, outcome, true);
        }
    }
}

impl Drop for Verification<'_> {
    fn drop(&mut self) {
        self.end(&Err(Error::Panicked));
    }
}

/// The bytes of a pinned frame.
///
/// # Safety
/// The caller holds a latch on the frame through this pin, or is verifying it, and goes on for as long as the slice lives.
#[inline]
unsafe fn bytes_of(pin: &Pin) -> &[u8] {
    let frames = pin.frames();
    let address = frames.address_in(pin.frame_no(), pin.frame().state.load()).as_ptr();
    // SAFETY: 1. `page_size` bytes from `address` on are this frame's, initialised since the arena was mapped; 2. by the
    // caller's right nobody holds a `&mut` to them, and no lease of a read exists any more; 3. the pin
    // keeps the memory and the page.
    unsafe { slice::from_raw_parts(address, frames.page_size().bytes()) }
}

/// Waits for a latch in a task.
struct LatchWait<'a> {
    pin: &'a Pin,
    latch: Latch,
    ticket: Option<Ticket>,
}

impl Future for LatchWait<'_> {
    type Output = Result<()>;

    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        this.pin.frames().process.check()?;
        poll_budget::poll(cx, |waker| {
            this.pin.poll_latch(this.latch, &mut this.ticket, Drive::Task, waker).map(Ok)
        })
    }
}

impl Drop for LatchWait<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.pin.cancel_wait(&ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buffer::{frame::state::Phase, map::Mapped, small_pools::pool_of},
        id::FileId,
    };

    #[test]
    fn c9_one_verifies_and_who_comes_too_late_does_not_spoil_it() {
        let pool = pool_of(1);
        let claimed = pool.take_clean().unwrap();
        let Mapped { reading, own: pin } = pool.map(claimed, PageId::new(FileId(0), 0), false).unwrap();
        pool.end_read(reading, &Ok(()), false);
        let verification = Verification::begin(&pool, &pin).unwrap();
        assert!(Verification::begin(&pool, &pin).is_none());
        assert_eq!(pin.frame().state.load().phase(), Phase::Reading, "the verification goes on");
        verification.run(|_| Ok(())).unwrap();
        assert!(Verification::begin(&pool, &pin).is_none());
        assert!(pin.frame().state.load().is_valid());
    }
}
