//! The kit on storages that keep their promises, and on one for each way to break one.

mod flawed;
mod flawed_kinds;
mod sparse;

use std::{
    collections::BTreeSet,
    io::{self, IoSlice, IoSliceMut},
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    time::Duration,
};

use self::{
    flawed::{Flaw, FlawedStorage},
    sparse::{Places, SparseStorage},
};
use super::{BrokenPromise, Conformance, ConformanceReport, StoragePromise};
use crate::{
    OpenOptions, PageSize,
    options::Fallback,
    storage::{Atomicity, BlockingFile, LocalFiles, Opened, Storage},
    testing::{FaultyDisk, Later, NullDisk, SimDisk},
};

/// How long a request may take that does end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Checks that these are the promises that could not be checked.
fn assert_unchecked(report: &ConformanceReport, wanted: &[StoragePromise]) {
    let found: BTreeSet<_> = report.unchecked.iter().map(|(promise, _)| *promise).collect();
    assert_eq!(found, wanted.iter().copied().collect(), "{report:?}");
    let all: BTreeSet<_> = report.kept.iter().copied().chain(found).collect();
    assert_eq!(
        all,
        StoragePromise::ALL.iter().copied().collect(),
        "each promise is kept, or it is said why it was not checked"
    );
}

const OF_CALLS: [StoragePromise; 3] =
    [StoragePromise::StartsWithoutWaiting, StoragePromise::EndsOutsideItsLocks, StoragePromise::VersionGrows];

#[test]
fn a_sim_disk_conforms() {
    let disk = SimDisk::with_seed(1);
    let mut now = disk.clone();
    let test = Conformance::new(disk, "files").after_crash(move || {
        now = now.after_power_cut(3);
        now.clone()
    });
    let report = test.run().unwrap_or_else(|broken| panic!("{broken}"));
    let atomic =
        [StoragePromise::PagesAreWhole, StoragePromise::SyncsAreWhole, StoragePromise::DescriptorIsTheFile];
    assert_unchecked(&report, &[&OF_CALLS[..], &atomic].concat());
    assert!(report.requests > 1000, "{report:?}");
}

#[test]
fn a_sim_disk_whose_requests_end_later_conforms() {
    let disk = SimDisk::with_seed(2);
    let mut now = disk.clone();
    let test = Conformance::new(Later::new(disk, 2), "files").seed(2).page_size(PageSize::MIN);
    let report = test.after_crash(move || {
        now = now.after_power_cut(3);
        Later::new(now.clone(), 3)
    });
    let report = report.run().unwrap_or_else(|broken| panic!("{broken}"));
    let others =
        [StoragePromise::PagesAreWhole, StoragePromise::SyncsAreWhole, StoragePromise::DescriptorIsTheFile];
    assert_unchecked(&report, &[&others[..], &[StoragePromise::VersionGrows]].concat());
}

#[test]
fn real_files_conform() {
    let folder = tempfile::tempdir().unwrap();
    let report =
        Conformance::new(LocalFiles, folder.path()).run().unwrap_or_else(|broken| panic!("{broken}"));
    assert!(report.kept.contains(&StoragePromise::DescriptorIsTheFile), "{report:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the files are still there");
    let report =
        Conformance::new(FaultyDisk::new(), folder.path()).run().unwrap_or_else(|broken| panic!("{broken}"));
    assert!(report.kept.contains(&StoragePromise::RemovedIsGone), "{report:?}");
}

/// The files of the system, all of them buffered.
#[derive(Debug)]
struct Buffered;

impl Storage for Buffered {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        LocalFiles.open(path, &options.direct(Fallback::Off), page_size)
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        LocalFiles.remove(name)
    }
}

