//! Each row of the table, and what holds whatever a fetch sees.

use std::io;

use proptest::prelude::*;

use super::*;
use crate::{error::IoOp, id::PageId, sync::time};

const BOUNDS: WaitBounds =
    WaitBounds { pins: Duration::from_secs(10), disk: Duration::from_secs(60), file: FileId(0) };

/// How often a fetch looks again in these tests.
const TICK: Duration = Duration::from_millis(2);

/// A fetch that waits, and the supply as it sees it.
struct World {
    signs: Signs,
    wait: OngoingWait,
    pinned: Duration,
    /// Whether the pool may write victims, or pauses.
    may_write: bool,
    /// Whether each write of victims fails at once; else it does not end.
    refuses: bool,
    /// Whether the fetch has seen that no write ends, and that the writer is stuck.
    no_writes: bool,
    stuck_writer: Option<usize>,
}

/// The result of a round of a fetch, and how many victims it had written on the way.
#[derive(Debug)]
struct Came {
    wrote: Option<usize>,
    gave_up: Option<Error>,
}

impl World {
    fn of(shortage: Shortage) -> Self {
        let now = time::now();
        let signs =
            Signs { now, set_aside: None, written: 0, progress: 0, shortage, looked: now, refusal: None };
        Self {
            wait: OngoingWait::begin(&signs),
            signs,
            pinned: Duration::ZERO,
            may_write: true,
            refuses: false,
            no_writes: false,
            stuck_writer: None,
        }
    }

    /// Makes eight frames, dirty and held by no thread, and no writer.
    fn new() -> Self {
        Self::of(Shortage { frames: 8, dirty: 8, ..Shortage::default() })
    }

    fn with_writer() -> Self {
        let mut world = Self::new();
        world.signs.set_aside = Some(0);
        world
    }

    fn all_pinned() -> Self {
        Self::of(Shortage { frames: 8, pinned: 8, ..Shortage::default() })
    }

    fn at_disk() -> Self {
        Self::of(Shortage { frames: 8, writing: 8, ..Shortage::default() })
    }

    fn pass(&mut self, time: Duration) {
        self.signs.now += time;
    }

    fn next(&mut self, met: Option<usize>) -> Step {
        self.wait.next(met, &self.signs, BOUNDS, &mut self.pinned)
    }

    /// Makes one round of the fetch, in which it finds no frame, and `dirty` dirty victims, of which none can be taken.
    fn round(&mut self, dirty: usize) -> Came {
        let (mut met, mut wrote) = (None, None);
        loop {
            met = match self.next(met) {
                Step::Search { no_writes, .. } => {
                    self.no_writes |= no_writes;
                    Some(dirty)
                }
                Step::Write { while_refused, stuck_writer } => {
                    self.stuck_writer = stuck_writer;
                    let victims = if self.may_write { dirty } else { while_refused };
                    if victims > 0 {
                        wrote = Some(victims);
                        self.wait.note_write(self.signs.now);
                    }
                    if victims > 0 && self.refuses {
                        self.no_writes |= self.wait.learn(0, Some(Error::ShutDown));
                    }
                    Some(0)
                }
                Step::Wait => return Came { wrote, gave_up: None },
                Step::GiveUp(error) => return Came { wrote, gave_up: Some(error) },
            };
        }
    }

    /// Makes rounds until the fetch gives up, and returns how long that took.
    fn until_it_gives_up(&mut self) -> (Error, Duration) {
        let begun = self.signs.now;
        loop {
            if let Some(error) = self.round(0).gave_up {
                return (error, self.signs.now - begun);
            }
            self.pass(TICK);
        }
    }
}

#[test]
fn a_fetch_that_waits_spares_used_pages_for_two_seconds() {
    let mut world = World::new();
    let mut spares = || {
        let Step::Search { spares, .. } = world.next(None) else { panic!("it does not search") };
        world.pass(SPARING);
        spares
    };
    assert_eq!([spares(), spares()], [true, false]);
}

