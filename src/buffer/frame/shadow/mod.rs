//! Where a page's bytes are, and how they are lent to the device so that no thread waits for it.
//!
//! A page is written straight from its frame: its bytes are **lent** in the moment in which it stops being dirty. A thread that wants
//! to *change* them meanwhile copies them to a [shadow page](pages) first, and changes the copy. From then on the page is there, and
//! the device continues to read what it was lent. So a writer waits for a copy of a page, not for the device. Only if the system has
//! no memory for a shadow page, it waits for the end of the write.
//!
//! They are copied back into the frame as soon as possible: at the end of the write, unless the page is latched; else at the end of the
//! change that is under way then, or before the next one. If readers keep the page there until it is written again, it is copied into
//! the frame for the device, under a share latch, and belongs there again if no other thread reads it.
//!
//! Invariants:
//! 1. the device reads in frames, and lent bytes do not change until the write is over;
//! 2. whether a frame's bytes are on its shadow page changes only under its exclusive latch, its only share latch or a claim, so a thread
//!    that holds a latch may keep the address;
//! 3. while the bytes are on the shadow page, the frame belongs to the write that is under way; without one, to the thread that holds the
//!    exclusive latch.
//!
//! With a codec the device reads a copy instead, which the codec seals, in the [room](super::copy_room) for that. Lock order: the lock
//! of the shadow pages, a leaf.

#![allow(unsafe_code)]

pub(crate) mod pages;

use std::{ptr, ptr::NonNull, slice};

use crate::{
    buffer::frame::{
        copy_room::CopyRun, frames::Frames, latch::Latch, pin::Pin, state::State, waiters::want::Want,
    },
    id::FrameNo,
    observe::Counter,
    sync::{waking::Wakers, witness},
};

impl Frames {
    /// Not inlined, since a page is hardly ever there.
    #[cold]
    pub(super) fn address_of_shadow(&self, no: FrameNo) -> NonNull<u8> {
        self.shadow_pages.address_of(no)
    }

    /// Drops what is on the shadow page of a claimed frame, so that the frame can take its next page.
    pub(crate) fn drop_shadow(&self, no: FrameNo) {
        let state = &self.frame(no).state;
        if state.load().is_shadowed() {
            state.update(State::move_back);
            self.shadow_pages.remove(no);
        }
    }

    /// Copies a page.
    ///
    /// # Safety
    /// Both are addresses of this pool's pages, and different ones. No thread changes the bytes at `from`, and no other knows those
    /// at `to`.
    pub(super) unsafe fn copy_page(&self, from: NonNull<u8>, to: NonNull<u8>) {
        debug_assert_ne!(from, to);
        witness::copied(from, to);
        // SAFETY: the caller's promise; whole pages of which each lies apart do not overlap.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), self.page_size.bytes()) };
    }

    pub(crate) fn run_offset(&self, run: &CopyRun) -> usize {
        run.first * self.page_size.bytes()
    }

    /// Returns page `index` of the run, for a codec to seal.
    pub(crate) fn copy_mut<'a>(&'a self, run: &'a mut CopyRun, index: usize) -> &'a mut [u8] {
        // SAFETY: no other has the run's pages, it is borrowed mutably, and the arena is initialised memory.
        unsafe { slice::from_raw_parts_mut(self.copy_address(run, index).as_ptr(), self.page_size.bytes()) }
    }

    /// Gives back all pages of the run but the first `pages`. That wakes the first that waits for a frame, if it could have no
    /// victim written for want of room: nothing else may tell it, since users may have the frames that were written.
    pub(crate) fn shrink_run(&self, run: &mut CopyRun, pages: usize, wakers: &mut Wakers) {
        if self.copy_room.shrink(run, pages) && !seeded!("room_given_back_in_silence") {
            self.frame_waiters.wake_one_with(wakers);
        }
    }

    pub(crate) fn give_back_run(&self, mut run: CopyRun, wakers: &mut Wakers) {
        self.shrink_run(&mut run, 0, wakers);
    }

    fn copy_address(&self, run: &CopyRun, index: usize) -> NonNull<u8> {
        assert!(index < run.pages);
        self.arena.at(self.run_offset(run) + index * self.page_size.bytes())
    }
}

