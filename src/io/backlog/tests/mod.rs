//! The backlog alone: what comes out, in which order, and how much of it at once.

mod quota;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::{
    io::{
        buffers::Direction::{Read, Write},
        tests::support::{FakeDisk, TestArena, TestLease, set_urgency},
    },
    observe::{Counter, Counters},
    sync::Arc,
};

const PAGE: u64 = 512;

/// What went and has not ended.
#[derive(Debug, PartialEq, Eq)]
struct Flight {
    file: FileId,
    urgency: Urgency,
}

/// Files, memory and a backlog, as a device has them.
struct TestDevice {
    files: Vec<Arc<File>>,
    backlog: Backlog<TestLease>,
    // Last, since it checks that all requests are gone.
    arena: TestArena,
}

impl TestDevice {
    fn new(limits: BacklogLimits) -> Self {
        Self::with_files(limits, [None; 3])
    }

    fn with_files(limits: BacklogLimits, max_in_flight: [Option<u32>; 3]) -> Self {
        let open = |(n, most): (u32, Option<u32>)| {
            let mut file = FakeDisk::stamped(0).open_file(PAGE as u32).unwrap();
            file.id = FileId(n);
            file.max_in_flight = most.and_then(std::num::NonZeroU32::new);
            Arc::new(file)
        };
        let files = (0..).zip(max_in_flight).map(open).collect();
        Self { arena: TestArena::new(1 << 20), files, backlog: Backlog::new(limits) }
    }

    fn read(&self, file: usize, block: u64, blocks: usize) -> Operation<TestLease> {
        self.arena.request(Read, &self.files[file], block * PAGE, &vec![PAGE as u32; blocks])
    }

    fn demand(&mut self, file: usize, block: u64) -> Pushed {
        self.backlog.push(self.read(file, block, 1)).ok().expect("there is room")
    }

    fn background(&mut self, file: usize, block: u64) -> Arc<AtomicBool> {
        let mut request = self.read(file, block, 1);
        let awaited = set_urgency(&mut request, Urgency::Background);
        self.backlog.push(request).ok().expect("there is room");
        awaited
    }

    /// Makes a write that no caller waits for.
    fn writeback(&mut self, file: usize, block: u64) -> Option<Arc<AtomicBool>> {
        let mut request = self.arena.request(Write, &self.files[file], block * PAGE, &[PAGE as u32]);
        let awaited = set_urgency(&mut request, Urgency::Writeback);
        self.backlog.push(request).ok().map(|_| awaited)
    }

    /// Returns file, first block and blocks of what goes next.
    fn next(&mut self) -> Option<((usize, u64, u64), Flight)> {
        let operation = self.backlog.next()?;
        let (file, urgency) = (operation.file.id, operation.urgency);
        let blocks = (operation.end() - operation.offset) / PAGE;
        Some(((file.0 as usize, operation.offset / PAGE, blocks), Flight { file, urgency }))
    }

    fn end(&mut self, Flight { file, urgency }: Flight) {
        self.backlog.end(file, urgency);
    }

    /// Returns all that can go at once, without anything being over.
    fn all(&mut self) -> (Vec<(usize, u64, u64)>, Vec<Flight>) {
        std::iter::from_fn(|| self.next()).unzip()
    }
}

fn limits(waiting: usize, in_flight: usize) -> BacklogLimits {
    BacklogLimits { waiting, in_flight, background: usize::MAX, combine: 4 * PAGE as usize }
}

#[test]
fn a_share_leaves_something_for_others() {
    let shares = [0, 1, 2, 3, 4, 8, 128, 256].map(share);
    assert_eq!(shares, [0, 1, 1, 2, 3, 6, 96, 192]);
}

