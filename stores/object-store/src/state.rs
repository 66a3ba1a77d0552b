//! What a writer knows of its file, without I/O: the map, the bytes written since they were last frozen, and what changed since the last sync.
//!
//! [`State::write`] collects. [`State::freeze`] lays collected bytes out as an immutable segment, which the map names at once, and whose bytes stay
//! here until [`State::put_ended`]. [`State::read`] says for each part of a range where its bytes are: here, in an object, or nowhere (zeros).
//! [`State::take_changes`] says what a sync has to publish.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use crate::names::ObjectId;
use crate::page_map::{Changes, PageMap, Place};
use crate::ranges::{Piece, RangeMap, Span};

/// Where the bytes of a part of a file are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Memory(Bytes),
    Stored(Place),
    /// This many zeros.
    Zeros(u64),
}

/// Returns the bytes of sources of which none has to be fetched, as one. Otherwise gives the sources back.
pub(crate) fn in_memory(sources: Vec<Source>) -> Result<Bytes, Vec<Source>> {
    if let [Source::Memory(bytes)] = &sources[..] {
        return Ok(bytes.clone());
    }
    if sources.iter().any(|source| matches!(source, Source::Stored(_))) {
        return Err(sources);
    }
    let mut bytes = Vec::new();
    for source in sources {
        match source {
            Source::Memory(memory) => bytes.extend_from_slice(&memory),
            Source::Zeros(count) => bytes.resize(bytes.len() + count as usize, 0),
            Source::Stored(_) => unreachable!("there is none"),
        }
    }
    Ok(bytes.into())
}

/// Bytes that are put as one object.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: ObjectId,
    pub(crate) payload: Vec<Bytes>,
    pub(crate) size: u32,
}

#[derive(Debug)]
pub(crate) struct State {
    page: u64,
    len: u64,
    pub(crate) map: PageMap,
    /// Written, and in no segment yet.
    collected: RangeMap<Bytes>,
    collected_bytes: u64,
    /// In segments that are being put: by their places there.
    frozen: BTreeMap<ObjectId, RangeMap<Bytes>>,
    frozen_bytes: u64,
    /// Where the map, or what it has to say, changed since the last sync.
    changed: RangeMap<Span>,
    published_len: u64,
    next: ObjectId,
}

impl State {
    /// The state of a writer with `epoch` that has loaded `map`.
    pub(crate) fn new(page: u64, len: u64, map: PageMap, epoch: u64) -> Self {
        Self {
            page,
            len,
            map,
            collected: RangeMap::default(),
            collected_bytes: 0,
            frozen: BTreeMap::new(),
            frozen_bytes: 0,
            changed: RangeMap::default(),
            published_len: len,
            next: ObjectId::first(epoch),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn collected_bytes(&self) -> u64 {
        self.collected_bytes
    }

    /// Returns how many bytes of pages are in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.collected_bytes + self.frozen_bytes
    }

    /// Returns a name for an object that was not given before.
    pub(crate) fn next_object(&mut self) -> ObjectId {
        let id = self.next;
        self.next = id.next();
        id
    }

    /// Keeps a copy of `bytes`, page by page, so that a page that is written again frees the memory of its earlier bytes. Pages of zeros are not kept,
    /// nor stored: a file grows by them.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut offset = at;
        let mut rest = bytes;
        while !rest.is_empty() {
            let to_page_end = self.page - offset % self.page;
            let (part, later) =
                rest.split_at(rest.len().min(usize::try_from(to_page_end).unwrap_or(usize::MAX)));
            if part.iter().all(|&byte| byte == 0) {
                self.clear(offset..offset + part.len() as u64);
            } else {
                self.collect(offset, Bytes::copy_from_slice(part));
            }
            offset += part.len() as u64;
            rest = later;
        }
        self.len = self.len.max(offset);
    }

    fn collect(&mut self, at: u64, bytes: Bytes) {
        self.collected_bytes += bytes.len() as u64;
        let mut replaced = 0;
        self.collected.insert(at, bytes, |piece| replaced += Piece::len(&piece));
        self.collected_bytes -= replaced;
    }

