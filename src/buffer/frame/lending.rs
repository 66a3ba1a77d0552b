//! Where a page's bytes are, and how they are lent to the device without anybody waiting for it.
//!
//! A page is written straight from its frame: its bytes are **lent** in the moment in which it stops being dirty, and the
//! device reads them where they are, at the frame's *home*. Readers read them too. Who wants to *change* them copies them to
//! another place first, and changes the copy; from then on that is where the page is, and the device goes on reading what it was
//! lent. So a writer waits for a copy of a page, never for the device. The place is a [spare page](super::spares), or where all of
//! them are taken an [extra page](super::extra_pages); only where the system has no memory for that either is the end of the
//! write waited for.
//!
//! What went away comes home as soon as it can: with the end of the write, unless somebody has the page latched; else with the
//! end of the change that somebody makes then, or before the next one. A page that is away when it is written again, since readers
//! keep it there, is copied home for the device, under a share latch: it is there altogether if nobody else reads it.
//!
//! Invariants:
//! 1. the device reads at home, and lent bytes do not change until the write is over;
//! 2. the place of a frame's bytes changes only under its exclusive latch, its only share latch or a claim, so who holds a latch may
//!    keep the address;
//! 3. the home of a page that is away belongs to the write that is under way; without one, to who holds the exclusive latch;
//! 4. a spare page or an extra one belongs to the frame whose place it is.
//!
//! Lock order: the spare pages' lock or that of the extra pages, leaves both.

#![allow(unsafe_code)]

use std::{ptr, ptr::NonNull, slice};

use crate::{
    buffer::frame::{
        frames::Frames,
        latch::Latch,
        pin::Pin,
        spares::SpareRun,
        state::{BytesPlace, State},
        waiters::want::Want,
    },
    id::FrameNo,
    observe::Counter,
    sync::{waking::Wakers, witness},
};

impl Frames {
    /// The address of the frame's bytes. Reading or writing them takes a latch.
    #[inline]
    pub(crate) fn address_of(&self, no: FrameNo) -> NonNull<u8> {
        self.address_in(no, self.state_of(no).load())
    }

    /// The same of a frame in this state.
    #[inline]
    pub(crate) fn address_in(&self, no: FrameNo, state: State) -> NonNull<u8> {
        if state.is_away() { self.address_away(no, state) } else { self.arena().at(self.home_of(no)) }
    }

    /// Apart, with all that it takes, since a page is hardly ever away.
    #[cold]
    fn address_away(&self, no: FrameNo, state: State) -> NonNull<u8> {
        self.address_at(no, state.place())
    }

    /// The address of the bytes at this place of the frame.
    fn address_at(&self, no: FrameNo, place: BytesPlace) -> NonNull<u8> {
        match place {
            BytesPlace::Home => self.arena().at(self.home_of(no)),
            BytesPlace::Spare(number) => self.arena().at(self.spare_offset(number.into())),
            BytesPlace::Extra => self.extra_pages.address_of(no),
        }
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
        // SAFETY: the run's pages are nobody else's, it is borrowed mutably, and the arena is initialised memory.
        unsafe { slice::from_raw_parts_mut(self.copy_address(run, index).as_ptr(), self.page_size().bytes()) }
    }

    fn copy_address(&self, run: &SpareRun, index: usize) -> NonNull<u8> {
        assert!(index < run.pages());
        self.arena().at(self.run_offset(run) + index * self.page_size().bytes())
    }

    /// A claimed frame takes its next page at home.
    pub(crate) fn empty_place(&self, no: FrameNo) {
        let state = &self.frame(no).state;
        let place = state.load().place();
        if place != BytesPlace::Home {
            state.update(State::move_home);
            self.give_back_place(no, place);
        }
    }

    /// A place for the frame's bytes but home. `None` where there is no memory for one.
    fn take_place(&self, no: FrameNo) -> Option<BytesPlace> {
        self.spares.try_take_page(self.frame(no).page().file).map(BytesPlace::spare).or_else(|| {
            let added = self.extra_pages.add(no);
            self.counters.add(Counter::ExtraPages, u64::from(added));
            added.then_some(BytesPlace::Extra)
        })
    }

