//! Why there is no frame: which holders the frames have, and what fetches that look for one have found out, each for all:
//!
//! * the **last look** at all frames tells pins that stay from a disk that takes its time, and whether a sweep can find any
//!   victim. It holds for a time that is long beside what it took; meanwhile one sweep in vain is enough, but each frame that is let go
//!   of is worth another;
//! * **writes are in vain**: none has ended for too long, or the disk has refused all of a batch. Else a fetch that meets dirty
//!   victims waits for those: or a scan that changes its pages would take all frames of used ones. While writes are in vain, no
//!   fetch spares anything, for a second at least and until a page is written again: a disk that hangs or fails holds up no reads
//!   from another. After a refusal the whole pool pauses before it writes victims again, longer each time, until one is written.
//!
//! Lock order: the lock of the last look is held during the look. The lock of the victim writes is taken before that of a batch.

use crate::{
    buffer::frame::state::{Phase, State},
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        batch_status::BatchStatus,
        pause::Pause,
        time::{self, Duration, Instant},
    },
};

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The last look holds at least this many times as long as it took.
const LOOK_SELDOM: u32 = 32;

/// For how long writes in vain explain why there is no frame, and for how long at the least no page is spared for them.
const LATELY: Duration = Duration::from_secs(1);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A user, or several, with pins on it.
    User,
    /// The disk: it is being read, or written without being used meanwhile.
    Disk,
    /// Neither: its page may be dirty.
    Neither,
}

impl Holder {
    pub(crate) fn of(state: State) -> Self {
        match state.phase() {
            // Whatever pins it has wait for the read.
            Phase::Reading => Self::Disk,
            // A write has a pin of its own.
            _ if state.is_writing() && state.pins() <= 1 => Self::Disk,
            _ if state.pins() > 0 => Self::User,
            _ => Self::Neither,
        }
    }
}

/// How many frames have which holder.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) frames: u32,
    pub(crate) pinned: u32,
    pub(crate) reading: u32,
    /// Those that are being written, without a user.
    pub(crate) writing: u32,
    /// Frames that are dirty, and that neither users nor the disk have.
    pub(crate) dirty: u32,
}

impl Shortage {
    /// Returns whether users have all frames, so that none will come from elsewhere.
    pub(crate) fn is_all_pinned(self) -> bool {
        self.pinned == self.frames
    }

    /// Returns whether the disk has a frame that comes back by itself.
    pub(crate) fn is_at_disk(self) -> bool {
        self.reading + self.writing > 0
    }

    /// Returns how many frames neither users nor the disk have.
    pub(crate) fn left(self) -> usize {
        (self.frames - self.pinned - self.reading - self.writing) as usize
    }

    pub(crate) fn of_pins(self, waited: Duration) -> Error {
        Error::AllPinned { waited, frames: self.frames, pinned: self.pinned }
    }

    pub(crate) fn at_the_end_of(self, waited: Duration, idle: Duration) -> Error {
        let Self { frames, pinned, reading, writing, dirty } = self;
        Error::NoFrame { waited, idle, frames, pinned, reading, writing, dirty }
    }
}

impl FromIterator<State> for Shortage {
    fn from_iter<I: IntoIterator<Item = State>>(states: I) -> Self {
        let mut shortage = Self::default();
        for state in states {
            shortage.frames += 1;
            match Holder::of(state) {
                Holder::User => shortage.pinned += 1,
                Holder::Disk if state.is_writing() => shortage.writing += 1,
                Holder::Disk => shortage.reading += 1,
                Holder::Neither => shortage.dirty += u32::from(state.is_dirty()),
            }
        }
        shortage
    }
}

/// What fetches found out that looked for a frame.
#[derive(Default)]
pub(crate) struct Findings {
    looks: Mutex<LastLooks>,
    /// Whether no page is spared: seen by each sweep.
    spares_none: AtomicBool,
    writes: Mutex<VictimWrites>,
}

#[derive(Default)]
struct LastLooks {
    last: Option<LastLook>,
    futile: Option<FutileSweep>,
}

#[derive(Copy, Clone, Debug)]
struct LastLook {
    shortage: Shortage,
    begun: Instant,
    until: Instant,
}

#[derive(Copy, Clone, Debug)]
struct FutileSweep {
    /// How often a frame had been let go of when it began.
    reliefs: usize,
    /// Whether it spared pages that were used.
    spared: bool,
    /// Whether there was no look at all frames since.
    holds: bool,
}

