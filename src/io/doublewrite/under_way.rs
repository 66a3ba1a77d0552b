//! Writes that are under way to a half's records, and from them to the places of the pages.

use std::collections::BTreeSet;

use crate::{
    io::file::File,
    sync::{Arc, Condvar, Mutex},
};

#[derive(Debug, Default)]
pub(super) struct UnderWay {
    state: Mutex<UnderWayState>,
    none: Condvar,
}

#[derive(Debug, Default)]
struct UnderWayState {
    writes: usize,
    /// The tags of files with pages that did not arrive.
    fell_short: BTreeSet<u64>,
}

impl UnderWay {
    pub(super) fn begin(self: &Arc<Self>) -> OnItsWay {
        self.state.lock().writes += 1;
        OnItsWay(Arc::clone(self))
    }

    pub(super) fn wait(&self) {
        let mut state = self.state.lock();
        while state.writes > 0 {
            state = self.none.wait(state);
        }
    }

    pub(super) fn fell_short(&self) -> BTreeSet<u64> {
        self.state.lock().fell_short.clone()
    }

    /// Notes that no page of this file is missing any more.
    pub(super) fn is_settled(&self, tag: u64) {
        self.state.lock().fell_short.remove(&tag);
    }
}

/// The numbers of the records that are not durable, or may not be.
#[derive(Debug, Default)]
pub(super) struct NotDurable(Mutex<BTreeSet<u64>>);

impl NotDurable {
    /// Adds a record of this number, which is greater than all before. Returns up to which number all are durable.
    pub(super) fn add(&self, number: u64) -> u64 {
        let mut numbers = self.0.lock();
        numbers.insert(number);
        numbers.first().copied().unwrap_or(number)
    }

    pub(super) fn remove(&self, number: u64) {
        self.0.lock().remove(&number);
    }

    /// Notes that records with smaller numbers do not count any more.
    pub(super) fn forget_before(&self, oldest: u64) {
        self.0.lock().retain(|&number| number >= oldest);
    }
}

#[derive(Debug)]
pub(super) struct OnItsWay(Arc<UnderWay>);

impl OnItsWay {
    /// Continues with a run of pages of the file, whose copies are durable by now.
    pub(super) fn keep_copies(&self, file: &Arc<File>) -> KeptCopies {
        KeptCopies { file: Arc::clone(file), arrived: false, on_its_way: self.0.begin() }
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.writes -= 1;
        if state.writes == 0 {
            self.0.none.notify_all();
        }
    }
}

/// The copies of the pages of one write, which are kept until that is over.
///
/// However it ends, the file is noted to need a sync before the write counts as over, so no half is begun anew in between.
#[derive(Debug)]
pub(crate) struct KeptCopies {
    file: Arc<File>,
    arrived: bool,
    // Dropped after what `drop` does.
    on_its_way: OnItsWay,
}

impl KeptCopies {
    /// Ends the write: the pages are in their places or not.
    pub(crate) fn end(mut self, arrived: bool) {
        self.arrived = arrived;
    }
}

impl Drop for KeptCopies {
    fn drop(&mut self) {
        self.file.note_written();
        if !self.arrived {
            self.on_its_way.0.state.lock().fell_short.insert(self.file.tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{io::tests::support::FakeDisk, observe::Counters};

    #[test]
    fn a_record_is_known_to_be_durable_only_when_all_before_it_are() {
        let records = NotDurable::default();
        assert_eq!([5, 6, 7].map(|number| records.add(number)), [5, 5, 5]);
        records.remove(6);
        assert_eq!(records.add(8), 5);
        records.remove(5);
        assert_eq!(records.add(9), 7, "which failed, or is under way");
        records.forget_before(8);
        assert_eq!(records.add(10), 8);
    }

    #[test]
    fn a_file_wants_a_sync_before_its_write_counts_as_over() {
        let file = Arc::new(FakeDisk::new(vec![0; 512]).open_file(512).unwrap());
        assert!(file.sync(&Counters::new()).unwrap(), "as every file that was just opened");
        for arrived in [Some(true), Some(false), None] {
            let half = Arc::new(UnderWay::default());
            let kept = half.begin().keep_copies(&file);
            assert!(!file.sync(&Counters::new()).unwrap());
            std::thread::scope(|scope| {
                let synced = scope.spawn(|| {
                    half.wait();
                    file.sync(&Counters::new()).unwrap()
                });
                match arrived {
                    Some(arrived) => kept.end(arrived),
                    None => drop(kept),
                }
                assert!(synced.join().unwrap(), "there was something to sync");
            });
            assert_eq!(half.fell_short().contains(&file.tag), arrived != Some(true));
        }
    }
}

/// The end of a write beside the beginning anew of its half, under every schedule.
#[cfg(all(test, shuttle))]
mod model_check {
    use super::*;
    use crate::{io::tests::support::FakeDisk, observe::Counters};

    #[test]
    fn a_file_wants_a_sync_before_its_write_counts_as_over() {
        shuttle::check_random(
            || {
                let file = Arc::new(FakeDisk::new(vec![0; 512]).open_file(512).unwrap());
                let half = Arc::new(UnderWay::default());
                let kept = half.begin().keep_copies(&file);
                let writing = shuttle::thread::spawn(move || kept.end(true));
                half.wait();
                assert!(file.sync(&Counters::new()).unwrap(), "there was something to sync");
                writing.join().unwrap();
            },
            1000,
        );
    }
}
