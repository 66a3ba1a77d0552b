//! Tests [`State`] against a plain vector of bytes, with a store that is a map of byte vectors.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::collect::Removals;
use crate::compact;

const PAGE: u64 = 8;
const MOST: u64 = 200;

#[derive(Debug, Clone)]
enum Step {
    Write(u64, u64, u8),
    SetLen(u64),
    Freeze,
    PutEnded,
    Sync,
    Rewrite,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..MOST, 1..60u64, prop_oneof![1 => Just(0), 4 => 1..=255u8]).prop_map(|(at, len, byte)| Step::Write(at, len, byte)),
        2 => (0..MOST).prop_map(Step::SetLen),
        2 => Just(Step::Freeze),
        2 => Just(Step::PutEnded),
        3 => Just(Step::Sync),
        1 => Just(Step::Rewrite),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Default)]
struct Store {
    objects: HashMap<ObjectId, Vec<u8>>,
    /// Frozen, and not put yet.
    segments: Vec<Segment>,
}

impl Store {
    fn put_all(&mut self, state: &mut State) {
        for segment in self.segments.drain(..) {
            self.objects.insert(segment.id, segment.payload.concat());
            state.put_ended(segment.id);
        }
    }

    fn place(&self, place: Place) -> &[u8] {
        &self.objects[&place.object][place.at as usize..][..place.len as usize]
    }

    fn read(&self, state: &State, range: Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for source in state.read(range) {
            match source {
                Source::Memory(memory) => bytes.extend_from_slice(&memory),
                Source::Stored(place) => bytes.extend_from_slice(self.place(place)),
                Source::Zeros(count) => bytes.resize(bytes.len() + count as usize, 0),
            }
        }
        bytes
    }
}

/// Runs `steps` on a state and on a vector. Every published version is rebuilt from the changes, and compared.
fn run(steps: Vec<Step>) {
    let mut state = State::new(PAGE, 0, PageMap::default(), 1);
    let mut store = Store::default();
    let mut vector: Vec<u8> = Vec::new();
    let (mut published, mut published_len, mut published_vector) = (PageMap::default(), 0, Vec::new());
    let mut removals = Removals::new(0, std::iter::empty(), std::iter::empty());
    let (mut version, mut epoch) = (0, 1);
    for step in steps {
        match step {
            Step::Write(at, len, byte) => {
                let bytes: Vec<u8> = (0..len)
                    .map(|offset| if byte == 0 { 0 } else { byte.wrapping_add(offset as u8) })
                    .collect();
                state.write(at, &bytes);
                vector.resize(vector.len().max((at + len) as usize), 0);
                vector[at as usize..][..len as usize].copy_from_slice(&bytes);
            }
            Step::SetLen(len) => {
                state.set_len(len);
                vector.resize(len as usize, 0);
            }
            Step::Freeze => store.segments.extend(state.freeze(30)),
            Step::PutEnded => store.put_all(&mut state),
            Step::Rewrite => {
                store.put_all(&mut state);
                let limits = compact::Limits { budget: 50, garbage: 0, most_objects: 2, most_runs: 3 };
                for (at, place) in compact::choose(&state.map, &limits) {
                    let bytes = Bytes::copy_from_slice(store.place(place));
                    state.rewrite(at, place, &bytes);
                }
            }
            Step::Sync => {
                let changed = state.is_changed();
                while let Some(segment) = state.freeze(30) {
                    store.segments.push(segment);
                }
                store.put_all(&mut state);
                let (changes, len) = state.take_changes();
                assert!(!state.is_changed());
                assert!(changed || (changes.runs.is_empty() && len == published_len));
                published.apply(&Changes::decoded(&changes.encoded()).unwrap());
                (published_len, published_vector) = (len, vector.clone());
                version += 1;
                let named = published.objects().map(|(id, _)| id);
                removals.published(version, named);
                // What is removed is never missed: the reads below would fail.
                for id in removals.removable(version, &[]) {
                    store.objects.remove(&id);
                    removals.removed(id);
                }
                let before = State::new(PAGE, published_len, published.clone(), epoch);
                assert_eq!(store.read(&before, 0..u64::MAX), published_vector);
            }
            Step::Reopen => {
                // All that was not published is lost. The store has what was put of it, under names that are not given again.
                epoch += 1;
                store.segments.clear();
                state = State::new(PAGE, published_len, published.clone(), epoch);
                vector.clone_from(&published_vector);
                let found = store.objects.keys().copied();
                removals = Removals::new(version, published.objects().map(|(id, _)| id), found);
            }
        }
        assert_eq!(state.len(), vector.len() as u64);
        assert_eq!(store.read(&state, 0..u64::MAX), vector);
        let (from, to) = (vector.len() / 3, vector.len() * 2 / 3);
        assert_eq!(store.read(&state, from as u64..to as u64), vector[from..to]);
        let collected: u64 = state.collected.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let frozen: u64 = store.segments.iter().map(|segment| u64::from(segment.size)).sum();
        assert_eq!(state.memory_bytes(), collected + frozen);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    #[test]
    fn a_file_reads_like_a_vector_at_every_step(steps in steps()) {
        run(steps);
    }
}

#[test]
fn a_cut_is_not_undone_by_a_segment_that_was_frozen_before_it() {
    run(vec![
        Step::Write(0, 100, 1),
        Step::Freeze,
        Step::PutEnded,
        Step::SetLen(8),
        Step::SetLen(100),
        Step::Sync,
        Step::Reopen,
    ]);
}
