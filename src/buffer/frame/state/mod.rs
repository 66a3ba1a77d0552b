//! A frame's state word: what a frame is, in 64 bits, and every way it may change.
//!
//! All concurrency on a frame goes through this word. [`State`] is a plain value whose transitions are pure functions: they
//! return the next state, or `None` where the rules forbid the step. [`AtomicState`] applies them by compare-and-swap.
//! Invariants, checked after every transition in debug builds ([`State::assert_sound`]):
//!
//! 1. at most one of CLAIMED, READING, LOADED, VALID is set; a FREE frame has none of them;
//! 2. a CLAIMED frame has no pin, no latch and no I/O: one thread owns it. If it is DIRTY too it is *seized*, and stays mapped;
//! 3. DIRTY, WRITING and latches only on VALID frames (but for 2), and the exclusive latch excludes share latches; a READ_ONLY
//!    frame is neither DIRTY nor WRITING;
//! 4. LENT only while WRITING, and not SHADOWED: the device reads the bytes in the frame, so a thread that wants to change them
//!    moves them to a shadow page first. SHADOWED changes only under the exclusive latch, the only share latch, or a claim;
//! 5. latches are held through pins, several share latches perhaps through one, since readers may share the value that is the
//!    pin; so latches have a count of their own. A latch without a pin is that of a guard that was forgotten: the frame then
//!    stays out of use for ever. (A latch that a slot holds goes with its pin, forgotten or not);
//! 6. only a frame that is READING is UNATTENDED;
//! 7. only a frame that is VALID, clean and not SHADOWED, and that no thread changes or writes, is BIASED: [slots](super::slots)
//!    of threads may hold further pins and share latches on it. So a step that needs that there are none revokes the bias first.
//!    Until all that slots hold is counted the frame is COUNTING, and not biased anew;
//! 8. a frame that is CLAIMED is not READY: no other thread takes it. A frame without a page is not made READY: it is among the
//!    free ones.
//!
//! Modelled on PostgreSQL's buffer header (`buf_internals.h`), which likewise keeps pins, usage count, flags and the
//! content latch in one 64-bit atomic.

mod atomic;
mod bias;
mod latch;
mod shadow;
#[cfg(test)]
mod tests;
mod victim;

use std::fmt;

pub(crate) use atomic::AtomicState;
pub(crate) use victim::Verdict;

const PIN: u64 = 1;
const PINS: u64 = (1 << 20) - 1;
const USAGE_SHIFT: u32 = 20;
const USAGE: u64 = 0b11 << USAGE_SHIFT;
const USED: u64 = 1 << USAGE_SHIFT;
// What a hit looks at is in the lower half, where instructions have their numbers in themselves.
const BIASED: u64 = 1 << 22;
const LATCH_WAITERS: u64 = 1 << 23;
const EXCLUSIVE: u64 = 1 << 24;
const VALID: u64 = 1 << 25;
const LOADED: u64 = 1 << 26;
const READING: u64 = 1 << 27;
const CLAIMED: u64 = 1 << 28;
const DIRTY: u64 = 1 << 29;
const WRITING: u64 = 1 << 30;
const READY: u64 = 1 << 31;
const UNATTENDED: u64 = 1 << 32;
const IO_WAITERS: u64 = 1 << 33;
const READ_ONLY: u64 = 1 << 34;
const ORPHAN: u64 = 1 << 35;
const AHEAD: u64 = 1 << 36;
const SHADOWED: u64 = 1 << 37;
const LENT: u64 = 1 << 38;
const KEEPS_LSN: u64 = 1 << 39;
const COUNTING: u64 = 1 << 40;
const SHARE: u64 = 1 << 46;
const SHARES: u64 = ((1 << 18) - 1) << 46;

/// How many pins, and share latches, the word can count beyond those that it grants: of slots, and of threads that revoke a bias.
const RESERVE: u64 = 1 << 12;
const PINS_MAX: u64 = PINS - RESERVE;
const SHARES_MAX: u64 = SHARES - RESERVE * SHARE;

