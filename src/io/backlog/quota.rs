//! Which urgency goes next. Pure.
//!
//! Of those that can go, the most urgent one goes, unless another has been passed over as often in a row as its quota says. So
//! demands go first, and neither reads ahead nor writes that no caller waits for ever starve.

use crate::io::operation::Urgency;

/// How often each urgency is passed over before it goes: background reads eight times, writeback four.
const PASSED_OVER: [u32; Urgency::KINDS] = [0, 8, 4];

/// How often each urgency has been passed over.
#[derive(Default)]
pub(super) struct Quota {
    passed_over: [u32; Urgency::KINDS],
}

impl Quota {
    /// Chooses among the urgencies for which `can_go` holds, and counts the others as passed over. One that could not go keeps
    /// its count: otherwise it would begin anew each time its file has its share in flight.
    pub(super) fn choose(&mut self, mut can_go: impl FnMut(Urgency) -> bool) -> Option<Urgency> {
        let can_go = Urgency::ALL.map(|urgency| can_go(urgency).then_some(urgency));
        let waiting = || can_go.into_iter().flatten();
        let overdue = |urgency: &Urgency| {
            self.passed_over[*urgency as usize].checked_sub(PASSED_OVER[*urgency as usize])
        };
        let is_due = |urgency: &Urgency| *urgency != Urgency::Demand && overdue(urgency).is_some();
        // Of several, the one that has waited longest beyond its quota; otherwise the least urgent, which all others pass over.
        let due = waiting().filter(is_due).max_by_key(overdue).filter(|_| !seeded!("writes_without_a_quota"));
        let chosen = due.or_else(|| waiting().next())?;
        for urgency in waiting() {
            self.passed_over[urgency as usize] += 1;
        }
        self.passed_over[chosen as usize] = 0;
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        Urgency::{Background, Demand, Writeback},
        *,
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
}
