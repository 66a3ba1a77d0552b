//! Looks at the whole pool of frames for what must never be, while no thread works with it.
//!
//! It checks what one state word cannot say by itself:
//!
//! * page table and frames name one another, so no page has two frames;
//! * each frame whose bytes are on a shadow page has one, and no other frame does;
//! * a thread or task that waits is known to the frame for which it waits;
//! * frames that are kept as free ones are free, and look-ahead has given back what it took.

use std::collections::HashMap;

use crate::{
    buffer::{
        frame::{
            header::Frame,
            state::{Phase, State},
        },
        residency::Residency,
    },
    id::{FrameNo, PageId},
};

impl Residency {
    /// Lists everything that is wrong, each in a line of its own; nothing where all is well. Means something only while no I/O is
    /// under way and no thread pins, latches or lets go.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut entries: HashMap<FrameNo, Vec<PageId>> = HashMap::new();
        self.table.entries().for_each(|(no, page)| entries.entry(no).or_default().push(page));
        let entries = |no| entries.get(&no).map_or(&[][..], Vec::as_slice);
        self.frames.iter().for_each(|(no, frame)| self.look_at_frame(frame, entries(no), &mut faults));
        self.look_at_retired(entries, &mut faults);
        self.look_at_free(&mut faults);
        self.look_at_shadows(&mut faults);
        self.look_at_look_ahead(&mut faults);
        self.look_at_slots(&mut faults);
        faults
    }

    fn look_at_frame(&self, frame: Frame<'_>, entries: &[PageId], faults: &mut Vec<String>) {
        let (state, page) = (frame.state.load(), frame.page());
        let mut fault = |what: &str| faults.push(format!("frame {}, {page}: {what}: {state:?}", frame.no.0));
        if let Some(what) = state.unsound() {
            fault(what);
        }
        match state.phase() {
            Phase::Claimed => fault("claimed, and no thread is at work on it"),
            Phase::Reading => fault("being read, and nothing is under way"),
            Phase::Free if !entries.is_empty() => fault("free, and in the page table"),
            Phase::Free if state.pins() > 0 => fault("free, and pinned"),
            Phase::Loaded | Phase::Valid if !entries.contains(&page) => fault("not in the page table"),
            Phase::Loaded | Phase::Valid if entries.len() > 1 => fault("in the page table more than once"),
            Phase::Free | Phase::Loaded | Phase::Valid => {}
        }
        if state.is_writing() {
            fault("being written, and nothing is under way");
        }
        if !self.waiters.agrees(frame) {
            fault("its bits do not agree with its waiters");
        }
    }

    /// Checks that no frame is about to go, and that retired frames are out of reach, while the pool keeps its size.
    fn look_at_retired<'a>(&self, entries: impl Fn(FrameNo) -> &'a [PageId], faults: &mut Vec<String>) {
        let (frames, extent, in_queues) = (self.size.frames(), self.size.extent(), self.replacement.frames());
        if (frames, in_queues) != (extent, extent as usize) {
            faults.push(format!(
                "{frames} frames serve, {in_queues} are in queues, and up to {extent} have pages"
            ));
        }
        for no in (extent..self.size.highest()).map(FrameNo) {
            let state = self.frame(no).state.load();
            if state.phase() != Phase::Claimed || state.is_dirty() || !entries(no).is_empty() {
                faults.push(format!("frame {}: retired, and within reach: {state:?}", no.0));
            }
        }
    }

    fn look_at_free(&self, faults: &mut Vec<String>) {
        let (free, found) = self.replacement.list_free();
        if free != found || free.len() != self.free_frames() {
            let (all, found, counted) = (free.len(), found.len(), self.free_frames());
            faults.push(format!("of {all} free frames {found} are found and {counted} counted"));
        }
        for no in free {
            let state = self.frame(no).state.load();
            if state.phase() != Phase::Free {
                faults.push(format!("frame {}: kept as a free one, and is not: {state:?}", no.0));
            }
        }
    }

    fn look_at_shadows(&self, faults: &mut Vec<String>) {
        let shadowed = self.frames.iter().filter(|(_, frame)| frame.state.load().is_shadowed());
        let shadowed: Vec<_> = shadowed.map(|(no, _)| no).collect();
        let (taken, owners) = (self.copy_room.taken(), self.shadow_pages.owners());
        if owners != shadowed {
            faults.push(format!("the bytes of {shadowed:?} are on shadow pages, and {owners:?} have one"));
        }
        if !taken.is_empty() {
            faults.push(format!("the room {taken:?} for copies is taken"));
        }
    }

    fn look_at_slots(&self, faults: &mut Vec<String>) {
        for no in self.slots.holds().frames() {
            let state = self.frame(no).state.load();
            if !state.is_biased() {
                faults.push(format!("frame {}: held in a slot, and not biased: {state:?}", no.0));
            }
        }
    }

    /// Checks that each page with a place in the quota has a pin. (A pool that has just shrunk may have more such pages than places.)
    fn look_at_look_ahead(&self, faults: &mut Vec<String>) {
        let in_word: u64 = self.frames.iter().map(|(_, frame)| frame.state.load()).map(State::pins).sum();
        let pins = in_word + self.slots.holds().frames().count() as u64;
        let (taken, limit) = (self.read_ahead_quota.taken(), self.read_ahead_quota.limit());
        if taken as u64 > pins {
            faults.push(format!("look-ahead has {taken} places, of {limit}, for {pins} pins"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buffer::{
            residency::Mapped,
            resizing::Retirement,
            small_pools::{fill, page, pool_of, pool_with_copies, read},
        },
        id::FileId,
    };

    /// Makes a pool with one resident page, in a frame of its own.
    fn pool() -> (Residency, FrameNo) {
        let pool = pool_with_copies(3, 2);
        let no = fill(&pool, page(1));
        assert_eq!(pool.faults(), Vec::<String>::new());
        (pool, no)
    }

    #[track_caller]
    fn assert_found(pool: &Residency, what: &str) {
        let faults = pool.faults().join("\n");
        assert!(faults.contains(what), "{what:?} was not found, but: {faults}");
    }

    #[test]
    fn a_frame_that_the_page_table_has_lost_or_has_twice_is_found() {
        let (pool, no) = pool();
        let (its, other) = (pool.frame(no).page(), page(2));
        pool.table.lock(other).insert(no).unwrap();
        assert_found(&pool, "more than once");
        [its, other].into_iter().for_each(|page| pool.table.lock(page).remove([(page, no)]));
        assert_found(&pool, "not in the page table");
    }

    #[test]
    fn a_page_with_two_frames_is_found() {
        // The table names one of them.
        let (pool, no) = pool();
        let other = fill(&pool, page(2));
        pool.table.lock(page(2)).remove([(page(2), other)]);
        pool.frame(other).assign(pool.frame(no).page());
        pool.table.lock(pool.frame(no).page()).insert(other).unwrap();
        assert_found(&pool, "not in the page table");
    }

    #[test]
    fn a_frame_that_was_never_given_back_or_whose_io_never_ended_is_found() {
        let (pool, no) = pool();
        let claimed = pool.claim(no).unwrap();
        assert_found(&pool, "claimed, and no thread");
        let Mapped { reading, own } = pool.map(claimed, page(9), false).unwrap();
        assert_found(&pool, "being read, and nothing");
        pool.end_read(reading, &Ok(()), true);
        own.frame().state.update(|s| s.latch_exclusive().unwrap().unlatch_exclusive(true));
        own.frame().state.update(|s| s.begin_write().unwrap());
        assert_found(&pool, "being written, and nothing");
    }

    #[test]
    fn a_shadow_page_and_room_for_a_copy_that_are_lost_are_found() {
        let (pool, _) = pool();
        let _lost = pool.copy_room.try_take(1, FileId(0)).unwrap();
        assert_found(&pool, "the room [0] for copies is taken");
        let pool = pool_of(1);
        let (pin, no) = (read(&pool, page(1)), FrameNo(0));
        pin.frame().state.update(|s| s.latch_exclusive().unwrap().unlatch_exclusive(true));
        pin.frame().state.update(|s| s.begin_lending().unwrap().latch_exclusive().unwrap());
        pin.frame().state.update(|s| s.move_to_shadow().unwrap().end_write(true).unlatch_exclusive(true));
        assert_found(&pool, &format!("the bytes of [{no:?}] are on shadow pages, and [] have one"));
    }

    #[test]
    fn a_forgotten_waiter_and_a_place_that_is_kept_are_found() {
        let (pool, no) = pool();
        pool.frame(no).state.update(|s| s.set_latch_waiters(true));
        assert_found(&pool, "agree with its waiters");
        pool.read_ahead_quota.take(FileId(0), 1, true);
        assert_found(&pool, "look-ahead has 1 places");
    }

    #[test]
    fn a_frame_that_is_kept_as_a_free_one_and_has_a_page_is_found() {
        let (pool, no) = pool();
        pool.replacement.release(no, || ());
        assert_found(&pool, "kept as a free one");
    }

    #[test]
    fn a_retired_frame_that_a_thread_could_reach_is_found() {
        let (pool, _) = pool();
        let mut retirement = Retirement::begin(&pool, 2);
        assert_found(&pool, "2 frames serve");
        retirement.retire_idle();
        retirement.complete();
        assert_eq!(pool.faults(), Vec::<String>::new());
        pool.frame(FrameNo(2)).state.update(State::give_back);
        assert_found(&pool, "within reach");
    }
}
