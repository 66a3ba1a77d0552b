//! Reads parts of a file's immutable objects: [`Objects`].
//!
//! The parts of one request that lie close to each other in an object are one get; all gets of a request are in flight together.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use object_store::path::Path;
use tokio::runtime::Handle;

use crate::client::Client;
use crate::manifest::{Step, Table};
use crate::names::{Identity, Names, ObjectId};
use crate::page_map::{Changes, PageMap, Place};
use crate::ranges::Piece;
use crate::state::{Source, in_memory};
use crate::tier::{Block, LocalTier};

/// The objects of one file.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    pub(crate) client: Arc<Client>,
    pub(crate) names: Names,
    pub(crate) identity: Identity,
    pub(crate) combine_gap: u32,
    pub(crate) tier: Option<(LocalTier, Handle)>,
}

/// A get, and for each part of it where it goes in the result.
#[derive(Debug, PartialEq, Eq)]
struct Get {
    object: ObjectId,
    range: Range<u64>,
    parts: Vec<(usize, Place)>,
}

/// Puts places that are near each other in their objects together.
fn combined(mut places: Vec<(usize, Place)>, gap: u32) -> Vec<Get> {
    places.sort_unstable_by_key(|(_, place)| (place.object, place.at));
    let mut gets: Vec<Get> = Vec::new();
    for (to, place) in places {
        let range = place.range();
        match gets.last_mut() {
            Some(get) if get.object == place.object && range.start <= get.range.end + u64::from(gap) => {
                get.range.end = get.range.end.max(range.end);
                get.parts.push((to, place));
            }
            _ => gets.push(Get { object: place.object, range, parts: vec![(to, place)] }),
        }
    }
    gets
}

impl Objects {
    pub(crate) fn path(&self, id: ObjectId) -> Path {
        self.names.object(self.identity, id)
    }

    /// Fetches what is not in memory, and returns all as one.
    pub(crate) async fn fetch(&self, sources: Vec<Source>) -> io::Result<Bytes> {
        let sources = match in_memory(sources) {
            Ok(bytes) => return Ok(bytes),
            Err(sources) => sources,
        };
        if let [Source::Stored(place)] = sources[..] {
            return self.place(place).await;
        }
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for source in sources {
            match source {
                Source::Memory(memory) => bytes.extend_from_slice(&memory),
                Source::Zeros(count) => bytes.resize(bytes.len() + count as usize, 0),
                Source::Stored(place) => {
                    places.push((bytes.len(), place));
                    bytes.resize(bytes.len() + place.len as usize, 0);
                }
            }
        }
        let gets = combined(places, self.combine_gap);
        let results = try_join_all(gets.iter().map(|get| self.get(get.object, get.range.clone()))).await?;
        for (get, result) in gets.iter().zip(results) {
            for (to, place) in &get.parts {
                let from = (u64::from(place.at) - get.range.start) as usize;
                let len = place.len as usize;
                bytes[*to..*to + len].copy_from_slice(&result[from..from + len]);
            }
        }
        Ok(bytes.into())
    }