    fn give_back_place(&self, no: FrameNo, place: BytesPlace) {
        match place {
            BytesPlace::Home => {}
            BytesPlace::Spare(number) => self.spares.give_back_page(number.into()),
            BytesPlace::Extra => self.extra_pages.remove(no),
        }
    }

    /// Copies a page.
    ///
    /// # Safety
    /// Both are addresses of this pool's pages, and different ones. Nobody changes the bytes at `from`, and nobody else knows those
    /// at `to`.
    unsafe fn copy_page(&self, from: NonNull<u8>, to: NonNull<u8>) {
        debug_assert_ne!(from, to);
        witness::copied(from, to);
        // SAFETY: the caller's promise; whole pages of which each lies apart do not overlap.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), self.page_size().bytes()) };
    }
}

impl Pin {
    /// Copies the bytes into page `index` of the run. The caller holds a latch through this pin.
    pub(crate) fn copy_to(&self, run: &mut SpareRun, index: usize) {
        let frames = self.frames();
        // SAFETY: a latch is held, so nobody changes the frame's bytes; the run is borrowed mutably and its pages are nobody
        // else's.
        unsafe { frames.copy_page(frames.address_of(self.frame_no()), frames.copy_address(run, index)) };
    }

    /// Sees to it that the bytes may be changed where they are. The caller holds the exclusive latch through this pin.
    pub(crate) fn make_own(&self) {
        while self.frame().state.load().is_lent() && !seeded!("lent_bytes_changed") {
            let Some(place) = self.frames().take_place(self.frame_no()) else {
                self.wait_for_io(Want::WriteDone);
                continue;
            };
            // SAFETY: by the exclusive latch nobody changes the bytes; the place was taken for this frame just now.
            unsafe { self.copy_between(BytesPlace::Home, place) };
            if self.frame().state.try_update(|s| s.move_lent(place)).is_err() {
                // The write ended while the copy was made: there was no need for it.
                self.frames().give_back_place(self.frame_no(), place);
            }
        }
        self.come_home();
    }

    /// Brings bytes that are away back to where they belong, if the write is over that was lent what is there. The caller holds the
    /// exclusive latch, at the beginning of a change or at its end.
    #[inline]
    pub(crate) fn come_home(&self) {
        let state = self.frame().state.load();
        if state.is_away() && (!state.is_writing() || seeded!("home_while_the_device_reads")) {
            self.go_home(state.place());
        }
    }

    /// Moves the bytes from this place, where they are, back home. The caller holds the exclusive latch, and no device reads there.
    #[cold]
    fn go_home(&self, place: BytesPlace) {
        // SAFETY: by the exclusive latch nobody uses the bytes; the home is the frame's, and nobody reads there.
        unsafe { self.copy_between(place, BytesPlace::Home) };
        self.frame().state.update(State::move_home);
        if !seeded!("spare_page_lost") {
            self.frames().give_back_place(self.frame_no(), place);
        }
    }

    /// # Safety
    /// As [`Frames::copy_page`].
    unsafe fn copy_between(&self, from: BytesPlace, to: BytesPlace) {
        let (frames, no) = (self.frames(), self.frame_no());
        // SAFETY: the caller's promise.
        unsafe { frames.copy_page(frames.address_at(no, from), frames.address_at(no, to)) };
    }

    /// Begins the write of a page, which the device finds at home, if it is dirty and not being written; whether it did. The caller
    /// holds a share latch.
    #[must_use]
    pub(crate) fn lend(&self) -> bool {
        let Ok(state) = self.frame().state.try_update(State::begin_lending) else { return false };
        if state.is_away() {
            let place = state.place();
            // SAFETY: by the share latch nobody changes the bytes; the home is this write's, which has just begun, alone.
            unsafe { self.copy_between(place, BytesPlace::Home) };
            if self.frame().state.try_update(State::lend_home).is_ok() {
                self.frames().give_back_place(self.frame_no(), place);
            }
        }
        true
    }

    /// Ends the write to which this pin belongs, and wakes the waiters for that.
    #[cfg(test)]
    pub(crate) fn end_write(self, arrived: bool) {
        self.end_write_with(arrived, &mut Wakers::new());
    }

