//! Where frames go, as tables; and that no victim is missed, whatever the frames are.

use proptest::prelude::*;

use super::*;

/// Frames as an order sees them: what makes one busy or dirty, and the uses that are left.
#[derive(Clone, Debug)]
struct FakeFrames(Vec<(Verdict, u64)>);

impl FakeFrames {
    fn of(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        Self(verdicts.into_iter().map(|verdict| (verdict, u64::from(verdict == Verdict::Used))).collect())
    }

    /// Returns what becomes of a frame when its turn has come, as `replacement::look` has it.
    fn look(&mut self, frame: usize, queue: Standing) -> Verdict {
        let (verdict, uses) = &mut self.0[frame];
        let shown = *verdict;
        match shown {
            Verdict::Used => {
                *uses = if queue == Standing::Main { *uses / 2 } else { 0 };
                *verdict = if *uses == 0 { Verdict::Evictable } else { Verdict::Used };
            }
            Verdict::Expected => *verdict = Verdict::Evictable,
            _ => {}
        }
        shown
    }
}

impl Order {
    /// Makes an order in which all frames have pages, in the small queue, the first being the oldest.
    fn full(frames: usize) -> Self {
        let mut order = Self::new(0);
        order.resize(frames);
        order
    }

    /// Returns the first clean victim of a sweep.
    fn victim(&mut self, frames: &mut FakeFrames) -> Option<usize> {
        let clean = |frame, verdict| (verdict == Verdict::Evictable).then_some(frame);
        self.sweep(Reach::All, |frame, queue| frames.look(frame, queue), clean)
    }

    /// Returns the small queue, and the main one.
    fn queues(&self) -> (Vec<usize>, Vec<usize>) {
        (self.list(Standing::Small), self.list(Standing::Main))
    }
}