#[test]
fn demands_overtake_but_background_is_not_starved() {
    let mut desk = TestDevice::new(limits(100, 100));
    (0..3).for_each(|n| drop(desk.background(0, 100 + 2 * n)));
    for n in 0..20 {
        desk.demand(1, 2 * n);
    }
    let (order, _places) = desk.all();
    let when: Vec<_> = (0..order.len()).filter(|&n| order[n].0 == 0).collect();
    assert_eq!(when, [8, 17, 22], "{order:?}");
    let of = |file| order.iter().filter(move |next| next.0 == file).map(|next| next.1);
    assert!(of(0).eq([100, 102, 104]) && of(1).eq((0..20).map(|n| 2 * n)), "{order:?}");
}

#[test]
fn demands_overtake_writes_that_no_caller_waits_for() {
    let mut desk = TestDevice::new(limits(100, 100));
    (0..3).for_each(|n| drop(desk.writeback(0, 100 + 2 * n)));
    for n in 0..10 {
        desk.demand(0, 2 * n);
    }
    let (order, _places) = desk.all();
    let when: Vec<_> = (0..order.len()).filter(|&n| order[n].1 >= 100).collect();
    assert_eq!(when, [4, 9, 12], "{order:?}");
}

/// The scenario of `design/io.md`: a ring of the default depth.
#[test]
fn a_demand_goes_at_once_beside_a_stream_and_a_checkpoint() {
    let mut desk = TestDevice::new(BacklogLimits { background: 128, ..limits(1024, 256) });
    (0..300).for_each(|n| drop(desk.background(0, 2 * n)));
    assert!((0..200).all(|n| desk.writeback(1, 2 * n).is_some()));
    let (order, _in_flight) = desk.all();
    let count = |file| order.iter().filter(|next| next.0 == file).count();
    assert_eq!((count(0), count(1)), (128, 64));
    desk.demand(2, 0);
    assert_eq!(desk.next().map(|next| next.0), Some((2, 0, 1)));
}

#[test]
fn writes_leave_a_part_of_all_places_to_demands() {
    let mut desk = TestDevice::new(limits(256, 8));
    assert_eq!((0..256).take_while(|n| desk.writeback(0, 2 * n).is_some()).count(), 192);
    // In flight: how many may be, of one file, and of two.
    for (in_flight, of_one, of_two) in [(256, 64, 128), (64, 36, 48), (8, 5, 6), (2, 1, 2), (1, 1, 1)] {
        let mut desk = TestDevice::new(limits(256, in_flight));
        (0..96).for_each(|n| drop(desk.writeback(0, 2 * n)));
        let mut places = desk.all().1;
        assert_eq!(places.len(), of_one, "of {in_flight}");
        desk.demand(0, 600);
        places.extend(desk.next().map(|next| next.1));
        assert_eq!(
            places.len() > of_one,
            of_one < share(in_flight),
            "a demand of the same file, of {in_flight}"
        );
        (0..96).for_each(|n| drop(desk.writeback(1, 2 * n)));
        places.extend(desk.all().1);
        let writes = places.iter().filter(|place| place.urgency == Urgency::Writeback).count();
        assert_eq!(writes, of_two, "of {in_flight}");
    }
}

#[test]
fn a_write_that_a_caller_waits_for_becomes_a_demand() {
    let mut desk = TestDevice::new(limits(400, 2));
    let awaited: Vec<_> = (0..100).map(|n| desk.writeback(0, 2 * n).expect("there is room")).collect();
    for n in 0..20 {
        desk.demand(1, 2 * n);
    }
    awaited[90].store(true, Ordering::SeqCst);
    let mut order = Vec::new();
    while let Some((next, place)) = desk.next() {
        order.push(next);
        desk.end(place);
    }
    let when = order.iter().position(|&next| next == (0, 180, 1)).unwrap();
    assert!(when < 30, "as number {when}");
    assert_eq!(order.len(), 120);
}

