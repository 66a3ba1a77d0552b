//! Operations by themselves: what the list shows of them, from their making to their end, and that each ends once.

use std::{cell::Cell, collections::BTreeMap, mem, ptr::NonNull};

use proptest::prelude::*;

use super::{
    table::{InFlight, Stage},
    *,
};
use crate::{
    error::Error,
    error::IoOp,
    id::{FileId, PageSize},
    io::tests::support::FakeDisk,
    observe::{Counter, Counters},
    sync::time::{self, Duration},
};

const PAGE: usize = 512;

thread_local! {
    /// How many leases of this thread were finished, and how many were dropped instead.
    static ENDS: Cell<[u32; 2]> = const { Cell::new([0; 2]) };
}

/// A lease of `pages` pages without memory.
struct NoMemory {
    pages: usize,
    is_finished: bool,
}

impl Lease for NoMemory {
    fn buffer_count(&self) -> usize {
        1
    }

    fn buffer(&self, _: usize) -> IoBuf {
        IoBuf { ptr: NonNull::dangling(), len: (self.pages * PAGE) as u32, chunk: 0 }
    }

    fn is_awaited(&self) -> bool {
        false
    }

    fn can_join(&self, _: &Self) -> bool {
        true
    }

    fn join(&mut self, next: Self) {
        self.pages += next.pages;
        // It ends with this.
        mem::forget(next);
    }

    fn finish(&mut self, _: io::Result<usize>, _: &mut Wakers) -> Option<Error> {
        self.is_finished = true;
        None
    }
}

impl Drop for NoMemory {
    fn drop(&mut self) {
        let [finished, dropped] = ENDS.get();
        ENDS.set(if self.is_finished { [finished + 1, dropped] } else { [finished, dropped + 1] });
    }
}

/// The operations of a file, in a table of their own.
struct FileOperations {
    table: Arc<OperationTable<NoMemory>>,
    counters: Arc<Counters>,
    file: Arc<File>,
}

impl FileOperations {
    fn new(places: usize) -> Self {
        ENDS.set([0; 2]);
        let counters = Arc::new(Counters::new());
        let table = Arc::new(OperationTable::with_places(places, PageSize::MIN, Arc::clone(&counters)));
        let mut file = FakeDisk::stamped(0).open_file(PAGE as u32).unwrap();
        file.id = FileId(3);
        Self { table, counters, file: Arc::new(file) }
    }

    fn begun(&self, direction: Direction, block: u32, pages: usize, since: Instant) -> Operation<NoMemory> {
        let lease = NoMemory { pages, is_finished: false };
        let (file, offset) = (Arc::clone(&self.file), u64::from(block) * PAGE as u64);
        let mut operation = Operation::new(&self.table, direction, Urgency::Demand, file, offset, lease);
        operation.list(self.table.moment(since));
        operation
    }

    fn read(&self, block: u32, pages: usize) -> Operation<NoMemory> {
        self.begun(Direction::Read, block, pages, time::now())
    }

    fn list(&self) -> Vec<InFlight> {
        self.table.list()
    }
}

fn finish(operation: Operation<NoMemory>) {
    operation.finish(Ok(0), time::now(), &mut Wakers::new());
}

#[test]
fn an_operation_is_shown_as_it_is_until_it_ends() {
    let operations = FileOperations::new(4);
    assert_eq!(operations.list(), []);
    let read = operations.read(7, 3);
    let write = operations.begun(Direction::Write, 9, 1, time::now());
    write.begin();
    let list = operations.list();
    let shown =
        |at: usize| (list[at].op, list[at].page.block.0, list[at].pages, list[at].bytes, list[at].stage);
    assert_eq!(shown(0), (IoOp::Read, 7, 3, 1536, Stage::Queued), "the oldest comes first");
    assert_eq!(shown(1), (IoOp::Write, 9, 1, 512, Stage::Submitted));
    assert!(
        list[0].to_string().starts_with("read of 3 pages from block 7 of file 3 on (1536 bytes), queued"),
        "{}",
        list[0]
    );
    std::thread::sleep(Duration::from_millis(3));
    assert!(operations.list()[0].age >= Duration::from_millis(3));
    finish(read);
    assert_eq!(operations.list().len(), 1);
    drop(write);
    assert_eq!((operations.list(), ENDS.get()), (vec![], [1, 1]));
    let [reads, writes] =
        [Measure::Read, Measure::Write].map(|measure| operations.counters.measures.get(measure));
    assert_eq!((reads.count(), writes.count()), (1, 0), "what was not carried out took no time");
    assert!(reads.max() >= 3_000_000);
}

#[test]
fn an_operation_took_from_when_it_was_listed_to_when_it_was_found_to_be_over() {
    let operations = FileOperations::new(4);
    let at = |millis| operations.table.epoch + Duration::from_millis(millis);
    let batch = [1, 2].map(|block| operations.begun(Direction::Read, block, 1, at(10)));
    batch.into_iter().for_each(|read| drop(read.finish(Ok(PAGE), at(25), &mut Wakers::new())));
    operations.begun(Direction::Write, 3, 1, at(30)).finish(Ok(PAGE), at(29), &mut Wakers::new());
    let [reads, writes] =
        [Measure::Read, Measure::Write].map(|measure| operations.counters.measures.get(measure));
    assert_eq!((reads.count(), reads.mean(), reads.max()), (2, 15e6, 15_000_000));
    assert_eq!((writes.count(), writes.max()), (1, 0));
}