/// The results of writing victims. Pure: the clock is the caller's.
#[derive(Default)]
struct VictimWrites {
    /// The pause before the disk gets victims again that it has refused.
    pause: Pause,
    /// The batch that was begun last, until it is known what came of it.
    batch: Option<Arc<BatchStatus>>,
    /// The error of the last batch of which nothing was written, and when that was found.
    refusal: Option<(Instant, Error)>,
    /// When victims were waited for in vain, and how many pages had been written by then.
    in_vain: Option<(Instant, u64)>,
}

impl VictimWrites {
    fn learn(&mut self, now: Instant) {
        let Some((pages, error)) = self.batch.as_ref().and_then(|batch| batch.outcome()) else { return };
        self.batch = None;
        match (pages, error) {
            // Other threads had the pages already.
            (0, None) => {}
            (0, Some(error)) => {
                self.pause.lengthen(now);
                self.refusal = Some((now, error));
            }
            _ => {
                self.pause.end();
                self.refusal = None;
            }
        }
    }

    fn spares_used_pages(&mut self, written: u64, now: Instant) -> bool {
        self.in_vain.take_if(|(found, before)| now - *found >= LATELY && written != *before);
        self.in_vain.is_none()
    }

    fn refusal(&self, now: Instant) -> Option<Error> {
        let (found, error) = self.refusal.as_ref()?;
        (now - *found < LATELY).then(|| error.clone())
    }
}

impl Findings {
    pub(super) fn note_futile_sweep(&self, reliefs: usize, spared: bool) {
        self.looks.lock().futile = Some(FutileSweep { reliefs, spared, holds: true });
    }

    /// Returns whether a sweep may meet a victim by now, where the last look found `left` frames left.
    pub(super) fn is_worth_a_sweep(&self, reliefs: usize, spares: bool, left: usize) -> bool {
        let is_in_vain = |last: FutileSweep| {
            last.reliefs == reliefs && (left == 0 || last.holds && (spares || !last.spared))
        };
        !self.looks.lock().futile.is_some_and(is_in_vain)
    }

    /// Returns whether pages that were used are spared, where `written` pages were written.
    pub(super) fn spares_used_pages(&self, written: impl FnOnce() -> u64) -> bool {
        if !self.spares_none.load(Ordering::Relaxed) {
            return true;
        }
        let mut writes = self.writes.lock();
        let spares = writes.spares_used_pages(written(), time::now());
        self.spares_none.store(!spares, Ordering::Relaxed);
        spares
    }

    /// Notes that victims were waited for, or written, in vain; `written` pages had been written before.
    pub(crate) fn note_in_vain(&self, written: u64) {
        self.writes.lock().in_vain = Some((time::now(), written));
        self.spares_none.store(true, Ordering::Relaxed);
    }

    /// Returns whether victims may be written now; each pause ends for one caller.
    pub(crate) fn may_write(&self) -> bool {
        let (now, mut writes) = (time::now(), self.writes.lock());
        writes.learn(now);
        writes.pause.is_over(now)
    }

    pub(crate) fn watch(&self, batch: &Arc<BatchStatus>) {
        self.writes.lock().batch = Some(Arc::clone(batch));
    }

    pub(super) fn refusal(&self, now: Instant) -> Option<Error> {
        let mut writes = self.writes.lock();
        writes.learn(now);
        writes.refusal(now)
    }

