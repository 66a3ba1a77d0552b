//! Where a page's bytes are, and how they are lent to the device without anybody waiting for it.
//!
//! A page is written straight from its frame: its bytes are **lent** in the moment in which it stops being dirty, and the
//! device reads them where they are. Readers read them too. Who wants to *change* them copies them to a spare page first,
//! and changes the copy; from then on that is where the page is, and the device goes on reading what it was lent. When such
//! a page is changed again, or written again, it moves back home. So a writer waits for a copy of a page, never for the
//! device, unless every spare page is taken: then it waits for the end of the write.
//!
//! Invariants: 1. lent bytes do not change until the write is over; 2. the place of a frame's bytes changes only under its
//! exclusive latch or claim, so who holds a latch may keep the address; 3. a spare page belongs to the frame whose place it
//! is, or, while it is lent and the frame has moved on, to the write.
//!
//! Lock order: the spare pages' lock, a leaf.

#![allow(unsafe_code)]

use std::{ptr, ptr::NonNull, slice};

use crate::{
    id::FrameNo,
    pool::{
        frame_pool::FramePool,
        handle::Pin,
        spares::SpareRun,
        state::{Place, State},
        waiters::Want,
    },
};

impl FramePool {
    /// Where in the arena the bytes at this place of this frame are.
    #[inline]
    pub(crate) fn offset_at(&self, no: FrameNo, place: Place) -> usize {
        place.spare_number().map_or_else(|| self.home_of(no), |number| self.spare_offset(number))
    }

    /// Where in the arena the frame's bytes are.
    #[inline]
    pub(crate) fn offset_of(&self, no: FrameNo) -> usize {
        self.offset_at(no, self.frame(no).state.load().place())
    }

    /// The address of the frame's bytes. Reading or writing them takes a latch, or the lease of a read.
    #[inline]
    pub(crate) fn address_of(&self, no: FrameNo) -> NonNull<u8> {
        self.arena().at(self.offset_of(no))
    }

    /// Where in the arena the run's bytes start.
    pub(crate) fn run_offset(&self, run: &SpareRun) -> usize {
        self.spare_offset(run.first())
    }

    fn spare_offset(&self, number: usize) -> usize {
        number * self.page_size().bytes()
    }

    /// Page `index` of the run, for a codec to seal.
    pub(crate) fn copy_mut<'a>(&'a self, run: &'a mut SpareRun, index: usize) -> &'a mut [u8] {
        let size = self.page_size().bytes();
        assert!(index < run.pages());
        let address = self.arena().at(self.run_offset(run) + index * size).as_ptr();
        // SAFETY: the run's pages are nobody else's, it is borrowed mutably, and the arena is initialised memory.
        unsafe { slice::from_raw_parts_mut(address, size) }
    }

    /// A claimed frame takes its next page at home.
    pub(super) fn empty_place(&self, no: FrameNo) {
        let state = &self.frame(no).state;
        let place = state.load().place();
        if place != Place::HOME {
            state.update(State::move_home);
            self.spares.give_back_place(place);
        }
    }

    /// Copies a frame's bytes from one of its places to another, or to a page of a run, by arena offsets.
    ///
    /// # Safety
    /// Nobody changes the bytes at `from`, and nobody else knows those at `to`.
    unsafe fn copy_page(&self, from: usize, to: usize) {
        debug_assert_ne!(from, to);
        let (from, to) = (self.arena().at(from).as_ptr(), self.arena().at(to).as_ptr());
        // SAFETY: 1. the caller's promise; 2. both are whole pages of the arena, and different ones, so they do not overlap.
        unsafe { ptr::copy_nonoverlapping(from, to, self.page_size().bytes()) };
    }
}

impl Pin {
    /// Copies the bytes into page `index` of the run. The caller holds a latch through this pin.
    pub(crate) fn copy_to(&self, run: &mut SpareRun, index: usize) {
        let pool = self.pool();
        assert!(index < run.pages());
        let to = pool.run_offset(run) + index * pool.page_size().bytes();
        // SAFETY: a latch is held, so nobody changes the frame's bytes; the run is borrowed mutably and its pages are nobody
        // else's.
        unsafe { pool.copy_page(pool.offset_of(self.frame_no()), to) };
    }