#[test]
fn dirty_victims_are_left_to_the_writer_until_it_has_brought_nothing_for_too_long() {
    let mut world = World::with_writer();
    assert_eq!(world.round(3).wrote, None);
    world.pass(LAST_RESORT - TICK);
    assert_eq!(world.round(3).wrote, None);
    // It produces something, for other fetches.
    world.signs.set_aside = Some(1);
    world.pass(TICK);
    assert_eq!((world.round(3).wrote, world.stuck_writer), (None, None));
    world.pass(LAST_RESORT);
    assert_eq!((world.round(3).wrote, world.stuck_writer), (Some(3), Some(1)));
}

#[test]
fn where_no_writer_is_dirty_victims_are_written_at_once() {
    assert_eq!(World::new().round(3).wrote, Some(3));
    assert_eq!(World::new().round(0).wrote, None);
    // A fetch that is not to wait at all does not wait for a writer either.
    let bounds = WaitBounds { pins: Duration::ZERO, ..BOUNDS };
    let World { signs, mut wait, mut pinned, .. } = World::with_writer();
    assert!(matches!(wait.next(Some(3), &signs, bounds, &mut pinned), Step::Write { .. }));
}

#[test]
fn while_the_disk_refuses_victims_a_fetch_tries_one_and_one_more_after_a_moment_and_then_tells() {
    let mut world = World { may_write: false, refuses: true, ..World::new() };
    let (begun, mut tries) = (world.signs.now, Vec::new());
    let error = loop {
        let came = world.round(3);
        tries.extend(came.wrote.map(|victims| (world.signs.now - begun, victims)));
        if let Some(error) = came.gave_up {
            break error;
        }
        world.pass(TICK);
    };
    assert_eq!(tries, [(Duration::ZERO, 1), (MOMENT, 1)]);
    assert!(matches!(error, Error::ShutDown) && world.signs.now - begun <= MOMENT + TICK);
    assert!(world.no_writes);
}

#[test]
fn a_refusal_is_not_told_while_the_disk_has_a_frame_or_once_a_page_was_written() {
    let is_told = |mut world: World| {
        (0..200).any(|_| {
            world.pass(TICK);
            world.round(3).gave_up.is_some()
        })
    };
    let reading = Shortage { frames: 8, reading: 1, dirty: 7, ..Shortage::default() };
    assert!(!is_told(World { refuses: true, ..World::of(reading) }));
    assert!(is_told(World { refuses: true, ..World::new() }));
    assert!(!is_told(World::new()), "its writes are under way");
    let mut in_part = World::new();
    in_part.round(3);
    assert!(!in_part.wait.learn(2, Some(Error::ShutDown)), "something was written");
}

#[test]
fn c6_what_another_files_disk_refuses_is_not_told_and_ends_the_wait_only_if_nothing_is_left() {
    let refused = |file| {
        let (page, source) = (PageId::new(FileId(file), 3), io::Error::from_raw_os_error(28));
        Some(Error::Io { op: IoOp::Write, page, path: None, source: source.into() })
    };
    let mut world = World::new();
    world.signs.refusal = refused(1);
    let (error, took) = world.until_it_gives_up();
    assert!(
        matches!(error, Error::NoFrame { dirty: 8, .. }) && took >= BOUNDS.pins,
        "{error} after {took:?}"
    );
    let mut world = World::of(Shortage { frames: 8, dirty: 7, ..Shortage::default() });
    world.signs.refusal = refused(1);
    assert!(world.until_it_gives_up().1 >= BOUNDS.disk, "there is a clean one");
    let mut world = World::new();
    world.signs.refusal = refused(0);
    assert!(matches!(world.until_it_gives_up().0, Error::Io { .. }), "its own");
}

#[test]
fn c6_what_was_found_before_a_wait_is_no_reason_to_end_it() {
    let mut world = World::all_pinned();
    world.signs.looked -= TICK;
    for _ in 0..BOUNDS.pins.as_millis() {
        world.pass(TICK);
        assert!(world.round(0).gave_up.is_none(), "nothing is known of its own time");
    }
    world.signs.looked += TICK;
    assert!(
        matches!(world.until_it_gives_up(), (Error::AllPinned { .. }, took) if took >= BOUNDS.pins - TICK)
    );
}