    /// Ends the write to which this pin belongs; the device has done with what it was given. Waking is left to the caller.
    pub(crate) fn end_write_with(self, arrived: bool, wakers: &mut Wakers) {
        // Changed meanwhile: it comes home now, if nobody is at it. While it is WRITING nobody else has a use for its home.
        if self.frame().state.load().is_away() && self.try_latch(Latch::Exclusive) {
            self.go_home(self.frame().state.load().place());
            self.unlatch_exclusive_with(wakers);
        }
        if arrived && !seeded!("older_change_kept") {
            self.frames().older_changes.forget(self.frame_no());
        }
        self.end_io(|s| s.end_write(arrived), &Ok(()), wakers);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::{
        buffer::{
            residency::Residency,
            small_pools::{self, page, pool_with_spares},
        },
        id::FileId,
    };

    const SPARES: usize = 2;

    fn pool_of(frames: u32) -> Residency {
        pool_with_spares(frames, SPARES)
    }

    /// A page that was read, with a pin.
    fn read(pool: &Residency, block: u32) -> Pin {
        small_pools::read(pool, page(block))
    }

    /// A page that was read and then changed.
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
        unsafe { pin.frames().address_of(pin.frame_no()).write(to) };
    }

    fn end_change(pin: &Pin) {
        pin.come_home();
        pin.unlatch_exclusive(true);
    }

    fn change(pin: &Pin, to: u8) {
        begin_change(pin, to);
        end_change(pin);
    }

    /// The first byte at this place of the frame.
    fn byte_at(pin: &Pin, place: BytesPlace) -> u8 {
        // SAFETY: nobody writes meanwhile.
        unsafe { pin.frames().address_at(pin.frame_no(), place).read() }
    }

    /// The first byte of the page.
    fn byte(pin: &Pin) -> u8 {
        byte_at(pin, place(pin))
    }

    fn place(pin: &Pin) -> BytesPlace {
        pin.frame().state.load().place()
    }

    /// Begins a write, as write-out does.
    fn lend(pin: &Pin) -> Pin {
        let own = pin.again().unwrap();
        assert!(own.try_latch(Latch::Shared));
        assert!(own.lend());
        own.unlatch_shared();
        own
    }

    fn free_spares(pool: &Residency) -> usize {
        let taken: Vec<_> = std::iter::from_fn(|| pool.spares.try_take_page(FileId(0))).collect();
        taken.iter().for_each(|&number| pool.spares.give_back_page(number));
        taken.len()
    }

    /// Where what comes next is to find nobody away, and no memory taken.
    fn assert_all_at_home(pool: &Residency) {
        assert!(pool.frames.iter().all(|(_, frame)| frame.state.load().place() == BytesPlace::Home));
        assert_eq!((free_spares(pool), pool.extra_pages.owners()), (SPARES, vec![]));
    }

    #[test]
    fn a_change_of_a_lent_page_leaves_the_device_what_it_was_lent_and_the_page_is_home_when_that_is_over() {
        let pool = pool_of(1);
        let pin = read_and_change(&pool, 0, 1);
        for arrived in [true, false] {
            let write = lend(&pin);
            change(&pin, 2);
            change(&pin, 3);
            assert_ne!(place(&pin), BytesPlace::Home);
            assert_eq!((byte_at(&pin, BytesPlace::Home), byte(&pin)), (1, 3));
            write.end_write(arrived);
            assert_eq!(byte(&pin), 3);
            assert!(pin.frame().state.load().is_dirty());
            assert_all_at_home(&pool);
            change(&pin, 1);
        }
    }

    #[test]
    fn a_page_that_is_being_changed_when_its_write_ends_is_home_when_the_change_ends() {
        let pool = pool_of(1);
        let pin = read_and_change(&pool, 0, 1);
        let write = lend(&pin);
        begin_change(&pin, 2);
        write.end_write(true);
        assert_eq!((place(&pin), byte(&pin)), (BytesPlace::Spare(0), 2), "who changes it has its address");
        end_change(&pin);
        assert_eq!(byte(&pin), 2);
        assert_all_at_home(&pool);
    }

    #[test]
    fn a_page_that_is_read_when_its_write_ends_is_home_with_the_next_change() {
        let pool = pool_of(1);
        let pin = read_and_change(&pool, 0, 1);
        let write = lend(&pin);
        change(&pin, 2);
        assert!(pin.try_latch(Latch::Shared));
        write.end_write(true);
        pin.unlatch_shared();
        assert_ne!(place(&pin), BytesPlace::Home);
        begin_change(&pin, 3);
        assert_eq!((place(&pin), byte(&pin)), (BytesPlace::Home, 3));
        end_change(&pin);
        assert_all_at_home(&pool);
    }

