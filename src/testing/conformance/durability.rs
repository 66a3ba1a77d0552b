//! What a sync keeps and publishes, and what a descriptor reads.

use std::{fs::File, os::unix::fs::FileExt};

use super::{
    checker::{CheckStep, Checker, Kept},
    promise::StoragePromise::{DescriptorIsTheFile, KeepsWhatWasSynced, SyncsNothing, VersionGrows},
    tested_file::TestedFile,
};
use crate::{
    io::{aligned::AlignedZeros, storage::StorageFile},
    sync::{Arc, time::Duration},
    testing::Dice,
};

const BLOCKS: u32 = 16;
/// Syncs that are tried until writes have ended during one.
const TRIES: u32 = 8;

pub(super) fn check(checker: &Arc<Checker>) -> Kept {
    let dice = &mut checker.dice(5);
    let mut file = TestedFile::create(checker)?;
    let step = checker.step(SyncsNothing, "a sync of a file that was just created");
    step.own(file.sync(&step))?;
    let mut versions = vec![0; BLOCKS as usize];
    for round in 1..=checker.settings.rounds.div_ceil(16) + 1 {
        let before = version(&file);
        let step = checker.step(KeepsWhatWasSynced, format!("round {round}: writes, and a sync"));
        for block in 0..BLOCKS {
            // At least one, so that there is something to publish.
            if round == 1 || block == 0 || dice.coin() {
                versions[block as usize] = round;
                file.write(&step, block, &[round])?;
            }
        }
        file.sync(&step)?;
        let published = version(&file);
        if before.is_some() || published.is_some() {
            let step = checker.step(VersionGrows, "a sync that had something to publish");
            let found = || format!("version {before:?} before, and {published:?} after it");
            step.ensure(published > before, found)?;
        }

        let step = checker.step(SyncsNothing, "a second sync, with nothing to publish");
        step.own(file.sync(&step))?;
        let step = checker.step(KeepsWhatWasSynced, format!("round {round}: all blocks, after a sync"));
        file.expect(&step, 0, &versions)?;

        file = step.own(file.reopen())?;
        let asked = format!("round {round}: all blocks, when it is opened again");
        let step = checker.step(KeepsWhatWasSynced, asked);
        let (len, wanted) = (file.opened.len, u64::from(BLOCKS) * checker.page_bytes() as u64);
        step.ensure(len == wanted, || format!("a length of {len} bytes instead of {wanted}"))?;
        file.expect(&step, 0, &versions)?;
        if published.is_some() {
            let (found, step) = (version(&file), checker.step(VersionGrows, "opening the file again"));
            // The second sync had nothing to publish: it may have published all the same.
            let told = || format!("version {found:?}, where {published:?} was published");
            step.ensure(found >= published, told)?;
        }
    }
    if version(&file).is_none() {
        checker.skip(VersionGrows, "the files have no versions");
    }
    for round in 0..checker.settings.rounds.div_ceil(8) + 1 {
        file = during_a_sync(file, &mut versions, 1000 + 2 * round, dice)?;
    }
    descriptor(&file, &versions)
}

fn version(file: &TestedFile) -> Option<u64> {
    file.asynchronous().and_then(StorageFile::version)
}

/// Writes while a sync is under way. The next sync has what the first one has not.
fn during_a_sync(file: TestedFile, versions: &mut [u32], version: u32, dice: &mut Dice) -> Kept<TestedFile> {
    let step = file.checker.step(
        KeepsWhatWasSynced,
        "writes of all blocks, a sync, writes while it is under way, and another sync",
    );
    versions.fill(version);
    file.write(&step, 0, versions)?;
    write_during_a_sync(&file, &step, versions, version + 1, dice)?;
    file.sync(&step)?;
    let file = step.own(file.reopen())?;
    let step = file.checker.step(
        KeepsWhatWasSynced,
        "all blocks, some of which were written during a sync, after the next one, and when it is opened again",
    );
    file.expect(&step, 0, versions)?;
    Ok(file)
}

/// Writes some blocks while a sync is under way, and waits for it. Tries again where no write has ended in time.
pub(super) fn write_during_a_sync(
    file: &TestedFile,
    step: &CheckStep,
    versions: &mut [u32],
    version: u32,
    dice: &mut Dice,
) -> Kept {
    for _ in 0..TRIES {
        let mut sync = file.start_sync();
        if dice.coin() {
            // The storage has time to begin it.
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut ended = 0;
        // Not one that ends after the sync: the file would be unsynced for its sake, which hides that those before it were lost.
        for _ in 0..1 + dice.below(4) {
            let block = dice.below(versions.len() as u64) as usize;
            versions[block] = version;
            file.write(step, block as u32, &[version])?;
            if sync.is_over() {
                ended = 0;
                break;
            }
            ended += 1;
        }
        sync.wait(step)?;
        if ended > 0 {
            break;
        }
    }
    Ok(())
}

fn descriptor(file: &TestedFile, versions: &[u32]) -> Kept {
    let checker = &file.checker;
    let Some(descriptor) = file.calls().descriptor() else {
        checker.skip(DescriptorIsTheFile, "the files have no descriptors");
        return Ok(());
    };
    let step = checker.step(DescriptorIsTheFile, "reads by the descriptor");
    let direct = File::from(step.done(descriptor.try_clone_to_owned())?);
    let page = checker.page_bytes();
    let mut memory = AlignedZeros::new(page, page);
    for (block, version) in (0..).zip(versions) {
        let changed = version + 1;
        file.write(&step, block, &[changed])?;
        let read = direct.read_exact_at(memory.as_mut_slice(), u64::from(block) * page as u64);
        read.map_err(|error| step.broken(format!("an error at block {block}: {error}")))?;
        step.like(file.page_of(block).check(memory.as_slice(), changed))?;
    }
    Ok(())
}
