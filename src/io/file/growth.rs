//! Which extension gets which blocks when a file grows: the pure part, without locks and without a disk.
//!
//! On disk a file may be longer than the pool says. Of the blocks that are *ready*, zeroed on disk, the first ones are *published*; the
//! others are for later extensions, without I/O. An extension that finds too few gets in line with a wish. One write zeroes for all in line,
//! and only then are numbers given out, in the order of the line: a number is given once, and a write that fails leaves no gap. It is tried
//! again with less, because a long line must not fail one short wish.
//!
//! Invariants: published <= ready; while a wish is in line, only wishes in line get blocks.

use std::collections::VecDeque;

use crate::error::{Error, Result};

/// The right to the result of one wish.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrowthTicket(u64);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What all in line wish for, and a step ahead.
    Ahead,
    /// What all in line wish for.
    All,
    /// What the first in line wishes for.
    First,
}

/// One try to zero enough.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZeroingRound {
    /// The first block that is not ready.
    pub(crate) from: u32,
    /// Where the file would end; may be further than blocks have numbers.
    pub(crate) to: u64,
    /// Those in line that are served by it.
    wishes: usize,
}

#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) ready: u32,
    step: u32,
    /// Those in line, and how many blocks they wish for.
    line: VecDeque<(GrowthTicket, u32)>,
    /// What came of the wishes that were not collected yet: their first block.
    outcomes: Vec<(GrowthTicket, Result<u32>)>,
    tickets: u64,
    /// A step ahead was ordered, and has not been begun.
    ahead_is_ordered: bool,
    /// Blocks that are not ready may be on disk: left by a growth that failed.
    pub(crate) has_remains: bool,
}

impl Growth {
    pub(crate) fn new(blocks: u32, step: u32) -> Self {
        let (line, outcomes) = (VecDeque::new(), Vec::new());
        Self { ready: blocks, step, line, outcomes, tickets: 0, ahead_is_ordered: false, has_remains: false }
    }

    /// Returns the new end where `wish` more blocks can be published at once.
    pub(crate) fn end_at_once(&self, blocks: u32, wish: u32) -> Option<u32> {
        (self.line.is_empty() && wish <= self.ready - blocks).then(|| blocks + wish)
    }

    pub(crate) fn get_in_line(&mut self, wish: u32) -> GrowthTicket {
        self.tickets += 1;
        let ticket = GrowthTicket(self.tickets);
        self.line.push_back((ticket, wish));
        ticket
    }

    /// Returns what came of a wish; `None` while it is in line. Given once.
    pub(crate) fn collect(&mut self, ticket: GrowthTicket) -> Option<Result<u32>> {
        let at = self.outcomes.iter().position(|(of, _)| *of == ticket)?;
        Some(self.outcomes.swap_remove(at).1)
    }

    pub(crate) fn round(&self, blocks: u32, effort: Effort) -> ZeroingRound {
        let wishes = if effort == Effort::First { self.line.len().min(1) } else { self.line.len() };
        let wished: u64 = self.line.iter().take(wishes).map(|&(_, wish)| u64::from(wish)).sum();
        let needed = u64::from(blocks) + wished;
        let to = match effort {
            // The step is optional: a growth that would otherwise fit never has too many blocks because of it.
            Effort::Ahead => needed.max((needed + u64::from(self.step)).min(u64::from(u32::MAX))),
            Effort::All | Effort::First => needed,
        };
        ZeroingRound { from: self.ready, to: to.max(u64::from(self.ready)), wishes }
    }

    /// Returns the effort to go on with after `failed`, if a lesser one asks for less.
    pub(crate) fn lesser(&self, blocks: u32, failed: ZeroingRound) -> Option<Effort> {
        [Effort::All, Effort::First].into_iter().find(|&effort| {
            let round = self.round(blocks, effort);
            round.to < failed.to && round.wishes > 0
        })
    }

    /// Grants the wishes that the round serves: everything before `end` is zeroed. Returns the end to publish.
    pub(crate) fn grant(&mut self, mut blocks: u32, round: ZeroingRound, end: u32) -> u32 {
        self.ready = end;
        for (ticket, wish) in self.line.drain(..round.wishes) {
            self.outcomes.push((ticket, Ok(blocks)));
            blocks += wish;
        }
        blocks
    }

    /// Refuses the first wish in line: not even that can be served.
    pub(crate) fn refuse_first(&mut self, error: Error) {
        self.outcomes.extend(self.line.pop_front().map(|(ticket, _)| (ticket, Err(error))));
    }

    /// Withdraws a wish. Not while a round is played for others.
    pub(crate) fn withdraw(&mut self, ticket: GrowthTicket) {
        self.line.retain(|(of, _)| *of != ticket);
        self.outcomes.retain(|(of, _)| *of != ticket);
    }

