//! Says where each byte of a file is stored: [`PageMap`], runs of neighbouring bytes in neighbouring places of one object.
//!
//! A run costs 44 bytes of memory and 10 in the store (`what_a_run_costs` below), however long it is. The map also counts, for each object, how many of its bytes
//! are still named, which is what the choice of objects to rewrite and to remove is made from. A map is stored whole, as a *base*
//! ([`PageMap::encoded`]), or as the *changes* of one sync ([`Changes`]), which are laid over a base in their order.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::encode::{Decoder, Encoder, KIND_BYTES, damaged};
use crate::names::ObjectId;
use crate::ranges::{Piece, RangeMap};

const BASE: &[u8; KIND_BYTES] = b"rpbase01";
const CHANGES: &[u8; KIND_BYTES] = b"rpchng01";

/// Bytes of an object: `len` of them from `at` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) object: ObjectId,
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Place {
    pub(crate) fn range(self) -> Range<u64> {
        u64::from(self.at)..u64::from(self.at) + u64::from(self.len)
    }
}

impl Piece for Place {
    fn len(&self) -> u64 {
        u64::from(self.len)
    }

    fn part(&self, part: Range<u64>) -> Self {
        debug_assert!(part.start <= part.end && part.end <= u64::from(self.len));
        Self { object: self.object, at: self.at + part.start as u32, len: (part.end - part.start) as u32 }
    }

    fn joined(&self, next: &Self) -> Option<Self> {
        let follows = self.object == next.object && self.at + self.len == next.at;
        follows.then_some(Self { len: self.len + next.len, ..*self })
    }
}

/// How much of an object is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    /// Bytes of pages in the object.
    pub(crate) size: u32,
    /// Of these, the bytes that the map names.
    pub(crate) live: u64,
}

/// Where the bytes of a file are, and how much of each object is in use. Bytes that no run covers are zeros.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageMap {
    runs: RangeMap<Place>,
    objects: BTreeMap<ObjectId, Use>,
    /// Bytes of pages in all objects, and of these the bytes that the map names.
    stored: u64,
    live: u64,
}

/// What a sync changed: for ranges in order, where their bytes are now; `None` for zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The objects that the runs name, with their sizes.
    pub(crate) objects: BTreeMap<ObjectId, u32>,
    pub(crate) runs: Vec<(Range<u64>, Option<Place>)>,
}

impl PageMap {
    /// Lets the map name an object of `size` bytes.
    pub(crate) fn add_object(&mut self, id: ObjectId, size: u32) {
        if self.objects.insert(id, Use { size, live: 0 }).is_none() {
            self.stored += u64::from(size);
        }
    }

    /// Says that `place` holds what the file has at `at`. Its object was added before.
    pub(crate) fn insert(&mut self, at: u64, place: Place) {
        let mut replaced = Vec::new();
        self.runs.insert(at, place, |place| replaced.push(place));
        let used =
            self.objects.get_mut(&place.object).expect("an object is added before its places are named");
        used.live += u64::from(place.len);
        self.live += u64::from(place.len);
        self.no_longer_named(&replaced);
    }

    /// Says that the file has zeros in `range`.
    pub(crate) fn remove(&mut self, range: Range<u64>) {
        let mut removed = Vec::new();
        self.runs.remove(range, |place| removed.push(place));
        self.no_longer_named(&removed);
    }

    fn no_longer_named(&mut self, places: &[Place]) {
        for place in places {
            self.live -= u64::from(place.len);
            let used = self.objects.get_mut(&place.object).expect("a named object is counted");
            used.live -= u64::from(place.len);
            if used.live == 0 {
                self.stored -= u64::from(used.size);
                self.objects.remove(&place.object);
            }
        }
    }

    pub(crate) fn over(&self, range: Range<u64>) -> Vec<(Range<u64>, Option<Place>)> {
        self.runs.over(range)
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, Place)> {
        self.runs.iter().map(|(at, &place)| (at, place))
    }

    pub(crate) fn run_count(&self) -> usize {
        self.runs.count()
    }

    /// Returns each object of which the map names a byte.
    pub(crate) fn objects(&self) -> impl ExactSizeIterator<Item = (ObjectId, Use)> {
        self.objects.iter().map(|(&id, &used)| (id, used))
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live
    }