#[test]
fn files_take_turns_and_none_has_more_in_flight_than_its_share() {
    let mut desk = TestDevice::with_files(limits(100, 8), [None, Some(2), None]);
    for n in 0..10 {
        desk.demand(0, 2 * n);
    }
    for n in 0..10 {
        desk.demand(1, 2 * n);
    }
    desk.demand(2, 7);
    let (order, mut places) = desk.all();
    assert_eq!(order[..5], [(0, 0, 1), (1, 0, 1), (2, 7, 1), (0, 2, 1), (1, 2, 1)]);
    let count = |file| order.iter().filter(|next| next.0 == file).count();
    assert_eq!([0, 1, 2].map(count), [6, 2, 1], "three quarters of 8; what it was told; what there was");
    assert!(!desk.backlog.has_next() && !desk.backlog.is_empty());
    // A place that is given back is for the same file.
    let at = places.iter().position(|place| place.file == FileId(1)).unwrap();
    desk.end(places.swap_remove(at));
    assert!(desk.backlog.has_next());
    assert_eq!(desk.all().0, [(1, 4, 1)]);
}

#[test]
fn a_file_that_does_not_answer_leaves_room_for_others() {
    let mut desk = TestDevice::new(limits(100, 4));
    for n in 0..50 {
        desk.demand(0, 2 * n);
    }
    let stuck = desk.all().1;
    assert_eq!(stuck.len(), 3);
    for n in 0..50 {
        desk.demand(1, 2 * n);
        let (order, places) = desk.all();
        assert_eq!(order, [(1, 2 * n, 1)]);
        places.into_iter().for_each(|place| desk.end(place));
    }
}

#[test]
fn requests_that_touch_go_as_one_up_to_the_limit() {
    let mut desk = TestDevice::new(limits(100, 100));
    let arrivals = [5, 6, 4, 9, 3, 2].map(|block| desk.demand(0, block));
    use Pushed::{Joined, Queued};
    // 5 takes 6 behind it and goes behind 4; then 3 makes it four, and 2 would be one too many.
    assert_eq!(arrivals, [Queued, Joined, Joined, Queued, Joined, Queued]);
    assert_eq!(desk.all().0, [(0, 3, 4), (0, 9, 1), (0, 2, 1)]);
}

#[test]
fn what_differs_in_file_direction_or_urgency_is_not_joined() {
    let mut desk = TestDevice::new(limits(100, 100));
    desk.demand(0, 0);
    desk.demand(1, 1);
    desk.background(0, 1);
    let write = desk.arena.request(Write, &desk.files[0], PAGE, &[PAGE as u32]);
    assert_eq!(desk.backlog.push(write).ok(), Some(Pushed::Queued));
    assert_eq!(desk.all().0.len(), 4);
}

#[test]
fn only_the_last_few_are_tried_for_a_new_request_to_join() {
    let mut desk = TestDevice::new(limits(100, 100));
    desk.demand(0, 1);
    for n in 0..JOIN_WINDOW as u64 {
        desk.demand(0, 100 + 2 * n);
    }
    assert_eq!(desk.demand(0, 2), Pushed::Queued);
}

#[test]
fn too_many_are_given_back_and_background_leaves_places_to_demands() {
    let mut desk = TestDevice::new(limits(8, 8));
    for left in (0..6).rev() {
        desk.background(0, 2 * left);
        assert_eq!(desk.backlog.room() as u64, left);
    }
    desk.demand(0, 100);
    desk.demand(0, 102);
    assert_eq!(desk.backlog.room(), 0);
    assert_eq!(desk.backlog.push(desk.read(0, 104, 1)).err().map(|request| request.offset), Some(104 * PAGE));
    // A request that becomes a part of one that waits needs no place.
    assert_eq!(desk.demand(0, 101), Pushed::Joined);
}

/// Otherwise its submitters would transfer beside its bound.
#[test]
fn a_file_with_a_bound_of_its_own_is_never_turned_away_and_takes_no_places_from_others() {
    let mut desk = TestDevice::with_files(limits(8, 8), [None, Some(2), None]);
    // It comes before the others, and when they have filled the backlog.
    for (file, requests) in [(1, 0..50), (0, 0..8), (1, 50..100)] {
        for n in requests {
            desk.demand(file, 2 * n);
        }
    }
    assert!(desk.backlog.push(desk.read(0, 100, 1)).is_err());
    let (order, places) = desk.all();
    let count = |file| order.iter().filter(|next| next.0 == file).count();
    assert_eq!((count(1), count(0)), (2, 6));
    places.into_iter().for_each(|place| desk.end(place));
    assert_eq!(desk.backlog.room(), 4, "two of the others wait");
    assert_eq!(desk.backlog.take_all().len(), 100);
    assert_eq!(desk.backlog.room(), 6);
}

