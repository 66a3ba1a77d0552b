//! Checks what the library's kit checks of every storage: [`ringpool::testing::conformance`].

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ringpool::testing::conformance::{Conformance, StoragePromise};
use ringpool_object_store::{ObjectFiles, Settings};

/// Another process, in effect: nothing is shared but the store.
fn process(store: &Arc<dyn ObjectStore>) -> ObjectFiles {
    let settings = Settings {
        segment_bytes: 256 << 10,
        memory_bytes: 4 << 20,
        retry_wait: Duration::from_millis(1),
        wait_seed: Some(7),
        ..Settings::default()
    };
    ObjectFiles::with_own_runtime(Arc::clone(store), "pool", settings, 2).unwrap()
}

#[test]
fn files_in_an_object_store_conform_over_crashes_of_their_writer() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let test = Conformance::new(process(&store), "files").rounds(40).patience(Duration::from_secs(60));
    let report = test.after_crash(move || process(&store)).run().unwrap_or_else(|broken| panic!("{broken}"));
    assert!(report.kept.contains(&StoragePromise::SyncsAreWhole), "{report:?}");
    assert!(report.kept.contains(&StoragePromise::VersionGrows), "{report:?}");
    let unchecked: Vec<_> = report.unchecked.iter().map(|(promise, _)| *promise).collect();
    assert_eq!(unchecked, [StoragePromise::DescriptorIsTheFile]);
}
