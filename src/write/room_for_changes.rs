//! Room for changes: has dirty pages of a file written that has its [share](crate::buffer::frame::dirty_counts) of the frames.
//!
//! Each caller that wants to change a clean page of such a file begins a round: a write of some pages of the file that are dirty and idle.
//! It waits for that round alone, and for another one after a moment if that is refused. So what it is told is the outcome of a write that
//! began after it came: from the first write on that succeeds changes are allowed. A caller that finds nothing to
//! write, and no write under way, is let through: all such pages are latched, perhaps by itself.
//!
//! A file that does not answer gives [`Error::NoFrame`](crate::Error::NoFrame) when its count has not changed for `disk_wait`.

use std::task::{Poll, Waker};

use crate::{
    buffer::frame::dirty_counts::{MakesRoom, RoomWait},
    error::{Error, Result},
    id::{FileId, FrameNo},
    io::operation::Urgency,
    runtime::shared::Shared,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
        batch_status::BatchStatus,
        time::{self, Duration},
    },
    write::write_out::{Candidate, Patience, write_out},
};

const ROUND: usize = 64;

/// How long a disk must refuse writes, with a try at the end of it, before a change is refused.
const MOMENT: Duration = Duration::from_millis(50);

/// Makes room in a pool, as long as there is one.
pub(crate) struct RoomMaker {
    shared: Weak<Shared>,
    /// The frame behind the last one that was looked at.
    next: AtomicU32,
}

impl RoomMaker {
    /// Has room made in this pool from now on.
    pub(crate) fn start(shared: &Arc<Shared>) {
        let maker = Self { shared: Arc::downgrade(shared), next: AtomicU32::new(0) };
        shared.pool.dirty_counts.set_maker(Arc::new(maker));
    }

    /// Looks for pages of the file that are dirty and idle, each time from where the last look ended. Returns also whether some of those it
    /// looked at are being written.
    fn find(&self, shared: &Shared, file: FileId, most: usize) -> (Vec<Candidate>, bool) {
        let (extent, begin) = (shared.pool.size.extent(), self.next.load(Ordering::Relaxed));
        let (mut found, mut under_way) = (Vec::new(), false);
        for no in (0..extent).map(|step| FrameNo((begin % extent + step) % extent)) {
            let frame = shared.pool.frame(no);
            let Some((page, state)) = frame.glance().filter(|(page, _)| page.file == file) else { continue };
            under_way |= state.is_writing();
            if state.is_idle_dirty() {
                found.push((page, no));
                if found.len() == most {
                    self.next.store(no.0 + 1, Ordering::Relaxed);
                    break;
                }
            }
        }
        (found, under_way)
    }

    /// Begins a round. Returns false if there is nothing to be waited for.
    fn begin(&self, shared: &Shared, file: FileId, wait: &mut RoomWait, waker: &Waker) -> bool {
        // One that is likely to be refused costs the disk, and its callers, little.
        let most = if shared.pool.dirty_counts.refuses(file) { 1 } else { ROUND };
        let (mut pages, under_way) = self.find(shared, file, most);
        if pages.is_empty() {
            return under_way;
        }
        let round = BatchStatus::that_wakes(waker.clone(), usize::MAX);
        write_out(shared, &mut pages, Urgency::Demand, &mut Patience::Try, &round);
        let has_begun = !round.is_untouched();
        wait.round = has_begun.then_some(round);
        has_begun
    }
}

impl MakesRoom for RoomMaker {
    fn poll_room(&self, file: FileId, wait: &mut RoomWait, waker: &Waker) -> Poll<Result<()>> {
        let Some(shared) = self.shared.upgrade() else { return Poll::Ready(Ok(())) };
        let pool = &shared.pool;
        if shared.check_open().is_err() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let now = time::now();
            if let Some(round) = &wait.round {
                let Some((pages, error)) = round.outcome() else { break };
                wait.round = None;
                match error.filter(|_| pages == 0) {
                    Some(error) if wait.is_last => return Poll::Ready(Err(error)),
                    Some(_) => drop(wait.refused_since.get_or_insert(now)),
                    None => (wait.refused_since, wait.is_last) = (None, false),
                }
            }
            if !pool.is_full_of_changes(file) {
                return Poll::Ready(Ok(()));
            }
            if let Some(since) = wait.refused_since {
                if now.saturating_duration_since(since) < MOMENT {
                    break;
                }
                wait.is_last = true;
            }
            if !self.begin(&shared, file, wait, waker) {
                return Poll::Ready(Ok(()));
            }
            if wait.round.is_none() {
                break;
            }
        }
        if let Some(error) = end_of_patience(&shared, file, wait) {
            return Poll::Ready(Err(error));
        }
        Poll::Pending
    }
}

/// Returns the error of a wait in which nothing has changed for too long.
fn end_of_patience(shared: &Shared, file: FileId, wait: &mut RoomWait) -> Option<Error> {
    let (now, count) = (time::now(), shared.pool.dirty_counts.of(file));
    let since = *wait.since.get_or_insert(now);
    let seen = wait.seen.get_or_insert((count, now));
    if seen.0 != count {
        *seen = (count, now);
    }
    let [waited, idle] = [since, seen.1].map(|since| now.saturating_duration_since(since));
    (idle >= shared.config.disk_wait).then(|| shared.pool.shortage().0.at_the_end_of(waited, idle))
}