    /// A page that is away, and not being written.
    fn read_and_leave_away(pool: &Residency, to: u8) -> Pin {
        let pin = read_and_change(pool, 0, to - 1);
        let write = lend(&pin);
        change(&pin, to);
        assert!(pin.try_latch(Latch::Shared));
        write.end_write(true);
        pin.unlatch_shared();
        assert_ne!(place(&pin), BytesPlace::Home);
        pin
    }

    #[test]
    fn a_page_that_is_away_is_lent_at_home() {
        let pool = pool_of(1);
        let pin = read_and_leave_away(&pool, 2);
        let write = lend(&pin);
        assert!(pin.frame().state.load().is_lent());
        assert_eq!(byte(&pin), 2);
        assert_all_at_home(&pool);
        change(&pin, 3);
        assert_eq!(byte_at(&pin, BytesPlace::Home), 2);
        write.end_write(true);
        assert_eq!(byte(&pin), 3);
    }

    #[test]
    fn a_page_that_readers_keep_away_is_copied_home_for_the_device() {
        let pool = pool_of(1);
        let pin = read_and_leave_away(&pool, 2);
        assert!(pin.try_latch(Latch::Shared));
        let away = place(&pin);
        let write = lend(&pin);
        assert_eq!((place(&pin), byte(&pin), byte_at(&pin, BytesPlace::Home)), (away, 2, 2));
        pin.unlatch_shared();
        change(&pin, 3);
        assert_eq!(
            (place(&pin), byte(&pin), byte_at(&pin, BytesPlace::Home)),
            (away, 3, 2),
            "no place but that"
        );
        assert_eq!(free_spares(&pool), SPARES - 1);
        write.end_write(true);
        assert_eq!(byte(&pin), 3);
        assert_all_at_home(&pool);
    }

    #[test]
    fn a_frame_takes_its_next_page_at_home() {
        let pool = pool_of(1);
        let pin = read_and_leave_away(&pool, 2);
        assert!(pin.try_latch(Latch::Shared));
        lend(&pin).end_write(true);
        assert_ne!(place(&pin), BytesPlace::Home);
        pin.unlatch_shared();
        drop(pin);
        drop(read(&pool, 1));
        assert_all_at_home(&pool);
    }

    #[test]
    fn however_many_pages_are_changed_while_they_are_written_nobody_waits_for_that() {
        const PAGES: u32 = 3 * SPARES as u32;
        let pool = pool_of(PAGES);
        let pins: Vec<_> = (0..PAGES).map(|block| read_and_change(&pool, block, block as u8)).collect();
        let writes: Vec<_> = pins.iter().map(lend).collect();
        (100..).zip(&pins).for_each(|(to, pin)| change(pin, to));
        assert_eq!(
            pins.iter().filter(|pin| place(pin) == BytesPlace::Extra).count(),
            PAGES as usize - SPARES
        );
        assert_eq!(pool.counters.get(Counter::ExtraPages), u64::from(PAGES) - SPARES as u64);
        for (block, pin) in (0..).zip(&pins) {
            assert_eq!((byte_at(pin, BytesPlace::Home), byte(pin)), (block, 100 + block));
        }
        let memory = pool.overhead();
        writes.into_iter().for_each(|write| write.end_write(true));
        assert!((100..).zip(&pins).all(|(to, pin)| byte(pin) == to));
        assert_all_at_home(&pool);
        assert!(pool.overhead() < memory);
    }

    #[test]
    fn who_finds_no_memory_at_all_waits_for_the_write_and_no_longer() {
        let pool = pool_of(1);
        let taken: Vec<_> = (0..SPARES).filter_map(|_| pool.spares.try_take_page(FileId(0))).collect();
        pool.extra_pages.is_refused.store(true, Relaxed);
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
        assert_eq!((place(&pin), byte(&pin)), (BytesPlace::Home, 2));
        taken.into_iter().for_each(|number| pool.spares.give_back_page(number));
        assert_all_at_home(&pool);
    }
}