    /// Lays the changes of a later sync over the map.
    pub(crate) fn apply(&mut self, changes: &Changes) {
        for (range, place) in &changes.runs {
            match place {
                Some(place) => {
                    if !self.objects.contains_key(&place.object) {
                        self.add_object(place.object, changes.objects[&place.object]);
                    }
                    self.insert(range.start, *place);
                }
                None => self.remove(range.clone()),
            }
        }
    }

    /// Returns what the map says of `ranges`, which are in order and do not overlap.
    pub(crate) fn changes(&self, ranges: impl Iterator<Item = Range<u64>>) -> Changes {
        let mut changes = Changes::default();
        for range in ranges {
            for (range, place) in self.over(range) {
                if let Some(place) = place {
                    changes.objects.insert(place.object, self.objects[&place.object].size);
                }
                changes.runs.push((range, place));
            }
        }
        changes
    }

    /// Returns the whole map as one object.
    pub(crate) fn encoded(&self) -> Bytes {
        let objects = self.objects.iter().map(|(&id, used)| (id, used.size));
        let runs = self.runs.iter().map(|(at, &place)| (at..at + Piece::len(&place), Some(place)));
        encoded(BASE, objects, self.runs.count(), runs)
    }

    /// Reads a map that [`PageMap::encoded`] wrote.
    pub(crate) fn decoded(bytes: &[u8]) -> io::Result<Self> {
        let mut map = Self::default();
        map.apply(&decoded(BASE, bytes)?);
        Ok(map)
    }
}

impl Changes {
    pub(crate) fn encoded(&self) -> Bytes {
        let objects = self.objects.iter().map(|(&id, &size)| (id, size));
        encoded(CHANGES, objects, self.runs.len(), self.runs.iter().cloned())
    }

    pub(crate) fn decoded(bytes: &[u8]) -> io::Result<Self> {
        decoded(CHANGES, bytes)
    }
}

/// Each run is its distance from the end of the last, its length, its object as an index (0 for zeros), and its place as the distance from the end of
/// the last place: small numbers, mostly.
fn encoded(
    kind: &[u8; KIND_BYTES],
    objects: impl ExactSizeIterator<Item = (ObjectId, u32)>,
    run_count: usize,
    runs: impl Iterator<Item = (Range<u64>, Option<Place>)>,
) -> Bytes {
    let mut encoder = Encoder::new(kind);
    encoder.count(objects.len());
    let mut index = BTreeMap::new();
    let mut last = 0;
    for (id, size) in objects {
        encoder.number(id.0 - last);
        encoder.number(size.into());
        last = id.0;
        index.insert(id, index.len() + 1);
    }
    encoder.count(run_count);
    let (mut end, mut place_end) = (0, 0u32);
    for (range, place) in runs {
        encoder.number(range.start - end);
        encoder.number(range.end - range.start);
        end = range.end;
        match place {
            Some(place) => {
                encoder.count(index[&place.object]);
                encoder.number(place.at.wrapping_sub(place_end).into());
                place_end = place.at + place.len;
            }
            None => encoder.number(0),
        }
    }
    encoder.sealed()
}