impl Pin {
    /// Ensures that the bytes may be changed where they are. The caller holds the exclusive latch through this pin.
    pub(crate) fn make_own(&self) {
        let (frames, no) = (self.frames(), self.frame_no());
        while self.frame().state.load().is_lent() && !seeded!("lent_bytes_changed") {
            if !frames.shadow_pages.add(no) {
                self.wait_for_io(Want::WriteDone);
                continue;
            }
            // SAFETY: by the exclusive latch no thread changes the bytes; the shadow page came to this frame just now.
            unsafe { frames.copy_page(self.address_in_frame(), frames.address_of_shadow(no)) };
            if self.frame().state.try_update(State::move_to_shadow).is_ok() {
                frames.counters.add(Counter::ShadowPages, 1);
            } else {
                // The write ended while the copy was made: there was no need for it.
                frames.shadow_pages.remove(no);
            }
        }
        self.leave_shadow();
    }

    /// Copies bytes that are on the shadow page back into the frame, if the write to which the frame's bytes were lent is over.
    /// The caller holds the exclusive latch, at the beginning of a change or at its end.
    #[inline]
    pub(crate) fn leave_shadow(&self) {
        let state = self.frame().state.load();
        if state.is_shadowed() && (!state.is_writing() || seeded!("copied_back_while_the_device_reads")) {
            self.move_back();
        }
    }

    /// Moves the bytes back into the frame. The caller holds the exclusive latch, and no device reads there.
    #[cold]
    fn move_back(&self) {
        // SAFETY: by the exclusive latch no other thread uses the bytes, on the shadow page or in the frame, and no device reads there.
        unsafe { self.copy_back() };
        self.frame().state.update(State::move_back);
        if !seeded!("shadow_page_lost") {
            self.frames().shadow_pages.remove(self.frame_no());
        }
    }

    /// # Safety
    /// No thread changes the bytes, which are on the shadow page, and no other uses what is in the frame.
    unsafe fn copy_back(&self) {
        let frames = self.frames();
        // SAFETY: the caller's promise.
        unsafe { frames.copy_page(frames.address_of_shadow(self.frame_no()), self.address_in_frame()) };
    }

    /// Begins the write of a page, which the device finds in the frame, if the page is dirty and not being written. Returns
    /// whether it did. The caller holds a share latch.
    #[must_use]
    pub(crate) fn lend(&self) -> bool {
        let Ok(state) = self.frame().state.try_update(State::begin_lending) else { return false };
        if state.is_shadowed() {
            // SAFETY: by the share latch no thread changes the bytes; the frame belongs to this write, which has just begun, alone.
            unsafe { self.copy_back() };
            if self.frame().state.try_update(State::lend_copied_back).is_ok() {
                self.frames().shadow_pages.remove(self.frame_no());
            }
        }
        true
    }

    #[cfg(test)]
    pub(crate) fn end_write(self, arrived: bool) {
        self.end_write_with(arrived, &mut Wakers::new());
    }

    /// Ends the write to which this pin belongs; the device no longer uses the bytes. Waking is left to the caller, and so is the
    /// [count](super::dirty_counts). Returns whether the page is clean.
    pub(crate) fn end_write_with(self, arrived: bool, wakers: &mut Wakers) -> bool {
        // Changed meanwhile: it is copied back now, if no thread has it latched. While it is WRITING no other has a use for the
        // frame's bytes.
        if self.frame().state.load().is_shadowed() && self.try_latch(Latch::Exclusive) {
            self.move_back();
            self.unlatch_exclusive_with(wakers);
        }
        if arrived && !seeded!("older_change_kept") {
            // Positions that were set aside before this write began are seen here: the page's latch orders them.
            self.frames().older_positions.remove(&self.frame_no());
        }
        let before = self.end_io(|s| s.end_write(arrived), &Ok(()), wakers);
        !before.end_write(arrived).is_dirty()
    }

