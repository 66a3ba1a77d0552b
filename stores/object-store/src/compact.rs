//! Chooses what a sync writes again, so that a file is not spread ever more thinly: [`choose`].
//!
//! Three things grow otherwise: the bytes in objects that the map names no more (*garbage*), the number of objects, and the number of runs. Above the
//! limit of any, the places are chosen that free the most for the bytes that must be read and put again, within a budget for each sync.

use std::collections::HashSet;

use crate::names::ObjectId;
use crate::page_map::{PageMap, Place};
use crate::ranges::Piece;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes that one sync reads and puts again, at the most.
    pub(crate) budget: u64,
    /// Bytes of garbage that are no reason yet; beyond them, garbage may be as much as what is in use.
    pub(crate) garbage: u64,
    pub(crate) most_objects: usize,
    pub(crate) most_runs: usize,
}

/// How many neighbouring runs become one.
const JOINED_RUNS: usize = 16;

/// Returns what to write again, in the order of the file.
pub(crate) fn choose(map: &PageMap, limits: &Limits) -> Vec<(u64, Place)> {
    let objects = thin_objects(map, limits);
    let mut chosen: Vec<_> = if objects.is_empty() {
        Vec::new()
    } else {
        map.runs().filter(|(_, place)| objects.contains(&place.object)).collect()
    };
    if map.run_count() > limits.most_runs {
        let used: u64 = chosen.iter().map(|(_, place)| Piece::len(place)).sum();
        chosen.extend(short_runs(
            map,
            &objects,
            limits.budget.saturating_sub(used),
            map.run_count() - limits.most_runs,
        ));
        chosen.sort_unstable_by_key(|&(at, _)| at);
    }
    chosen
}

/// Returns the objects with the least in use: enough of them that garbage and number of objects are within their limits, or the budget is spent.
fn thin_objects(map: &PageMap, limits: &Limits) -> HashSet<ObjectId> {
    let mut garbage = map.stored_bytes() - map.live_bytes();
    let mut count = map.objects().len();
    let allowed = limits.garbage.saturating_add(map.live_bytes());
    let mut chosen = HashSet::new();
    let too_many = count > limits.most_objects;
    if garbage <= allowed && !too_many {
        return chosen;
    }
    let mut objects: Vec<_> = map.objects().collect();
    if too_many {
        objects.sort_unstable_by_key(|(id, used)| (used.live, *id));
    } else {
        // The smallest part in use first: live / size, compared without a division.
        objects.sort_unstable_by(|(a, a_use), (b, b_use)| {
            let (left, right) = (a_use.live * u64::from(b_use.size), b_use.live * u64::from(a_use.size));
            left.cmp(&right).then(a.cmp(b))
        });
    }
    let mut budget = limits.budget;
    for (id, used) in objects {
        // A tenth below the limits, so that the next sync has no work again.
        let enough =
            garbage <= allowed - allowed / 10 && count <= limits.most_objects - limits.most_objects / 10;
        if enough || used.live > budget {
            break;
        }
        budget -= used.live;
        garbage -= u64::from(used.size) - used.live;
        count -= 1;
        chosen.insert(id);
    }
    chosen
}

/// Returns groups of neighbouring runs of few bytes, that would be `fewer` runs less if each became one.
fn short_runs(map: &PageMap, without: &HashSet<ObjectId>, budget: u64, fewer: usize) -> Vec<(u64, Place)> {
    let runs: Vec<_> = map.runs().filter(|(_, place)| !without.contains(&place.object)).collect();
    let mut groups: Vec<(u64, &[(u64, Place)])> = runs
        .chunks(JOINED_RUNS)
        .map(|group| (group.iter().map(|(_, place)| Piece::len(place)).sum(), group))
        .filter(|(_, group)| joins(group) > 0)
        .collect();
    groups.sort_unstable_by_key(|&(bytes, group)| (bytes / joins(group) as u64, group[0].0));
    let mut chosen = Vec::new();
    let (mut budget, mut fewer) = (budget, fewer);
    for (bytes, group) in groups {
        if fewer == 0 || bytes > budget {
            break;
        }
        budget -= bytes;
        fewer = fewer.saturating_sub(joins(group));
        chosen.extend_from_slice(group);
    }
    chosen
}

/// Returns how many runs less a group is once it was written again: as many as touch the one before them.
fn joins(group: &[(u64, Place)]) -> usize {
    group.windows(2).filter(|pair| pair[0].0 + Piece::len(&pair[0].1) == pair[1].0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    const UNLIMITED: Limits =
        Limits { budget: u64::MAX, garbage: 0, most_objects: usize::MAX, most_runs: usize::MAX };

    fn map(objects: &[(u64, u32)], runs: &[(u64, u64, u32, u32)]) -> PageMap {
        let mut map = PageMap::default();
        objects.iter().for_each(|&(id, size)| map.add_object(ObjectId(id), size));
        for &(at, object, place, len) in runs {
            map.insert(at, Place { object: ObjectId(object), at: place, len });
        }
        map
    }

    #[test]
    fn the_emptiest_object_goes_first_and_no_more_than_is_needed() {
        // Garbage: 90 + 60 + 10 of 300; in use: 140.
        let map = map(&[(1, 100), (2, 100), (3, 100)], &[(0, 1, 0, 10), (10, 2, 0, 40), (50, 3, 0, 90)]);
        let objects = |limits: &Limits| {
            choose(&map, limits).iter().map(|(_, place)| place.object.0).collect::<Vec<_>>()
        };
        assert_eq!(objects(&UNLIMITED), [1]);
        assert_eq!(objects(&Limits { garbage: 100, ..UNLIMITED }), NONE);
        assert_eq!(objects(&Limits { budget: 9, ..UNLIMITED }), NONE);
        assert_eq!(objects(&Limits { garbage: 100, most_objects: 1, ..UNLIMITED }), [1, 2]);
    }

    #[test]
    fn too_many_runs_are_joined_where_they_are_shortest() {
        // 32 neighbouring runs of 1 byte and 32 of 10, from objects in turn, so that none touch in their object.
        let mut runs = Vec::new();
        for run in 0..64u32 {
            let len = if run < 32 { 1 } else { 10 };
            let at = if run < 32 { u64::from(run) } else { 32 + u64::from(run - 32) * 10 };
            runs.push((at, u64::from(run % 2), run * 10, len));
        }
        let map = map(&[(0, 1000), (1, 1000)], &runs);
        assert_eq!(map.run_count(), 64);
        let limits = Limits { garbage: 10_000, most_runs: 60, ..UNLIMITED };
        let chosen = choose(&map, &limits);
        assert_eq!(chosen.len(), JOINED_RUNS);
        assert!(chosen.iter().all(|(_, place)| place.len == 1));
        assert!(choose(&map, &Limits { most_runs: 64, ..limits }).is_empty());
        assert_eq!(choose(&map, &Limits { most_runs: 0, budget: 170, ..limits }).len(), 32);
    }
}
