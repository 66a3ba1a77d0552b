//! The one object of a file that changes, its *head*: which writer owns the file, and what each kept version consists of.
//!
//! A version is a [`Generation`]'s base map with the changes of its first *n* syncs laid over it. So the head holds no map itself and stays small
//! (a sync writes a base when a generation has too many steps), and an old version needs no head of its own: it is a shorter prefix. [`Head::raised`] and
//! [`Head::published`] make the next head from the last one; that it replaces just this one in the store is the work of `swap.rs`.
//!
//! * Versions only grow. A version once dropped ([`Head::oldest_kept`]) is never kept again.
//! * A head of a higher epoch contains all that lower epochs published.

use std::io;

use bytes::Bytes;

use crate::encode::{Decoder, Encoder, KIND_BYTES, damaged};
use crate::names::{Identity, ObjectId, next_epoch};

const HEAD: &[u8; KIND_BYTES] = b"rphead01";

/// How many takeovers a head remembers.
const MOST_TAKEOVERS: usize = 32;

/// An encoded map or changes: a part of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) object: ObjectId,
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// A sync: the version that it published, the file's length in bytes, and what it changed (`None`: the length alone).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) version: u64,
    pub(crate) len: u64,
    pub(crate) changes: Option<Table>,
}

/// A base map and the syncs since. `base.changes` is a whole map, `None` for an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) base: Step,
    pub(crate) steps: Vec<Step>,
}

impl Generation {
    fn last(&self) -> Step {
        *self.steps.last().unwrap_or(&self.base)
    }

    fn all(&self) -> impl Iterator<Item = &Step> {
        std::iter::once(&self.base).chain(&self.steps)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) identity: Identity,
    /// Which writer owns the file: the one that raised the epoch last.
    pub(crate) epoch: u64,
    /// Random, and another one for each head: tells which of two swaps succeeded, and keeps any two heads different.
    pub(crate) swap: u128,
    /// The latest takeovers, oldest first: which epoch began at which version.
    pub(crate) takeovers: Vec<(u64, u64)>,
    /// No version before this one is kept.
    pub(crate) oldest_kept: u64,
    /// Oldest first.
    pub(crate) generations: Vec<Generation>,
}

/// What a sync puts into the head.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Published {
    /// Changes to the version before.
    Changes { len: u64, changes: Option<Table> },
    /// The whole map, which begins a generation.
    Base { len: u64, map: Option<Table> },
}

impl Head {
    /// The head of a new file: version 0, without a byte.
    pub(crate) fn new(identity: Identity, swap: u128) -> Self {
        let base = Step { version: 0, len: 0, changes: None };
        let generations = vec![Generation { base, steps: Vec::new() }];
        Self { identity, epoch: 1, swap, takeovers: Vec::new(), oldest_kept: 0, generations }
    }

    fn current(&self) -> &Generation {
        self.generations.last().expect("a head has a generation")
    }

    /// Returns the latest version, and what it consists of.
    pub(crate) fn latest(&self) -> Step {
        self.current().last()
    }

    pub(crate) fn steps_since_base(&self) -> usize {
        self.current().steps.len()
    }

    /// Returns the head of a writer that takes the file over.
    pub(crate) fn raised(&self, swap: u128) -> io::Result<Self> {
        let mut next = Self { epoch: next_epoch(self.epoch)?, swap, ..self.clone() };
        next.takeovers.push((next.epoch, self.latest().version));
        let most = next.takeovers.len().saturating_sub(MOST_TAKEOVERS);
        next.takeovers.drain(..most);
        Ok(next)
    }

    /// Returns the head with one version more, in which no more than `keep` versions are kept.
    pub(crate) fn published(&self, swap: u128, published: Published, keep: u64) -> Self {
        let mut next = Self { swap, ..self.clone() };
        let version = self.latest().version + 1;
        match published {
            Published::Changes { len, changes } => {
                let current = next.generations.last_mut().expect("a head has a generation");
                current.steps.push(Step { version, len, changes });
            }
            Published::Base { len, map } => {
                let base = Step { version, len, changes: map };
                next.generations.push(Generation { base, steps: Vec::new() });
            }
        }
        next.oldest_kept = self.oldest_kept.max((version + 1).saturating_sub(keep.max(1)));
        while next.generations.get(1).is_some_and(|second| second.base.version <= next.oldest_kept) {
            next.generations.remove(0);
        }
        next
    }

    /// Returns what `version` consists of, its base first. `None` where it is not kept, or is still to come.
    pub(crate) fn steps_of(&self, version: u64) -> Option<Vec<Step>> {
        if !(self.oldest_kept..=self.latest().version).contains(&version) {
            return None;
        }
        let generation = self.generations.iter().rfind(|generation| generation.base.version <= version)?;
        Some(generation.all().take_while(|step| step.version <= version).copied().collect())
    }

    /// Returns whether the file has the version that the writer of `epoch` tried to publish as `version`: it has if no other writer took over before.
    /// `false` as well where that is so long ago that the head does not remember.
    pub(crate) fn has_published(&self, epoch: u64, version: u64) -> bool {
        let until = match self.takeovers.iter().find(|(begun, _)| *begun == epoch + 1) {
            Some(&(_, until)) => until,
            None if self.epoch == epoch => self.latest().version,
            None => return false,
        };
        version <= until
    }

