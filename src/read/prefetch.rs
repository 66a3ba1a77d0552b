//! Prefetch: many reads started as one batch, and none waited for.
//!
//! What has no clean frame, no place in look-ahead's share of the frames, or no room in the method's queue is declined: it
//! will be read when it is fetched.

use crate::{
    id::{BlockNo, FileId, PageId},
    pool::{handle::Pin, state::State},
    read::issue::{Batch, Issuer, Purpose, Start},
    shared::Shared,
    stats::Counter,
};

/// What became of the blocks that were to be prefetched.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prefetch {
    /// Reads of so many blocks were started.
    pub started: u32,
    /// So many were in the pool or on their way.
    pub already: u32,
    /// So many could not be started without waiting, or do not exist: no file, or behind its end.
    pub declined: u32,
}

pub(crate) fn prefetch(shared: &Shared, id: FileId, blocks: impl IntoIterator<Item = BlockNo>) -> Prefetch {
    let file = shared.check_open().and_then(|()| shared.files.open_file(id));
    let mut batch = Batch::default();
    let mut issuer = file.ok().map(|file| Issuer::new(shared, file, Purpose::Ahead, &mut batch));
    // Where there was no place for a page once, none is looked for again.
    let mut full = false;
    let mut outcome = Prefetch::default();
    for block in blocks {
        let page = PageId { file: id, block };
        let Some(issuer) = &mut issuer else {
            outcome.declined += 1;
            continue;
        };
        if shared.pool.is_mapped(page) {
            outcome.already += 1;
            continue;
        }
        match if full { Start::Refused } else { start(shared, issuer, page) } {
            Start::Begun(pin) => {
                outcome.started += 1;
                leave(pin);
            }
            Start::Met(_) => outcome.already += 1,
            Start::Impossible => outcome.declined += 1,
            Start::Refused => {
                outcome.declined += 1;
                full = true;
            }
        }
    }
    if let Some(mut issuer) = issuer {
        issuer.submit();
    }
    shared.counters.add(Counter::Prefetches, u64::from(outcome.started));
    outcome
}

/// Starts a read with a place in look-ahead's share.
fn start(shared: &Shared, issuer: &mut Issuer<'_>, page: PageId) -> Start {
    let look_ahead = &shared.pool.look_ahead;
    if look_ahead.take(1) == 0 {
        return Start::Refused;
    }
    let start = issuer.start(page);
    if !matches!(start, Start::Begun(_)) {
        look_ahead.give_back(1);
    }
    start
}

/// Leaves the page to its read, marked as one whose use is to come.
fn leave(pin: Pin) {
    pin.leave_unattended(State::expect_use);
}
