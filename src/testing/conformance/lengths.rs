//! Files that grow and are cut.

use std::io;

use super::{
    checker::{Checker, Kept},
    promise::StoragePromise::{
        ForgetsWhatIsCut, GrowsByZeros, ReadsWhatWasWritten, ReservesZeros, TellsTheLength,
    },
    tested_file::TestedFile,
};
use crate::sync::Arc;

const MOST: u64 = 24;

pub(super) fn check(checker: &Arc<Checker>) -> Kept {
    let mut dice = checker.dice(4);
    behind_the_end(&TestedFile::create(checker)?)?;
    let file = &TestedFile::create(checker)?;
    let mut versions = Vec::new();
    set_len(file, &mut versions, MOST as usize)?;
    set_len(file, &mut versions, 6)?;
    for round in 0..checker.settings.rounds.div_ceil(4) {
        fill(file, &mut versions, 1 + round)?;
        set_len(file, &mut versions, (1 + dice.below(MOST)) as usize)?;
    }
    fill(file, &mut versions, 1_000_000)?;
    set_len(file, &mut versions, 1)?;
    set_len(file, &mut versions, 8)?;
    fill(file, &mut versions, 2_000_000)?;
    reserve(file, &mut versions)
}

/// Writes behind the end: what is between is zeros.
fn behind_the_end(file: &TestedFile) -> Kept {
    let step = file.checker.step(TellsTheLength, "a write of blocks 3 and 4 of an empty file");
    file.write(&step, 3, &[1, 1])?;
    file.expect_len(&step, 5)?;
    let step = file
        .checker
        .step(GrowsByZeros, "a read of all blocks, when blocks 3 and 4 of an empty file were written");
    file.expect(&step, 0, &[0, 0, 0, 1, 1])
}

fn set_len(file: &TestedFile, versions: &mut Vec<u32>, blocks: usize) -> Kept {
    let (checker, before) = (&file.checker, versions.len());
    let step = checker.step(TellsTheLength, format!("a length of {blocks} blocks, instead of {before}"));
    file.set_blocks(&step, blocks)?;
    file.expect_len(&step, blocks)?;
    versions.resize(blocks, 0);
    // Only a new file has never been longer.
    let promise = if before == 0 { GrowsByZeros } else { ForgetsWhatIsCut };
    let step = checker.step(promise, format!("all blocks, when {before} have become {blocks}"));
    file.expect(&step, 0, versions)?;
    // Once more, for what was cut off and would come back with the next length.
    if blocks < before {
        let asked = format!("all blocks, when {before} have become {blocks}, and {before} again");
        let step = checker.step(ForgetsWhatIsCut, asked);
        file.set_blocks(&step, before)?;
        versions.resize(before, 0);
        file.expect(&step, 0, versions)?;
        file.set_blocks(&step, blocks)?;
        versions.truncate(blocks);
    }
    Ok(())
}

fn fill(file: &TestedFile, versions: &mut [u32], version: u32) -> Kept {
    versions.fill(version);
    let asked = format!("a write of all {} blocks", versions.len());
    let step = file.checker.step(ReadsWhatWasWritten, asked);
    file.write(&step, 0, versions)?;
    file.expect(&step, 0, versions)
}

fn reserve(file: &TestedFile, versions: &mut Vec<u32>) -> Kept {
    let (checker, page) = (&file.checker, file.checker.page_bytes() as u64);
    let (blocks, more) = (versions.len(), 5);
    let step = checker.step(ReservesZeros, format!("space for {more} blocks behind {blocks}"));
    match file.calls().allocate(blocks as u64 * page, more * page) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            checker.skip(ReservesZeros, "the storage reserves no space: the pool writes zeros");
            return Ok(());
        }
        reserved => step.done(reserved)?,
    }
    versions.resize(blocks + more as usize, 0);
    file.expect_len(&step, versions.len())?;
    file.expect(&step, 0, versions)
}