    /// Returns the objects that hold the tables of the current generation.
    pub(crate) fn tables(&self) -> impl Iterator<Item = ObjectId> {
        self.current().all().filter_map(|step| Some(step.changes?.object))
    }

    pub(crate) fn encoded(&self) -> Bytes {
        let mut encoder = Encoder::new(HEAD);
        encoder.unique(self.identity);
        encoder.number(self.epoch);
        encoder.unique(self.swap);
        encoder.count(self.takeovers.len());
        for (epoch, version) in &self.takeovers {
            encoder.number(*epoch);
            encoder.number(*version);
        }
        encoder.number(self.oldest_kept);
        encoder.count(self.generations.len());
        for generation in &self.generations {
            encoder.count(generation.steps.len());
            for step in generation.all() {
                encoder.number(step.version);
                encoder.number(step.len);
                encoder.number(step.changes.is_some().into());
                if let Some(table) = step.changes {
                    encoder.number(table.object.0);
                    encoder.number(table.at.into());
                    encoder.number(table.len.into());
                }
            }
        }
        encoder.sealed()
    }

    pub(crate) fn decoded(bytes: &[u8]) -> io::Result<Self> {
        let mut decoder = Decoder::open(HEAD, bytes)?;
        let (identity, epoch, swap) = (decoder.unique()?, decoder.number()?, decoder.unique()?);
        let mut takeovers = Vec::new();
        for _ in 0..decoder.count()? {
            takeovers.push((decoder.number()?, decoder.number()?));
        }
        let oldest_kept = decoder.number()?;
        let mut generations = Vec::new();
        for _ in 0..decoder.count()? {
            let steps = decoder.count()?;
            let base = decoded_step(&mut decoder)?;
            let steps = (0..steps).map(|_| decoded_step(&mut decoder)).collect::<io::Result<_>>()?;
            generations.push(Generation { base, steps });
        }
        decoder.end()?;
        if generations.is_empty() {
            return Err(damaged("its head has no version"));
        }
        Ok(Self { identity, epoch, swap, takeovers, oldest_kept, generations })
    }
}

fn decoded_step(decoder: &mut Decoder<'_>) -> io::Result<Step> {
    let (version, len) = (decoder.number()?, decoder.number()?);
    let narrow = |number| u32::try_from(number).map_err(|_| damaged("a place in its head is too large"));
    let changes = match decoder.number()? {
        0 => None,
        _ => Some(Table {
            object: ObjectId(decoder.number()?),
            at: narrow(decoder.number()?)?,
            len: narrow(decoder.number()?)?,
        }),
    };
    Ok(Step { version, len, changes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(version: u64) -> Option<Table> {
        Some(Table { object: ObjectId(version), at: 1, len: 2 })
    }

    proptest! {
        #[test]
        fn every_kept_version_is_its_base_and_the_syncs_since(
            syncs in prop::collection::vec(any::<bool>(), 0..50), keep in 0..10u64,
        ) {
            let mut head = Head::new(1, 2);
            for (number, base) in syncs.iter().enumerate() {
                let version = number as u64 + 1;
                let published = if *base {
                    Published::Base { len: version * 10, map: table(version) }
                } else {
                    Published::Changes { len: version * 10, changes: table(version) }
                };
                head = head.published(version.into(), published, keep);
                prop_assert_eq!(Head::decoded(&head.encoded()).unwrap(), head.clone());
                prop_assert_eq!(head.latest().version, version);
                for asked in 0..version + 2 {
                    let kept = asked <= version && asked + keep.max(1) > version;
                    let steps = head.steps_of(asked);
                    prop_assert_eq!(steps.is_some(), kept, "version {} of {}", asked, version);
                    if let Some(steps) = steps {
                        let base = (0..=asked).rfind(|&version| version == 0 || syncs[version as usize - 1]).unwrap();
                        let versions: Vec<_> = steps.iter().map(|step| step.version).collect();
                        prop_assert_eq!(versions, (base..=asked).collect::<Vec<_>>());
                        prop_assert_eq!(steps.last().unwrap().len, asked * 10);
                    }
                }
                prop_assert!(head.generations.len() as u64 <= keep.max(1) + 1);
            }
        }
    }

    #[test]
    fn a_head_knows_what_a_writer_published_before_it_was_fenced() {
        let publish = |head: &Head| head.published(3, Published::Base { len: 5, map: table(9) }, 1);
        let first = publish(&Head::new(1, 2));
        assert!(first.has_published(1, 1) && !first.has_published(1, 2));
        let mut head = publish(&publish(&first.raised(4).unwrap()));
        assert_eq!((head.epoch, head.latest().version), (2, 3));
        for takeovers in 1..MOST_TAKEOVERS {
            assert!(head.has_published(1, 1), "no step of that time is kept, after {takeovers} takeovers");
            assert!(!head.has_published(1, 2), "that version is the second writer's");
            assert_eq!(Head::decoded(&head.encoded()).unwrap(), head);
            head = head.raised(5).unwrap();
        }
        assert!(head.has_published(2, 3));
        assert!(!head.raised(6).unwrap().has_published(1, 1), "it is forgotten");
    }
}
