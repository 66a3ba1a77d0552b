//! The steps of the workload: the same in every run.

use ringpool::testing::Dice;

/// One operation of the pool's user. Numbers of blocks are taken modulo the file's length.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Step {
    Read(usize, usize),
    Change(usize, usize),
    Many(usize, [usize; 4]),
    Prefetch(usize, usize),
    Stream(usize, usize),
    Flush(usize, usize),
    FlushFile(usize),
    SyncFile(usize),
    Checkpoint,
    Evict(usize, usize),
    Extend(usize, u32),
    Truncate(usize, u32),
    Reopen(usize),
}

impl Step {
    /// Returns the file that it needs; a checkpoint is of all that are open.
    pub(crate) fn file(self) -> Option<usize> {
        match self {
            Self::Read(file, _)
            | Self::Change(file, _)
            | Self::Many(file, _)
            | Self::Prefetch(file, _)
            | Self::Stream(file, _)
            | Self::Flush(file, _)
            | Self::FlushFile(file)
            | Self::SyncFile(file)
            | Self::Evict(file, _)
            | Self::Extend(file, _)
            | Self::Truncate(file, _)
            | Self::Reopen(file) => Some(file),
            Self::Checkpoint => None,
        }
    }
}

/// How many there are: enough for about 2,000 operations of the disk.
const STEPS: usize = 1900;

pub(crate) fn steps() -> Vec<Step> {
    let mut dice = Dice::new(6);
    let mut steps = Vec::new();
    for _ in 0..STEPS {
        let file = dice.below(2) as usize;
        let mut block = || dice.below(1000) as usize;
        let (block, others) = (block(), [block(), block(), block(), block()]);
        let few = 1 + dice.below(4) as u32;
        steps.push(match dice.below(200) {
            0..70 => Step::Read(file, block),
            70..140 => Step::Change(file, block),
            140..150 => Step::Many(file, others),
            150..156 => Step::Prefetch(file, block),
            156..162 => Step::Stream(file, block),
            162..170 => Step::Flush(file, block),
            170..174 => Step::FlushFile(file),
            174..179 => Step::SyncFile(file),
            179..183 => Step::Checkpoint,
            183..189 => Step::Evict(file, block),
            189..194 => Step::Extend(file, few),
            194..197 => Step::Truncate(file, few),
            _ => Step::Reopen(file),
        });
    }
    steps
}