#[test]
fn background_has_its_own_limit() {
    let mut desk = TestDevice::new(BacklogLimits { background: 2, ..limits(100, 100) });
    (0..5).for_each(|n| drop(desk.background(0, 2 * n)));
    let mut places = desk.all().1;
    assert_eq!(places.len(), 2);
    desk.demand(0, 100);
    assert_eq!(desk.next().map(|next| next.0), Some((0, 100, 1)), "demands are not held back");
    desk.end(places.pop().unwrap());
    assert_eq!(desk.all().0, [(0, 4, 1)]);
    places.into_iter().for_each(|place| desk.end(place));
}

#[test]
fn background_requests_of_a_file_that_does_not_answer_leave_one_to_the_others() {
    for limit in [1, 2, 5, 100] {
        let mut desk = TestDevice::new(BacklogLimits { background: limit, ..limits(100, 8) });
        (0..20).for_each(|n| drop(desk.background(0, 2 * n)));
        let stuck = desk.all().1;
        assert_eq!(stuck.len(), limit.min(5));
        (0..3).for_each(|n| drop(desk.background(1, 2 * n)));
        for n in 0..3 {
            let (next, place) = desk.next().expect("one at a time goes");
            assert_eq!((next, desk.next()), ((1, 2 * n, 1), None));
            desk.end(place);
        }
        stuck.into_iter().for_each(|place| desk.end(place));
    }
}

/// A caller that begins to wait for one of them calls no thread: so it must not depend on a request of the file that does not
/// answer.
#[test]
fn c6_of_two_places_a_file_whose_reads_ahead_do_not_come_back_leaves_one_to_the_others() {
    let mut desk = TestDevice::new(limits(100, 2));
    (0..3).for_each(|n| drop(desk.background(0, 2 * n)));
    let stuck = desk.all().1;
    assert_eq!(stuck.len(), 1);
    (0..3).for_each(|n| drop(desk.background(1, 2 * n)));
    for n in 0..3 {
        let (next, place) = desk.next().expect("one at a time goes");
        assert_eq!((next, desk.next()), ((1, 2 * n, 1), None));
        desk.end(place);
    }
    stuck.into_iter().for_each(|place| desk.end(place));
}

#[test]
fn a_background_request_that_a_caller_waits_for_becomes_a_demand() {
    let mut desk = TestDevice::new(BacklogLimits { background: 1, ..limits(200, 100) });
    let awaited: Vec<_> = (0..100).map(|n| desk.background(0, 2 * n)).collect();
    let _first = desk.next().unwrap();
    awaited[90].store(true, Ordering::SeqCst);
    // The device has nothing else to do with its other places; each look at what comes next covers a few.
    let tries = (0..100 / LOOKS + 2).find_map(|_| desk.next());
    let (next, place) = tries.expect("it is found in a few looks");
    assert_eq!((next, place.urgency), ((0, 180, 1), Urgency::Demand));
    assert!(desk.next().is_none());
}

/// All of a file's requests may wait here, as many as there are frames, and all threads share their lock.
#[test]
fn what_becomes_a_demand_leaves_a_long_row_in_no_time() {
    const WAITING: u64 = 30_000;
    let mut desk = TestDevice::new(limits(2 * WAITING as usize, 8));
    for n in 0..WAITING {
        desk.arena.reuse();
        desk.background(0, 2 * n).store(true, Ordering::SeqCst);
    }
    let begun = std::time::Instant::now();
    desk.demand(0, 2 * WAITING);
    let mut gone = [0; Urgency::KINDS];
    while let Some((_, place)) = desk.next() {
        gone[place.urgency as usize] += 1;
        desk.end(place);
    }
    let took = begun.elapsed();
    assert_eq!(gone.iter().sum::<u64>(), WAITING + 1);
    assert!(gone[Urgency::Demand as usize] > WAITING / 2 && took.as_secs() < 2, "{gone:?} in {took:?}");
}