    /// Makes zeros of `range`.
    fn clear(&mut self, range: Range<u64>) {
        let mut removed = 0;
        self.collected.remove(range.clone(), |piece| removed += Piece::len(&piece));
        self.collected_bytes -= removed;
        self.map.remove(range.clone());
        self.changed.insert(range.start, Span(range.end - range.start), |_| ());
    }

    /// Cuts the file, or adds zeros to its end.
    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.clear(len..self.len);
        }
        self.len = len;
    }

    /// Returns where the bytes of `range` are, in order. What lies beyond the end of the file is left out.
    pub(crate) fn read(&self, range: Range<u64>) -> Vec<Source> {
        let range = range.start..range.end.min(self.len);
        let mut sources = Vec::new();
        for (range, bytes) in self.collected.over(range) {
            match bytes {
                Some(bytes) => sources.push(Source::Memory(bytes)),
                None => {
                    self.map.over(range).into_iter().for_each(|(range, place)| match place {
                        Some(place) => sources.extend(self.read_place(place)),
                        None => sources.push(Source::Zeros(range.end - range.start)),
                    });
                }
            }
        }
        sources
    }

    /// Returns where the bytes of a place are, which the map names or did so a moment ago.
    pub(crate) fn read_place(&self, place: Place) -> Vec<Source> {
        match self.frozen.get(&place.object) {
            Some(payload) => {
                let pieces = payload.over(place.range()).into_iter();
                pieces.map(|(_, bytes)| Source::Memory(bytes.expect("a segment has no gaps"))).collect()
            }
            None => vec![Source::Stored(place)],
        }
    }

    /// Lays out collected bytes, `most` at the most, in the order of the file. `None` when none are collected.
    pub(crate) fn freeze(&mut self, most: u32) -> Option<Segment> {
        if self.collected.is_empty() {
            return None;
        }
        let id = self.next_object();
        let (mut payload, mut places, mut frozen) = (Vec::new(), Vec::new(), RangeMap::default());
        let mut size = 0;
        while let Some((at, bytes)) = self.collected.pop_first() {
            let len = bytes.len() as u32;
            if size > 0 && size + len > most {
                self.collected.insert(at, bytes, |_| ());
                break;
            }
            frozen.insert(size.into(), bytes.clone(), |_| ());
            payload.push(bytes);
            places.push((at, Place { object: id, at: size, len }));
            size += len;
        }
        self.map.add_object(id, size);
        for (at, place) in places {
            self.map.insert(at, place);
            self.changed.insert(at, Span(place.len.into()), |_| ());
        }
        self.frozen.insert(id, frozen);
        self.frozen_bytes += u64::from(size);
        self.collected_bytes -= u64::from(size);
        Some(Segment { id, payload, size })
    }

    /// Forgets the bytes of a segment that is in the store now.
    pub(crate) fn put_ended(&mut self, id: ObjectId) {
        if let Some(payload) = self.frozen.remove(&id) {
            self.frozen_bytes -= payload.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        }
    }

    /// Returns whether the file is other than at the last sync.
    pub(crate) fn is_changed(&self) -> bool {
        self.len != self.published_len || !self.changed.is_empty() || !self.collected.is_empty()
    }

    /// Returns what changed since the last call, and the length that goes with it. All that was collected was frozen before.
    pub(crate) fn take_changes(&mut self) -> (Changes, u64) {
        debug_assert!(self.collected.is_empty());
        let changed = std::mem::take(&mut self.changed);
        self.published_len = self.len;
        (self.map.changes(changed.iter().map(|(at, span)| at..at + span.0)), self.len)
    }

    /// Collects the bytes of `place`, which was at `at` a while ago, again: but only where the file still has them there.
    pub(crate) fn rewrite(&mut self, at: u64, place: Place, bytes: &Bytes) {
        let mut again = Vec::new();
        for (range, written) in self.collected.over(at..at + Piece::len(&place)) {
            if written.is_none() {
                for (range, now) in self.map.over(range) {
                    let part = range.start - at..range.end - at;
                    if now == Some(place.part(part.clone())) {
                        again.push((range.start, Piece::part(bytes, part)));
                    }
                }
            }
        }
        for (at, bytes) in again {
            // Page by page, as a write does.
            let len = self.len;
            self.write(at, &bytes);
            self.len = len;
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
