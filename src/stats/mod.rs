//! What a pool did and what it holds.

pub(crate) mod counters;

pub(crate) use counters::{Counter, Counters};
