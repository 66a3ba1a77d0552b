//! Guards of a page that is changed: the exclusive latch, which borrows its pin or owns it.
//!
//! The first mutable borrow of the bytes makes them the guard's own (no transfer reads them from then on), and marks the page dirty. The
//! release of the latch makes the change known, in the same step.

#![allow(unsafe_code)]

use std::{
    mem,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use super::{OwnedPageRead, PageHint, PageRead, PinnedPage, bytes_of};
use crate::{
    buffer::frame::pin::Pin,
    id::{LogRecord, Lsn, PageId},
};

/// What a guard notes of the change that is made under its latch.
#[derive(Debug, Default)]
struct Change {
    is_changed: bool,
    /// The bytes are not lent, nor will they be while the guard lives.
    is_own: bool,
    /// Whether it was stated which record covers the change, or that none does.
    is_stated: bool,
    /// The page was filled with zeros, or is an image, and its record was not stated yet.
    is_overwritten: bool,
    /// Where the first record of the change begins.
    first: Option<Lsn>,
}

impl Change {
    fn set_lsn(&mut self, pin: &Pin, record: LogRecord) {
        (self.is_stated, self.is_changed) = (true, true);
        if record.end == Lsn::UNLOGGED {
            return;
        }
        self.first.get_or_insert(record.begin);
        // The former bytes are gone, with their records: redo may continue from a record that is older than they were.
        match self.is_overwritten {
            true => pin.frame().set_lsn(record.end),
            false => pin.frame().raise_lsn(record.end),
        }
        self.is_overwritten = false;
    }

    fn set_image_lsn(&mut self, pin: &Pin, record: LogRecord) {
        self.is_overwritten |= !seeded!("image_keeps_a_later_lsn");
        self.set_lsn(pin, record);
        pin.note_image();
    }

    /// Returns where the bytes are that the holder of the latch may change from here on.
    fn own_bytes(&mut self, pin: &Pin) -> NonNull<[u8]> {
        self.is_changed = true;
        if !self.is_own {
            pin.make_own();
            self.is_own = true;
        }
        pin.bytes()
    }

    /// Has the page's LSN and the one in its bytes be the same: puts it there; or takes it from there, where the page was overwritten and
    /// has no record since, so that what is there now, zeros or a page from a backup, has its own.
    fn stamp(&mut self, pin: &Pin) {
        let Some(place) = pin.place_of_lsn() else { return };
        if self.is_overwritten {
            // SAFETY: the guard, which is about to end, holds the exclusive latch, and lends the bytes to none any more.
            return pin.frame().set_lsn(place.read(unsafe { bytes_of(pin) }));
        }
        let lsn = pin.frame().page_lsn();
        // Bytes that were not lent have none either.
        if lsn == Lsn::UNLOGGED && !self.is_own || seeded!("lsn_not_put_into_the_page") {
            return;
        }
        let mut bytes = self.own_bytes(pin);
        // SAFETY: as in `deref_mut` of the guard, which is about to end: it holds the exclusive latch, and lends the bytes to none any more.
        place.write(lsn, unsafe { bytes.as_mut() });
    }

    /// Makes the change ready to be seen. The latch is released next.
    fn publish(&mut self, pin: &Pin) {
        if !pin.frames().process.is_current() {
            return;
        }
        if self.is_changed {
            self.stamp(pin);
            pin.note_change(self.first);
            if !self.is_stated {
                pin.note_unlogged_change();
            }
        }
        if self.is_own {
            pin.leave_shadow();
        }
    }
}

/// The bytes of a [`PinnedPage`], which no other thread sees meanwhile.
///
/// Borrowing them mutably marks the page dirty, as does a record that is stated. Dropping the guard makes the change known, in
/// the same step that releases the latch. A guard that is forgotten (`mem::forget`) keeps the page latched, and so in its frame,
/// for ever.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, Lsn, OpenOptions, PageId};
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// let page = pool.fetch(PageId::new(file, 0)).wait()?;
/// let mut guard = page.write()?;
/// guard[0] = 1;
/// // Where the record of this change begins and ends in the log.
/// guard.set_lsn(Lsn(100)..Lsn(140));
/// assert_eq!((guard.id(), guard.lsn()), (page.id(), Lsn(140)));
///
/// // Redo puts an older page in its place, from its image in the log.
/// guard.fill(0);
/// guard.set_image_lsn(Lsn(20)..Lsn(90));
/// assert_eq!(guard.lsn(), Lsn(90));
///
/// // Keeps reading, with no gap for another writer.
/// let guard = guard.downgrade();
/// assert_eq!((guard.id(), guard.lsn(), guard[0]), (page.id(), Lsn(90), 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PageWrite<'a> {
    pin: &'a Pin,
    change: Change,
}

