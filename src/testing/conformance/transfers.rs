//! What is written is read: pages, runs, many at once, from several threads; and what happens at the end of the file and of a request.

use super::{
    checker::{CheckStep, Checker, Kept},
    promise::StoragePromise::{
        EndsEach, EndsOutsideItsLocks, FillsBeforeItEnds, ReadsWhatWasWritten, StartsWithoutWaiting,
        StopsAtTheEnd, TellsTheLength,
    },
    system,
    tested_file::TestedFile,
};
use crate::{io::storage::StorageFile, sync::Arc, testing::Dice};

const BLOCKS: u32 = 48;
const RUN: u64 = 24;
/// Calls for the version during one sync, at most.
const VERSION_CALLS: u32 = 1000;
const THREADS: u32 = 4;

pub(super) fn check(checker: &Arc<Checker>) -> Kept {
    let file = &TestedFile::create(checker)?;
    let dice = &mut checker.dice(3);
    let mut versions = runs(file, dice)?;
    many_at_once(file, &mut versions, dice)?;
    from_threads(file, &versions)?;
    at_the_end(file)?;
    checker.settle()?;
    let step = checker.step(EndsOutsideItsLocks, "a read that is started from within the end of another");
    file.read_within_an_end(&step)?;
    starting(file)
}

/// Writes and reads runs one after the other, in any order, each compared with a model.
fn runs(file: &TestedFile, dice: &mut Dice) -> Kept<Vec<u32>> {
    let checker = &file.checker;
    let mut versions: Vec<u32> = (1..=BLOCKS).collect();
    let step = checker.step(ReadsWhatWasWritten, "single pages, in the order of the file");
    for (block, version) in (0..).zip(&versions) {
        file.write(&step, block, &[*version])?;
    }
    file.expect(&step, 0, &versions[..RUN as usize])?;
    for round in 0..checker.settings.rounds {
        let first = dice.below(u64::from(BLOCKS)) as usize;
        let blocks = (1 + dice.below(RUN) as usize).min(versions.len() - first);
        let (run, block) = (&mut versions[first..first + blocks], first as u32);
        if dice.coin() {
            run.fill(BLOCKS + 1 + round);
            let asked = format!("a write of {blocks} blocks from {first} on");
            file.write(&checker.step(ReadsWhatWasWritten, asked), block, run)?;
        }
        let asked = format!("a read of {blocks} blocks from {first} on");
        file.expect(&checker.step(ReadsWhatWasWritten, asked), block, run)?;
    }
    let step = checker.step(ReadsWhatWasWritten, "all blocks, one by one");
    for (block, version) in (0..).zip(&versions) {
        file.expect(&step, block, &[*version])?;
    }
    Ok(versions)
}

/// Starts as many requests as the storage allows, in any order, before it waits for the first.
fn many_at_once(file: &TestedFile, versions: &mut Vec<u32>, dice: &mut Dice) -> Kept {
    let (checker, many) = (&file.checker, file.in_flight());
    versions.resize(many.max(versions.len()), 0);
    for round in 0..4 {
        let mut blocks: Vec<u32> = (0..many as u32).collect();
        (1..blocks.len()).for_each(|at| blocks.swap(at, dice.below(at as u64 + 1) as usize));
        blocks.iter().for_each(|block| versions[*block as usize] = 1000 + round * 1000 + block);
        let version = |block: &u32| [versions[*block as usize]];
        let step = checker.step(ReadsWhatWasWritten, format!("{many} writes of one block each, at once"));
        let started: Vec<_> = blocks.iter().map(|block| file.start_write(*block, &version(block))).collect();
        started.into_iter().try_for_each(|write| write.written(&step))?;
        let step = checker.step(ReadsWhatWasWritten, format!("{many} reads of one block each, at once"));
        let started: Vec<_> = blocks.iter().map(|block| (block, file.start_read(*block, 1))).collect();
        started.into_iter().try_for_each(|(block, read)| read.expect(&step, &version(block)))?;
    }
    // None of them was late, and none of the reads has left out a sector.
    checker.step(EndsEach, "all of these requests");
    checker.step(FillsBeforeItEnds, "all of these reads");
    Ok(())
}