#[test]
fn buffered_files_conform() {
    let folder = tempfile::tempdir().unwrap();
    let report = Conformance::new(Buffered, folder.path()).page_size(PageSize::MAX).rounds(30).run();
    report.unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn files_in_memory_conform_in_all_that_they_say_of_themselves() {
    for atomicity in [Atomicity::Nothing, Atomicity::Page, Atomicity::Sync] {
        for is_asynchronous in [false, true] {
            let report =
                run(None, is_asynchronous, atomicity, PATIENCE).unwrap_or_else(|broken| panic!("{broken}"));
            if is_asynchronous && atomicity == Atomicity::Sync {
                assert_unchecked(&report, &[StoragePromise::DescriptorIsTheFile]);
            }
        }
    }
}

fn run(
    flaw: Option<Flaw>,
    is_asynchronous: bool,
    atomicity: Atomicity,
    patience: Duration,
) -> Result<ConformanceReport, BrokenPromise> {
    let mut storage = FlawedStorage::new(flaw, is_asynchronous, atomicity);
    let test =
        Conformance::new(storage.clone(), "files").rounds(24).patience(patience).longest_file_bytes(1 << 20);
    let test = test.page_size(PageSize::new(1024).unwrap()).after_crash(move || {
        storage = storage.after_crash();
        storage.clone()
    });
    test.run()
}

/// Whose transfers show the flaw.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum FlawedKind {
    Both,
    Called,
    Served,
}

use FlawedKind::{Both, Called, Served};

const FLAWS: [(Flaw, FlawedKind, StoragePromise); 56] = [
    (Flaw::OpensWhatIsMissing, Both, StoragePromise::MissingIsNotFound),
    (Flaw::HasAnotherErrorForMissing, Both, StoragePromise::MissingIsNotFound),
    (Flaw::CreatesWithAPage, Both, StoragePromise::CreatedIsEmpty),
    (Flaw::LosesNewFiles, Both, StoragePromise::CreatedIsEmpty),
    (Flaw::IdentityOfTheOpening, Both, StoragePromise::IdentityIsOfTheFile),
    (Flaw::OneIdentity, Both, StoragePromise::IdentityIsOfTheFile),
    (Flaw::CountsIdentities, Both, StoragePromise::IdentityIsOfTheFile),
    (Flaw::ReusesIdentities, Both, StoragePromise::IdentityIsOfTheFile),
    (Flaw::RemovesNothing, Both, StoragePromise::RemovedIsGone),
    (Flaw::RemovesBytes, Both, StoragePromise::RemovedIsGone),
    (Flaw::NeverEndsOneRead, Served, StoragePromise::EndsEach),
    (Flaw::NeverEndsOneWrite, Served, StoragePromise::EndsEach),
    (Flaw::NeverEndsOneSync, Served, StoragePromise::EndsEach),
    (Flaw::HangsInLen, Both, StoragePromise::EndsEach),
    (Flaw::DropsOneRead, Served, StoragePromise::FailsNever),
    (Flaw::DropsOneWrite, Served, StoragePromise::FailsNever),
    (Flaw::DropsOneSync, Served, StoragePromise::FailsNever),
    (Flaw::InterruptsSyncs, Both, StoragePromise::FailsNever),
    (Flaw::PanicsInSetLen, Both, StoragePromise::FailsNever),
    (Flaw::EndsUnderItsLock, Served, StoragePromise::EndsOutsideItsLocks),
    (Flaw::WaitsInRead, Served, StoragePromise::StartsWithoutWaiting),
    (Flaw::WaitsInWrite, Served, StoragePromise::StartsWithoutWaiting),
    (Flaw::WaitsInSync, Served, StoragePromise::StartsWithoutWaiting),
    (Flaw::VersionWaitsForSyncs, Served, StoragePromise::StartsWithoutWaiting),
    (Flaw::WaitsInVersion, Served, StoragePromise::StartsWithoutWaiting),
    (Flaw::ForgetsAByte, Both, StoragePromise::ReadsWhatWasWritten),
    (Flaw::ForgetsASector, Both, StoragePromise::ReadsWhatWasWritten),
    (Flaw::ReadsOldBytes, Both, StoragePromise::ReadsWhatWasWritten),
    (Flaw::ShiftsOffsets, Both, StoragePromise::ReadsWhatWasWritten),
    (Flaw::AppliesWritesLate, Served, StoragePromise::ReadsWhatWasWritten),
    (Flaw::ReversesPieces, Both, StoragePromise::ReadsWhatWasWritten),
    (Flaw::LosesNeighbours, Called, StoragePromise::ReadsWhatWasWritten),
    (Flaw::EndsReadsUnfilled, Both, StoragePromise::FillsBeforeItEnds),
    (Flaw::FillsAllButTheLastSector, Served, StoragePromise::FillsBeforeItEnds),
    (Flaw::ReadsMemoryLate, Served, StoragePromise::LeavesMemoryAlone),
    (Flaw::FillsMemoryLate, Served, StoragePromise::LeavesMemoryAlone),
    (Flaw::ReadsBehindTheEnd, Both, StoragePromise::StopsAtTheEnd),
    (Flaw::CountsWhatIsMissing, Both, StoragePromise::FillsBeforeItEnds),
    (Flaw::LengthOfTheLastSync, Both, StoragePromise::TellsTheLength),
    (Flaw::CutsNothing, Both, StoragePromise::TellsTheLength),
    (Flaw::GrowsByOldBytes, Both, StoragePromise::GrowsByZeros),
    (Flaw::KeepsWhatIsCut, Both, StoragePromise::ForgetsWhatIsCut),
    (Flaw::ReservesOnes, Called, StoragePromise::ReservesZeros),
    (Flaw::ReservesNothing, Called, StoragePromise::ReservesZeros),
    (Flaw::SyncsNotAll, Both, StoragePromise::KeepsWhatWasSynced),
    (Flaw::CutsWhenReopened, Both, StoragePromise::KeepsWhatWasSynced),
    (Flaw::ReopensWithoutWritesDuringSyncs, Both, StoragePromise::KeepsWhatWasSynced),
    (Flaw::FailsEmptySync, Both, StoragePromise::SyncsNothing),
    (Flaw::VersionIsStuck, Served, StoragePromise::VersionGrows),
    (Flaw::VersionFalls, Served, StoragePromise::VersionGrows),
    (Flaw::LosesSynced, Both, StoragePromise::SyncedSurvivesCrash),
    (Flaw::LosesWritesDuringSyncs, Both, StoragePromise::SyncedSurvivesCrash),
    (Flaw::ForgetsCuts, Both, StoragePromise::SyncedSurvivesCrash),
    (Flaw::TearsPages, Both, StoragePromise::PagesAreWhole),
    (Flaw::MixesSyncs, Both, StoragePromise::SyncsAreWhole),
    (Flaw::ForgetsWritesOfPools, Both, StoragePromise::ServesAPool),
];

