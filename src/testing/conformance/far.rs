//! Offsets far out: each is a place of its own.
//!
//! What wraps at a power of two finds one offset at another. So a run is written across each power of two, and what was written before
//! must still be there. Nothing is written between, and a storage that keeps zeros for it is not asked to keep many.

use std::io;

use super::{
    checker::{Checker, Kept},
    promise::StoragePromise::OffsetsAreApart,
    system,
    tested_file::TestedFile,
};
use crate::sync::{
    Arc,
    time::{self, Duration, Instant},
};

/// Memory that the process may take meanwhile, unless the test says how long a file may be.
const MEMORY: u64 = 128 << 20;
/// How long a file becomes where the system does not tell the memory of a process.
const WITHOUT_MEMORY_TOLD: u64 = 64 << 20;

pub(super) fn check(checker: &Arc<Checker>) -> Kept {
    let file = TestedFile::create(checker)?;
    behind_the_end(&file)?;
    across_powers_of_two(&file)
}

/// Returns the powers of two that are offsets of blocks, each with its block.
fn powers_of_two(checker: &Checker) -> impl Iterator<Item = (u64, u32)> {
    let page = checker.page_bytes() as u64;
    let from_second = (page.ilog2() + 1)..u64::BITS;
    from_second.map_while(move |power| Some((1 << power, u32::try_from((1_u64 << power) / page).ok()?)))
}

/// Reads of a short file find nothing far out.
fn behind_the_end(file: &TestedFile) -> Kept {
    let checker = &file.checker;
    let step = checker.step(OffsetsAreApart, "a write of the first two blocks");
    file.write(&step, 0, &[1, 1])?;
    for (offset, block) in powers_of_two(checker) {
        let asked = format!("a read at {offset}, of a file of {} bytes", 2 * checker.page_bytes());
        let step = checker.step(OffsetsAreApart, asked);
        let read = file.read(&step, block, 1)?;
        step.ensure(read == 0, || format!("{read} bytes"))?;
    }
    Ok(())
}

fn across_powers_of_two(file: &TestedFile) -> Kept {
    let (checker, page) = (&file.checker, file.checker.page_bytes() as u64);
    let mut written = vec![(0, 1)];
    let mut expense = Expense::new(checker);
    for (version, (offset, block)) in (2..).zip(powers_of_two(checker)) {
        let len = offset + page;
        if !expense.allows(len) {
            break;
        }
        let asked = format!("a write of 2 blocks of {page} bytes, the second of them at {offset}");
        let step = checker.step(OffsetsAreApart, asked);
        let too_long = [io::ErrorKind::FileTooLarge, io::ErrorKind::StorageFull];
        if !file.start_write(block - 1, &[version; 2]).written_or(&step, &too_long)? {
            break;
        }
        checker.reached(len);
        file.expect_len(&step, block as usize + 1)?;
        written.extend([(block - 1, version), (block, version)]);
        file.expect(&step, block - 1, &[version; 2])?;
        file.expect(&step, 0, &[1])?;
        expense.step_is_over();
    }
    let step = checker.step(OffsetsAreApart, "all blocks that were written far apart");
    for (block, version) in written {
        file.expect(&step, block, &[version])?;
    }
    file.set_blocks(&step, 0)
}

struct Expense<'c> {
    checker: &'c Checker,
    memory_before: Option<u64>,
    since: Instant,
    took: Duration,
}

impl<'c> Expense<'c> {
    fn new(checker: &'c Checker) -> Self {
        Self { checker, memory_before: system::resident_bytes(), since: time::now(), took: Duration::ZERO }
    }

    fn step_is_over(&mut self) {
        (self.took, self.since) = (self.since.elapsed(), time::now());
    }

    fn allows(&self, len: u64) -> bool {
        if let Some(longest) = self.checker.settings.longest_file {
            return len <= longest;
        }
        let is_small = match (self.memory_before, system::resident_bytes()) {
            (Some(before), Some(now)) => now.saturating_sub(before) < MEMORY,
            _ => len <= WITHOUT_MEMORY_TOLD,
        };
        is_small && self.took < self.checker.settings.patience / 8
    }
}