    /// Sees to it that the bytes may be changed where they are. The caller holds the exclusive latch through this pin.
    pub(crate) fn make_own(&self) {
        self.pool().drop_mirror(self.frame_no());
        loop {
            let state = self.frame().state.load();
            if !state.is_lent() || seeded!("lent_bytes_changed") {
                // While a write is under way it is what was lent to it from home that keeps the page elsewhere.
                if !state.is_writing() {
                    self.go_home(state);
                }
                return;
            }
            // A page that was lent from a spare page has its home free.
            let free = match state.place() {
                Place::HOME => self.pool().spares.try_take_place(),
                _ => Some(Place::HOME),
            };
            let Some(free) = free else {
                self.wait_for_io(Want::WriteDone);
                continue;
            };
            // SAFETY: by the exclusive latch nobody changes the bytes; `free` is this frame's alone: a spare page that was
            // taken just now, or its home while it lives elsewhere.
            unsafe { self.copy_between(state.place(), free) };
            if self.frame().state.try_update(|s| s.move_lent(free)).is_ok() {
                return;
            }
            // The write ended while the copy was made: there was no need for it.
            self.pool().spares.give_back_place(free);
        }
    }

    /// Moves bytes that are elsewhere and not lent back to where they belong. The caller holds the exclusive latch; `state` is
    /// the frame's, of which nobody else changes the place.
    fn go_home(&self, state: State) {
        let place = state.place();
        if place == Place::HOME {
            return;
        }
        // SAFETY: by the exclusive latch nobody uses the bytes; the home is the frame's alone, and since no write is under
        // way that was lent it, the device does not read it.
        unsafe { self.copy_between(place, Place::HOME) };
        self.frame().state.update(State::move_home);
        self.pool().spares.give_back_place(place);
    }

    /// Before a page is written: moves it home if it is elsewhere and nobody else reads it; who comes to read it meanwhile
    /// waits for a copy. The caller holds a share latch and keeps it.
    fn try_go_home(&self) {
        let state = self.frame().state.load();
        if state.place() != Place::HOME && self.frame().state.try_update(State::upgrade).is_ok() {
            self.go_home(self.frame().state.load());
            self.downgrade_latch(false);
        }
    }

    /// # Safety
    /// As [`FramePool::copy_page`].
    unsafe fn copy_between(&self, from: Place, to: Place) {
        let (pool, no) = (self.pool(), self.frame_no());
        // SAFETY: the caller's promise.
        unsafe { pool.copy_page(pool.offset_at(no, from), pool.offset_at(no, to)) };
    }

    /// Lends the bytes of a dirty page; gives the place where the device finds them. The caller holds a share latch.
    pub(crate) fn lend(&self) -> Option<Place> {
        self.try_go_home();
        self.frame().state.try_update(State::begin_lending).ok().map(State::place)
    }