#[test]
fn a_file_is_forgotten_once_it_is_idle() {
    let mut desk = TestDevice::new(limits(100, 100));
    desk.demand(0, 1);
    desk.backlog.forget(FileId(0));
    let (_, place) = desk.next().unwrap();
    desk.backlog.forget(FileId(0));
    assert_eq!(desk.backlog.files.len(), 1);
    desk.end(place);
    desk.backlog.forget(FileId(0));
    assert!(desk.backlog.files.is_empty());
    assert!(desk.next().is_none());
    desk.demand(0, 2);
    assert_eq!(desk.all().0, [(0, 2, 1)]);
}

#[test]
fn all_that_waits_can_be_taken_at_once() {
    let mut desk = TestDevice::new(limits(100, 4));
    for n in 0..10 {
        desk.demand(0, 2 * n);
    }
    let (gone, places) = desk.all();
    assert_eq!(gone.len() + desk.backlog.take_all().len(), 10);
    assert!(desk.backlog.is_empty() && desk.next().is_none());
    places.into_iter().for_each(|place| desk.end(place));
    desk.demand(0, 3);
    assert_eq!(desk.all().0.len(), 1);
}

#[test]
fn a_closed_backlog_refuses_and_keeps_what_it_has() {
    let file = Arc::new(FakeDisk::stamped(0).open_file(512).unwrap());
    let arena = TestArena::new(16 * 512);
    let mut backlog = Backlog::new(BacklogLimits { combine: 1024, ..limits(4, 4) });
    let counters = Counters::new();
    let mut rest =
        [0, 1, 10, 20, 30, 40, 50].into_iter().map(|block| arena.request(Read, &file, block * 512, &[512]));
    let (queued, refused) = backlog.admit(&mut rest, &counters);
    assert_eq!((queued, refused.map(|request| request.offset)), (4, Some(40 * 512)));
    assert_eq!(rest.len(), 1, "what is behind the refused one was not asked for");
    assert_eq!((counters.get(Counter::HandedOver), counters.get(Counter::Joined)), (5, 1));
    let _going = backlog.next().expect("one can go");
    backlog.close();
    let (queued, refused) = backlog.admit(&mut rest, &counters);
    assert_eq!((queued, refused.map(|request| request.offset)), (0, Some(50 * 512)));
    assert!(backlog.room() == 0 && !backlog.is_finished());
    assert_eq!(backlog.take_all().len(), 3);
    assert!(backlog.is_finished());
}

/// Something that happens to a backlog.
#[derive(Clone, Debug)]
enum BacklogEvent {
    Arrives {
        file: usize,
        block: u64,
        blocks: usize,
        write: bool,
        /// No caller waits for it.
        is_idle: bool,
    },
    Goes,
    /// The n-th of those in flight is over.
    Ends(usize),
    /// A caller begins to wait for the n-th request that ever came without one.
    Awaits(usize),
}

fn event() -> impl Strategy<Value = BacklogEvent> {
    prop_oneof![
        4 => (0_usize..3, 0_u64..40, 1_usize..4, any::<bool>(), any::<bool>())
            .prop_map(|(file, block, blocks, write, is_idle)| BacklogEvent::Arrives { file, block, blocks, write, is_idle }),
        4 => Just(BacklogEvent::Goes),
        3 => (0_usize..8).prop_map(BacklogEvent::Ends),
        1 => (0_usize..40).prop_map(BacklogEvent::Awaits),
    ]
}