    /// Reads a part of an object: from the local tier, or from the store, and then into the tier.
    async fn get(&self, object: ObjectId, range: Range<u64>) -> io::Result<Bytes> {
        let Some((tier, runtime)) = &self.tier else {
            return self.client.get_range(&self.path(object), range).await;
        };
        let slot = u64::from(tier.slot_bytes());
        let numbers = range.start / slot..range.end.div_ceil(slot);
        let block = |number: u64| Block { file: self.identity, object, number: number as u32 };
        let found = tier.read(runtime, numbers.clone().map(block).collect()).await;
        let mut missing =
            numbers.clone().zip(&found).filter(|(_, found)| found.is_none()).map(|(number, _)| number);
        // One get from the first block that is missing to the last.
        let missing = missing.next().map(|first| first..missing.last().unwrap_or(first) + 1);
        let wanted =
            missing.map(|missing| range.start.max(missing.start * slot)..range.end.min(missing.end * slot));
        let fetched = match &wanted {
            Some(wanted) => self.client.get_range(&self.path(object), wanted.clone()).await?,
            None => Bytes::new(),
        };
        let wanted = wanted.unwrap_or(range.end..range.end);
        tier.keep(
            runtime,
            whole_blocks(&fetched, wanted.start, slot).map(|(at, bytes)| (block(at), bytes)).collect(),
        );
        if wanted == range {
            return Ok(fetched);
        }
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        for (number, found) in numbers.zip(found) {
            let part = range.start.max(number * slot)..range.end.min((number + 1) * slot);
            match found {
                Some(found) => bytes.extend_from_slice(&Piece::part(
                    &found,
                    part.start - number * slot..part.end - number * slot,
                )),
                None => bytes.extend_from_slice(&Piece::part(
                    &fetched,
                    part.start - wanted.start..part.end - wanted.start,
                )),
            }
        }
        Ok(bytes.into())
    }

    /// Keeps what was put in the local tier: it will be read again when it has left the pool.
    pub(crate) fn keep(&self, id: ObjectId, payload: &[Bytes]) {
        let Some((tier, runtime)) = &self.tier else { return };
        let slot = u64::from(tier.slot_bytes());
        let mut at = 0;
        let mut blocks = Vec::new();
        // Pages are in slots of their own as long as all are of that size. What is not is kept when it is fetched.
        for page in payload {
            let whole = whole_blocks(page, at, slot);
            blocks.extend(whole.map(|(number, bytes)| {
                (Block { file: self.identity, object: id, number: number as u32 }, bytes)
            }));
            at += page.len() as u64;
        }
        tier.keep(runtime, blocks);
    }

    pub(crate) async fn place(&self, place: Place) -> io::Result<Bytes> {
        self.get(place.object, place.range()).await
    }

    /// Loads the map that `steps` say: a base, and changes in their order.
    pub(crate) async fn map(&self, steps: &[Step]) -> io::Result<PageMap> {
        let tables =
            try_join_all(steps.iter().filter_map(|step| step.changes).map(|table| self.table(table))).await?;
        let mut tables = tables.iter();
        let mut map = PageMap::default();
        for (number, step) in steps.iter().enumerate() {
            if step.changes.is_some() {
                let table = tables.next().expect("each was fetched");
                match number {
                    0 => map = PageMap::decoded(table)?,
                    _ => map.apply(&Changes::decoded(table)?),
                }
            }
        }
        Ok(map)
    }

    async fn table(&self, table: Table) -> io::Result<Bytes> {
        let range = u64::from(table.at)..u64::from(table.at) + u64::from(table.len);
        self.client.get_range(&self.path(table.object), range).await
    }
}

/// Returns the blocks of `slot` bytes that lie whole in `bytes`, which begin at `at` of an object, with their numbers.
fn whole_blocks(bytes: &Bytes, at: u64, slot: u64) -> impl Iterator<Item = (u64, Bytes)> {
    let end = at + bytes.len() as u64;
    let bytes = bytes.clone();
    (at.div_ceil(slot)..end / slot)
        .map(move |number| (number, Piece::part(&bytes, number * slot - at..(number + 1) * slot - at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_places_are_one_get_and_far_ones_are_not() {
        let place = |object, at, len| Place { object: ObjectId(object), at, len };
        let (a, b, c, d) = (place(1, 100, 10), place(1, 0, 50), place(1, 60, 10), place(2, 70, 5));
        let gets = combined(vec![(0, a), (10, b), (60, c), (70, d)], 10);
        let expected = vec![
            Get { object: ObjectId(1), range: 0..70, parts: vec![(10, b), (60, c)] },
            Get { object: ObjectId(1), range: 100..110, parts: vec![(0, a)] },
            Get { object: ObjectId(2), range: 70..75, parts: vec![(70, d)] },
        ];
        assert_eq!(gets, expected);
    }
}