    /// Copies the bytes into page `index` of the run. The caller holds a latch through this pin.
    pub(crate) fn copy_to(&self, run: &mut CopyRun, index: usize) {
        let frames = self.frames();
        // SAFETY: a latch is held, so no thread changes the frame's bytes; the run is borrowed mutably and no other has its
        // pages.
        unsafe { frames.copy_page(self.address(), frames.copy_address(run, index)) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::buffer::{
        residency::Residency,
        small_pools::{self, page, pool_of},
    };

    /// Reads a page and returns its pin.
    fn read(pool: &Residency, block: u32) -> Pin {
        small_pools::read(pool, page(block))
    }

    /// Reads a page and changes it.
    fn read_and_change(pool: &Residency, block: u32, to: u8) -> Pin {
        let pin = read(pool, block);
        change(&pin, to);
        pin
    }

    /// Begins to change the page as a guard does.
    fn begin_change(pin: &Pin, to: u8) {
        assert!(pin.try_latch(Latch::Exclusive));
        pin.make_own();
        // SAFETY: the exclusive latch is held, and the bytes are own.
        unsafe { pin.address().write(to) };
    }

    fn end_change(pin: &Pin) {
        pin.leave_shadow();
        pin.unlatch_exclusive(true);
    }

    fn change(pin: &Pin, to: u8) {
        begin_change(pin, to);
        end_change(pin);
    }

    /// Returns the first byte of the page, wherever it is.
    fn byte(pin: &Pin) -> u8 {
        // SAFETY: no thread writes meanwhile.
        unsafe { pin.address().read() }
    }

    /// Returns the first byte of what is in the frame.
    fn byte_in_frame(pin: &Pin) -> u8 {
        // SAFETY: no thread writes meanwhile.
        unsafe { pin.address_in_frame().read() }
    }

    fn is_shadowed(pin: &Pin) -> bool {
        pin.frame().state.load().is_shadowed()
    }

    /// Begins a write, as write-out does.
    fn lend(pin: &Pin) -> Pin {
        let own = pin.again().unwrap();
        assert!(own.try_latch(Latch::Shared));
        assert!(own.lend());
        own.unlatch_shared();
        own
    }

    /// Checks that all pages are in their frames, and no memory is taken.
    fn assert_none_is_shadowed(pool: &Residency) {
        assert!(pool.frames.iter().all(|(_, frame)| !frame.state.load().is_shadowed()));
        assert_eq!(pool.shadow_pages.owners(), []);
    }

    #[test]
    fn a_change_of_a_lent_page_leaves_the_device_what_it_was_lent_and_the_page_is_back_when_that_is_over() {
        let pool = pool_of(1);
        let pin = read_and_change(&pool, 0, 1);
        for arrived in [true, false] {
            let write = lend(&pin);
            change(&pin, 2);
            change(&pin, 3);
            assert!(is_shadowed(&pin));
            assert_eq!((byte_in_frame(&pin), byte(&pin)), (1, 3));
            write.end_write(arrived);
            assert_eq!(byte(&pin), 3);
            assert!(pin.frame().state.load().is_dirty());
            assert_none_is_shadowed(&pool);
            change(&pin, 1);
        }
    }

    #[test]
    fn a_page_that_is_being_changed_when_its_write_ends_is_back_when_the_change_ends() {
        let pool = pool_of(1);
        let pin = read_and_change(&pool, 0, 1);
        let write = lend(&pin);
        begin_change(&pin, 2);
        write.end_write(true);
        assert!(is_shadowed(&pin), "the thread that changes it has its address");
        assert_eq!(byte(&pin), 2);
        end_change(&pin);
        assert_eq!(byte(&pin), 2);
        assert_none_is_shadowed(&pool);
    }

    #[test]
    fn a_page_that_is_read_when_its_write_ends_is_back_with_the_next_change() {
        let pool = pool_of(1);
        let pin = read_and_change(&pool, 0, 1);
        let write = lend(&pin);
        change(&pin, 2);
        assert!(pin.try_latch(Latch::Shared));
        write.end_write(true);
        pin.unlatch_shared();
        assert!(is_shadowed(&pin));
        begin_change(&pin, 3);
        assert_eq!((is_shadowed(&pin), byte(&pin)), (false, 3));
        end_change(&pin);
        assert_none_is_shadowed(&pool);
    }

    /// Makes a page that is on its shadow page, and not being written.
    fn read_and_leave_on_shadow(pool: &Residency, to: u8) -> Pin {
        let pin = read_and_change(pool, 0, to - 1);
        let write = lend(&pin);
        change(&pin, to);
        assert!(pin.try_latch(Latch::Shared));
        write.end_write(true);
        pin.unlatch_shared();
        assert!(is_shadowed(&pin));
        pin
    }

    #[test]
    fn a_page_that_is_on_its_shadow_page_is_lent_in_the_frame() {
        let pool = pool_of(1);
        let pin = read_and_leave_on_shadow(&pool, 2);
        let write = lend(&pin);
        assert!(pin.frame().state.load().is_lent());
        assert_eq!(byte(&pin), 2);
        assert_none_is_shadowed(&pool);
        change(&pin, 3);
        assert_eq!(byte_in_frame(&pin), 2);
        write.end_write(true);
        assert_eq!(byte(&pin), 3);
    }

    #[test]
    fn a_page_that_readers_keep_on_its_shadow_page_is_copied_into_the_frame_for_the_device() {
        let pool = pool_of(1);
        let pin = read_and_leave_on_shadow(&pool, 2);
        assert!(pin.try_latch(Latch::Shared));
        let address = pin.address();
        let write = lend(&pin);
        assert_eq!((is_shadowed(&pin), byte(&pin), byte_in_frame(&pin)), (true, 2, 2));
        pin.unlatch_shared();
        change(&pin, 3);
        assert_eq!((is_shadowed(&pin), byte(&pin), byte_in_frame(&pin)), (true, 3, 2));
        assert_eq!(pin.address(), address, "no shadow page but that");
        assert_eq!(pool.shadow_pages.owners(), [pin.frame_no()]);
        write.end_write(true);
        assert_eq!(byte(&pin), 3);
        assert_none_is_shadowed(&pool);
    }

    #[test]
    fn c1_a_reader_finds_a_page_that_is_on_its_shadow_page_whatever_held_its_pin() {
        let pool = pool_of(1);
        drop(read(&pool, 0));
        (0..5).for_each(|_| pool.look_at(page(0)).unwrap().unlatch_and_unpin());
        let in_slot = pool.pin_at(page(0)).unwrap();
        assert!(in_slot.slot().is_some());
        let in_word = pool.pin_unused(in_slot.frame_no(), page(0)).unwrap();
        change(&in_word, 1);
        let write = lend(&in_word);
        change(&in_word, 2);
        assert_eq!((is_shadowed(&in_word), byte_in_frame(&in_word)), (true, 1));
        for pin in [in_slot, in_word] {
            assert!(pin.try_latch(Latch::Shared));
            let pin = pin.into_one_place();
            // SAFETY: no thread writes meanwhile.
            assert_eq!(unsafe { pin.address_in_one_place().read() }, 2);
            pin.unlatch_and_unpin();
        }
        write.end_write(true);
    }

    #[test]
    fn a_frame_takes_its_next_page_where_the_device_reads() {
        let pool = pool_of(1);
        let pin = read_and_leave_on_shadow(&pool, 2);
        assert!(pin.try_latch(Latch::Shared));
        lend(&pin).end_write(true);
        assert!(is_shadowed(&pin));
        pin.unlatch_shared();
        drop(pin);
        drop(read(&pool, 1));
        assert_none_is_shadowed(&pool);
    }

    #[test]
    fn however_many_pages_are_changed_while_they_are_written_no_thread_waits_for_that() {
        const PAGES: u32 = 12;
        let pool = pool_of(PAGES);
        let at_first = pool.overhead();
        let pins: Vec<_> = (0..PAGES).map(|block| read_and_change(&pool, block, block as u8)).collect();
        let writes: Vec<_> = pins.iter().map(lend).collect();
        (100..).zip(&pins).for_each(|(to, pin)| change(pin, to));
        assert!(pins.iter().all(is_shadowed));
        assert_eq!(pool.counters.get(Counter::ShadowPages), u64::from(PAGES));
        for (block, pin) in (0..).zip(&pins) {
            assert_eq!((byte_in_frame(pin), byte(pin)), (block, 100 + block));
        }
        assert!(pool.overhead() > at_first);
        writes.into_iter().for_each(|write| write.end_write(true));
        assert!((100..).zip(&pins).all(|(to, pin)| byte(pin) == to));
        assert_none_is_shadowed(&pool);
        assert_eq!(pool.overhead(), at_first);
    }

    #[test]
    fn a_change_for_which_there_is_no_memory_waits_for_the_write_and_no_longer() {
        let pool = pool_of(1);
        pool.shadow_pages.is_refused.store(true, Relaxed);
        let pin = read_and_change(&pool, 0, 1);
        let write = lend(&pin);
        std::thread::scope(|scope| {
            let changing = scope.spawn(|| change(&pin, 2));
            while !pin.frame().state.load().has_io_waiters() {
                std::thread::yield_now();
            }
            assert_eq!(byte(&pin), 1);
            write.end_write(true);
            changing.join().unwrap();
        });
        assert_eq!(byte_in_frame(&pin), 2);
        assert_none_is_shadowed(&pool);
    }
}