#[test]
fn pins_are_an_error_after_their_time_and_only_such_time_counts() {
    let mut world = World::all_pinned();
    let (error, took) = world.until_it_gives_up();
    assert!(matches!(error, Error::AllPinned { waited, .. } if waited == took));
    assert!((BOUNDS.pins..BOUNDS.pins + TICK).contains(&took), "{took:?}");
    // Half of the time the disk has a frame.
    let mut world = World::all_pinned();
    for round in 0..2 * 4999 {
        world.signs.shortage =
            if round % 2 == 0 { World::at_disk() } else { World::all_pinned() }.signs.shortage;
        assert!(world.round(0).gave_up.is_none());
        world.pass(TICK);
    }
    assert!(world.pinned < BOUNDS.pins);
}

#[test]
fn a_task_that_is_not_polled_for_long_still_looks_a_few_times() {
    let (mut world, mut looks) = (World::all_pinned(), 0);
    while world.round(0).gave_up.is_none() {
        looks += 1;
        world.pass(10 * BOUNDS.pins);
    }
    assert_eq!(looks, LOOKS_AT_LEAST);
}

#[test]
fn a_disk_is_an_error_when_nothing_came_back_for_its_time_and_not_before() {
    let mut world = World::at_disk();
    for page in 0..10 {
        world.signs.progress = page;
        for _ in 0..5 {
            assert!(world.round(0).gave_up.is_none());
            world.pass(BOUNDS.disk / 6);
        }
    }
    let (error, _) = world.until_it_gives_up();
    let Error::NoFrame { idle, frames: 8, writing: 8, .. } = error else { panic!("{error}") };
    assert!((BOUNDS.disk..BOUNDS.disk + TICK).contains(&idle) && world.no_writes);
}

/// What a fetch may see in one round.
#[derive(Copy, Clone, Debug)]
struct Sight {
    millis: u64,
    dirty: usize,
    pinned: u32,
    writing: u32,
    writer_brings: Option<bool>,
    comes_back: bool,
}

fn sights() -> impl Strategy<Value = Vec<Sight>> {
    let sight = (0..3000_u64, 0..5_usize, 0..=8_u32, 0..=8_u32, any::<Option<bool>>(), any::<bool>());
    let sight = sight.prop_map(|(millis, dirty, pinned, writing, writer_brings, comes_back)| Sight {
        millis,
        dirty,
        pinned,
        writing: writing.min(8 - pinned),
        writer_brings,
        comes_back,
    });
    prop::collection::vec(sight, 1..60)
}

proptest! {
    #[test]
    fn c6_whatever_it_has_seen_it_gives_up_in_time_once_nothing_moves_and_tells_what_is_so(
        sights in sights(), may_write: bool,
    ) {
        let mut world = World { may_write, ..World::new() };
        let (mut given_up, mut set_aside) = (None, 0);
        for sight in sights {
            world.pass(Duration::from_millis(sight.millis));
            let Sight { pinned, writing, dirty, .. } = sight;
            world.signs.shortage = Shortage { frames: 8, pinned, writing, ..Shortage::default() };
            world.signs.progress += u64::from(sight.comes_back);
            set_aside += usize::from(sight.writer_brings == Some(true));
            world.signs.set_aside = sight.writer_brings.map(|_| set_aside);
            let pinned_before = world.pinned;
            let came = world.round(dirty);
            prop_assert!(came.wrote.is_none_or(|victims| (1..=dirty).contains(&victims)));
            prop_assert!(
                came.wrote.is_none() || sight.writer_brings != Some(true),
                "it writes beside a writer that brings frames"
            );
            prop_assert!(pinned == 8 || world.pinned == pinned_before, "time of the disk counts for pins");
            if came.gave_up.is_some() {
                given_up = came.gave_up;
                break;
            }
        }
        // From here on nothing moves.
        let (error, took) = match given_up {
            Some(error) => (error, Duration::ZERO),
            None => world.until_it_gives_up(),
        };
        prop_assert!(took <= BOUNDS.pins.max(BOUNDS.disk) + TICK, "{took:?}");
        let shortage = world.signs.shortage;
        match error {
            Error::AllPinned { .. } => {
                prop_assert!(shortage.is_all_pinned() && world.pinned >= BOUNDS.pins);
            }
            Error::NoFrame { idle, pinned, writing, .. } => {
                prop_assert!(idle >= BOUNDS.disk && !shortage.is_all_pinned());
                prop_assert_eq!((pinned, writing), (shortage.pinned, shortage.writing));
            }
            other => prop_assert!(false, "{other}"),
        }
    }
}