proptest! {
    /// Whatever happens: every page comes out exactly once, limits are kept, and nothing is stuck.
    #[test]
    fn every_request_comes_out_once_and_limits_are_kept(
        events in prop::collection::vec(event(), 0..200),
        waiting in 1_usize..20,
        in_flight in 1_usize..10,
        background in 0_usize..10,
        own in prop::option::of(1_u32..4),
    ) {
        let limits = BacklogLimits { background, ..limits(waiting, in_flight) };
        let mut desk = TestDevice::with_files(limits, [None, own, None]);
        let most = |file: usize| match (file, own) {
            (1, Some(own)) => (own as usize).min(in_flight),
            _ => share(in_flight),
        };
        let background_limit = background.min(share(in_flight).saturating_sub(1)).max(1);
        let mut in_hand: HashMap<(usize, u64), i64> = HashMap::new();
        let (mut pages, mut queued) = (0_i64, Vec::new());
        let mut flying: Vec<(usize, Flight)> = Vec::new();
        let mut awaitable = Vec::new();
        let drain_at_the_end = std::iter::repeat_n([BacklogEvent::Goes, BacklogEvent::Ends(0)], 2000).flatten();
        for event in events.into_iter().chain(drain_at_the_end) {
            match event {
                BacklogEvent::Arrives { file, block, blocks, write, is_idle } => {
                    let direction = if write { Write } else { Read };
                    let lens = vec![PAGE as u32; blocks];
                    desk.arena.reuse();
                    let mut request = desk.arena.request(direction, &desk.files[file], block * PAGE, &lens);
                    if is_idle {
                        let urgency = if write { Urgency::Writeback } else { Urgency::Background };
                        awaitable.push(set_urgency(&mut request, urgency));
                    }
                    let places = if write && is_idle { share(waiting) } else { waiting };
                    let has_own_bound = |file| file == 1 && own.is_some();
                    let crowd = queued.iter().filter(|&&file| !has_own_bound(file)).count();
                    let full = !has_own_bound(file) && crowd >= places;
                    match desk.backlog.push(request) {
                        Ok(arrival) => {
                            prop_assert!(!full || arrival == Pushed::Joined);
                            queued.extend((arrival == Pushed::Queued).then_some(file));
                            pages += blocks as i64;
                            (block..).take(blocks).for_each(|at| *in_hand.entry((file, at)).or_default() += 1);
                        }
                        Err(_) => prop_assert!(full),
                    }
                }
                BacklogEvent::Goes => if flying.len() < in_flight && let Some(((file, block, blocks), place)) = desk.next() {
                    prop_assert!(blocks <= 4);
                    let at = queued.iter().position(|&queued| queued == file).expect("a request that waited");
                    queued.swap_remove(at);
                    pages -= blocks as i64;
                    for at in block..block + blocks {
                        let left = in_hand.get_mut(&(file, at)).expect("a page that came");
                        *left -= 1;
                        prop_assert!(*left >= 0, "block {at} of file {file} came out twice");
                    }
                    flying.push((file, place));
                    let of_file = flying.iter().filter(|flying| flying.0 == file).count();
                    prop_assert!(of_file <= most(file), "{of_file} of file {file} in flight");
                    let count = |urgency| flying.iter().filter(|flying| flying.1.urgency == urgency).count();
                    let (background, writes) = (count(Urgency::Background), count(Urgency::Writeback));
                    let most = share(in_flight).max(in_flight.min(2));
                    prop_assert!(background <= most && writes <= most);
                    if flying[flying.len() - 1].1.urgency == Urgency::Background {
                        let is_such = |flying: &&(usize, Flight)| flying.0 == file && flying.1.urgency == Urgency::Background;
                        prop_assert!(background <= background_limit + 1);
                        prop_assert!(flying.iter().filter(is_such).count() <= background_limit);
                    }
                },
                BacklogEvent::Ends(n) if n < flying.len() => desk.end(flying.swap_remove(n).1),
                BacklogEvent::Awaits(n) => if let Some(awaited) = awaitable.get(n) {
                    awaited.store(true, Ordering::SeqCst);
                },
                BacklogEvent::Ends(_) => {}
            }
        }
        prop_assert_eq!((pages, desk.backlog.is_empty(), flying.len()), (0, true, 0));
    }
}