/// Set once half of the pins, or of the share latches, that can be counted are taken.
const HALF_THE_PINS: u64 = 1 << 19;
const HALF_THE_SHARES: u64 = 1 << 63;

/// Of these only VALID occurs with BIASED.
const NOT_BIASED: u64 = VALID | EXCLUSIVE | DIRTY | WRITING | SHADOWED | COUNTING;

const PHASES: u64 = VALID | LOADED | READING | CLAIMED;
const LATCHES: u64 = SHARES | EXCLUSIVE;

/// The highest usage count: a page with it is spared three times.
pub(crate) const MAX_USAGE: u64 = 3;

#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) struct State(u64);

/// What a lookup that found a frame can do with it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Holds no page.
    Free,
    /// Owned by one thread, on its way from one page to another.
    Claimed,
    /// A read is under way, or its result is being verified.
    Reading,
    /// Read, but not yet verified by the page codec.
    Loaded,
    /// The page can be used.
    Valid,
}

impl State {
    pub(crate) const FREE: Self = Self(0);

    const fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    const fn with(self, bits: u64) -> Self {
        Self(self.0 | bits)
    }

    const fn without(self, bits: u64) -> Self {
        Self(self.0 & !bits)
    }

    // ---- what it is -------------------------------------------------------------------------------------------------

    pub(crate) const fn pins(self) -> u64 {
        self.0 & PINS
    }

    pub(crate) const fn usage(self) -> u64 {
        (self.0 & USAGE) >> USAGE_SHIFT
    }

    const fn shares(self) -> u64 {
        (self.0 & SHARES) / SHARE
    }

    pub(crate) const fn phase(self) -> Phase {
        match self.0 & PHASES {
            0 => Phase::Free,
            CLAIMED => Phase::Claimed,
            READING => Phase::Reading,
            LOADED => Phase::Loaded,
            _ => Phase::Valid,
        }
    }

    pub(crate) const fn is_valid(self) -> bool {
        self.has(VALID)
    }

    pub(crate) const fn is_dirty(self) -> bool {
        self.has(DIRTY)
    }

    pub(crate) const fn is_writing(self) -> bool {
        self.has(WRITING)
    }

    pub(crate) const fn is_in_io(self) -> bool {
        self.has(READING | WRITING)
    }

    pub(crate) const fn is_read_only(self) -> bool {
        self.has(READ_ONLY)
    }

    /// Returns whether the page has its LSN in its bytes.
    pub(crate) const fn keeps_lsn(self) -> bool {
        self.has(KEEPS_LSN)
    }

    pub(crate) const fn is_orphan(self) -> bool {
        self.has(ORPHAN)
    }

    pub(crate) const fn has_latch_waiters(self) -> bool {
        self.has(LATCH_WAITERS)
    }

    pub(crate) const fn has_io_waiters(self) -> bool {
        self.has(IO_WAITERS)
    }

    /// Returns whether the end of the read gives the page's place in the read-ahead quota back.
    pub(crate) const fn is_unattended(self) -> bool {
        self.has(UNATTENDED)
    }

    /// Returns whether bytes newer than the disk's are in this frame, or may be: dirty, on their way out, or being changed.
    pub(crate) const fn may_hold_changes(self) -> bool {
        self.has(DIRTY | WRITING | EXCLUSIVE)
    }

    /// Returns whether the page is dirty, and has no pin, latch or write.
    pub(crate) fn is_idle_dirty(self) -> bool {
        self.is_dirty() && self.pins() == 0 && !self.has(LATCHES | WRITING | CLAIMED)
    }

    /// Returns whether the page is [held back](crate::buffer::quarantine), with its changes.
    pub(crate) fn is_seized(self) -> bool {
        self.has(CLAIMED) && self.is_dirty()
    }

    // ---- pins and use -----------------------------------------------------------------------------------------------

