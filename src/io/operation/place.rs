//! Room for one request in the table, which its owner changes while other threads read it (a seqlock).
//!
//! Invariants: a place has one owner at a time; the table ensures that. Its words change only while it is EMPTY, and no other
//! value of the sequence word ever comes back: so a reader that finds the same value before and after has a copy of one moment.

use crate::{
    error::IoOp,
    id::PageId,
    sync::atomic::{AtomicU64, Ordering, fence},
};

/// What the list shows of an operation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Read or write.
    pub(super) op: IoOp,
    pub(super) page: PageId,
    pub(super) bytes: u32,
}

/// Tries of a reader to copy a place that keeps changing.
const TRIES: usize = 8;

pub(super) struct ListedPlace {
    /// The phase in the lowest two bits; above them how often the place was filled.
    sequence: AtomicU64,
    page: AtomicU64,
    /// The bytes, and in the lowest bit whether it writes.
    size: AtomicU64,
    /// Nanoseconds since the table's epoch.
    since: AtomicU64,
}

const EMPTY: u64 = 0;
const QUEUED: u64 = 1;
const SUBMITTED: u64 = 2;
const PHASE: u64 = 3;
/// One filling more.
const NEXT: u64 = PHASE + 1;

/// What a place shows.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) extent: Extent,
    pub(super) since: u64,
    pub(super) submitted: bool,
}

impl ListedPlace {
    pub(super) fn new() -> Self {
        let word = AtomicU64::new;
        Self { sequence: word(EMPTY), page: word(0), size: word(0), since: word(0) }
    }

    /// Shows a queued request, instead of what the place may have shown before. Called by its owner.
    pub(super) fn fill(&self, extent: Extent, since: u64) {
        let filling = (self.sequence.load(Ordering::Relaxed) & !PHASE) + NEXT;
        self.sequence.store(filling + EMPTY, Ordering::Relaxed);
        // A reader that sees one of the new words then sees that the old ones are not to be shown any more.
        fence(Ordering::Release);
        let size = u64::from(extent.bytes) << 1 | u64::from(extent.op == IoOp::Write);
        self.page.store(extent.page.to_word(), Ordering::Relaxed);
        self.size.store(size, Ordering::Relaxed);
        self.since.store(since, Ordering::Relaxed);
        self.sequence.store(filling + QUEUED, Ordering::Release);
    }

    /// Shows the request as submitted. Called by its owner.
    pub(super) fn submit(&self) {
        self.enter(SUBMITTED);
    }

    /// Shows nothing any more. Called by its owner.
    pub(super) fn clear(&self) {
        self.enter(EMPTY);
    }

    fn enter(&self, phase: u64) {
        let filling = self.sequence.load(Ordering::Relaxed) & !PHASE;
        self.sequence.store(filling + phase, Ordering::Release);
    }

    /// Returns the request in it, if there is one. One whose place changes all the time is left out.
    pub(super) fn copy(&self) -> Option<Shown> {
        (0..TRIES).find_map(|_| self.try_copy())
    }

    fn try_copy(&self) -> Option<Shown> {
        let before = self.sequence.load(Ordering::Acquire);
        let [page, size, since] =
            [&self.page, &self.size, &self.since].map(|word| word.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        (before == after && before & PHASE != EMPTY).then(|| Shown {
            extent: Extent {
                op: if size & 1 == 1 { IoOp::Write } else { IoOp::Read },
                page: PageId::from_word(page),
                bytes: (size >> 1) as u32,
            },
            since,
            submitted: before & PHASE == SUBMITTED,
        })
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::id::FileId;

    /// Makes a request whose numbers all follow from one.
    fn request(n: u32) -> Shown {
        let op = if n.is_multiple_of(2) { IoOp::Read } else { IoOp::Write };
        let extent = Extent { op, page: PageId::new(FileId(!n), n), bytes: n ^ 0x5555_5555 };
        Shown { extent, since: u64::from(n) << 9, submitted: false }
    }

    #[test]
    fn a_place_shows_what_its_owner_put_there_last() {
        let place = ListedPlace::new();
        assert_eq!(place.copy(), None);
        for n in 0..3 {
            place.fill(request(n).extent, request(n).since);
            assert_eq!(place.copy(), Some(request(n)));
            place.submit();
            assert_eq!(place.copy(), Some(Shown { submitted: true, ..request(n) }));
            if n == 1 {
                place.clear();
                assert_eq!(place.copy(), None);
            }
        }
    }

    #[test]
    fn no_reader_sees_a_mix_of_two_requests() {
        let place = ListedPlace::new();
        std::thread::scope(|scope| {
            let owner = scope.spawn(|| {
                for n in 0..300_000 {
                    place.fill(request(n).extent, request(n).since);
                    match n % 3 {
                        0 => place.submit(),
                        1 => place.clear(),
                        _ => {}
                    }
                }
            });
            let mut seen = 0;
            while !owner.is_finished() || seen == 0 {
                if let Some(shown) = place.copy() {
                    let submitted = shown.submitted;
                    assert_eq!(shown, Shown { submitted, ..request(shown.extent.page.block.0) });
                    seen += 1;
                }
            }
        });
    }
}

/// Requests of which no two have anything in common, for the models of one owner and one reader.
#[cfg(all(test, any(loom, shuttle)))]
fn extent(n: u32) -> Extent {
    let op = if n == 1 { IoOp::Write } else { IoOp::Read };
    Extent { op, page: PageId::new(crate::id::FileId(n), n), bytes: n }
}

#[cfg(all(test, shuttle))]
mod model_check {
    use super::*;
    use crate::sync::Arc;

    #[test]
    fn no_reader_sees_a_mix_of_two_requests() {
        shuttle::check_random(
            || {
                let place = Arc::new(ListedPlace::new());
                let owner = shuttle::thread::spawn({
                    let place = Arc::clone(&place);
                    move || {
                        for n in 0..3 {
                            place.fill(extent(n), u64::from(n));
                            if n == 1 {
                                place.clear();
                            }
                        }
                    }
                });
                for _ in 0..2 {
                    if let Some(Shown { extent: shown, since, .. }) = place.copy() {
                        assert_eq!(shown, extent(since as u32));
                    }
                }
                owner.join().unwrap();
                assert_eq!(place.copy().unwrap().extent, extent(2));
            },
            2000,
        );
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use crate::sync::{
        Arc,
        every_schedule::{check, spawn},
    };

    #[test]
    fn no_reader_sees_a_mix_of_two_requests() {
        check(3, || {
            let place = Arc::new(ListedPlace::new());
            place.fill(extent(1), 1);
            let looking = {
                let place = Arc::clone(&place);
                spawn(move || {
                    if let Some(Shown { extent: shown, since, .. }) = place.try_copy() {
                        assert_eq!(shown, extent(since as u32));
                    }
                })
            };
            place.clear();
            place.fill(extent(2), 2);
            looking.join().unwrap();
        });
    }
}