    /// Returns whether a step should be zeroed ahead now. True once, until that has been [done](Self::ahead_is_done).
    pub(crate) fn order_ahead(&mut self, blocks: u32) -> bool {
        let is_low = self.ready - blocks < self.step / 2;
        is_low && !std::mem::replace(&mut self.ahead_is_ordered, true)
    }

    pub(crate) fn ahead_is_done(&mut self) {
        self.ahead_is_ordered = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_line(growth: &mut Growth, wishes: &[u32]) -> Vec<GrowthTicket> {
        wishes.iter().map(|&wish| growth.get_in_line(wish)).collect()
    }

    /// Returns what the tickets came to: the first block of each, or nothing for an error.
    fn outcomes(growth: &mut Growth, tickets: &[GrowthTicket]) -> Vec<Option<u32>> {
        tickets.iter().map(|&ticket| growth.collect(ticket).expect("an outcome").ok()).collect()
    }

    #[test]
    fn one_round_serves_all_in_line_in_their_order() {
        let mut growth = Growth::new(10, 0);
        let tickets = in_line(&mut growth, &[1, 5, 2]);
        let round = growth.round(10, Effort::Ahead);
        assert_eq!((round.from, round.to), (10, 18));
        // A wish that comes while it is zeroed waits for the next round.
        let late = growth.get_in_line(1);
        assert_eq!(growth.grant(10, round, 18), 18);
        assert_eq!(outcomes(&mut growth, &tickets), [Some(10), Some(11), Some(16)]);
        assert!(growth.collect(late).is_none());
        assert_eq!(growth.round(18, Effort::Ahead).to, 19);
    }

    #[test]
    fn what_is_ready_is_had_at_once_unless_a_caller_is_in_line() {
        let mut growth = Growth::new(10, 8);
        assert_eq!(growth.end_at_once(10, 1), None);
        let ticket = growth.get_in_line(1);
        let round = growth.round(10, Effort::Ahead);
        assert_eq!(round.to, 19);
        let blocks = growth.grant(10, round, 19);
        assert_eq!((blocks, outcomes(&mut growth, &[ticket]), growth.ready), (11, vec![Some(10)], 19));
        assert_eq!(growth.end_at_once(11, 8), Some(19));
        assert_eq!(growth.end_at_once(11, 9), None);
        growth.get_in_line(9);
        assert_eq!(growth.end_at_once(11, 1), None, "no caller overtakes");
    }

    #[test]
    fn a_failure_is_followed_by_less_as_long_as_there_is_less() {
        let mut growth = Growth::new(10, 8);
        let tickets = in_line(&mut growth, &[1, 5]);
        let mut efforts = vec![Effort::Ahead];
        while let Some(less) = growth.lesser(10, growth.round(10, *efforts.last().unwrap())) {
            efforts.push(less);
        }
        assert_eq!(efforts, [Effort::Ahead, Effort::All, Effort::First]);
        growth.refuse_first(Error::ShutDown);
        let round = growth.round(10, Effort::First);
        assert_eq!((round.from, round.to), (10, 15), "the failed caller's blocks are the next one's");
        growth.grant(10, round, 15);
        assert_eq!(outcomes(&mut growth, &tickets), [None, Some(10)]);
    }

    #[test]
    fn the_same_is_not_tried_twice() {
        let mut alone = Growth::new(10, 0);
        alone.get_in_line(3);
        assert_eq!(alone.lesser(10, alone.round(10, Effort::Ahead)), None);
        let mut together = Growth::new(10, 0);
        in_line(&mut together, &[3, 3]);
        assert_eq!(together.lesser(10, together.round(10, Effort::Ahead)), Some(Effort::First));
        let no_caller = Growth::new(10, 8);
        assert_eq!(
            no_caller.lesser(10, no_caller.round(10, Effort::Ahead)),
            None,
            "only the step had been wanted"
        );
    }

    #[test]
    fn the_step_ends_where_the_numbers_end_and_a_wish_may_go_beyond() {
        let blocks = u32::MAX - 3;
        let mut growth = Growth::new(blocks, 100);
        growth.get_in_line(3);
        assert_eq!(growth.round(blocks, Effort::Ahead).to, u64::from(u32::MAX));
        growth.get_in_line(1);
        assert_eq!(growth.round(blocks, Effort::Ahead).to, 1 << 32);
        assert_eq!(growth.lesser(blocks, growth.round(blocks, Effort::Ahead)), Some(Effort::First));
    }

    #[test]
    fn zeroing_ahead_is_ordered_once_when_half_of_it_is_used() {
        let mut growth = Growth::new(0, 8);
        growth.ready = 8;
        assert!(!growth.order_ahead(4));
        assert!(growth.order_ahead(5));
        assert!(!growth.order_ahead(6), "it is under way");
        growth.ready = 14;
        growth.ahead_is_done();
        assert!(!growth.order_ahead(6) && growth.order_ahead(11));
        assert!(!Growth::new(0, 0).order_ahead(0), "no step, no order");
    }
}
