//! Why a frame cannot be had: a user has it, or the disk.
//!
//! A wait for frames is bounded by what is wrong, not by what is slow. A pin that stays is wrong; a disk that takes its time is not,
//! as long as something comes back from it. So a thread or task that waits must know which of the two it is.
//!
//! To know it takes a look at every frame. However many wait, one of them looks for all, and the looks take a small part of the time.
//!
//! Lock order: the lock of the last look is a leaf.

use crate::{
    buffer::{
        frame::state::{Phase, State},
        pool::FramePool,
    },
    error::Error,
    observe::Counter,
    sync::{
        Mutex,
        time::{self, Duration, Instant},
    },
};

/// How old a look may be at the least before the next one.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// And how many times as old as it took.
const LOOK_SELDOM: u32 = 32;

/// In which hands a frame is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A user, or several, with pins on it.
    User,
    /// The disk: it is being read, or written without being used meanwhile.
    Disk,
    /// Neither: its page may be dirty.
    Nobody,
}

impl Holder {
    pub(crate) fn of(state: State) -> Self {
        match state.phase() {
            // Whatever pins it has wait for the read.
            Phase::Reading => Self::Disk,
            // A write has a pin of its own.
            _ if state.is_writing() && state.pins() <= 1 => Self::Disk,
            _ if state.pins() > 0 => Self::User,
            _ => Self::Nobody,
        }
    }
}

/// How many frames are in which hands.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) frames: u32,
    /// Those that users have.
    pub(crate) pinned: u32,
    pub(crate) reading: u32,
    /// Those that are being written, without a user.
    pub(crate) writing: u32,
    /// Those with changes that are in nobody's hands.
    pub(crate) dirty: u32,
}

impl Shortage {
    /// Whether users have all frames, so that none will come from anyone else.
    pub(crate) fn is_all_pinned(self) -> bool {
        self.pinned == self.frames
    }

    /// Whether the disk has a frame that comes back by itself.
    pub(crate) fn is_at_disk(self) -> bool {
        self.reading + self.writing > 0
    }

    /// The frames that neither users nor the disk have.
    pub(crate) fn left(self) -> usize {
        (self.frames - self.pinned - self.reading - self.writing) as usize
    }

    /// The error of a wait that ends since nothing came back from the disk.
    pub(crate) fn at_the_end_of(self, waited: Duration, idle: Duration) -> Error {
        let Self { frames, pinned, reading, writing, dirty } = self;
        Error::NoFrame { waited, idle, frames, pinned, reading, writing, dirty }
    }

    fn add(&mut self, state: State) {
        self.frames += 1;
        match Holder::of(state) {
            Holder::User => self.pinned += 1,
            Holder::Disk if state.is_writing() => self.writing += 1,
            Holder::Disk => self.reading += 1,
            Holder::Nobody => self.dirty += u32::from(state.is_dirty()),
        }
    }
}

/// The last look at all frames, and when it is time for the next.
#[derive(Default)]
pub(crate) struct LastLook(Mutex<Option<(Shortage, Instant)>>);

impl FramePool {
    /// What keeps the frames that may get another page, as of a moment ago.
    pub(crate) fn shortage(&self) -> Shortage {
        let mut last = self.last_look.0.lock();
        let begun = time::now();
        if let Some((shortage, until)) = *last
            && begun < until
        {
            return shortage;
        }
        let mut shortage = Shortage::default();
        for (_, frame) in self.frames().filter(|&(no, _)| self.serves(no)) {
            shortage.add(frame.state.load());
        }
        let now = time::now();
        *last = Some((shortage, now + LOOK_EVERY.max((now - begun) * LOOK_SELDOM)));
        shortage
    }

    /// A number that changes when a frame changes hands, or a page was read or written.
    pub(crate) fn progress(&self) -> u64 {
        let counts = [Counter::Evictions, Counter::PagesRead, Counter::PagesWritten];
        counts.map(|counter| self.counters.get(counter)).into_iter().fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_counts_as_the_disks_unless_a_user_has_the_page_as_well() {
        let reading = State::FREE.claim().unwrap().begin_read(false);
        let read = reading.end_read(true);
        let written = read.latch_exclusive().unwrap().unlatch_exclusive(true).unpin();
        let writing = written.pin().unwrap().begin_write().unwrap();
        let holders = [
            (State::FREE, Holder::Nobody),
            (reading, Holder::Disk),
            (reading.pin().unwrap(), Holder::Disk),
            (read, Holder::User),
            (written, Holder::Nobody),
            (writing, Holder::Disk),
            (writing.pin().unwrap(), Holder::User),
        ];
        for (state, holder) in holders {
            assert_eq!(Holder::of(state), holder, "{state:?}");
        }
        let mut shortage = Shortage::default();
        holders.into_iter().for_each(|(state, _)| shortage.add(state));
        assert_eq!(shortage, Shortage { frames: 7, pinned: 2, reading: 2, writing: 1, dirty: 1 });
    }
}
