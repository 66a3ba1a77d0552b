//! The table as a map, and how far its looks go.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{partition::Full, *};

fn page(file: u32, block: u32) -> PageId {
    PageId::new(FileId(file), block)
}

fn table(frames: usize) -> PageTable {
    PageTable::new(frames, frames).unwrap()
}

fn frame_of(table: &PageTable, page: PageId) -> Option<FrameNo> {
    table.find_at_rest(page).map(|found| found.frame())
}

fn insert(table: &PageTable, page: PageId, no: u32) -> Result<(), Full> {
    table.lock(page).insert(FrameNo(no))
}

/// Checks that nothing is left of what was removed.
fn assert_empty(table: &PageTable) {
    assert_eq!(table.entries().count(), 0);
    assert!(table.locks.iter().all(|taken| *taken.lock() == 0));
    assert!(table.buckets.iter().all(|bucket| bucket.passed_on() == 0));
}

/// How lookups go in a table in which each frame has a page.
#[derive(Debug)]
struct Looks {
    /// The share of lookups that find the cluster at the place where it belongs.
    at_first: f64,
    /// In how many buckets a page that is there is looked for, on average and at the most.
    found: (f64, usize),
    /// In how many buckets a page that is not there is looked for.
    missed: (f64, usize),
}

/// Fills a table with the pages that `pattern` gives for the numbers below `frames`, and looks for them and for those that it
/// gives for the numbers from there on.
fn looks(frames: u32, pattern: impl Fn(u32) -> PageId) -> Looks {
    let table = table(frames as usize);
    (0..frames).for_each(|n| insert(&table, pattern(n), n).unwrap());
    let mut at_first = 0;
    let mut over = |numbers: Range<u32>| {
        let lengths = numbers.map(|n| {
            let sought = table.sought(pattern(n));
            let mut path = table.path(sought, table.span_word(sought).load(Ordering::Relaxed));
            let (mut length, mut bucket) = (1, path.next().unwrap());
            let is_first = bucket.keys[sought.place()].load(Ordering::Relaxed) == sought.key;
            at_first += u32::from(is_first && n < frames);
            while bucket.place_of(sought.key).is_none() && bucket.passed_on() > 0 {
                (length, bucket) = (length + 1, path.next().unwrap());
            }
            length
        });
        let (sum, most) = lengths.fold((0, 0), |(sum, most), length| (sum + length, most.max(length)));
        (sum as f64 / f64::from(frames), most)
    };
    let (found, missed) = (over(0..frames), over(frames..2 * frames));
    (0..frames).for_each(|n| assert_eq!(frame_of(&table, pattern(n)), Some(FrameNo(n))));
    Looks { at_first: f64::from(at_first) / f64::from(frames), found, missed }
}

/// Whatever the numbers of the pages, nearly all lookups end in the first bucket, and for pages side by side at the first place.
#[test]
fn adversarial_page_numbers_do_not_lengthen_looks() {
    const FRAMES: u32 = 1 << 15;
    type Pattern = fn(u32) -> PageId;
    let patterns: [(&str, Pattern); 6] = [
        ("one dense file", |n| page(0, n)),
        ("block 0 of many files", |n| page(n, 0)),
        ("a thousand files, each from block 0", |n| page(n % 1000, n / 1000)),
        ("file and block alike", |n| page(n, n)),
        ("the bits of the block in reverse", |n| page(3, n.reverse_bits())),
        ("two thousand pages of each of twenty strides", |n| page(n >> 11, (n & 0x7ff) << ((n >> 11) % 20))),
    ];
    let bounded = |name: &str, looks: Looks| {
        println!("{name}: {looks:?}");
        // Twice what keys at random cost: each table has a hash of its own, and partitions that fill unevenly with it.
        assert!(looks.at_first > if name == "one dense file" { 0.75 } else { 0.6 }, "{name}: {looks:?}");
        assert!(looks.found.0 < 1.08 && looks.missed.0 < 1.2, "{name}: {looks:?}");
        assert!(looks.found.1.max(looks.missed.1) <= 24, "{name}: {looks:?}");
    };
    for (name, pattern) in patterns {
        bounded(name, looks(FRAMES, pattern));
    }
    for shift in 1..16 {
        bounded(&format!("a stride of 2^{shift}"), looks(FRAMES, |n| page(n >> (32 - shift), n << shift)));
    }
    let sparse = |n: u32| page(n >> 22, n.wrapping_mul(0x9e37_79b1) & !0xff | n >> 24);
    bounded("half a million sparse blocks, half of them there", looks(1 << 18, sparse));
}

