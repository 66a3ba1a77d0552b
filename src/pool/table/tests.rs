//! The table as a map, and how far its probes go.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{bucket::PLACES, *};
use crate::id::FileId;

fn page(file: u32, block: u32) -> PageId {
    PageId::new(FileId(file), block)
}

fn table(frames: usize) -> PageTable {
    PageTable::new(frames, frames).unwrap()
}

fn all(table: &PageTable, slot: Slot) -> Vec<FrameNo> {
    let mut all = Vec::new();
    table.find(slot, |frame| {
        all.push(frame);
        None::<()>
    });
    all
}

/// How many buckets lookups look at, of a table in which each frame has a page.
#[derive(Debug)]
struct Probes {
    /// Of the pages that are there: on average, and the most.
    found: (f64, usize),
    /// Of as many pages that are not.
    missed: (f64, usize),
}

/// Fills a table with the pages that `pattern` gives for the numbers below `frames`, and looks for them and for those that it
/// gives for the numbers from there on.
fn probes(frames: u32, pattern: impl Fn(u32) -> PageId) -> Probes {
    let table = table(frames as usize);
    for n in 0..frames {
        table.lock(table.slot(pattern(n))).insert(FrameNo(n)).unwrap();
    }
    let buckets_until = |slot, is_end: &dyn Fn(&Bucket) -> bool| {
        1 + table.path(slot).take_while(|bucket| bucket.passed_on() > 0 && !is_end(bucket)).count()
    };
    let over = |numbers: std::ops::Range<u32>, has: &dyn Fn(&Bucket, Slot, u32) -> bool| {
        let lengths = numbers.map(|n| {
            let slot = table.slot(pattern(n));
            buckets_until(slot, &|bucket| has(bucket, slot, n))
        });
        let (sum, most) = lengths.fold((0, 0), |(sum, most), length| (sum + length, most.max(length)));
        (sum as f64 / f64::from(frames), most)
    };
    let holds = |bucket: &Bucket, slot: Slot, n| {
        bucket.places_of(slot.tag).0.any(|at| bucket.frame(at) == FrameNo(n))
    };
    Probes { found: over(0..frames, &holds), missed: over(frames..2 * frames, &|_, _, _| false) }
}

/// Whatever the numbers of the pages, a lookup looks at one bucket: all but a few of a hundred.
#[test]
fn adversarial_page_numbers_do_not_lengthen_probes() {
    const FRAMES: u32 = 1 << 16;
    type Pattern = fn(u32) -> PageId;
    let patterns: [(&str, Pattern); 6] = [
        ("one dense file", |n| page(0, n)),
        ("block 0 of many files", |n| page(n, 0)),
        ("a thousand files, each from block 0", |n| page(n % 1000, n / 1000)),
        ("file and block alike", |n| page(n, n)),
        ("the bits of the block in reverse", |n| page(3, n.reverse_bits())),
        ("two thousand pages of each of twenty strides", |n| page(n >> 11, (n & 0x7ff) << ((n >> 11) % 20))),
    ];
    let bounded = |name: &str, probes: Probes| {
        assert!(probes.found.0 < 1.02 && probes.missed.0 < 1.04, "{name}: {probes:?}");
        assert!(probes.found.1.max(probes.missed.1) <= 8, "{name}: {probes:?}");
    };
    for (name, pattern) in patterns {
        bounded(name, probes(FRAMES, pattern));
    }
    for shift in 1..16 {
        bounded(&format!("a stride of 2^{shift}"), probes(FRAMES, |n| page(n >> (32 - shift), n << shift)));
    }
    let sparse = |n: u32| page(n >> 22, n.wrapping_mul(0x9e37_79b1) & !0xff | n >> 24);
    let millions = probes(1 << 20, sparse);
    println!("two million sparse blocks, half of them there: {millions:?}");
    bounded("sparse blocks", millions);
}

#[test]
fn a_full_partition_says_so_and_still_ends_probes() {
    let table = table(1);
    let mut pages = (0..).map(|block| page(0, block));
    let fits =
        pages.by_ref().take_while(|&page| table.lock(table.slot(page)).insert(FrameNo(7)).is_ok()).count();
    assert_eq!(fits, PLACES);
    assert!(all(&table, table.slot(page(9, 9))).len() <= PLACES);
}

/// Pages that all belong to the first bucket of a table.
pub(in crate::pool) fn neighbours(table: &PageTable, count: usize) -> Vec<PageId> {
    (0..).map(|block| page(1, block)).filter(|&page| table.slot(page).bucket == 0).take(count).collect()
}

#[test]
fn what_a_bucket_cannot_hold_is_found_further_on_and_leaves_no_trace() {
    let table = table(8 * PAGES_PER_BUCKET);
    let pages = neighbours(&table, 2 * PLACES + 3);
    for (n, &page) in pages.iter().enumerate() {
        table.lock(table.slot(page)).insert(FrameNo(n as u32)).unwrap();
    }
    let (first, second) = (&table.buckets[0], &table.buckets[1]);
    assert_eq!((first.passed_on(), second.passed_on()), (PLACES as u64 + 3, 3));
    for (n, &page) in pages.iter().enumerate() {
        assert!(all(&table, table.slot(page)).contains(&FrameNo(n as u32)), "{page}");
    }
    for (n, &page) in pages.iter().enumerate() {
        let slot = table.slot(page);
        table.lock(slot).remove(FrameNo(n as u32));
        assert!(!all(&table, slot).contains(&FrameNo(n as u32)), "{page}");
    }
    assert!(table.buckets.iter().all(|bucket| bucket.passed_on() == 0));
}

#[test]
fn the_probe_of_a_partitions_last_bucket_goes_on_with_its_first() {
    let table = table(2 * PARTITION * PAGES_PER_BUCKET);
    assert_eq!(table.locks.len(), 2);
    assert_eq!((table.next(PARTITION - 1), table.next(2 * PARTITION - 1)), (0, PARTITION));
    let slot = Slot { bucket: 2 * PARTITION - 1, tag: Tag(1) };
    assert_eq!(table.path(slot).count(), PARTITION);
    assert!(std::ptr::eq(table.path(slot).nth(1).unwrap(), &raw const table.buckets[PARTITION]));
}

proptest! {
    /// Any order of insertions and removals leaves exactly what a map would hold, in a table small enough for buckets to
    /// overflow.
    #[test]
    fn agrees_with_a_map(ops in prop::collection::vec((0_u32..48, any::<bool>()), 1..300)) {
        let table = table(16);
        let mut map = HashMap::new();
        for (n, (block, add)) in ops.into_iter().enumerate() {
            let slot = table.slot(page(1, block));
            if add && !map.contains_key(&block) && map.len() < 40 {
                table.lock(slot).insert(FrameNo(n as u32)).unwrap();
                map.insert(block, FrameNo(n as u32));
            } else if let Some(frame) = map.remove(&block) {
                table.lock(slot).remove(frame);
            }
            for block in 0..48 {
                let found = all(&table, table.slot(page(1, block)));
                prop_assert!(map.get(&block).is_none_or(|frame| found.contains(frame)));
                prop_assert!(found.iter().all(|frame| map.values().any(|mapped| mapped == frame)));
            }
        }
    }
}
