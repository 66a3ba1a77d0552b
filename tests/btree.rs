//! The B+tree of the examples equals an ordered map, whatever is done to it, by many threads at once, and after crashes. So code
//! that is copied from it is right, and the pool under it as well.

mod support;

#[path = "../examples/support/recorder.rs"]
#[allow(dead_code)]
mod recorder;
#[path = "../examples/btree/tree/mod.rs"]
#[allow(dead_code)]
mod tree;

use std::{
    collections::BTreeMap,
    io,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use proptest::prelude::*;
use ringpool::{
    BufferPool, Builder, FileId, IoMethod, OpenOptions,
    options::BackgroundWriter,
    testing::{Dice, Op, SimDisk, SimFile},
};
use support::{guarded, with_each_method};
use tree::{Log, LogFirst, PAGE_LSN, Result, Tree, log::LogFile};

type Entries = BTreeMap<Vec<u8>, u64>;

impl LogFile for SimFile {
    fn read_all(&self) -> io::Result<Vec<u8>> {
        self.read_all()
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync()
    }
}

/// Makes a pool for small trees: pages as large as what a disk writes at once, so that none is torn.
fn builder(method: IoMethod, frames: u32) -> Builder {
    BufferPool::builder().frames(frames).page_size(512).io_method(method)
}

/// Makes a builder for a pool that does all in the calling thread, so that the same seed makes the same run.
fn alone(frames: u32) -> Builder {
    let builder = builder(IoMethod::Sync, frames).background_writer(BackgroundWriter::Off);
    builder.frame_wait(Duration::ZERO)
}

/// Returns the tree on this disk, with all that survived there.
fn open(disk: &SimDisk, builder: Builder) -> Result<Tree> {
    open_with_pool(disk, builder).map(|(tree, ..)| tree)
}

/// Opens the tree on this disk; returns it with its pool and its file.
fn open_with_pool(disk: &SimDisk, builder: Builder) -> Result<(Tree, BufferPool, FileId)> {
    let (log, survived) = Log::open(disk.file("log"))?;
    let builder = builder.wal(LogFirst(Arc::clone(&log))).page_lsn(PAGE_LSN);
    let pool = builder.storage(disk.clone()).build()?;
    let file = pool.open_file("tree", OpenOptions::new().create(true))?;
    Ok((Tree::open(&pool, file, &log, &survived)?, pool, file))
}

/// Returns the first `most` entries from this key on.
fn range(tree: &Tree, from: &[u8], most: usize) -> Result<Vec<(Vec<u8>, u64)>> {
    let mut found = Vec::new();
    tree.scan(from, |key, value| {
        if found.len() == most {
            return ControlFlow::Break(());
        }
        found.push((key.to_vec(), value));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn everything(tree: &Tree) -> Result<Entries> {
    let all = range(tree, &[], usize::MAX)?;
    assert!(all.is_sorted_by(|one, next| one.0 < next.0), "a scan shows keys in their order, each once");
    Ok(all.into_iter().collect())
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, u64),
    Get(Vec<u8>),
    Scan(Vec<u8>, usize),
    Checkpoint,
    /// The pool is dropped, with what it has not written; what was committed is in the log.
    Reopen,
}

/// Keys that are alike, of any length that pages of 512 bytes take.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(prop::sample::select(&[b'a', b'b', 0xff][..]), 0..6),
        4 => (0_u16..300).prop_map(|number| number.to_be_bytes().repeat(20)),
        1 => prop::collection::vec(any::<u8>(), 71),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => (any_key(), any::<u64>()).prop_map(|(key, value)| Step::Insert(key, value)),
        10 => any_key().prop_map(Step::Get),
        5 => (any_key(), 0_usize..100).prop_map(|(key, most)| Step::Scan(key, most)),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_tree_is_what_a_map_is(steps in prop::collection::vec(any_step(), 1..600)) {
        let disk = SimDisk::new();
        let mut tree = open(&disk, alone(12)).unwrap();
        let mut map = Entries::new();
        for step in steps {
            match step {
                Step::Insert(key, value) => {
                    prop_assert_eq!(tree.insert(&key, value).unwrap(), map.insert(key, value));
                }
                Step::Get(key) => prop_assert_eq!(tree.get(&key).unwrap(), map.get(&key).copied()),
                Step::Scan(from, most) => {
                    let expected = map.range(from.clone()..).take(most).map(|(key, value)| (key.clone(), *value));
                    prop_assert_eq!(range(&tree, &from, most).unwrap(), expected.collect::<Vec<_>>());
                }
                Step::Checkpoint => tree.checkpoint().unwrap(),
                Step::Reopen => {
                    tree.commit().unwrap();
                    drop(tree);
                    tree = open(&disk, alone(12)).unwrap();
                }
            }
        }
        prop_assert_eq!(everything(&tree).unwrap(), map);
    }
}

#[test]
fn keys_that_are_too_long_are_refused() {
    let tree = open(&SimDisk::new(), alone(12)).unwrap();
    tree.insert(&[7; 71], 1).unwrap();
    tree.insert(&[7; 72], 2).unwrap_err();
    assert_eq!(everything(&tree).unwrap(), Entries::from([(vec![7; 71], 1)]));
}

/// Of two records the first is lost: so neither counts, and the second does not count again when another record is written where
/// the first was.
#[test]
fn what_lies_behind_the_end_of_a_log_never_comes_back() {
    let disk = SimDisk::new();
    let key = |name: &str| name.repeat(10).into_bytes();
    let insert = |tree: &Tree, name: &str| {
        tree.insert(&key(name), 1).unwrap();
        tree.commit().unwrap();
    };
    let tree = open(&disk, alone(12)).unwrap();
    insert(&tree, "one");
    let record = disk.file("log").len() / 2;
    insert(&tree, "two");
    drop(tree);
    disk.file("log").write_all_at(&[0xff], record).unwrap();
    let tree = open(&disk, alone(12)).unwrap();
    assert_eq!(everything(&tree).unwrap(), Entries::new());
    insert(&tree, "six");
    drop(tree);
    let found = everything(&open(&disk, alone(12)).unwrap()).unwrap();
    assert_eq!(found, Entries::from([(key("six"), 1)]));
}

/// Writers split leaves under other writers and under readers. A scan returns every entry that was there before it began.
#[test]
fn many_threads_insert_while_others_scan() {
    const THREADS: u64 = 4;
    const EACH: u64 = 400;
    with_each_method(|method| {
        let tree = open(&SimDisk::new(), builder(method, 64)).unwrap();
        let key = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().repeat(3);
        let done: Vec<AtomicU64> = (0..THREADS).map(|_| AtomicU64::new(0)).collect();
        let insert = |thread: u64| {
            for at in 0..EACH {
                assert_eq!(tree.insert(&key(at * THREADS + thread), at).unwrap(), None);
                done[thread as usize].store(at + 1, Ordering::Release);
            }
        };
        let count = || done.iter().map(|done| done.load(Ordering::Acquire)).collect::<Vec<_>>();
        thread::scope(|scope| {
            (0..THREADS).for_each(|thread| drop(scope.spawn(move || insert(thread))));
            while count().iter().any(|&done| done < EACH) {
                let before = count();
                let all = everything(&tree).unwrap();
                for (thread, &done) in (0..).zip(&before) {
                    for at in 0..done {
                        let key = key(at * THREADS + thread);
                        assert_eq!(all.get(&key), Some(&at), "a scan missed what was there");
                        assert_eq!(tree.get(&key).unwrap(), Some(at));
                    }
                }
            }
        });
        assert_eq!(everything(&tree).unwrap().len() as u64, THREADS * EACH);
    });
}

/// What a tree has acknowledged: all that is committed, and what may have survived beyond.
#[derive(Default)]
struct Told {
    committed: Entries,
    pending: Vec<(Vec<u8>, u64)>,
}

fn work(tree: &Tree, seed: u64, told: &mut Told) -> Result<()> {
    let mut dice = Dice::new(seed);
    for value in 0..250 {
        let key = dice.below(300).to_be_bytes().repeat(5);
        told.pending.push((key.clone(), value));
        tree.insert(&key, value)?;
        if dice.one_in(4) {
            tree.commit()?;
            told.committed.extend(told.pending.drain(..));
        }
        if dice.one_in(50) {
            tree.checkpoint()?;
        }
    }
    Ok(())
}

/// Returns whether these entries are those of some moment since the last commit.
fn is_of_one_moment(found: &Entries, told: &Told) -> bool {
    let mut expected = told.committed.clone();
    let mut is_it = *found == expected;
    for (key, value) in &told.pending {
        expected.insert(key.clone(), *value);
        is_it |= *found == expected;
    }
    is_it
}

/// Two crashes: what is written after the first must survive the second as well, with the remains of the first behind the log's
/// end.
#[test]
fn c8_a_power_cut_at_any_operation_leaves_what_was_committed() {
    guarded(|| {
        for operation in (1..).step_by(7) {
            let disk = SimDisk::with_seed(operation);
            let mut told = Told::default();
            disk.cut_power_during(operation);
            let ended = open(&disk, alone(8)).and_then(|tree| work(&tree, 1, &mut told));
            let disk = disk.after_power_cut(operation);
            let tree = open(&disk, alone(8)).unwrap();
            let found = everything(&tree).unwrap();
            assert!(is_of_one_moment(&found, &told), "power cut during operation {operation}");
            if ended.is_ok() {
                assert!(operation > 200, "there were operations to be cut");
                return;
            }
            let mut told = Told { committed: found, ..Told::default() };
            disk.cut_power_during(operation / 2);
            let _ = work(&tree, 2, &mut told);
            drop(tree);
            let found = everything(&open(&disk.after_power_cut(!operation), alone(8)).unwrap()).unwrap();
            assert!(is_of_one_moment(&found, &told), "the second power cut, after operation {operation}");
        }
    });
}

/// The page of what was inserted during a checkpoint is clean again at its end, and yet not synced: so only the end of the log
/// before the checkpoint says that redo must begin there.
#[test]
fn c8_redo_starts_where_the_log_ended_before_the_checkpoint() {
    with_each_method(|method| {
        let disk = SimDisk::new();
        let builder = builder(method, 16).background_writer(BackgroundWriter::Off);
        let (tree, pool, file) = open_with_pool(&disk, builder).unwrap();
        let insert = |value| {
            tree.insert(b"key", value).unwrap();
            tree.commit().unwrap();
        };
        insert(1);
        let gate = disk.hold(Op::Sync.of("tree"));
        thread::scope(|scope| {
            let checkpoint = scope.spawn(|| tree.checkpoint().unwrap());
            gate.wait_for(1);
            insert(2);
            pool.flush_file(file).wait().unwrap();
            gate.open();
            checkpoint.join().unwrap();
        });
        // Of a page that was not synced a power cut keeps the old bytes or the new ones.
        for seed in 0..8 {
            let tree = open(&disk.after_power_cut(seed), alone(16)).unwrap();
            assert_eq!(tree.get(b"key").unwrap(), Some(2), "seed {seed}");
        }
    });
}