#[test]
fn a_full_partition_says_so_and_still_ends_looks() {
    let table = table(1);
    let far_apart = |n| page(0, n * BLOCKS as u32);
    let fits = (0..).take_while(|&n| insert(&table, far_apart(n), n).is_ok()).count();
    assert_eq!(fits, PLACES);
    assert!(insert(&table, page(0, 1), 7).is_ok(), "a cluster that is there has room");
    assert_eq!(frame_of(&table, page(9, 9)), None);
}

/// Returns pages whose clusters belong at the first place of that bucket of a table with one partition, once it is at its
/// largest; each is the second of its cluster.
pub(in crate::buffer) fn pages_at(table: &PageTable, bucket: usize) -> impl Iterator<Item = PageId> {
    let pages = (0..).map(|cluster| page(0, cluster * BLOCKS as u32 + 1));
    pages.filter(move |&page| {
        let sought = table.sought(page);
        (sought.index() as usize & (table.buckets.len() - 1), sought.place()) == (bucket, 0)
    })
}

#[test]
fn what_a_bucket_cannot_hold_is_found_further_on_and_leaves_no_trace() {
    let table = table(8 * PLACES);
    let pages: Vec<_> = pages_at(&table, 0).take(2 * PLACES + 3).collect();
    (0..).zip(&pages).for_each(|(n, &page)| insert(&table, page, n).unwrap());
    let partition_of = |page| table.path(table.sought(page), table.in_use() as u32 - 1);
    let passed_on: Vec<_> = partition_of(pages[0]).map(Bucket::passed_on).take(3).collect();
    assert_eq!(passed_on, [PLACES as u64 + 3, 3, 0]);
    (0..).zip(&pages).for_each(|(n, &page)| assert_eq!(frame_of(&table, page), Some(FrameNo(n)), "{page}"));
    for (n, &page) in (0..).zip(&pages) {
        table.lock(page).remove([(page, FrameNo(n + 1))]);
        assert_eq!(frame_of(&table, page), Some(FrameNo(n)), "another frame is not taken for its own");
        table.lock(page).remove([(page, FrameNo(n))]);
        assert_eq!(frame_of(&table, page), None);
    }
    assert_empty(&table);
}

#[test]
fn a_partition_grows_with_its_clusters_and_keeps_what_is_in_it() {
    const FRAMES: u32 = 4 * PARTITION as u32;
    let dense = table(FRAMES as usize);
    (0..FRAMES).for_each(|n| insert(&dense, page(0, n), n).unwrap());
    let sparse = table(FRAMES as usize);
    let far_apart = |n| page(n % 7, n / 7 * 1000);
    for n in 0..FRAMES {
        insert(&sparse, far_apart(n), n).unwrap();
        assert_eq!(frame_of(&sparse, far_apart(n / 2)), Some(FrameNo(n / 2)));
    }
    assert_eq!((dense.entries().count(), sparse.entries().count()), (FRAMES as usize, FRAMES as usize));
    let per_frame = |table: &PageTable| table.memory() / FRAMES as usize;
    assert!(
        per_frame(&dense) < 25 && per_frame(&sparse) < 220,
        "{} {}",
        per_frame(&dense),
        per_frame(&sparse)
    );
    (0..FRAMES).for_each(|n| sparse.lock(far_apart(n)).remove([(far_apart(n), FrameNo(n))]));
    assert_empty(&sparse);
}

#[test]
fn the_path_of_a_partitions_last_bucket_goes_on_with_its_first() {
    let table = table(2 * PARTITION);
    assert_eq!(table.locks.len(), 2);
    let span = table.in_use() as u32 - 1;
    let sought = Sought { key: 1, hash: u64::from(span) << 33, block: 0 };
    assert_eq!(table.path(sought, span).len(), table.in_use() / 2);
    let second = table.path(sought, span).nth(1).unwrap();
    assert!(std::ptr::eq(second, &raw const table.buckets[1]), "the first bucket of the second partition");
}

#[test]
fn a_list_has_the_blocks_of_its_range_only() {
    let table = table(64);
    (0..64).filter(|n| n % 3 == 0).for_each(|n| insert(&table, page(2, n), n).unwrap());
    for blocks in [0..64, 0..1, 1..3, 10..40, 15..17, 63..64, 64..64, 5..5] {
        let expected: Vec<_> =
            blocks.clone().filter(|n| n % 3 == 0).map(|n| (FrameNo(n), page(2, n))).collect();
        assert_eq!(table.list(FileId(2), blocks), expected);
    }
    assert_eq!(table.list(FileId(1), 0..64), []);
}