#[test]
fn unused_frames_are_taken_in_turn_and_stay_in_the_small_queue() {
    let mut order = Order::full(3);
    let mut frames = FakeFrames::of([Verdict::Evictable; 3]);
    let taken: Vec<_> = (0..7).filter_map(|_| order.victim(&mut frames)).collect();
    assert_eq!(taken, [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(order.queues(), (vec![1, 2, 0], vec![]));
}

#[test]
fn a_page_used_in_the_small_queue_goes_on_into_the_main_one() {
    let mut order = Order::full(4);
    let mut frames = FakeFrames::of([Verdict::Used, Verdict::Used, Verdict::Evictable, Verdict::Evictable]);
    assert_eq!(order.victim(&mut frames), Some(2));
    assert_eq!(order.queues(), (vec![3, 2], vec![0, 1]));
}

#[test]
fn the_main_queue_gives_frames_only_while_the_small_one_lacks_its_eighth() {
    let mut order = Order::full(20);
    let mut frames = FakeFrames::of([Verdict::Used; 20]);
    // All go on; then main gives two, which is an eighth, and from then on the new pages go.
    let taken: Vec<_> = (0..6).filter_map(|_| order.victim(&mut frames)).collect();
    assert_eq!(taken, [0, 1, 0, 1, 0, 1]);
    assert_eq!(order.list(Standing::Small), [0, 1]);
}

#[test]
fn a_used_page_of_the_main_queue_has_another_round() {
    let mut order = Order::full(3);
    let mut frames = FakeFrames::of([Verdict::Used; 3]);
    assert_eq!(order.victim(&mut frames), Some(0));
    frames.0[1] = (Verdict::Used, 2);
    frames.0[0] = (Verdict::Used, 1);
    assert_eq!(order.victim(&mut frames), Some(2), "unused since it came in");
    assert_eq!(order.queues(), (vec![2], vec![0, 1]), "one was spared");
}

#[test]
fn free_frames_are_taken_in_their_order_and_the_last_that_became_free_is_the_first() {
    let mut order = Order::new(3);
    let taken = |order: &mut Order| order.take_free(|_| true);
    assert_eq!((taken(&mut order), taken(&mut order)), (Some(0), Some(1)));
    assert_eq!((order.queues(), order.list(Standing::Free)), ((vec![0, 1], vec![]), vec![2]));
    order.put_last(1, Standing::Main);
    order.release(1);
    order.release(0);
    assert_eq!((order.queues(), order.len(Standing::Free)), ((vec![], vec![]), 3));
    assert_eq!(std::iter::from_fn(|| taken(&mut order)).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_frame_that_is_not_free_after_all_is_where_pages_are() {
    let mut order = Order::new(3);
    assert_eq!(order.take_free(|frame| frame == 1), Some(1));
    assert_eq!((order.queues().0, order.list(Standing::Free)), (vec![0, 1], vec![2]));
    assert_eq!(order.take_free(|_| false), None);
    assert_eq!((order.queues().0, order.len(Standing::Free)), (vec![0, 1, 2], 0));
}

#[test]
fn a_sweep_comes_by_no_free_frame() {
    let mut order = Order::new(3);
    let mut frames = FakeFrames::of([Verdict::Evictable; 3]);
    assert_eq!(order.victim(&mut frames), None);
    order.take_free(|_| true);
    assert_eq!((order.victim(&mut frames), order.victim(&mut frames)), (Some(0), Some(0)));
}

#[test]
fn pages_expected_to_be_used_are_spared_once() {
    let mut order = Order::full(2);
    let mut frames = FakeFrames::of([Verdict::Expected, Verdict::Evictable]);
    assert_eq!(order.victim(&mut frames), Some(1));
    assert_eq!(order.victim(&mut frames), Some(0));
}

#[test]
fn a_sweep_in_turn_leaves_the_main_queue_alone_as_long_as_the_small_one_has_its_eighth() {
    let mut order = Order::full(20);
    let mut frames = FakeFrames::of([Verdict::Used; 20]);
    let in_turn = |order: &mut Order, frames: &mut FakeFrames| {
        let clean = |frame, verdict| (verdict == Verdict::Evictable).then_some(frame);
        order.sweep(Reach::InTurn, |frame, queue| frames.look(frame, queue), clean)
    };
    // All go on into main, which then gives the small queue its eighth.
    assert_eq!((in_turn(&mut order, &mut frames), in_turn(&mut order, &mut frames)), (Some(0), Some(1)));
    (frames.0[0], frames.0[1]) = ((Verdict::Busy, 0), (Verdict::Busy, 0));
    let main = order.list(Standing::Main);
    assert_eq!((in_turn(&mut order, &mut frames), order.list(Standing::Main)), (None, main));
    (frames.0[0], frames.0[1]) = ((Verdict::Busy, 0), (Verdict::Evictable, 0));
    assert_eq!(in_turn(&mut order, &mut frames), Some(1), "the only one, behind one that is busy");
    (frames.0[0], frames.0[1]) = ((Verdict::Busy, 0), (Verdict::Busy, 0));
    assert_eq!(order.victim(&mut frames), Some(2), "a fetch that needs a frame now gets another");
}

/// Makes six frames, the oldest in the small queue with a page that has returned, and three in main.
fn with_returned(verdicts: [Verdict; 6]) -> (Order, FakeFrames) {
    let mut order = Order::full(6);
    (3..6).for_each(|frame| order.put_last(frame, Standing::Main));
    (1..3).for_each(|frame| order.put_last(frame, Standing::Free));
    order.note_return(0);
    (order, FakeFrames::of(verdicts))
}

#[test]
fn a_returned_page_takes_the_place_of_the_oldest_of_main_only_if_that_is_unused() {
    use Verdict::{Busy, Dirty, Evictable, Expected, Used};
    for (of_oldest, taken, queues) in [
        (Evictable, Some(3), (vec![3], vec![4, 5, 0])),
        (Used, Some(0), (vec![0], vec![4, 5, 3])),
        (Busy, Some(0), (vec![0], vec![4, 5, 3])),
        (Expected, Some(0), (vec![0], vec![4, 5, 3])),
    ] {
        let (mut order, mut frames) =
            with_returned([Evictable, Evictable, Evictable, of_oldest, Evictable, Evictable]);
        assert_eq!(order.victim(&mut frames), taken, "{of_oldest:?}");
        assert_eq!(order.queues(), queues, "{of_oldest:?}");
    }
    // A victim that is not taken, being dirty, goes all the same: it is looked at again in the small queue.
    let (mut order, mut frames) =
        with_returned([Evictable, Evictable, Evictable, Dirty, Evictable, Evictable]);
    assert_eq!((order.victim(&mut frames), order.queues()), (Some(4), (vec![3, 4], vec![5, 0])));
}

#[test]
fn a_page_of_main_is_known_for_one_until_its_frame_gets_another() {
    let (mut order, mut frames) = with_returned([Verdict::Dirty; 6]);
    (1..3).for_each(|frame| order.put_last(frame, Standing::Small));
    assert_eq!(order.victim(&mut frames), None);
    // Each has had several turns, as a victim that is not taken; the one that had returned has won a place in main.
    assert!(order.queues().1.is_empty());
    let are_from_main = [true, false, false, true, true, true];
    assert!((0..6).map(|frame| order.standings[frame] == Standing::FromMain).eq(are_from_main));
    assert!((0..6).map(|frame| !order.renew(frame)).eq(are_from_main));
    assert!((0..6).all(|frame| order.renew(frame)) && !order.renew(6));
    order.put_last(1, Standing::FromMain);
    frames.0 = vec![(Verdict::Used, 1); 6];
    order.victim(&mut frames);
    assert_eq!(order.standings[1], Standing::Main, "it was used again");
}

#[test]
fn a_returned_page_that_was_used_challenges_no_other() {
    let mut verdicts = [Verdict::Evictable; 6];
    (verdicts[0], verdicts[3]) = (Verdict::Used, Verdict::Used);
    let (mut order, mut frames) = with_returned(verdicts);
    assert_eq!(order.victim(&mut frames), Some(4), "main gives up one for it, though the oldest was used");
    assert_eq!(order.queues(), (vec![4], vec![5, 0, 3]));
}

#[test]
fn a_returned_page_goes_on_into_a_main_queue_that_lacks_its_share() {
    let mut order = Order::full(6);
    order.note_return(0);
    assert_eq!(order.victim(&mut FakeFrames::of([Verdict::Evictable; 6])), Some(1));
    assert_eq!(order.queues(), (vec![2, 3, 4, 5, 1], vec![0]));
}

#[test]
fn a_busy_frame_stays_what_it_is_and_one_that_is_renewed_is_as_any_other() {
    let mut verdicts = [Verdict::Evictable; 6];
    (verdicts[0], verdicts[3]) = (Verdict::Busy, Verdict::Busy);
    let (mut order, mut frames) = with_returned(verdicts);
    order.victim(&mut frames);
    assert_eq!([0, 3].map(|frame| order.standings[frame]), [Standing::Returned, Standing::Main]);
    order.put_last(0, Standing::Small);
    assert_eq!(order.standings[0], Standing::Small);
}

#[test]
fn a_page_is_new_until_so_many_others_came_in() {
    for (frames, new) in [(3, 1), (100, 3), (1000, 10)] {
        let mut order = Order::full(frames);
        let past: Vec<_> = (0..frames).map(|frame| order.admit(frame)).collect();
        assert!(past[..new].iter().all(Option::is_none), "{frames} frames");
        assert!(past[new..].iter().copied().eq((0..frames - new).map(Some)), "{frames} frames");
    }
    let mut order = Order::full(41);
    (0..3).for_each(|frame| assert_eq!(order.admit(frame), None));
    order.put_last(0, Standing::Main);
    order.release(1);
    assert_eq!((order.admit(40), order.admit(3)), (None, None), "they are in other queues by now");
    order.resize(40);
    assert_eq!(
        (order.admit(3), order.admit(3)),
        (Some(2), None),
        "the last frame is not one of these any more"
    );
}

#[test]
fn c6_a_sweep_over_busy_frames_ends() {
    let mut order = Order::full(100);
    let mut looks = 0;
    let busy = |_, _| {
        looks += 1;
        Verdict::Busy
    };
    assert_eq!(order.sweep(Reach::All, busy, |_, _| Some(())), None);
    assert!(looks <= 100 * (1 + 2 * (MAX_USAGE as usize + 2)), "{looks}");
}

#[test]
fn a_victim_costs_a_few_steps_however_many_frames_there_are() {
    const FRAMES: usize = 4000;
    const VICTIMS: usize = 20_000;
    let mut order = Order::full(FRAMES);
    let mut frames = FakeFrames::of([Verdict::Evictable; FRAMES]);
    let mut looks = 0;
    for at in 0..VICTIMS {
        // Every frame is used again and again: one use for each victim that is taken.
        let used = at * 7 % FRAMES;
        frames.0[used] = (Verdict::Used, (frames.0[used].1 + 1).min(MAX_USAGE));
        let look = |frame, queue| {
            looks += 1;
            frames.look(frame, queue)
        };
        let taken =
            order.sweep(Reach::All, look, |frame, verdict| (verdict == Verdict::Evictable).then_some(frame));
        frames.0[taken.unwrap()] = (Verdict::Evictable, 0);
    }
    assert!(looks <= 3 * VICTIMS, "{looks} looks for {VICTIMS} victims");
}

#[test]
fn frames_come_as_the_newest_and_leave_both_queues() {
    let mut order = Order::full(4);
    let mut frames = FakeFrames::of([
        Verdict::Used,
        Verdict::Evictable,
        Verdict::Used,
        Verdict::Evictable,
        Verdict::Evictable,
    ]);
    assert_eq!(order.victim(&mut frames), Some(1));
    assert_eq!(order.victim(&mut frames), Some(3));
    assert_eq!(order.queues(), (vec![1, 3], vec![0, 2]));
    order.resize(5);
    assert_eq!(order.queues(), (vec![1, 3, 4], vec![0, 2]));
    order.resize(2);
    assert_eq!((order.queues(), order.len(Standing::Small)), ((vec![1], vec![0]), 1));
    order.release(3);
    order.put_last(2, Standing::Main);
    assert_eq!(order.queues(), (vec![1], vec![0]), "those that have gone stay away");
    order.resize(0);
    assert_eq!(order.victim(&mut frames), None);
    order.resize(3);
    assert_eq!((order.queues(), order.len(Standing::Small)), ((vec![0, 1, 2], vec![]), 3));
}

#[test]
fn busy_frames_of_one_queue_do_not_keep_a_sweep_from_the_other() {
    const FRAMES: usize = 1000;
    let mut order = Order::full(FRAMES);
    (FRAMES / 2..FRAMES).for_each(|frame| order.put_last(frame, Standing::Main));
    let mut looks = 0;
    let look = |frame, _| {
        looks += 1;
        if frame < FRAMES / 2 { Verdict::Busy } else { Verdict::Evictable }
    };
    assert_eq!(order.sweep(Reach::All, look, |frame, _| Some(frame)), Some(FRAMES / 2));
    assert_eq!(looks, 2);
}

fn any_frame() -> impl Strategy<Value = (Verdict, u64)> {
    prop_oneof![
        4 => Just((Verdict::Busy, 0)),
        2 => (1..=MAX_USAGE).prop_map(|uses| (Verdict::Used, uses)),
        1 => Just((Verdict::Expected, 0)),
        3 => Just((Verdict::Dirty, 0)),
        1 => Just((Verdict::Evictable, 0)),
    ]
}

proptest! {
    #[test]
    fn c6_no_sweep_misses_a_victim(
        rounds in (1_usize..40).prop_flat_map(|frames| {
            prop::collection::vec(prop::collection::vec((any_frame(), any::<bool>()), 1..=frames), 1..6)
        }),
    ) {
        let mut order = Order::full(rounds[0].len());
        for frames in rounds {
            order.resize(frames.len());
            for (frame, _) in frames.iter().enumerate().filter(|(_, (_, returned))| *returned) {
                if order.list(Standing::Small).contains(&frame) {
                    order.note_return(frame);
                }
            }
            let mut frames = FakeFrames(frames.into_iter().map(|(frame, _)| frame).collect());
            let may_be_taken =
                |&(verdict, _): &(Verdict, u64)| !matches!(verdict, Verdict::Busy | Verdict::Dirty);
            let there_is_one = frames.0.iter().any(may_be_taken);
            prop_assert_eq!(order.victim(&mut frames).is_some(), there_is_one);
            let (mut all, main) = order.queues();
            prop_assert_eq!(all.len(), order.len(Standing::Small));
            all.extend(main);
            all.sort_unstable();
            prop_assert_eq!(all, (0..frames.0.len()).collect::<Vec<_>>(), "each frame is in one queue");
        }
    }

    #[test]
    fn every_frame_is_in_one_queue_whatever_becomes_of_it(
        frames in 0_usize..20, steps in prop::collection::vec((0_u8..6, 0_usize..20), 0..60),
    ) {
        let (mut order, mut frames) = (Order::new(frames), frames);
        // The free ones, the next to be taken last.
        let mut free: Vec<usize> = (0..frames).rev().collect();
        for (step, frame) in steps {
            match step {
                0 => prop_assert_eq!(order.take_free(|_| true), free.pop()),
                1 => {
                    order.release(frame);
                    free.retain(|&other| other != frame);
                    free.extend((frame < frames).then_some(frame));
                }
                2 if !free.contains(&frame) => order.put_last(frame, Standing::Small),
                3 if !free.contains(&frame) => order.put_last(frame, Standing::Main),
                4 => drop(order.victim(&mut FakeFrames::of(vec![Verdict::Evictable; frames]))),
                5 => {
                    order.resize(frame);
                    free.retain(|&other| other < frame);
                    frames = frame;
                }
                _ => {}
            }
            prop_assert!(order.list(Standing::Free).into_iter().eq(free.iter().rev().copied()));
            let queues = [Standing::Free, Standing::Small, Standing::Main].map(|queue| order.list(queue));
            let lens = [Standing::Free, Standing::Small, Standing::Main].map(|queue| order.len(queue));
            prop_assert_eq!(lens.to_vec(), queues.iter().map(Vec::len).collect::<Vec<_>>());
            let mut all = queues.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..frames).collect::<Vec<_>>());
        }
    }
}