fn decoded(kind: &[u8; KIND_BYTES], bytes: &[u8]) -> io::Result<Changes> {
    let mut decoder = Decoder::open(kind, bytes)?;
    let mut changes = Changes::default();
    let mut objects = Vec::new();
    let mut last = 0u64;
    for _ in 0..decoder.count()? {
        last = last.checked_add(decoder.number()?).ok_or_else(|| damaged("an object's name is too large"))?;
        let size = u32::try_from(decoder.number()?).map_err(|_| damaged("an object's size is too large"))?;
        objects.push((ObjectId(last), size));
    }
    let (mut end, mut place_end) = (0u64, 0u32);
    for _ in 0..decoder.count()? {
        let beyond = || damaged("a run ends beyond all offsets");
        let start = end.checked_add(decoder.number()?).ok_or_else(beyond)?;
        let len = decoder.number()?;
        end = start.checked_add(len).ok_or_else(beyond)?;
        let place = match decoder.number()? {
            0 => None,
            index => {
                let object = usize::try_from(index - 1).ok().and_then(|index| objects.get(index));
                let &(object, size) =
                    object.ok_or_else(|| damaged("a run names an object that is not listed"))?;
                let at = place_end.wrapping_add(decoder.number()? as u32);
                let outside = || damaged("a run ends beyond its object");
                let len = u32::try_from(len).map_err(|_| outside())?;
                place_end = at.checked_add(len).filter(|&end| end <= size).ok_or_else(outside)?;
                changes.objects.insert(object, size);
                Some(Place { object, at, len })
            }
        };
        changes.runs.push((start..end, place));
    }
    decoder.end()?;
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEN: u64 = 300;

    fn place(object: u64, at: u32, len: u32) -> Place {
        Place { object: ObjectId(object), at, len }
    }

    /// What each byte of the file is: its object and place there.
    fn as_vector(map: &PageMap) -> Vec<Option<(u64, u32)>> {
        let of = |(range, place): (Range<u64>, Option<Place>)| {
            (0..(range.end - range.start) as u32)
                .map(move |byte| place.map(|place| (place.object.0, place.at + byte)))
        };
        map.over(0..LEN).into_iter().flat_map(of).collect()
    }

    proptest! {
        #[test]
        fn a_map_its_base_and_its_changes_say_the_same(
            syncs in prop::collection::vec(prop::collection::vec((0..LEN, 1..50u64, any::<bool>()), 1..10), 1..8),
        ) {
            let mut map = PageMap::default();
            let mut from_changes = PageMap::default();
            for (number, sync) in syncs.into_iter().enumerate() {
                let number = number as u64;
                let mut changed = RangeMap::default();
                map.add_object(ObjectId(number), 10_000);
                let mut filled = 0;
                for (at, len, insert) in sync {
                    let end = (at + len).min(LEN);
                    if insert {
                        if !map.objects.contains_key(&ObjectId(number)) {
                            // Nothing of it was named any more, and it was forgotten.
                            map.add_object(ObjectId(number), 10_000);
                        }
                        map.insert(at, place(number, filled, (end - at) as u32));
                        filled += (end - at) as u32;
                    } else {
                        map.remove(at..end);
                    }
                    changed.insert(at, crate::ranges::Span(end - at), |_| ());
                }
                let changes = map.changes(changed.iter().map(|(at, span)| at..at + span.0));
                prop_assert_eq!(&Changes::decoded(&changes.encoded()).unwrap(), &changes);
                from_changes.apply(&changes);
                prop_assert_eq!(as_vector(&from_changes), as_vector(&map));
                let base = PageMap::decoded(&map.encoded()).unwrap();
                prop_assert_eq!(as_vector(&base), as_vector(&map));
                let named = as_vector(&map).iter().flatten().count() as u64;
                prop_assert_eq!(map.live_bytes(), named);
                prop_assert_eq!(base.live_bytes(), named);
                prop_assert_eq!(from_changes.live_bytes(), named);
                prop_assert_eq!(map.objects().map(|(_, used)| used.live).sum::<u64>(), named);
                prop_assert!(base.objects().eq(from_changes.objects()));
                prop_assert_eq!(base.stored_bytes(), base.objects().map(|(_, used)| u64::from(used.size)).sum::<u64>());
            }
        }
    }

    #[test]
    fn a_file_that_was_written_in_order_is_one_run_an_object() {
        let mut map = PageMap::default();
        for object in 0..4 {
            map.add_object(ObjectId(object), 8192 * 100);
            for page in 0..100 {
                map.insert((object * 100 + u64::from(page)) * 8192, place(object, page * 8192, 8192));
            }
        }
        assert_eq!(map.run_count(), 4);
        assert!(map.encoded().len() < 100);
    }

    /// Measures what a run costs: `cargo test --release --lib what_a_run_costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn what_a_run_costs() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
        };
        // Each page of a file in a random place of segments of 16 MiB: no two neighbours in the file are neighbours in an object.
        let pages = 1 << 20;
        let before = resident();
        let mut map = PageMap::default();
        for number in 0..pages {
            let block = (number * 0x9e37_79b1) % pages;
            let (object, at) = (number / 2048, (number % 2048) as u32 * 8192);
            map.add_object(ObjectId(object), 16 << 20);
            map.insert(block * 8192, place(object, at, 8192));
        }
        let runs = map.run_count() as u64;
        let memory = (resident() - before) as f64 / runs as f64;
        let begun = std::time::Instant::now();
        let bytes = map.encoded();
        let encoded = begun.elapsed();
        let stored = bytes.len() as f64 / runs as f64;
        println!(
            "{runs} runs: {memory:.1} bytes of memory and {stored:.1} stored for each, encoded in {encoded:?}"
        );
    }

    #[test]
    fn a_run_outside_its_object_is_refused() {
        let mut map = PageMap::default();
        map.add_object(ObjectId(1), 10);
        map.insert(0, place(1, 5, 6));
        assert_eq!(PageMap::decoded(&map.encoded()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