impl<'a> PageWrite<'a> {
    pub(super) fn of_latched(pin: &'a Pin) -> Self {
        Self { pin, change: Change::default() }
    }

    /// Returns which page it is. Example: [`PageWrite`].
    #[must_use]
    pub fn id(&self) -> PageId {
        self.pin.frame().page()
    }

    /// States the log record that covers the change, as a [`LogRecord`]: `set_lsn(begin..end)`, or `set_lsn(number)` where the
    /// log counts records. The page is not written until the log is durable up to the highest end of them (C8). Call it for every
    /// record, in rising order.
    ///
    /// The record must have got its place in the log while this guard was held. A [checkpoint](crate::CheckpointReport::redo_lsn)
    /// relies on that: changes for which it did not wait are behind the end that the log had before it.
    ///
    /// State [`Lsn::UNLOGGED`] for a change that needs no record. A guard that is dropped after a change without any call counts
    /// as a [forgotten call](crate::options::UnloggedChanges).
    ///
    /// Example: [`PageWrite`].
    pub fn set_lsn(&mut self, record: impl Into<LogRecord>) {
        self.change.set_lsn(self.pin, record.into());
    }

    /// States a log record that holds the whole page, as it is when the guard is dropped. The record covers all earlier changes,
    /// so a page that was [refused](crate::options::UnloggedChanges::Refuse) can be written again. The page's [`lsn`](Self::lsn)
    /// becomes the end of the record, even if it was higher before, as in redo. The rules of [`set_lsn`](Self::set_lsn) hold.
    /// Example: [`PageWrite`].
    pub fn set_image_lsn(&mut self, record: impl Into<LogRecord>) {
        self.change.set_image_lsn(self.pin, record.into());
    }

    /// Returns where the last record of the page ends: one that was stated since the page was read from disk, or, in a pool that
    /// knows [where pages keep it](crate::PageLsn), the one in its bytes. Example: [`PageWrite`].
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.pin.frame().page_lsn()
    }

    /// Downgrades to a share latch and keeps reading, with no gap for another writer. Example: [`PageWrite`].
    #[must_use]
    pub fn downgrade(mut self) -> PageRead<'a> {
        self.change.publish(self.pin);
        let (pin, is_changed) = (self.pin, self.change.is_changed);
        mem::forget(self);
        pin.downgrade_latch(is_changed);
        PageRead::of_latched(pin)
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
        // SAFETY: 1. the bytes are this frame's, initialised since the arena was mapped; 2. the exclusive latch, which the guard holds
        // until it is dropped, excludes every other reference, and that they are its own every transfer; 3. the pin keeps the memory and the page,
        // and the borrow of the guard keeps this reference from outliving it.
        unsafe { self.change.own_bytes(self.pin).as_mut() }
    }
}

impl Drop for PageWrite<'_> {
    fn drop(&mut self) {
        self.change.publish(self.pin);
        self.pin.unlatch_exclusive(self.change.is_changed);
    }
}

/// A page that is pinned and latched for changing, as one value, from [`BufferPool::write`](crate::BufferPool::write).
///
/// It borrows nothing: a function can return it, and a struct can keep it, as for latch coupling in a loop. Otherwise it is like
/// a [`PageWrite`]: dropping it makes the change known, then releases the latch and the pin.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, Lsn, OpenOptions, OwnedPageWrite, PageId};
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// fn counter(pool: &BufferPool, page: PageId) -> ringpool::Result<OwnedPageWrite> {
///     pool.write(page).wait()
/// }
///
/// let mut page = counter(&pool, PageId::new(file, 0))?;
/// page[0] += 1;
/// page.set_lsn(Lsn(100)..Lsn(140));
/// let page = page.downgrade();
/// assert_eq!((page[0], page.lsn()), (1, Lsn(140)));
/// drop(page);
///
/// // Redo of an image of the page; then without the latch, and still pinned.
/// let mut page = counter(&pool, PageId::new(file, 0))?;
/// page[0] = 0;
/// page.set_image_lsn(Lsn(20)..Lsn(90));
/// assert_eq!((page.id(), page.lsn()), (PageId::new(file, 0), Lsn(90)));
/// let hint = page.hint();
/// let page = page.unlatch();
/// assert_eq!(page.hint(), hint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OwnedPageWrite {
    /// `None` once it has gone into another value.
    pin: Option<Pin>,
    change: Change,
}