    /// Ends the write to which this pin belongs. `lent` is where the device found the bytes: the frame's home also where it
    /// got a copy.
    pub(crate) fn end_write(self, lent: Place, arrived: bool) {
        // The pool must outlast the pin only where there is a spare page to give back.
        let kept = self.keep_if(lent != Place::HOME);
        let state = self.end_io(|s| s.end_write(arrived), &Ok(()));
        if let Some(pool) = kept
            && state.place() != lent
            && !seeded!("spare_page_lost")
        {
            pool.spares.give_back_place(lent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{FileId, PageId, PageSize},
        pool::{frame_pool::Mapped, handle::PoolHandle, latch::Latch, victims::DirtyVictims},
        stats::Counters,
        sync::Arc,
    };

    const SPARES: usize = 2;

    fn pool_of(frames: u32) -> PoolHandle {
        let pool = FramePool::new(frames, PageSize::MIN, SPARES, Arc::new(Counters::new())).unwrap();
        PoolHandle::new(pool)
    }

    /// A page that was read, with a pin.
    fn read(pool: &PoolHandle, block: u32) -> Pin {
        let claimed = pool.claim_victim(&mut DirtyVictims::new()).unwrap();
        let Mapped { reading, own } = pool.map(claimed, PageId::new(FileId(0), block), false).unwrap();
        reading.end_read(&Ok(()), true);
        own
    }

    /// Changes the page as a guard does.
    fn change(pin: &Pin, to: u8) {
        assert!(pin.try_latch(Latch::Exclusive));
        pin.make_own();
        // SAFETY: the exclusive latch is held, and the bytes are own.
        unsafe { pin.pool().address_of(pin.frame_no()).write(to) };
        pin.unlatch_exclusive(true);
    }

    /// The first byte at this place of the frame.
    fn byte(pin: &Pin, place: Place) -> u8 {
        let pool = pin.pool();
        // SAFETY: nobody writes meanwhile.
        unsafe { pool.arena().at(pool.offset_at(pin.frame_no(), place)).read() }
    }

    fn place(pin: &Pin) -> Place {
        pin.frame().state.load().place()
    }

    /// Begins a write, as write-out does.
    fn lend(pin: &Pin) -> (Pin, Place) {
        let own = pin.again().unwrap();
        assert!(own.try_latch(Latch::Shared));
        let lent = own.lend().unwrap();
        own.unlatch_shared();
        (own, lent)
    }

    fn free_spares(pool: &PoolHandle) -> usize {
        let taken: Vec<_> = std::iter::from_fn(|| pool.spares.try_take_place()).collect();
        taken.iter().for_each(|&place| pool.spares.give_back_place(place));
        taken.len()
    }

    #[test]
    fn a_change_of_a_lent_page_leaves_the_device_what_it_was_lent() {
        let pool = pool_of(1);
        let pin = read(&pool, 0);
        change(&pin, 1);
        let (write, lent) = lend(&pin);
        change(&pin, 2);
        change(&pin, 3);
        assert_ne!(place(&pin), lent);
        assert_eq!((byte(&pin, lent), byte(&pin, place(&pin))), (1, 3));
        write.end_write(lent, true);
        assert!(pin.frame().state.load().is_dirty());
        // It goes home when it is written again, and so does who changes it then.
        let (write, lent) = lend(&pin);
        assert_eq!((lent, byte(&pin, lent), free_spares(&pool)), (Place::HOME, 3, SPARES));
        write.end_write(lent, true);
        change(&pin, 4);
        assert_eq!((place(&pin), byte(&pin, Place::HOME)), (Place::HOME, 4));
    }

    #[test]
    fn a_page_that_cannot_go_home_is_lent_from_where_it_is() {
        let pool = pool_of(1);
        let pin = read(&pool, 0);
        change(&pin, 1);
        let (write, lent) = lend(&pin);
        change(&pin, 2);
        write.end_write(lent, true);
        // A reader keeps it where it is.
        assert!(pin.try_latch(Latch::Shared));
        let (write, lent) = lend(&pin);
        assert_ne!(lent, Place::HOME);
        pin.unlatch_shared();
        change(&pin, 3);
        assert_eq!((place(&pin), byte(&pin, lent), byte(&pin, Place::HOME)), (Place::HOME, 2, 3));
        assert_eq!(free_spares(&pool), SPARES - 1, "the device still reads it");
        write.end_write(lent, false);
        assert_eq!(free_spares(&pool), SPARES);
    }

    #[test]
    fn a_frame_takes_its_next_page_at_home() {
        let pool = pool_of(1);
        let pin = read(&pool, 0);
        change(&pin, 1);
        let (write, lent) = lend(&pin);
        change(&pin, 2);
        write.end_write(lent, true);
        assert!(pin.try_latch(Latch::Shared));
        let (write, lent) = lend(&pin);
        write.end_write(lent, true);
        pin.unlatch_shared();
        drop(pin);
        let pin = read(&pool, 1);
        assert_eq!((place(&pin), free_spares(&pool)), (Place::HOME, SPARES));
    }

    #[test]
    fn who_finds_no_spare_page_waits_for_the_write_and_no_longer() {
        let pool = pool_of(SPARES as u32 + 1);
        let pins: Vec<_> = (0..=SPARES as u32).map(|block| read(&pool, block)).collect();
        pins.iter().for_each(|pin| change(pin, 1));
        let mut writes: Vec<_> = pins.iter().map(lend).collect();
        pins[..SPARES].iter().for_each(|pin| change(pin, 2));
        let (last, (write, lent)) = (&pins[SPARES], writes.pop().unwrap());
        std::thread::scope(|scope| {
            let changing = scope.spawn(|| change(last, 2));
            while !last.frame().state.load().has_io_waiters() {
                std::thread::yield_now();
            }
            assert_eq!(byte(last, lent), 1);
            write.end_write(lent, true);
            changing.join().unwrap();
        });
        assert_eq!((place(last), byte(last, Place::HOME)), (Place::HOME, 2));
        writes.into_iter().for_each(|(write, lent)| write.end_write(lent, true));
    }
}