#[test]
fn each_flaw_breaks_its_promise() {
    // Some of them take long to be found, and keep no processor busy meanwhile.
    let missed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = FLAWS.chunks(12).map(|flaws| scope.spawn(|| missed_of(flaws))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Returns whether each access to memory is checked. Then no test may break the rules of memory.
fn memory_is_watched() -> bool {
    cfg!(miri) || option_env!("RUSTFLAGS").is_some_and(|flags| flags.contains("sanitizer="))
}

/// Returns what was found instead of each flaw that was not found.
fn missed_of(flaws: &[(Flaw, FlawedKind, StoragePromise)]) -> Vec<String> {
    let mut missed = Vec::new();
    for &(flaw, kind, promise) in flaws {
        if memory_is_watched() && [Flaw::ReadsMemoryLate, Flaw::FillsMemoryLate].contains(&flaw) {
            println!("skipped: {flaw:?}, which breaks the rules of memory: that is the flaw");
            continue;
        }
        for is_asynchronous in [false, true] {
            if kind == Called && is_asynchronous || kind == Served && !is_asynchronous {
                continue;
            }
            let atomicity = if flaw == Flaw::TearsPages { Atomicity::Page } else { Atomicity::Sync };
            let is_late = [StoragePromise::EndsEach, StoragePromise::EndsOutsideItsLocks].contains(&promise);
            let patience = if is_late { Duration::from_secs(1) } else { PATIENCE };
            match run(Some(flaw), is_asynchronous, atomicity, patience) {
                Err(broken) if broken.promise == promise => {}
                Err(broken) => missed.push(format!("{flaw:?}, asynchronous: {is_asynchronous}: {broken}")),
                Ok(_) => missed.push(format!("{flaw:?}, asynchronous: {is_asynchronous}: nothing was found")),
            }
        }
    }
    missed
}

/// How far offsets of pages of 512 bytes reach: 2 to this power.
const FARTHEST: u32 = 40;

#[test]
fn offsets_that_share_a_place_are_found_however_far_out() {
    let run = |places, longest| {
        let test = Conformance::new(SparseStorage::new(places, longest), "files").rounds(1);
        test.page_size(PageSize::MIN).longest_file_bytes(longest).run()
    };
    // Other checks write 128 KiB.
    for shift in 18..FARTHEST {
        for places in [Places::Wrapped(shift), Places::WrappedBehindTheEnd(shift)] {
            let broken = run(places, 2 << shift).expect_err(&format!("{places:?}"));
            assert_eq!(broken.promise, StoragePromise::OffsetsAreApart, "{places:?}: {broken}");
        }
        // Without a long file.
        let broken = run(Places::WrappedBehindTheEnd(shift), 1 << 18).unwrap_err();
        assert_eq!(broken.promise, StoragePromise::OffsetsAreApart, "{shift}: {broken}");
    }
    let broken = run(Places::Last(1 << 33), u64::MAX).unwrap_err();
    assert_eq!(broken.promise, StoragePromise::OffsetsAreApart, "{broken}");
}

#[test]
fn files_are_as_long_as_they_may_be_and_take_no_memory_for_that() {
    let report_of = |longest, expected: Range<u64>| {
        let run =
            || Conformance::new(SparseStorage::new(Places::Apart, longest), "files").rounds(1).run().unwrap();
        // A run ends early where other tests of this process take much memory meanwhile.
        let mut reports = (0..8).map(|_| run());
        let report = reports.find(|report| expected.contains(&report.longest_file));
        report.unwrap_or_else(|| panic!("{:?} is not within {expected:?}", run()))
    };
    let report = report_of(u64::MAX, 1 << 44..u64::MAX);
    assert!(report.kept.contains(&StoragePromise::OffsetsAreApart), "{report:?}");
    report_of(3 << 30, 1 << 31..3 << 30);
}

#[test]
fn transfers_that_are_interrupted_or_short_break_no_promise() {
    for (seed, is_later) in [(1, false), (2, true)] {
        let disk = SimDisk::with_seed(seed);
        disk.disturb(3);
        // As long in each run, whatever memory other tests of this process take meanwhile.
        let report = if is_later {
            Conformance::new(Later::new(disk.clone(), seed), "files").longest_file_bytes(32 << 20).run()
        } else {
            Conformance::new(disk.clone(), "files").longest_file_bytes(32 << 20).run()
        };
        report.unwrap_or_else(|broken| panic!("{broken}"));
        assert!(disk.strikes() > 200, "{}", disk.strikes());
    }
}

#[test]
fn each_promise_has_a_flaw_that_breaks_it() {
    let broken: BTreeSet<_> = FLAWS.iter().map(|(_, _, promise)| *promise).collect();
    let all: BTreeSet<_> = StoragePromise::ALL.iter().copied().collect();
    // These have tests of their own.
    let others = BTreeSet::from([StoragePromise::OffsetsAreApart, StoragePromise::DescriptorIsTheFile]);
    assert_eq!(all.difference(&broken).copied().collect::<BTreeSet<_>>(), others);
}

/// A file with the descriptor of another one.
#[derive(Debug)]
struct OtherDescriptor {
    file: Box<dyn BlockingFile>,
    other: std::fs::File,
}

impl BlockingFile for OtherDescriptor {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffers, offset)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.file.write_at(buffers, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.other.as_fd())
    }
}

/// Real files with descriptors of others.
#[derive(Debug)]
struct DescribesOthers;

impl Storage for DescribesOthers {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        let opened = LocalFiles.open(path, &options.direct(Fallback::Off).lock(Fallback::Off), page_size)?;
        let file = OtherDescriptor { file: opened.disk, other: tempfile::tempfile()? };
        Opened::blocking(file, opened.identity)
    }
}

#[test]
fn a_descriptor_of_another_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let broken = Conformance::new(DescribesOthers, folder.path()).rounds(8).run().unwrap_err();
    assert_eq!(broken.promise, StoragePromise::DescriptorIsTheFile, "{broken}");
}

/// A disk that has no bytes keeps none.
#[test]
fn a_null_disk_is_told_where_its_first_bytes_are_missing() {
    let broken = Conformance::new(NullDisk::new(0), "files").seed(5).run().unwrap_err();
    let text = broken.to_string();
    assert!(text.contains("seed 5") && text.contains("breaks a promise"), "{text}");
}