impl OwnedPageWrite {
    pub(crate) fn of_latched(pin: Pin) -> Self {
        debug_assert!(pin.frame().state.load().is_valid(), "handed out before it was read: {pin:?}");
        Self { pin: Some(pin), change: Change::default() }
    }

    /// Makes a guard of a pin that comes with the exclusive latch, of a page that was filled with zeros instead of being read.
    pub(crate) fn of_zeroed(pin: Pin) -> Self {
        let mut guard = Self::of_latched(pin);
        (guard.change.is_changed, guard.change.is_overwritten) = (true, true);
        guard
    }

    /// Fills the page with zeros. The records of what was there do not count any more.
    pub(crate) fn overwrite(&mut self) {
        self.fill(0);
        self.change.is_overwritten = true;
        self.pin().frame().set_lsn(Lsn::UNLOGGED);
    }

    fn pin(&self) -> &Pin {
        self.pin.as_ref().expect("a guard has its pin until it ends")
    }

    fn parts(&mut self) -> (&Pin, &mut Change) {
        (self.pin.as_ref().expect("a guard has its pin until it ends"), &mut self.change)
    }

    /// Returns which page it is. Example: [`OwnedPageWrite`].
    #[must_use]
    pub fn id(&self) -> PageId {
        self.pin().frame().page()
    }

    /// States the log record that covers the change, as [`PageWrite::set_lsn`] does. Example: [`OwnedPageWrite`].
    pub fn set_lsn(&mut self, record: impl Into<LogRecord>) {
        let (pin, change) = self.parts();
        change.set_lsn(pin, record.into());
    }

    /// States a log record that holds the whole page, as [`PageWrite::set_image_lsn`] does. Example: [`OwnedPageWrite`].
    pub fn set_image_lsn(&mut self, record: impl Into<LogRecord>) {
        let (pin, change) = self.parts();
        change.set_image_lsn(pin, record.into());
    }

    /// Returns where the last record of the page ends, as [`PageWrite::lsn`] does. Example: [`OwnedPageWrite`].
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.pin().frame().page_lsn()
    }

    /// Returns where the page is, for [`PageId::at`] another time. Example: [`OwnedPageWrite`].
    #[must_use]
    pub fn hint(&self) -> PageHint {
        PageHint(self.pin().frame_no())
    }

    /// Downgrades to a share latch and keeps reading, with no gap for another writer. Example: [`OwnedPageWrite`].
    #[must_use]
    pub fn downgrade(mut self) -> OwnedPageRead {
        let pin = self.end(Pin::downgrade_latch);
        OwnedPageRead::of_latched(pin.expect("it is ended once"))
    }

    /// Makes the change known and releases the latch, and keeps the pin. Example: [`OwnedPageWrite`].
    #[must_use]
    pub fn unlatch(mut self) -> PinnedPage {
        let pin = self.end(Pin::unlatch_exclusive);
        PinnedPage::new(pin.expect("it is ended once"))
    }

    /// Makes the change known, with that release of the latch, and gives up the pin.
    fn end(&mut self, release: impl FnOnce(&Pin, bool)) -> Option<Pin> {
        let pin = self.pin.take()?;
        self.change.publish(&pin);
        release(&pin, self.change.is_changed);
        Some(pin)
    }
}

impl Deref for OwnedPageWrite {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the guard holds the exclusive latch.
        unsafe { bytes_of(self.pin()) }
    }
}

impl DerefMut for OwnedPageWrite {
    fn deref_mut(&mut self) -> &mut [u8] {
        let (pin, change) = self.parts();
        // SAFETY: as of a guard that borrows its pin. This one holds the latch until it ends.
        unsafe { change.own_bytes(pin).as_mut() }
    }
}

impl AsRef<[u8]> for OwnedPageWrite {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for OwnedPageWrite {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Drop for OwnedPageWrite {
    fn drop(&mut self) {
        drop(self.end(Pin::unlatch_exclusive));
    }
}
