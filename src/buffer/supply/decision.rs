//! What a fetch does that needs a frame: search, have victims written, wait, or give up. Pure: all that it sees are
//! [signs](Signs), the clock included.
//!
//! | it sees | it does |
//! |---|---|
//! | callers in line, and a background writer that works for them | waits behind them |
//! | dirty victims, and such a writer | waits for what that cleans |
//! | dirty victims, and no such writer, or one that has brought nothing for 50 ms | has them written, and tries those |
//! | dirty victims, while the disk refuses victims | has one written, and one more after 50 ms |
//! | frames that users have pinned, all of them | waits, and gives up with `AllPinned` after `frame_wait` of such time |
//! | its victims refused for 50 ms, and no frame at the disk | gives up with that error, if it is of its own file, or of what all share |
//! | victims of other files refused, and no frame at the disk | waits, and gives up with `NoFrame` after `frame_wait` |
//! | frames that the disk has, or is to get | waits, and gives up with `NoFrame` when nothing came back for `disk_wait` |
//!
//! So the bound of a wait follows from what is wrong, not from what is slow. Pages that were used keep their frames meanwhile,
//! for at most 2 s, and no longer once no write has ended for 250 ms.

use std::mem;

use crate::{
    buffer::supply::shortage::Shortage,
    error::Error,
    id::FileId,
    sync::time::{Duration, Instant},
};

/// How long the background writer may produce nothing before a fetch writes for itself.
const LAST_RESORT: Duration = Duration::from_millis(50);

/// How long a disk must refuse a fetch's victims, with a try at the end, before the fetch reports that: the next may succeed.
const MOMENT: Duration = Duration::from_millis(50);

/// How many looks at least must find that pins stand in the way: a task may not be polled for long.
const LOOKS_AT_LEAST: u32 = 8;

/// For how long at most a fetch spares pages that were used, though writes end: other fetches may be faster each time.
const SPARING: Duration = Duration::from_secs(2);

/// How long no write must have ended before pages that were used are no longer spared.
const NO_WRITES: Duration = Duration::from_millis(250);

/// What a fetch sees that has found no frame.
#[derive(Clone, Debug)]
pub(crate) struct Signs {
    pub(crate) now: Instant,
    /// Pages that the background writer has found clean, or has had written, so far; `None` where there is no writer to count on.
    pub(crate) set_aside: Option<usize>,
    pub(crate) written: u64,
    /// A number that changes when a page is read, written or evicted.
    pub(crate) progress: u64,
    pub(crate) shortage: Shortage,
    /// When the look began that found it.
    pub(crate) looked: Instant,
    /// Why other fetches could have no victim written lately.
    pub(crate) refusal: Option<Error>,
}

/// How long a fetch waits for what is wrong.
#[derive(Copy, Clone, Debug)]
pub(crate) struct WaitBounds {
    /// While users have all frames pinned.
    pub(crate) pins: Duration,
    /// While nothing comes back from the disk.
    pub(crate) disk: Duration,
    /// The file of the page that is to get the frame.
    pub(crate) file: FileId,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// Searches again; `spares` says whether pages that were used are spared. Once `no_writes` end, no fetch of the pool spares
    /// any.
    Search {
        spares: bool,
        no_writes: bool,
    },
    /// Has the dirty victims written and tries to take them; while the disk refuses victims, `while_refused` of them. Other
    /// fetches need not find out once more that the writer is stuck where it is.
    Write {
        while_refused: usize,
        stuck_writer: Option<usize>,
    },
    Wait,
    GiveUp(Error),
}

/// A wait for a frame, and what the fetch has seen during it.
#[derive(Debug)]
pub(crate) struct OngoingWait {
    since: Instant,
    /// When it was last checked what stands in the way.
    looked: Instant,
    /// The pool's progress, while the disk is waited for.
    progress: Option<Unchanged>,
    set_aside: Unchanged,
    written: Unchanged,
    /// Whether victims are being written on this fetch's behalf.
    is_writing: bool,
    /// Whether victims were written a [`MOMENT`] after it had begun.
    has_tried_late: bool,
    /// The error of the last such victims, if none of them could be written.
    refused: Option<Error>,
}

/// A count, and since when it has its value.
#[derive(Copy, Clone, Debug)]
struct Unchanged {
    count: u64,
    since: Instant,
}

impl Unchanged {
    fn time(&mut self, count: u64, now: Instant) -> Duration {
        if count != self.count {
            *self = Self { count, since: now };
        }
        now.saturating_duration_since(self.since)
    }
}

