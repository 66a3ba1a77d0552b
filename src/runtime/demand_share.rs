//! The share of the frames that reads of one file may have while they are under way, so that its misses leave frames to others (C6).
//!
//! A store that does not answer keeps the frames of all reads that callers have asked it for. So beside other open files a miss of a file
//! begins no read while reads of the file, ahead and for callers, have three quarters of the frames that reads of others leave. The caller
//! is held back until one of them ends. A file that is open alone may have all.
//!
//! Nothing is counted for that. A look at all frames tells how many are being read; then as many misses as are left to the share may begin
//! before the next look, by [counts that the file has anyway](crate::observe::file_activity). A look that finds none left holds for a while for all.

use std::task::Waker;

use crate::{
    buffer::frame::{change::HeldBack, state::Phase},
    error::Error,
    io::{backlog::share, file::File},
    observe::Counter,
    runtime::shared::Shared,
    sync::{
        time::{self, Duration, Instant},
        uncontrolled::Ordering,
        wait::Drive,
    },
};

/// How long a look holds that finds none left, at the least.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Such a look holds at least this many times as long as it took.
const LOOK_SELDOM: u32 = 32;

/// Returns how many pages of the file were read ahead so far.
fn ahead(file: &File) -> u64 {
    file.activity.prefetches.load(Ordering::Relaxed)
}

/// A caller's wait for the end of reads of its file.
#[derive(Default)]
pub(crate) struct ShareWait {
    /// When it began, the reads that had ended when one was last seen to, and when that was.
    began: Option<(Instant, u64, Instant)>,
    place: HeldBack,
}

impl Shared {
    /// Returns how many reads of the file may begin for callers that wait for `wanted` of them: that many, unless it has its share.
    #[inline]
    pub(crate) fn demand_reads_left(&self, file: &File, wanted: usize) -> usize {
        let begun = file.activity.misses.load(Ordering::Relaxed) + ahead(file);
        if file.read_budget.left(begun) >= wanted as u64 {
            return wanted;
        }
        self.look_for_share(file, begun).unwrap_or_default().min(wanted)
    }

    /// Counts a miss whose page was mapped just now, if it `is_new`. Returns false, and has not counted it, if the file has more than its
    /// share with it: others have begun since it was asked what is left.
    #[inline]
    pub(crate) fn count_miss(&self, file: &File, is_new: bool) -> bool {
        let more = u64::from(is_new);
        let begun = file.activity.misses.fetch_add(more, Ordering::Relaxed) + ahead(file);
        let has_room = file.read_budget.left(begun) > 0 || self.look_for_share(file, begun + more).is_some();
        if has_room {
            self.counters.add(Counter::Misses, more);
        } else {
            file.activity.misses.fetch_sub(more, Ordering::Relaxed);
        }
        has_room
    }

    /// Looks how many more reads of the file may begin, where `begun` have been counted. `None` where it has more than its share.
    #[cold]
    fn look_for_share(&self, file: &File, begun: u64) -> Option<usize> {
        let now = time::now();
        if file.read_budget.is_refused(now) {
            return None;
        }
        let (mut own, mut others) = (0, 0);
        for (_, frame) in self.pool.frames.iter() {
            if frame.state.load().phase() == Phase::Reading {
                if frame.page().file == file.id { own += 1 } else { others += 1 }
            }
        }
        let frames = self.pool.size.frames() as usize;
        let is_alone = self.pool.has_one_file_at_most() || seeded!("demand_reads_take_all_frames");
        // Until another file is opened, which resets that.
        let most = if is_alone { usize::MAX } else { share(frames.saturating_sub(others)).max(1) };
        let more = most.checked_sub(own);
        let until = now + LOOK_EVERY.max((time::now() - now) * LOOK_SELDOM);
        let granted = more.unwrap_or_default() as u64;
        file.read_budget.grant(begun, begun.saturating_sub(own as u64), granted, until);
        more
    }

    /// Holds a caller back that must not begin a read of the file now. Returns the error of a wait in which no read of the file has ended
    /// for `disk_wait`.
    #[cold]
    pub(crate) fn hold_back(
        &self,
        file: &File,
        wait: &mut ShareWait,
        drive: Drive,
        waker: &Waker,
    ) -> Option<Error> {
        let (now, ended) = (time::now(), file.read_budget.ended());
        let (since, seen, at) = wait.began.get_or_insert((now, ended, now));
        if *seen != ended {
            (*seen, *at) = (ended, now);
        }
        let [waited, idle] = [*since, *at].map(|since| now.saturating_duration_since(since));
        if idle >= self.config.disk_wait {
            return Some(self.pool.shortage().0.at_the_end_of(waited, idle));
        }
        wait.place.enlist(&self.pool.frames, drive, waker);
        None
    }
}