#[test]
fn the_last_page_of_all_has_a_place() {
    let (table, last) = (table(4), page(u32::MAX, u32::MAX));
    insert(&table, last, u32::MAX - 1).unwrap();
    assert_eq!(table.entries().collect::<Vec<_>>(), [(FrameNo(u32::MAX - 1), last)]);
}

/// Threads look for pages that stay where they are, while others come around them and the table grows.
#[test]
fn c1_a_page_at_rest_is_always_found_while_its_partition_grows() {
    const RESTING: u32 = 64;
    for round in 0..20 {
        let table = table(PARTITION);
        let resting = |n| page(round, n * 40);
        (0..RESTING).for_each(|n| insert(&table, resting(n), n).unwrap());
        std::thread::scope(|scope| {
            let growing = scope.spawn(|| {
                (RESTING..PARTITION as u32).for_each(|n| insert(&table, page(100, n * 40), n).unwrap());
            });
            while !growing.is_finished() {
                for n in 0..RESTING {
                    let found = table.find_at_rest(resting(n)).expect("it is there all the time");
                    assert!(found.frame() == FrameNo(n) || !found.still_holds());
                }
            }
        });
    }
}

proptest! {
    /// Any order of insertions and removals leaves exactly what a map holds, in a table small enough to grow and to overflow.
    #[test]
    fn agrees_with_a_map(ops in prop::collection::vec((0_u32..80, any::<bool>()), 1..300)) {
        let table = table(32);
        let mut map = HashMap::new();
        // Some side by side, some far apart.
        let page = |n: u32| page(n % 2, if n < 40 { n } else { n * 100 });
        for (no, (n, add)) in (0..).zip(ops) {
            if add && !map.contains_key(&n) && map.len() < 32 {
                insert(&table, page(n), no).unwrap();
                map.insert(n, FrameNo(no));
            } else if let Some(frame) = map.remove(&n) {
                table.lock(page(n)).remove([(page(n), frame)]);
            }
            for n in 0..80 {
                prop_assert_eq!(frame_of(&table, page(n)), map.get(&n).copied());
                prop_assert!(table.find_at_rest(page(n)).is_none_or(|found| found.still_holds()));
            }
        }
        prop_assert_eq!(table.entries().collect::<HashMap<_, _>>(), map.iter().map(|(&n, &no)| (no, page(n))).collect());
        map.iter().for_each(|(&n, &frame)| table.lock(page(n)).remove([(page(n), frame)]));
        assert_empty(&table);
    }
}

#[test]
fn pages_of_a_cluster_are_removed_together_where_they_are_mapped_to_those_frames() {
    let table = table(64);
    let blocks = BLOCKS as u32;
    (0..2 * blocks).for_each(|block| insert(&table, page(0, block), block).unwrap());
    let pages = (0..2 * blocks).map(|block| page(0, block));
    assert_eq!(in_one_cluster(pages.clone()), BLOCKS);
    assert_eq!((in_one_cluster(pages.skip(BLOCKS - 1)), in_one_cluster([].into_iter())), (1, 0));
    // The last of the frames named here has another page by now.
    let mapped = [(page(0, 0), FrameNo(0)), (page(0, 1), FrameNo(1)), (page(0, 2), FrameNo(40))];
    table.lock(page(0, 0)).remove(mapped);
    let found = |block| frame_of(&table, page(0, block));
    assert_eq!([0, 1, 2, 3].map(found), [None, None, Some(FrameNo(2)), Some(FrameNo(3))]);
    table.lock(page(0, 0)).remove((2..blocks).map(|block| (page(0, block), FrameNo(block))));
    assert_eq!([2, blocks].map(found), [None, Some(FrameNo(blocks))], "the other cluster stays");
    let mut partition = table.lock(page(0, blocks));
    partition.remove((blocks..2 * blocks).map(|block| (page(0, block), FrameNo(block))));
    drop(partition);
    assert_empty(&table);
}

#[cfg(not(loom))] // Whose atomics are larger.
#[test]
fn a_bucket_is_a_line_of_keys_and_a_line_for_each_cluster() {
    assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (512, 64));
    assert_eq!(std::mem::offset_of!(Bucket, clusters), 64);
}
