//! What is found after a crash, where the test can make one.

use super::{
    CrashHook,
    checker::{CheckStep, Checker, Kept},
    durability,
    promise::StoragePromise::{PagesAreWhole, SyncedSurvivesCrash, SyncsAreWhole},
    tested_file::{SyncUnderWay, TestedFile},
};
use crate::{OpenOptions, storage::Atomicity, sync::Arc, testing::Dice};

const BLOCKS: usize = 16;
const VERSIONS: u32 = 10;

struct MayBeFound {
    /// As of the last sync that was reported.
    synced: Vec<u32>,
    /// As of the sync that was under way.
    under_way: Option<Vec<u32>>,
    /// Of each block, what was written since.
    since: Vec<Vec<u32>>,
}

pub(super) fn check(checker: &Arc<Checker>, crash: Option<CrashHook>) -> Kept {
    let Some(mut crash) = crash else {
        for promise in [SyncedSurvivesCrash, PagesAreWhole, SyncsAreWhole] {
            checker.skip(promise, "only a crash shows it, and the test makes none");
        }
        return Ok(());
    };
    let dice = &mut checker.dice(6);
    let mut file = TestedFile::create(checker)?;
    let atomicity = file.opened.capabilities.atomicity;
    for (promise, is_promised) in
        [(PagesAreWhole, atomicity != Atomicity::Nothing), (SyncsAreWhole, atomicity == Atomicity::Sync)]
    {
        if is_promised {
            checker.step(promise, "crashes");
        } else {
            checker.skip(promise, "the storage does not say so");
        }
    }
    for round in 0..checker.settings.rounds.div_ceil(2) {
        file = crash_once(file, &mut crash, round, dice)?;
    }
    Ok(())
}

fn crash_once(file: TestedFile, crash: &mut CrashHook, round: u32, dice: &mut Dice) -> Kept<TestedFile> {
    let (checker, version) = (Arc::clone(&file.checker), round * VERSIONS);
    let step = checker.step(SyncedSurvivesCrash, "writes of all blocks, and syncs");
    let (before, synced) = sync_once(&file, &step, round, dice)?;
    let blocks = synced.len();
    let mut found = MayBeFound { since: vec![Vec::new(); blocks], synced, under_way: None };

    let mut newest = found.synced.clone();
    for later in 3..3 + dice.below(3) as u32 {
        for (block, newest) in newest.iter_mut().enumerate() {
            if dice.coin() {
                file.write(&step, block as u32, &[version + later])?;
                *newest = version + later;
                found.since[block].push(version + later);
            }
        }
    }
    let during = ["nothing", "writes", "a sync"][dice.below(3) as usize];
    let mut writes = Vec::new();
    let mut sync = None;
    match during {
        "writes" => {
            for block in 0..blocks {
                found.since[block].push(version + 9);
                writes.push(file.start_write(block as u32, &[version + 9]));
            }
        }
        "a sync" => {
            sync = Some(file.start_sync());
            found.under_way = Some(newest.clone());
            // Some of them are over by then.
            (0..dice.below(200)).for_each(|_| std::thread::yield_now());
        }
        _ => {}
    }
    if let Some(reported) = sync.take_if(SyncUnderWay::is_over) {
        reported.wait(&step)?;
        found = MayBeFound { synced: newest, under_way: None, since: vec![Vec::new(); blocks] };
    }
    let asked = format!("{before}, a crash during {during}, and opening {} again", file.path.display());
    let step = checker.step(SyncedSurvivesCrash, asked);
    *checker.storage.lock() = crash();
    checker.forget_identities(None);
    let (number, path, atomicity) = (file.number, file.path.clone(), file.opened.capabilities.atomicity);
    // What was under way on the storage that has crashed may never end.
    drop((writes, sync));
    drop(file);
    let file = step.own(TestedFile::open(&checker, number, &path, &OpenOptions::new()))?;
    look(&step, &file, &found, atomicity)?;
    Ok(file)
}

/// Fills the file, or a part of it, and syncs. Returns what was done, and the version of each block.
fn sync_once(
    file: &TestedFile,
    step: &CheckStep,
    round: u32,
    dice: &mut Dice,
) -> Kept<(&'static str, Vec<u32>)> {
    let set_blocks = |versions: &mut Vec<u32>, blocks| {
        versions.resize(blocks, 0);
        file.set_blocks(step, blocks)
    };
    let version = round * VERSIONS;
    let mut versions = vec![version + 1; BLOCKS];
    file.write(step, 0, &versions)?;
    let fewer = 1 + dice.below(BLOCKS as u64 - 1) as usize;
    // Each of them in turn: a test of a few crashes has all.
    let done = match round % 4 {
        0 => {
            durability::write_during_a_sync(file, step, &mut versions, version + 2, dice)?;
            "writes during a sync, and another sync"
        }
        1 => {
            file.sync(step)?;
            set_blocks(&mut versions, fewer)?;
            "a sync, a cut, and another sync"
        }
        2 => {
            let sync = file.start_sync();
            set_blocks(&mut versions, fewer)?;
            sync.wait(step)?;
            "a cut during a sync, and another sync"
        }
        _ => {
            file.sync(step)?;
            set_blocks(&mut versions, fewer)?;
            set_blocks(&mut versions, BLOCKS)?;
            "a sync, a cut, the same length again, and another sync"
        }
    };
    file.sync(step)?;
    Ok((done, versions))
}

fn look(step: &CheckStep, file: &TestedFile, may_be: &MayBeFound, atomicity: Atomicity) -> Kept {
    let MayBeFound { synced, under_way, since } = may_be;
    let read = file.start_read(0, synced.len());
    let found = read.look(step, synced.len(), |page, bytes| Ok(page.version_in(bytes)))?;
    // All since the last sync has changed blocks that were there.
    let (len, page) = (file.opened.len, file.checker.page_bytes());
    step.ensure(len == (found.len() * page) as u64, || {
        format!("{len} bytes, where {} blocks of {page} were synced", found.len())
    })?;
    if atomicity == Atomicity::Sync {
        let is = |wanted: &Vec<u32>| found.iter().zip(wanted).all(|(found, wanted)| *found == Some(*wanted));
        if is(synced) || under_way.as_ref().is_some_and(is) {
            return Ok(());
        }
    }
    for (block, found) in found.iter().enumerate() {
        let (synced, since) = (synced[block], &since[block]);
        match *found {
            Some(version) if version == synced || since.contains(&version) => {}
            None if !since.is_empty() && atomicity == Atomicity::Nothing => {}
            None if !since.is_empty() => {
                let text = format!(
                    "block {block} in parts: {since:?} were written since version {synced} was synced"
                );
                return Err(step.broken_as(PagesAreWhole, text));
            }
            _ => {
                let text = format!(
                    "block {block} in version {found:?}, where {synced} was synced, and {since:?} written since"
                );
                return Err(step.broken(text));
            }
        }
    }
    if atomicity == Atomicity::Sync {
        let text = format!("{found:?}, where {synced:?} was synced, and {under_way:?} was under way");
        return Err(step.broken_as(SyncsAreWhole, text));
    }
    Ok(())
}
