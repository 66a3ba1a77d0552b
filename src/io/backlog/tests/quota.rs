//! The quota alone: which urgency goes next.

use proptest::prelude::*;

use crate::io::{
    backlog::{PASSED_OVER, Quota},
    operation::Urgency::{self, Background, Demand, Writeback},
};

fn chosen(quota: &mut Quota, can_go: &[Urgency], times: usize) -> Vec<Urgency> {
    (0..times).map_while(|_| quota.choose(|urgency| can_go.contains(&urgency))).collect()
}

#[test]
fn a_write_that_no_caller_waits_for_goes_after_four_demands() {
    let order = chosen(&mut Quota::default(), &[Demand, Writeback], 11);
    assert_eq!(order[..5], [Demand, Demand, Demand, Demand, Writeback]);
    assert_eq!(order[5..10], order[..5]);
}

#[test]
fn each_alone_goes_at_once() {
    for urgency in Urgency::ALL {
        assert_eq!(chosen(&mut Quota::default(), &[urgency], 3), [urgency; 3]);
    }
    assert_eq!(Quota::default().choose(|_| false), None);
}

#[test]
fn all_three_have_their_part() {
    let order = chosen(&mut Quota::default(), &Urgency::ALL, 450);
    let [demands, background, writes] =
        Urgency::ALL.map(|urgency| order.iter().filter(|&&other| other == urgency).count());
    assert_eq!((demands, background, writes), (315, 45, 90), "seven, one and two of ten");
}

#[test]
fn what_cannot_go_for_a_while_keeps_its_count() {
    let mut quota = Quota::default();
    assert_eq!(chosen(&mut quota, &[Demand, Writeback], 3), [Demand; 3]);
    assert_eq!(chosen(&mut quota, &[Demand], 20), [Demand; 20]);
    assert_eq!(chosen(&mut quota, &[Demand, Writeback], 2), [Demand, Writeback]);
}

proptest! {
    #[test]
    fn none_that_can_go_is_passed_over_without_bound(steps in prop::collection::vec(1_usize..8, 0..300)) {
        let mut quota = Quota::default();
        let mut passed_over = [0; Urgency::KINDS];
        for step in steps {
            let can_go = |urgency: Urgency| step >> urgency as usize & 1 == 1;
            let chosen = quota.choose(can_go).expect("one can go");
            prop_assert!(can_go(chosen));
            for urgency in [Background, Writeback].into_iter().filter(|&urgency| can_go(urgency)) {
                let count = &mut passed_over[urgency as usize];
                *count = if urgency == chosen { 0 } else { *count + 1 };
                // Where both are due at once, one of them waits for the other.
                prop_assert!(*count <= PASSED_OVER[urgency as usize] + 1);
            }
        }
    }
}
