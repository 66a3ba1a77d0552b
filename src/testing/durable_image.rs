//! A file's bytes on a medium with a cache: as they are read, and as a power cut may leave them.
//!
//! Changes are kept in order until a sync covers them. A power cut keeps or loses each sector of an unsynced write by itself, and
//! an atomic write as a whole. Of a file's lengths it keeps those up to some moment. What a sync covered is never lost.
//!
//! A sync that fails does what Linux does to what it covered: the bytes are read as before, and count as synced from then on, but
//! some of their sectors never reached the medium.

use std::collections::VecDeque;

use super::{rng::Dice, sim_disk::SECTOR};

#[derive(Clone, Default)]
pub(super) struct Medium {
    /// As they are read.
    bytes: Vec<u8>,
    /// As they would be, had every change since the last sync been lost.
    durable: Vec<u8>,
    unsynced: VecDeque<UnsyncedChange>,
    synced: u64,
}

#[derive(Clone)]
enum UnsyncedChange {
    Write { offset: usize, bytes: Vec<u8>, is_atomic: bool },
    Len(usize),
}

/// All changes that a sync would cover.
#[derive(Copy, Clone, Debug)]
pub(super) struct Mark(u64);

impl Medium {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), bytes, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len != self.len() {
            self.change(UnsyncedChange::Len(len));
        }
    }

    /// Writes bytes, behind the end too, which moves the end.
    pub(super) fn write(&mut self, offset: usize, bytes: Vec<u8>, is_atomic: bool) {
        self.change(UnsyncedChange::Write { offset, bytes, is_atomic });
    }

    fn change(&mut self, change: UnsyncedChange) {
        change.apply(&mut self.bytes);
        self.unsynced.push_back(change);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.synced + self.unsynced.len() as u64)
    }

    pub(super) fn sync(&mut self, mark: Mark) {
        while self.synced < mark.0
            && let Some(change) = self.unsynced.pop_front()
        {
            change.apply(&mut self.durable);
            self.synced += 1;
        }
    }

    /// Fails to sync what the mark covers: by chance, each sector is durable or will never be.
    pub(super) fn fail_to_sync(&mut self, mark: Mark, dice: &mut Dice) {
        while self.synced < mark.0
            && let Some(change) = self.unsynced.pop_front()
        {
            match &change {
                UnsyncedChange::Len(_) => change.apply(&mut self.durable),
                UnsyncedChange::Write { offset, bytes, is_atomic } => {
                    reach(&mut self.durable, offset + bytes.len());
                    keep_some(&mut self.durable, usize::MAX, (*offset, bytes, *is_atomic), dice);
                }
            }
            self.synced += 1;
        }
    }

    pub(super) fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let mut bytes = self.durable.clone();
        let lengths_kept = dice.below(self.unsynced.len() as u64 + 1) as usize;
        // Where a lost cut ended the file: what was written behind it since then went to blocks that are lost with it.
        let mut lost_end = usize::MAX;
        for (at, change) in self.unsynced.iter().enumerate() {
            match change {
                UnsyncedChange::Len(len) if at < lengths_kept => bytes.resize(*len, 0),
                UnsyncedChange::Len(len) => lost_end = lost_end.min(*len),
                UnsyncedChange::Write { offset, bytes: written, is_atomic } => {
                    if at < lengths_kept {
                        reach(&mut bytes, offset + written.len());
                    }
                    let end = bytes.len().min(lost_end);
                    keep_some(&mut bytes, end, (*offset, written, *is_atomic), dice);
                }
            }
        }
        Self::new(bytes)
    }
}

