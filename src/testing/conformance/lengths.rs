//! Files that grow and are cut.

use std::io;

use super::{
    checker::{Checker, Kept},
    promise::StoragePromise,
    tested_file::TestedFile,
};
use crate::{sync::Arc, testing::Dice};

/// The most blocks of the file.
const MOST: u64 = 24;

pub(super) fn check(checker: &Arc<Checker>) -> Kept {
    let dice = &mut checker.dice(4);
    behind_the_end(checker, &TestedFile::create(checker)?, dice)?;
    let file = TestedFile::create(checker)?;
    let mut versions = Vec::new();
    set_len(checker, &file, &mut versions, MOST as usize, dice)?;
    set_len(checker, &file, &mut versions, 6, dice)?;
    for round in 0..checker.settings.rounds.div_ceil(4) {
        fill(checker, &file, &mut versions, 1 + round, dice)?;
        set_len(checker, &file, &mut versions, (1 + dice.below(MOST)) as usize, dice)?;
    }
    fill(checker, &file, &mut versions, 1_000_000, dice)?;
    set_len(checker, &file, &mut versions, 1, dice)?;
    set_len(checker, &file, &mut versions, 8, dice)?;
    fill(checker, &file, &mut versions, 2_000_000, dice)?;
    reserve(checker, &file, &mut versions, dice)
}

/// Writes behind the end: what is between is zeros.
fn behind_the_end(checker: &Arc<Checker>, file: &TestedFile, dice: &mut Dice) -> Kept {
    let page = checker.page_bytes() as u64;
    let step = checker.step(StoragePromise::TellsTheLength, "a write of blocks 3 and 4 of an empty file");
    file.write(&step, 3, &[1, 1], dice)?;
    let len = step.done(file.calls().len())?;
    step.ensure(len == 5 * page, || format!("a length of {len} bytes, where 5 blocks of {page} are there"))?;
    let step = checker.step(
        StoragePromise::GrowsByZeros,
        "a read of all blocks, when blocks 3 and 4 of an empty file were written",
    );
    file.expect(&step, 0, &[0, 0, 0, 1, 1], dice)
}

fn set_len(
    checker: &Arc<Checker>,
    file: &TestedFile,
    versions: &mut Vec<u32>,
    blocks: usize,
    dice: &mut Dice,
) -> Kept {
    let before = versions.len();
    let len = (blocks * checker.page_bytes()) as u64;
    let step = checker
        .step(StoragePromise::TellsTheLength, format!("a length of {blocks} blocks, instead of {before}"));
    step.done(file.calls().set_len(len))?;
    let found = step.done(file.calls().len())?;
    step.ensure(found == len, || format!("{found} bytes, and {len} were set"))?;
    versions.resize(blocks, 0);
    // Only a new file has never been longer.
    let promise = if before == 0 { StoragePromise::GrowsByZeros } else { StoragePromise::ForgetsWhatIsCut };
    let step = checker.step(promise, format!("all blocks, when {before} have become {blocks}"));
    if blocks == 0 {
        let read = file.start_read(0, 1, dice).wait(&step)?.0;
        return step.ensure(read == 0, || format!("{read} bytes"));
    }
    file.expect(&step, 0, versions, dice)?;
    // Once more, for what was cut off and would come back with the next length.
    if blocks < before {
        let step = checker.step(
            StoragePromise::ForgetsWhatIsCut,
            format!("all blocks, when {before} have become {blocks}, and {before} again"),
        );
        step.done(file.calls().set_len((before * checker.page_bytes()) as u64))?;
        versions.resize(before, 0);
        file.expect(&step, 0, versions, dice)?;
        step.done(file.calls().set_len(len))?;
        versions.truncate(blocks);
    }
    Ok(())
}

/// Writes all blocks.
fn fill(
    checker: &Arc<Checker>,
    file: &TestedFile,
    versions: &mut [u32],
    version: u32,
    dice: &mut Dice,
) -> Kept {
    if versions.is_empty() {
        return Ok(());
    }
    versions.fill(version);
    let step = checker
        .step(StoragePromise::ReadsWhatWasWritten, format!("a write of all {} blocks", versions.len()));
    file.write(&step, 0, versions, dice)?;
    file.expect(&step, 0, versions, dice)
}

fn reserve(checker: &Arc<Checker>, file: &TestedFile, versions: &mut Vec<u32>, dice: &mut Dice) -> Kept {
    let page = checker.page_bytes() as u64;
    let promise = StoragePromise::ReservesZeros;
    let (blocks, more) = (versions.len() as u64, 5);
    let step = checker.step(promise, format!("space for {more} blocks behind {blocks}"));
    match file.calls().allocate(blocks * page, more * page) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            checker.skip(promise, "the storage reserves no space: the pool writes zeros");
            return Ok(());
        }
        reserved => step.done(reserved)?,
    }
    let (found, len) = (step.done(file.calls().len())?, (blocks + more) * page);
    step.ensure(found == len, || format!("a length of {found} bytes instead of {len}"))?;
    versions.resize((blocks + more) as usize, 0);
    file.expect(&step, 0, versions, dice)
}