    /// Adds a pin and raises the usage count; `None` for a frame that holds no page, or has all the pins it can count.
    #[inline]
    pub(crate) fn pin(self) -> Option<Self> {
        if self.has(CLAIMED) || !self.has(PHASES) || self.pins_are_exhausted() {
            return None;
        }
        if self.has(AHEAD) {
            // This is the use for which it was read: from now on it counts as a page that was read on demand.
            return Some(Self(self.without(AHEAD).0 + PIN));
        }
        let used = if self.usage() < MAX_USAGE { USED } else { 0 };
        Some(Self(self.0 + PIN + used))
    }

    /// Returns whether the caller may have a pin: in the word, or in a slot.
    const fn may_be_pinned(self) -> bool {
        self.pins() > 0 || self.is_biased()
    }

    /// Adds a pin to a page that can be used now, and raises the usage count. `None` for a page that is still on its way: a fetch
    /// that then waits for it counts as its use, once.
    #[inline]
    pub(crate) fn pin_valid(self) -> Option<Self> {
        self.biased_if_hot().pin_to_change()
    }

    /// As [`pin_valid`](Self::pin_valid), for a thread that then changes the page: it is not biased towards readers.
    pub(crate) fn pin_to_change(self) -> Option<Self> {
        if self.has(VALID) { self.pin() } else { None }
    }

    pub(crate) const fn pins_are_exhausted(self) -> bool {
        self.pins() >= PINS_MAX
    }

    /// Adds a pin for housekeeping, which is no use of the page.
    pub(crate) fn pin_unused(self) -> Option<Self> {
        self.pin().map(|_| Self(self.0 + PIN))
    }

    /// Adds a pin through a pin that is held already; the usage count stays.
    pub(crate) fn pin_again(self) -> Option<Self> {
        debug_assert!(self.may_be_pinned());
        (!self.pins_are_exhausted()).then_some(Self(self.0 + PIN))
    }

    #[inline]
    pub(crate) fn unpin(self) -> Self {
        if self.pins() == 0 {
            self.is_not_held();
        }
        Self(self.0 - PIN)
    }

    /// Adds a pin and a share latch in one step, in the plain case only: the page is here, no thread changes it or waits to, it
    /// was not read ahead, and the counts are far from their ends. `None` for all that takes a closer look.
    #[inline]
    pub(crate) fn pin_and_latch(self) -> Option<Self> {
        const LOOK: u64 =
            VALID | CLAIMED | EXCLUSIVE | LATCH_WAITERS | AHEAD | HALF_THE_PINS | HALF_THE_SHARES;
        let used = if self.usage() < MAX_USAGE { USED } else { 0 };
        (self.0 & LOOK == VALID).then(|| Self(self.biased_if_hot().0 + PIN + SHARE + used))
    }

    /// Takes a pin and a share latch off in one step; `None` where a waiter or an orphan's end needs more.
    #[inline]
    pub(crate) fn unlatch_and_unpin(self) -> Option<Self> {
        if self.pins() == 0 || !self.has(SHARES) {
            self.is_not_held();
        }
        (!self.has(LATCH_WAITERS | ORPHAN)).then(|| Self(self.0 - PIN - SHARE))
    }

    /// Panics, in a function of its own, so that a release needs no stack for this.
    #[cold]
    fn is_not_held(self) -> ! {
        panic!("released what was not held: {self:?}");
    }

    /// Marks the frame of a dropped pool; it lives on until its last pin goes.
    pub(crate) fn orphan(self) -> Self {
        self.with(ORPHAN)
    }

    // ---- from page to page ------------------------------------------------------------------------------------------

    /// Takes the frame out of use, whatever its usage count: no thread can pin it from here on.
    pub(crate) fn claim(self) -> Option<Self> {
        let biased = if seeded!("biased_frame_claimed") { 0 } else { BIASED };
        let idle = self.pins() == 0 && !self.has(LATCHES | READING | WRITING | CLAIMED | DIRTY | biased);
        idle.then(|| {
            self.without(VALID | LOADED | USAGE | AHEAD | READY | READ_ONLY | KEEPS_LSN).with(CLAIMED)
        })
    }