/// Writes and reads from several threads, each of which has every fourth block.
fn from_threads(file: &TestedFile, versions: &[u32]) -> Kept {
    let asked =
        format!("writes and reads of one block each by {THREADS} threads, which have the blocks in turn");
    let step = file.checker.step(ReadsWhatWasWritten, asked);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (step, mut versions) = (&step, versions.to_vec());
                scope.spawn(move || by_thread(file, step, thread, &mut versions))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(kept) => kept,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn by_thread(file: &TestedFile, step: &CheckStep, thread: u32, versions: &mut [u32]) -> Kept {
    let mut dice = file.checker.dice(100 + u64::from(thread));
    for round in 0..file.checker.settings.rounds {
        let block = dice.below(u64::from(BLOCKS / THREADS)) as u32 * THREADS + thread;
        let version = &mut versions[block as usize];
        if dice.coin() {
            *version = 1_000_000 + round;
            file.write(step, block, &[*version])?;
        }
        file.expect(step, block, &[*version])?;
    }
    Ok(())
}

fn at_the_end(file: &TestedFile) -> Kept {
    let (checker, page) = (&file.checker, file.checker.page_bytes());
    let step = checker.step(TellsTheLength, format!("the length, when {BLOCKS} blocks or more were written"));
    let len = step.done(file.calls().len())?;
    let blocks = (len / page as u64) as u32;
    step.ensure(blocks >= BLOCKS, || format!("{len} bytes"))?;
    let reads =
        [(blocks - 1, 1, 1), (blocks - 1, 2, 1), (blocks - 3, 8, 3), (blocks, 1, 0), (blocks + 7, 4, 0)];
    for (block, wanted, there) in reads {
        let asked = format!("a read of {wanted} blocks from {block} on, of a file of {blocks}");
        let step = checker.step(StopsAtTheEnd, asked);
        let read = file.read(&step, block, wanted)?;
        let found = || format!("{read} bytes, where {there} blocks of {page} are there");
        step.ensure(read == there * page, found)?;
    }
    Ok(())
}

const SYNCS: u32 = 15;

/// Counts how often the calls wait that start requests, while others are under way.
///
/// What is counted is whether the thread gave its processor away to wait for something. That takes no clock, so it says the same on a slow
/// machine. A lock that another thread has for a moment is such a wait too: so only a call that waits more often than not is found.
fn starting(file: &TestedFile) -> Kept {
    let checker = &file.checker;
    if file.asynchronous().is_none() {
        checker.skip(StartsWithoutWaiting, "the transfers are calls");
        checker.skip(EndsOutsideItsLocks, "the transfers are calls");
        return Ok(());
    }
    if !system::counts_waits() {
        checker.skip(StartsWithoutWaiting, "the system does not count how often a thread waits");
        return Ok(());
    }
    let file = &TestedFile { counts_waits: true, ..file.clone() };
    let many = file.in_flight().min(32) as u32;
    let step = checker.step(StartsWithoutWaiting, format!("{many} reads at once"));
    let started: Vec<_> = (0..many).map(|block| file.start_read(block, 1)).collect();
    let waits: Vec<_> = started.iter().map(|read| read.waits).collect();
    started.into_iter().try_for_each(|read| read.look(&step, 1, |_, _| Ok(())).map(drop))?;
    mostly_without_waits(&step, &waits)?;

    let step = checker.step(StartsWithoutWaiting, format!("{many} writes at once"));
    let started: Vec<_> = (0..many).map(|block| file.start_write(block, &[3_000_000])).collect();
    let waits: Vec<_> = started.iter().map(|write| write.waits).collect();
    started.into_iter().try_for_each(|write| write.written(&step))?;
    mostly_without_waits(&step, &waits)?;

    let (mut of_syncs, mut of_versions, mut during_syncs) = (Vec::new(), Vec::new(), Vec::new());
    for version in 1..=SYNCS {
        let step = checker.step(StartsWithoutWaiting, "syncs, each after a write");
        file.write(&step, 0, &[3_000_000 + version])?;
        let mut sync = file.start_sync();
        of_syncs.push(sync.waits);
        // Until the sync is over: it may have a lock for a part of that time.
        let mut waits_during = None;
        for _ in 0..VERSION_CALLS {
            let is_over = sync.is_over();
            let waits = file.waits_in(|| {
                let _ = file.asynchronous().and_then(StorageFile::version);
            });
            if is_over {
                of_versions.push(waits);
                break;
            }
            waits_during = Some(waits_during.unwrap_or(0) + waits);
        }
        during_syncs.extend(waits_during);
        sync.wait(&step)?;
    }
    mostly_without_waits(&checker.step(StartsWithoutWaiting, "syncs, each after a write"), &of_syncs)?;
    // Where few calls were made during a sync, or after one, what they say may be chance; most were made in the other of the two then.
    let (after, during) = ("the version", "the version, while syncs are under way");
    let enough = [(after, of_versions), (during, during_syncs)];
    let mut enough = enough.iter().filter(|(_, waits)| waits.len() > SYNCS as usize / 2);
    enough
        .try_for_each(|(what, waits)| mostly_without_waits(&checker.step(StartsWithoutWaiting, *what), waits))
}

fn mostly_without_waits(step: &CheckStep, waits: &[u64]) -> Kept {
    let waited = waits.iter().filter(|waits| **waits > 0).count();
    step.ensure(2 * waited <= waits.len(), || {
        format!("the thread had to wait in {waited} of {} calls", waits.len())
    })
}
