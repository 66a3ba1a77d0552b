//! A process that is killed while it works. What it had acknowledged is in the file, read by this process through plain calls.
//!
//! The process is this test binary itself: [`victim`] works where an environment variable says, and prints which changes are in the
//! file. The system outlives the process, so this finds what the pool reported too early, not what a sync failed to keep.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, CheckpointOptions, FileId, IoMethod, OpenOptions, PageId, options::Fallback, testing::Dice,
};

use crate::{
    support::{guarded, methods, say},
    versions::{fill, version_of},
};

const PAGE: usize = 4096;
const BLOCKS: u32 = 64;

/// Where the victim works, and how: a file, a method's place in the list, the first change.
const TASK: &str = "RINGPOOL_CRASH_VICTIM";

/// What precedes the number of a change up to which all are in the file.
const ACKNOWLEDGED: &str = "acknowledged ";

/// Returns the block that a change is made to.
fn block_of(change: u32) -> u32 {
    Dice::new(u64::from(change)).below(u64::from(BLOCKS)) as u32
}

#[test]
fn victim() {
    let Ok(task) = env::var(TASK) else { return };
    let [path, method, change] = task.split('|').collect::<Vec<_>>()[..] else { panic!("{task}") };
    let method = methods().swap_remove(method.parse().unwrap());
    work(Path::new(path), method, change.parse().unwrap());
}

/// Changes pages, and acknowledges what a checkpoint has covered, until it is killed.
fn work(path: &Path, method: IoMethod, first: u32) {
    let pool = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(method).build().unwrap();
    let direct = if first.is_multiple_of(2) { Fallback::Prefer } else { Fallback::Off };
    let file: FileId = pool.open_file(path, OpenOptions::new().direct(direct)).unwrap();
    for change in first.. {
        let block = block_of(change);
        let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
        fill(&mut page.write().unwrap(), block, change);
        drop(page);
        if Dice::new(!u64::from(change)).one_in(8) {
            pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
            println!("{ACKNOWLEDGED}{change}");
        }
    }
}

/// Has a victim work on from a change, kills it after a while, and returns the last change that it acknowledged.
fn kill_one(path: &Path, method: usize, first: u32, patience: Duration) -> u32 {
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["killed::victim", "--exact", "--nocapture"])
        .env(TASK, format!("{}|{method}|{first}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let number = |line: String| line.rsplit_once(ACKNOWLEDGED).and_then(|(_, number)| number.parse().ok());
    let at_work = lines.by_ref().find_map(number).expect("a victim that begins to work");
    thread::sleep(patience);
    victim.kill().unwrap();
    victim.wait().unwrap();
    // A last line may have been cut off in its middle, and then names an earlier change.
    lines.filter_map(number).fold(at_work, u32::max)
}

/// Compares the file with what was acknowledged. `least` has the change that each block must have at the least, and then the
/// one that it has.
fn check(path: &Path, least: &mut [u32]) {
    let bytes = fs::read(path).unwrap();
    for (block, page) in (0..).zip(bytes.chunks(PAGE)) {
        let found = version_of(page, block).unwrap_or_else(|text| panic!("{text}"));
        assert!(found == 0 || block_of(found) == block, "block {block} has change {found}");
        let least = &mut least[block as usize];
        assert!(found >= *least, "block {block} has change {found}, and {least} was acknowledged");
        *least = found;
    }
}

#[test]
fn what_a_killed_process_had_acknowledged_is_in_its_file() {
    guarded(|| {
        let kills = env::var("RINGPOOL_KILLS").map_or(30, |text| text.parse().expect("a number of kills"));
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("data");
        fs::File::create(&path).unwrap().write_all(&vec![0; BLOCKS as usize * PAGE]).unwrap();
        let (mut dice, mut first) = (Dice::new(1), 1);
        let mut least = vec![0; BLOCKS as usize];
        let methods = methods().len();
        for kill in 0..kills {
            let patience = Duration::from_micros(dice.below(50_000));
            let acknowledged = kill_one(&path, kill % methods, first, patience);
            (first..=acknowledged).for_each(|change| least[block_of(change) as usize] = change);
            check(&path, &mut least);
            first = 1 + least.iter().fold(acknowledged, |last, &change| last.max(change));
        }
        say(&format!("crashes: {kills} processes killed, {first} changes"));
    });
}