    /// Takes the frame out of use, only where no use of the page is known or expected.
    pub(crate) fn claim_unused(self) -> Option<Self> {
        (self.usage() == 0 && !self.has(AHEAD)).then(|| self.claim()).flatten()
    }

    /// Takes a dirty page out of use, until it is [put back](Self::put_back) or [discarded](Self::discard_changes).
    pub(crate) fn seize(self) -> Option<Self> {
        let ready = if seeded!("ready_page_seized") { 0 } else { READY };
        self.is_idle_dirty().then(|| self.without(VALID | ready).with(CLAIMED))
    }

    /// Puts a seized page back, as dirty as before: it is wanted after all.
    pub(crate) fn put_back(self) -> Self {
        assert!(self.is_seized(), "put back unseized: {self:?}");
        self.without(CLAIMED).with(VALID)
    }

    /// Discards the changes of a seized page, which are no longer wanted (it was cut off, or its file is given up). What is left
    /// is a claim like others.
    pub(crate) fn discard_changes(self) -> Self {
        assert!(self.is_seized(), "discarded unseized: {self:?}");
        self.without(DIRTY | USAGE | AHEAD | KEEPS_LSN)
    }

    /// Releases the claim: the claimant found no use for the frame.
    pub(crate) fn give_back(self) -> Self {
        assert!(self.has(CLAIMED) && !self.is_dirty(), "given back unclaimed: {self:?}");
        self.without(CLAIMED)
    }

    /// Makes the frame stand for a new page; the first pin belongs to the read.
    pub(crate) fn begin_read(self, read_only: bool) -> Self {
        assert!(self.has(CLAIMED) && !self.is_dirty(), "read into an unclaimed frame: {self:?}");
        let read_only = if read_only { READ_ONLY } else { 0 };
        Self(self.without(CLAIMED).with(READING | read_only).0 + PIN)
    }

    pub(crate) fn keep_lsn(self) -> Self {
        debug_assert!(self.has(READING));
        self.with(KEEPS_LSN)
    }

    /// Notes that the page is read for a use to come: it is spared once more than one that has just been used, so that a scan
    /// gives up the pages behind it before those ahead.
    pub(crate) fn expect_use(self) -> Self {
        debug_assert!(self.has(READING));
        self.with(AHEAD)
    }

    /// Leaves the page without a holder for its use to come: from here on its read has its place in the read-ahead quota. `None`
    /// where the read has one already, or is over.
    pub(crate) fn leave_unattended(self) -> Option<Self> {
        (self.has(READING) && !self.has(UNATTENDED)).then(|| self.with(UNATTENDED))
    }

    /// Ends a read: the bytes are here. With a codec they must be verified before they are shown.
    pub(crate) fn end_read(self, verified: bool) -> Self {
        assert!(self.has(READING), "ended a read that was not begun: {self:?}");
        self.without(READING | UNATTENDED).with(if verified { VALID } else { LOADED })
    }

    /// Clears all that a failed read had set: the frame is free once the waiters' pins are gone.
    pub(crate) fn fail_read(self) -> Self {
        assert!(self.has(READING), "failed a read that was not begun: {self:?}");
        self.without(READING | USAGE | AHEAD | UNATTENDED | READ_ONLY | KEEPS_LSN)
    }

    /// Begins the verification in one thread; for the others the read goes on.
    pub(crate) fn begin_verify(self) -> Option<Self> {
        debug_assert!(self.pins() > 0);
        self.has(LOADED).then(|| self.without(LOADED).with(READING))
    }

    // ---- write-out --------------------------------------------------------------------------------------------------

    /// Begins a write of bytes that were copied under a latch, or are lent; a change from here on dirties the page anew.
    pub(crate) fn begin_write(self) -> Option<Self> {
        let not_while = if seeded!("two_writes_at_once") { EXCLUSIVE } else { WRITING | EXCLUSIVE };
        let ready = self.has(DIRTY) && !self.has(not_while);
        let kept = if seeded!("dirt_cleared_when_the_write_ends") { DIRTY } else { 0 };
        ready.then(|| self.without(DIRTY).with(WRITING | kept))
    }