    /// Returns the result of `look` at all frames, or of one that was made a moment ago, and when it began.
    pub(super) fn shortage(&self, look: impl FnOnce() -> Shortage) -> (Shortage, Instant) {
        let looks = &mut *self.looks.lock();
        let now = time::now();
        if let Some(last) = looks.last
            && now < last.until
        {
            return (last.shortage, last.begun);
        }
        let (begun, shortage, ended) = (now, look(), time::now());
        let until = ended + LOOK_EVERY.max((ended - begun) * LOOK_SELDOM);
        looks.last = Some(LastLook { shortage, begun, until });
        looks.futile.iter_mut().for_each(|sweep| sweep.holds = false);
        (shortage, begun)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn an_io_counts_as_the_disks_unless_a_user_has_the_page_as_well() {
        let reading = State::FREE.claim().unwrap().begin_read(false);
        let read = reading.end_read(true);
        let written = read.latch_exclusive().unwrap().unlatch_exclusive(true).unpin();
        let writing = written.pin().unwrap().begin_write().unwrap();
        let holders = [
            (State::FREE, Holder::Neither),
            (reading, Holder::Disk),
            (reading.pin().unwrap(), Holder::Disk),
            (read, Holder::User),
            (written, Holder::Neither),
            (writing, Holder::Disk),
            (writing.pin().unwrap(), Holder::User),
        ];
        for (state, holder) in holders {
            assert_eq!(Holder::of(state), holder, "{state:?}");
        }
        let shortage: Shortage = holders.into_iter().map(|(state, _)| state).collect();
        assert_eq!(shortage, Shortage { frames: 7, pinned: 2, reading: 2, writing: 1, dirty: 1 });
    }

    #[test]
    fn after_a_wait_in_vain_nothing_is_spared_until_a_page_is_written_and_a_while_has_passed() {
        let findings = Findings::default();
        assert!(findings.spares_used_pages(|| 7));
        findings.note_in_vain(7);
        let (found, _) = findings.writes.lock().in_vain.unwrap();
        let spares = |written, now| findings.writes.lock().spares_used_pages(written, now);
        assert!(!spares(8, found + LATELY / 2), "too early");
        assert!(!spares(7, found + LATELY), "nothing was written");
        assert!(!findings.spares_used_pages(|| 7) && spares(8, found + LATELY));
        assert!(findings.spares_used_pages(|| 7));
    }

    #[test]
    fn a_look_holds_for_all_that_ask_soon_and_so_does_a_sweep_in_vain_until_a_frame_is_let_go_of() {
        let findings = Findings::default();
        let look = |pinned| findings.shortage(|| Shortage { frames: 8, pinned, ..Shortage::default() }).0;
        assert_eq!((look(1).pinned, look(2).pinned), (1, 1));
        // After three reliefs and four, sparing pages that were used and not, with frames left and without.
        let is_worth = || {
            [(3, true, 1), (3, false, 1), (3, true, 0), (3, false, 0), (4, true, 0)]
                .map(|(reliefs, spares, left)| findings.is_worth_a_sweep(reliefs, spares, left))
        };
        assert_eq!(is_worth(), [true; 5], "there was none");
        findings.note_futile_sweep(3, true);
        assert_eq!(is_worth(), [false, true, false, false, true]);
        findings.note_futile_sweep(3, false);
        assert_eq!(is_worth(), [false, false, false, false, true]);
        findings.looks.lock().last.as_mut().unwrap().until = time::now();
        assert_eq!(look(3).pinned, 3);
        assert_eq!(is_worth(), [true, true, false, false, true], "there was another look");
    }

    fn batch(outcomes: impl IntoIterator<Item = Result<u64, Error>>) -> Arc<BatchStatus> {
        let batch = BatchStatus::new();
        outcomes.into_iter().for_each(|outcome| batch.begin().end(outcome));
        batch
    }

    fn in_vain() -> Arc<BatchStatus> {
        batch([Err(Error::ShutDown), Err(Error::ShutDown)])
    }

    #[test]
    fn a_batch_in_vain_is_followed_by_a_pause_and_what_was_written_ends_it() {
        let begun = time::now();
        let after = |batches: &[Arc<BatchStatus>]| {
            let mut writes = VictimWrites::default();
            for batch in batches {
                writes.batch = Some(Arc::clone(batch));
                writes.learn(begun);
            }
            (writes.pause, writes.refusal.is_some())
        };
        let in_part = batch([Err(Error::ShutDown), Ok(1)]);
        let under_way = BatchStatus::new();
        let _out = under_way.begin();
        let none = Pause::default();
        let [mut first, mut second] = [none; 2];
        first.lengthen(begun);
        (0..2).for_each(|_| second.lengthen(begun));
        assert_eq!(after(&[]), (none, false));
        assert_eq!(after(&[in_vain()]), (first, true));
        assert_eq!(after(&[in_vain(), in_vain()]), (second, true));
        assert_eq!(after(&[in_vain(), batch([])]), (first, true), "nothing is known from it");
        assert_eq!(after(&[in_vain(), under_way]), (first, true), "nor from this, yet");
        assert_eq!(after(&[in_vain(), in_part]), (none, false));
    }

    #[test]
    fn a_failure_is_told_for_a_while_and_until_something_is_written() {
        let begun = time::now();
        let mut writes = VictimWrites { batch: Some(in_vain()), ..VictimWrites::default() };
        assert!(writes.refusal(begun).is_none());
        writes.learn(begun);
        assert!(matches!(writes.refusal(begun + LATELY / 2), Some(Error::ShutDown)));
        assert!(writes.refusal(begun + LATELY).is_none());
        writes.batch = Some(batch([Ok(1)]));
        writes.learn(begun);
        assert!(writes.refusal(begun).is_none());
    }
}