impl UnsyncedChange {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Len(len) => file.resize(*len, 0),
            Self::Write { offset, bytes, .. } => {
                let end = offset + bytes.len();
                reach(file, end);
                file[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

/// Adds zeros to a file that ends before `end`.
fn reach(file: &mut Vec<u8>, end: usize) {
    file.resize(file.len().max(end), 0);
}

/// Keeps of a write each sector that lies before `end`, or not, by chance; an atomic one as a whole.
fn keep_some(
    file: &mut [u8],
    end: usize,
    (offset, written, is_atomic): (usize, &[u8], bool),
    dice: &mut Dice,
) {
    let unit = if is_atomic { written.len() } else { SECTOR as usize };
    for (from, piece) in pieces(offset, written, unit) {
        if from + piece.len() <= end && dice.coin() {
            file[from..from + piece.len()].copy_from_slice(piece);
        }
    }
}

/// Returns the pieces of a write that lie in one unit each, with their places in the file.
pub(super) fn pieces(offset: usize, bytes: &[u8], unit: usize) -> impl Iterator<Item = (usize, &[u8])> {
    let (mut at, mut rest) = (offset, bytes);
    std::iter::from_fn(move || {
        let piece;
        (piece, rest) = rest.split_at((unit - at % unit).min(rest.len()));
        at += piece.len();
        (!piece.is_empty()).then(|| (at - piece.len(), piece))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const S: usize = SECTOR as usize;

    /// Returns all that a power cut leaves in 500 tries, as the first byte of every sector.
    fn outcomes(medium: &Medium) -> BTreeSet<Vec<u8>> {
        let image = |seed| medium.after_power_cut(&mut Dice::new(seed)).bytes().to_vec();
        (0..500).map(|seed| image(seed).chunks(S).map(|sector| sector[0]).collect()).collect()
    }

    fn set<const N: usize>(all: [&[u8]; N]) -> BTreeSet<Vec<u8>> {
        all.into_iter().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn each_sector_is_kept_or_lost_by_itself() {
        let mut medium = Medium::new(vec![1; 3 * S]);
        medium.write(0, vec![2; 2 * S], false);
        assert_eq!(outcomes(&medium), set([&[1, 1, 1], &[1, 2, 1], &[2, 1, 1], &[2, 2, 1]]));
        medium.write(S, vec![3; S], false);
        assert_eq!(outcomes(&medium).iter().map(|image| image[1]).collect::<BTreeSet<_>>(), [1, 2, 3].into());
        assert_eq!(medium.bytes()[S], 3);
    }

    #[test]
    fn an_atomic_write_is_kept_or_lost_as_a_whole() {
        let mut medium = Medium::new(vec![1; 4 * S]);
        medium.write(2 * S, vec![2; 2 * S], true);
        assert_eq!(outcomes(&medium), set([&[1, 1, 1, 1], &[1, 1, 2, 2]]));
    }

    #[test]
    fn a_sync_keeps_what_was_changed_before_it_began() {
        let mut medium = Medium::new(vec![1; 2 * S]);
        medium.write(0, vec![2; S], false);
        let (first, again) = (medium.mark(), medium.mark());
        medium.write(S, vec![3; S], false);
        medium.sync(first);
        medium.sync(again);
        assert_eq!(medium.durable()[..S], [2; S]);
        assert_eq!(outcomes(&medium), set([&[2, 1], &[2, 3]]));
        medium.sync(medium.mark());
        assert_eq!(outcomes(&medium), set([&[2, 3]]));
    }

    #[test]
    fn a_sync_that_fails_loses_for_good_what_it_covered() {
        let mut ends = BTreeSet::new();
        for seed in 0..100 {
            let mut medium = Medium::new(vec![1; 2 * S]);
            medium.write(0, vec![2; 2 * S], false);
            let mark = medium.mark();
            medium.write(S, vec![3; S], false);
            medium.fail_to_sync(mark, &mut Dice::new(seed));
            assert_eq!((medium.bytes()[0], medium.bytes()[S]), (2, 3), "read as before");
            let before = medium.durable().to_vec();
            medium.sync(medium.mark());
            assert_eq!(medium.durable()[S], 3, "a write that the failed sync did not cover");
            assert_eq!(medium.durable()[..S], before[..S], "a second sync makes no difference");
            ends.insert((before[0], before[S]));
        }
        assert_eq!(ends, [(1, 1), (1, 2), (2, 1), (2, 2)].into());
    }

    #[test]
    fn lengths_are_kept_up_to_some_moment_and_fresh_space_is_zero() {
        let mut medium = Medium::new(vec![1; S]);
        medium.set_len(2 * S);
        medium.write(S, vec![2; S], false);
        medium.write(2 * S, vec![3; S], false);
        let all = set([&[1], &[1, 0], &[1, 2], &[1, 0, 0], &[1, 2, 0], &[1, 0, 3], &[1, 2, 3]]);
        assert_eq!(outcomes(&medium), all);
    }

    #[test]
    fn what_was_cut_comes_back_only_as_it_was() {
        let mut medium = Medium::new(vec![1; 2 * S]);
        medium.set_len(S);
        medium.set_len(2 * S);
        medium.write(S, vec![2; S], false);
        assert_eq!(outcomes(&medium), set([&[1, 1], &[1], &[1, 0], &[1, 2]]));
    }
}