    /// Ends a write. If the bytes have not arrived, the page is as dirty as before.
    pub(crate) fn end_write(self, arrived: bool) -> Self {
        assert!(self.has(WRITING), "ended a write that was not begun: {self:?}");
        let cleared = if seeded!("dirt_cleared_when_the_write_ends") { DIRTY } else { 0 };
        let is_clean = arrived || seeded!("failed_write_counts_as_written");
        self.without(WRITING | LENT | cleared).with(if is_clean { 0 } else { DIRTY })
    }

    // ---- waiters ----------------------------------------------------------------------------------------------------

    pub(crate) fn set_latch_waiters(self, waiting: bool) -> Self {
        if waiting { self.with(LATCH_WAITERS) } else { self.without(LATCH_WAITERS) }
    }

    pub(crate) fn set_io_waiters(self, waiting: bool) -> Self {
        if waiting { self.with(IO_WAITERS) } else { self.without(IO_WAITERS) }
    }

    /// Returns the first of the invariants of the module's head that does not hold.
    pub(crate) fn unsound(self) -> Option<&'static str> {
        let alone = self.pins() == 0 && !self.has(LATCHES | WRITING);
        let in_use = self.has(LATCHES | WRITING) || self.is_dirty() && !self.is_seized();
        let broken = [
            ((self.0 & PHASES).count_ones() > 1, "1: two phases at once"),
            (self.has(CLAIMED) && !alone, "2: claimed but not alone"),
            (in_use && !self.has(VALID), "3: in use but not valid"),
            (self.has(EXCLUSIVE) && self.has(SHARES), "3: exclusive but shared"),
            (self.has(READ_ONLY) && self.has(DIRTY | WRITING), "3: changed but read only"),
            (self.has(LENT) && !self.has(WRITING), "4: lent but not being written"),
            (self.has(LENT) && self.is_shadowed(), "4: lent but not in the frame"),
            (self.is_shadowed() && !self.has(VALID | CLAIMED), "4: on a shadow page but not in use"),
            (self.has(UNATTENDED) && !self.has(READING), "6: a place is kept for a read that is over"),
            (self.has(BIASED) && self.0 & NOT_BIASED != VALID, "7: biased, and not at rest"),
            (self.has(COUNTING) && !self.has(SHARES), "7: slots are counted, and nothing keeps writers away"),
            (self.has(COUNTING) && self.pins() == 0, "7: slots are counted, without a pin"),
            (self.has(READY) && self.has(CLAIMED), "8: ready, and claimed"),
        ];
        broken.into_iter().find(|&(is_broken, _)| is_broken).map(|(_, what)| what)
    }

    pub(crate) fn assert_sound(self) {
        if let Some(what) = self.unsound() {
            panic!("{what}: {self:?}");
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} pins, usage {}", self.phase(), self.pins(), self.usage())?;
        if self.shares() > 0 {
            write!(f, ", {} share latches", self.shares())?;
        }
        let flags = [
            (EXCLUSIVE, "latched exclusively"),
            (DIRTY, "dirty"),
            (WRITING, "being written"),
            (LATCH_WAITERS, "latch waiters"),
            (IO_WAITERS, "I/O waiters"),
            (COUNTING, "slots are counted"),
            (READ_ONLY, "read only"),
            (KEEPS_LSN, "keeps its LSN"),
            (ORPHAN, "orphan"),
            (AHEAD, "read ahead"),
            (READY, "ready"),
            (UNATTENDED, "unattended"),
            (LENT, "lent"),
            (BIASED, "biased"),
            (SHADOWED, "on its shadow page"),
        ];
        flags.iter().filter(|(bit, _)| self.has(*bit)).try_for_each(|(_, name)| write!(f, ", {name}"))
    }
}
