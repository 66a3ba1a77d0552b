//! A shard of the lines: who waits, in order of arrival, and how each leaves it. Used under the shard's lock.

use std::task::{Poll, Waker};

use crate::{
    error::Result,
    id::FrameNo,
    pool::{
        frame::Frame,
        waiters::{
            Ticket, Wakers, Want,
            fairness::{self, Pass, Turns},
        },
    },
    sync::time,
};

pub(super) struct Entry {
    frame: FrameNo,
    number: u64,
    pub(super) want: Want,
    pub(super) waker: Waker,
    pub(super) stage: Stage,
}

/// How far a waiter has come.
pub(super) enum Stage {
    Waiting,
    /// Waiting for a latch, for which he was called and came too late: it is handed to him.
    HasTurn,
    /// Woken to come for the latch, which others may have taken when he does.
    Called,
    /// The latch is held on his behalf, or the I/O ended like this.
    Served(Result<()>),
}

impl Entry {
    pub(super) fn waits(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::HasTurn)
    }

    fn waits_for_latch(&self, frame: FrameNo) -> bool {
        self.frame == frame && self.want.is_latch() && self.waits()
    }
}

#[derive(Default)]
pub(super) struct Shard {
    entries: Vec<Entry>,
    next_number: u64,
    turns: Turns,
}

impl Shard {
    /// At the end of its line.
    pub(super) fn push(&mut self, frame: FrameNo, want: Want, waker: Waker) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        self.entries.push(Entry { frame, number, want, waker, stage: Stage::Waiting });
        Ticket { frame, number }
    }

    pub(super) fn remove(&mut self, ticket: &Ticket) -> Entry {
        let index = self.position(ticket);
        self.entries.remove(index)
    }

    pub(super) fn is_called(&self, ticket: &Ticket) -> bool {
        matches!(self.entries[self.position(ticket)].stage, Stage::Called)
    }

    /// The frame's, in order of arrival.
    pub(super) fn line(&self, frame: FrameNo) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.frame == frame)
    }

    pub(super) fn line_mut(&mut self, frame: FrameNo) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut().filter(move |entry| entry.frame == frame)
    }

    /// Takes out who was served; else remembers the waker.
    pub(super) fn collect(&mut self, ticket: &Ticket, waker: &Waker) -> Poll<Result<()>> {
        let index = self.position(ticket);
        if let Stage::Served(_) = self.entries[index].stage
            && let Stage::Served(outcome) = self.entries.remove(index).stage
        {
            return Poll::Ready(outcome);
        }
        self.entries[index].waker.clone_from(waker);
        Poll::Pending
    }

    /// Who was called for the latch comes for it: he has it, or waits on in his place.
    pub(super) fn come(&mut self, ticket: &Ticket, frame: &Frame) {
        let want = self.entries[self.position(ticket)].want;
        let others_wait = self.entries.iter().any(|entry| entry.waits_for_latch(ticket.frame));
        let stage = if frame.state.decide(|state| fairness::come(state, want, others_wait)) {
            Stage::Served(Ok(()))
        } else if self.turns.give(time::now()) {
            Stage::HasTurn
        } else {
            Stage::Waiting
        };
        let index = self.position(ticket);
        self.entries[index].stage = stage;
    }

    /// Passes a latch on that was let go: to the first in line and, if that one shares it, to those right behind who share it too.
    pub(super) fn pass_on(&mut self, no: FrameNo, frame: &Frame, wakers: &mut Wakers) {
        let mut line = self.entries.iter_mut().filter(|entry| entry.waits_for_latch(no)).peekable();
        if line.peek().is_none() {
            frame.state.update(|state| state.set_latch_waiters(false));
        }
        while let Some(first) = line.next() {
            let (want, has_turn) = (first.want, matches!(first.stage, Stage::HasTurn));
            let next = line.peek().map(|next| next.want);
            let pass = frame.state.decide(|state| fairness::pass_on(state, want, has_turn, next.is_some()));
            first.stage = match pass {
                Pass::Later => return,
                Pass::Call => Stage::Called,
                Pass::HandOver => Stage::Served(Ok(())),
            };
            wakers.push(first.waker.clone());
            if (want, next) != (Want::Shared, Some(Want::Shared)) {
                return;
            }
        }
    }

    fn position(&self, ticket: &Ticket) -> usize {
        let found = self.entries.iter().position(|entry| entry.number == ticket.number);
        found.expect("a ticket is in its list until it is collected or cancelled")
    }
}