impl OngoingWait {
    pub(crate) fn begin(signs: &Signs) -> Self {
        let now = signs.now;
        let unchanged = |count| Unchanged { count, since: now };
        Self {
            since: now,
            looked: now,
            progress: None,
            set_aside: unchanged(signs.set_aside.unwrap_or_default() as u64),
            written: unchanged(signs.written),
            is_writing: false,
            has_tried_late: false,
            refused: None,
        }
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Returns what to do next. `met`: how many dirty victims are left to try, of those that its search for a frame has met; `None`
    /// where it was woken, and has not searched yet. `pinned`: for how long pins stood in the way, in all waits of this fetch.
    pub(crate) fn next(
        &mut self,
        met: Option<usize>,
        signs: &Signs,
        bounds: WaitBounds,
        pinned: &mut Duration,
    ) -> Step {
        let waited = signs.now.saturating_duration_since(self.since);
        let Some(dirty) = met else {
            let no_writes = self.written.time(signs.written, signs.now) >= NO_WRITES.min(bounds.disk / 2);
            return Step::Search { spares: waited < SPARING, no_writes };
        };
        let to_write = if dirty > 0 { self.write(waited, signs, bounds) } else { None };
        to_write.unwrap_or_else(|| self.wait_or_give_up(waited, signs, bounds, pinned))
    }

    /// Learns that the write of its victims is over: how many pages were written, and the error if there was one. Returns whether
    /// the disk took none. The error is reported only if no frame turns up: other victims may have been written.
    pub(crate) fn learn(&mut self, pages: u64, error: Option<Error>) -> bool {
        self.is_writing = false;
        if pages > 0 || error.is_some() {
            self.refused = error.filter(|_| pages == 0);
        }
        self.refused.is_some()
    }

    /// Has victims written, unless a writer does that. While the pool pauses, after the disk has refused all victims, each fetch
    /// tries one for itself, and another one after a moment: the disk may be well again.
    fn write(&mut self, waited: Duration, signs: &Signs, bounds: WaitBounds) -> Option<Step> {
        let stuck_writer = signs.set_aside;
        if let Some(set_aside) = signs.set_aside {
            let idle = self.set_aside.time(set_aside as u64, signs.now);
            if idle < LAST_RESORT.min(bounds.pins / 2) {
                return None;
            }
        }
        let is_late = waited >= MOMENT;
        let is_due = self.refused.is_none() || is_late && !self.has_tried_late;
        let while_refused = usize::from(!self.is_writing && is_due);
        Some(Step::Write { while_refused, stuck_writer })
    }

    pub(crate) fn note_write(&mut self, now: Instant) {
        self.is_writing = true;
        self.has_tried_late |= now.saturating_duration_since(self.since) >= MOMENT;
    }

    fn wait_or_give_up(
        &mut self,
        waited: Duration,
        signs: &Signs,
        bounds: WaitBounds,
        pinned: &mut Duration,
    ) -> Step {
        let Signs { now, shortage, looked, .. } = *signs;
        let since_last_look = now.saturating_duration_since(mem::replace(&mut self.looked, now));
        // A look from before the wait is no reason to end it: one look holds for long where there are many frames. But it is one
        // for a fetch that does not wait.
        if looked < self.since && !bounds.pins.is_zero() && !seeded!("old_look_ends_a_wait") {
            return Step::Wait;
        }
        if shortage.is_all_pinned() || seeded!("slow_disk_taken_for_pins") {
            self.progress = None;
            *pinned += since_last_look.min(bounds.pins / LOOKS_AT_LEAST);
            let is_over = *pinned >= bounds.pins;
            return if is_over { Step::GiveUp(shortage.of_pins(waited)) } else { Step::Wait };
        }
        let is_refused = self.has_tried_late && !self.is_writing && !shortage.is_at_disk();
        let progress = self.progress.get_or_insert(Unchanged { count: signs.progress, since: now });
        let idle = progress.time(signs.progress, now);
        let refusal = self.refused.as_ref().or(signs.refusal.as_ref());
        if let Some(error) =
            refusal.filter(|error| error.concerns(bounds.file) || seeded!("error_of_another_file"))
            && (is_refused || waited >= bounds.pins)
        {
            return Step::GiveUp(error.clone());
        }
        // What another file's disk refuses is nothing to tell, and is not waited for as if it were on its way.
        let is_all_dirty = !shortage.is_at_disk() && shortage.left() <= shortage.dirty as usize;
        let is_in_vain = refusal.is_some() && is_all_dirty && waited >= bounds.pins;
        if idle >= bounds.disk || is_in_vain {
            Step::GiveUp(shortage.at_the_end_of(waited, idle))
        } else {
            Step::Wait
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
#[path = "decision_tests.rs"]
mod tests;
