//! What the tests share: a store that does what networks do, and pages that say whose they are.

#![allow(dead_code, reason = "each test uses a part")]

pub mod faulty;
pub mod stamps;
pub mod watched;

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use ringpool::testing::Dice;
use ringpool_object_store::{ObjectFiles, Settings};

/// Small limits, so that a test of a few pages has many segments, bases, pages that are written again, and removals.
pub fn small(seed: u64) -> Settings {
    Settings {
        segment_bytes: 4 << 10,
        memory_bytes: 16 << 10,
        in_flight: 8,
        combine_gap: 1 << 10,
        keep_versions: 1 + seed % 3,
        compact_bytes: 16 << 10,
        garbage_bytes: 4 << 10,
        most_objects: 10,
        most_runs: 20,
        base_every: 1 + (seed / 3 % 5) as usize,
        remove_together: 1,
        request_timeout: Duration::from_millis(500),
        retry_wait: Duration::from_millis(10),
        give_up_after: Duration::from_secs(60),
        wait_seed: Some(seed),
        ..Settings::default()
    }
}

/// Opens files of `store`, from within a runtime.
pub fn files(store: Arc<dyn ObjectStore>, settings: Settings) -> ObjectFiles {
    ObjectFiles::new(store, "test", settings, tokio::runtime::Handle::current())
}

/// Returns `true` `percent` times out of 100.
pub fn percent(dice: &mut Dice, percent: u64) -> bool {
    dice.below(100) < percent
}
