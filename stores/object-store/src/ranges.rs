//! Keeps pieces of something under ranges of offsets that do not overlap: [`RangeMap`].
//!
//! A later piece replaces what it covers and leaves the rest of what it covers in part. Neighbours that [`Piece::joined`] can put together become
//! one. Both the map of a file's stored bytes and the bytes that were written since are such maps.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

/// Something that covers a number of bytes and can be cut.
pub(crate) trait Piece: Clone {
    fn len(&self) -> u64;

    /// Returns the part of it from `part.start` to `part.end`, counted from its own beginning.
    fn part(&self, part: Range<u64>) -> Self;

    /// Returns it and `next` as one piece, where one piece can say both.
    fn joined(&self, next: &Self) -> Option<Self>;
}

#[derive(Debug, Clone)]
pub(crate) struct RangeMap<P> {
    pieces: BTreeMap<u64, P>,
}

impl<P> Default for RangeMap<P> {
    fn default() -> Self {
        Self { pieces: BTreeMap::new() }
    }
}

impl<P: Piece> RangeMap<P> {
    /// Removes what lies in `range`, and gives `gone` each part of a piece that it took.
    pub(crate) fn remove(&mut self, range: Range<u64>, mut gone: impl FnMut(P)) {
        if range.is_empty() {
            return;
        }
        if let Some((&start, piece)) = self.pieces.range(..range.start).next_back() {
            let end = start + piece.len();
            if end > range.start {
                let piece = piece.clone();
                let cut = end.min(range.end);
                gone(piece.part(range.start - start..cut - start));
                self.pieces.insert(start, piece.part(0..range.start - start));
                if end > range.end {
                    self.pieces.insert(range.end, piece.part(range.end - start..end - start));
                }
            }
        }
        while let Some((&start, _)) = self.pieces.range(range.clone()).next() {
            let piece = self.pieces.remove(&start).expect("it was just found");
            let end = start + piece.len();
            gone(piece.part(0..end.min(range.end) - start));
            if end > range.end {
                self.pieces.insert(range.end, piece.part(range.end - start..end - start));
            }
        }
    }

    /// Puts `piece` at `at`, in the place of what is there, and gives `gone` what it replaced.
    pub(crate) fn insert(&mut self, at: u64, piece: P, gone: impl FnMut(P)) {
        if piece.len() == 0 {
            return;
        }
        let end = at + piece.len();
        self.remove(at..end, gone);
        let (mut at, mut piece) = (at, piece);
        if let Some((&before, neighbour)) = self.pieces.range(..at).next_back()
            && before + neighbour.len() == at
            && let Some(joined) = neighbour.joined(&piece)
        {
            (at, piece) = (before, joined);
        }
        if let Some(neighbour) = self.pieces.get(&end)
            && let Some(joined) = piece.joined(neighbour)
        {
            self.pieces.remove(&end);
            piece = joined;
        }
        self.pieces.insert(at, piece);
    }

    /// Returns what covers `range`, in order and without a gap: `None` where nothing is.
    pub(crate) fn over(&self, range: Range<u64>) -> Vec<(Range<u64>, Option<P>)> {
        let mut found = Vec::new();
        let mut at = range.start;
        let begins_before = self.pieces.range(..range.start).next_back();
        let inside = self.pieces.range(range.start.min(range.end)..range.end);
        for (&start, piece) in begins_before.into_iter().chain(inside) {
            let (from, to) = (start.max(range.start), (start + piece.len()).min(range.end));
            if from >= to {
                continue;
            }
            if at < from {
                found.push((at..from, None));
            }
            found.push((from..to, Some(piece.part(from - start..to - start))));
            at = to;
        }
        if at < range.end {
            found.push((at..range.end, None));
        }
        found
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &P)> {
        self.pieces.iter().map(|(&at, piece)| (at, piece))
    }

    /// Takes the first piece out.
    pub(crate) fn pop_first(&mut self) -> Option<(u64, P)> {
        self.pieces.pop_first()
    }

    /// Returns how many pieces there are.
    pub(crate) fn count(&self) -> usize {
        self.pieces.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Bytes in memory. They are not joined: that would copy.
impl Piece for Bytes {
    fn len(&self) -> u64 {
        Bytes::len(self) as u64
    }

    fn part(&self, part: Range<u64>) -> Self {
        self.slice(part.start as usize..part.end as usize)
    }

    fn joined(&self, _next: &Self) -> Option<Self> {
        None
    }
}

/// A number of bytes and nothing more: a `RangeMap<Span>` is a set of ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u64);

impl Piece for Span {
    fn len(&self) -> u64 {
        self.0
    }

    fn part(&self, part: Range<u64>) -> Self {
        Self(part.end - part.start)
    }

    fn joined(&self, next: &Self) -> Option<Self> {
        Some(Self(self.0 + next.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEN: u64 = 200;

    fn as_vector(map: &RangeMap<Bytes>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (range, piece) in map.over(0..LEN) {
            assert_eq!(range.start, bytes.len() as u64, "the pieces follow each other");
            match piece {
                Some(piece) => bytes.extend_from_slice(&piece),
                None => bytes.resize(range.end as usize, 0),
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn a_range_map_reads_like_a_vector(
            steps in prop::collection::vec((0..LEN, 0..60u64, any::<bool>(), 1..=255u8), 1..60),
        ) {
            let mut vector = vec![0; LEN as usize];
            let mut map = RangeMap::default();
            for (at, len, insert, byte) in steps {
                let end = (at + len).min(LEN);
                let mut replaced = 0;
                let covered = vector[at as usize..end as usize].iter().filter(|&&byte| byte != 0).count() as u64;
                if insert {
                    map.insert(at, Bytes::from(vec![byte; (end - at) as usize]), |piece| replaced += Piece::len(&piece));
                    vector[at as usize..end as usize].fill(byte);
                } else {
                    map.remove(at..end, |piece| replaced += Piece::len(&piece));
                    vector[at as usize..end as usize].fill(0);
                }
                prop_assert_eq!(replaced, covered);
                prop_assert_eq!(&as_vector(&map), &vector);
                prop_assert_eq!(
                    map.over(at..end).iter().map(|(range, _)| range.end - range.start).sum::<u64>(),
                    end - at
                );
            }
        }

        #[test]
        fn a_set_of_ranges_has_no_two_neighbours_that_touch(
            steps in prop::collection::vec((0..LEN, 1..20u64), 1..60),
        ) {
            let mut set = RangeMap::default();
            for (at, len) in steps {
                set.insert(at, Span(len), |_| ());
            }
            let mut last = None;
            for (at, span) in set.iter() {
                prop_assert!(last.is_none_or(|end| end < at));
                last = Some(at + span.0);
            }
        }
    }
}