#[test]
fn c6_operations_beyond_the_places_are_counted_and_are_in_the_way_of_none() {
    let operations = FileOperations::new(2);
    let begin = || operations.read(0, 1);
    let [listed, _second, unlisted] = [begin(), begin(), begin()];
    unlisted.begin();
    assert_eq!((operations.list().len(), operations.counters.get(Counter::Unlisted)), (2, 1));
    finish(unlisted);
    drop(listed);
    let _third = begin();
    assert_eq!((operations.list().len(), operations.counters.get(Counter::Unlisted)), (2, 1));
    assert_eq!(operations.counters.measures.get(Measure::Read).count(), 1);
}

#[test]
fn as_many_operations_are_listed_as_there_are_places() {
    const PLACES: u32 = 135;
    let operations = FileOperations::new(PLACES as usize);
    let hanging: Vec<_> = (0..PLACES - 1).map(|block| operations.read(block, 1)).collect();
    for block in 0..1000 {
        let last = operations.read(block, 1);
        assert_eq!(operations.list().len(), hanging.len() + 1);
        drop(last);
    }
    assert_eq!(operations.counters.get(Counter::Unlisted), 0);
}

#[test]
fn an_operation_that_is_not_listed_yet_does_not_show_the_one_before_it_in_its_memory() {
    let operations = FileOperations::new(1);
    finish(operations.read(7, 1));
    let lease = NoMemory { pages: 1, is_finished: false };
    let file = Arc::clone(&operations.file);
    let next = Operation::new(&operations.table, Direction::Read, Urgency::Demand, file, 0, lease);
    assert_eq!(operations.list(), []);
    drop(next);
    assert_eq!(ENDS.get(), [1, 1]);
}

#[test]
fn two_operations_that_join_are_shown_as_one_as_old_as_the_older() {
    for places in [0, 1, 2] {
        let operations = FileOperations::new(places);
        let older = operations.read(5, 2);
        std::thread::sleep(Duration::from_millis(2));
        let mut joined = operations.read(3, 2);
        joined.join(older);
        let list = operations.list();
        assert_eq!(list.len(), places.min(1));
        assert!(list.iter().all(|shown| (shown.page.block.0, shown.pages) == (3, 4)));
        assert!(list.iter().all(|shown| shown.age >= Duration::from_millis(2)));
        finish(joined);
        assert_eq!(operations.list(), []);
        let reads = operations.counters.measures.get(Measure::Read);
        assert_eq!(reads.count(), 1);
        assert!(reads.max() >= 2_000_000);
    }
}

#[test]
fn an_operation_lets_go_of_its_file_when_it_has_ended() {
    let operations = FileOperations::new(1);
    let held = || Arc::strong_count(&operations.file) - 1;
    let [first, second, third] = [0, 1, 2].map(|block| operations.read(block, 1));
    assert_eq!(held(), 3);
    finish(first);
    drop(second);
    drop(third.into_lease());
    assert_eq!(held(), 0);
}

#[derive(Clone, Debug)]
enum Act {
    Enter(u32),
    Submit(usize),
    Join(usize, usize),
    Finish(usize),
    Drop(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let one = || 0..16_usize;
    prop_oneof![
        4 => any::<u32>().prop_map(Act::Enter),
        1 => one().prop_map(Act::Submit),
        1 => (one(), one()).prop_map(|(a, b)| Act::Join(a, b)),
        2 => one().prop_map(Act::Finish),
        1 => one().prop_map(Act::Drop),
    ]
}

proptest! {
    /// As long as there are places, the list is what is under way, whatever happens, and each operation ends once.
    #[test]
    fn the_list_is_what_is_under_way(acts in prop::collection::vec(act(), 1..200)) {
        let operations = FileOperations::new(256);
        let mut under_way: Vec<(Operation<NoMemory>, Stage)> = Vec::new();
        let (mut finished, mut dropped) = (0, 0);
        for act in acts {
            let len = under_way.len();
            match act {
                Act::Enter(block) => under_way.push((operations.read(block, 1), Stage::Queued)),
                _ if len == 0 => {}
                Act::Submit(at) => {
                    let (operation, stage) = &mut under_way[at % len];
                    operation.begin();
                    *stage = Stage::Submitted;
                }
                Act::Join(one, other) => {
                    let (other, _) = under_way.swap_remove(other % len);
                    let Some((operation, stage)) = under_way.get_mut(one) else {
                        dropped += 1;
                        continue;
                    };
                    *stage = Stage::Queued;
                    operation.join(other);
                }
                Act::Finish(at) => {
                    finish(under_way.swap_remove(at % len).0);
                    finished += 1;
                }
                Act::Drop(at) => {
                    drop(under_way.swap_remove(at % len));
                    dropped += 1;
                }
            }
            let mut shown = BTreeMap::new();
            for operation in operations.list() {
                *shown.entry((operation.page.block.0, operation.pages, operation.stage == Stage::Queued)).or_insert(0) += 1;
            }
            let mut there = BTreeMap::new();
            for (operation, stage) in &under_way {
                let (block, pages) = (operation.offset / PAGE as u64, operation.lease.pages);
                *there.entry((block as u32, pages as u32, *stage == Stage::Queued)).or_insert(0) += 1;
            }
            prop_assert_eq!(shown, there);
        }
        prop_assert_eq!(ENDS.get(), [finished, dropped]);
        prop_assert_eq!(operations.counters.measures.get(Measure::Read).count(), u64::from(finished));
        prop_assert_eq!(operations.counters.get(Counter::Unlisted), 0);
    }
}
