//! That the policies are what their names say, as far as a few accesses can show it.

use replay::{PUBLISHED, Policy, Trace, compare, traces};

fn misses(policy: &mut dyn Policy, pages: impl IntoIterator<Item = u64>) -> usize {
    pages.into_iter().filter(|&page| !policy.access(page)).count()
}

fn of(name: &str, frames: usize) -> Box<dyn Policy> {
    let candidate = PUBLISHED.iter().find(|candidate| candidate.name == name);
    (candidate.expect("it is one of them").build)(frames)
}

#[test]
fn with_room_for_all_each_page_is_missed_once() {
    for candidate in PUBLISHED {
        let mut policy = (candidate.build)(40);
        assert_eq!(misses(policy.as_mut(), (0..400).map(|at| at * 7 % 40)), 40, "{}", candidate.name);
    }
}

#[test]
fn no_policy_keeps_more_pages_than_it_has_frames() {
    for candidate in PUBLISHED {
        for frames in [1, 2, 3, 10] {
            let mut policy = (candidate.build)(frames);
            misses(policy.as_mut(), (0..1000).map(|at| at * at % 31));
            // A look at a page is a use, and may change what is kept: so each page is looked for in a pool with the same history.
            let is_kept = |page: &u64| {
                let mut policy = (candidate.build)(frames);
                misses(policy.as_mut(), (0..1000).map(|at| at * at % 31));
                policy.access(*page)
            };
            let kept = (0..31).filter(is_kept).count();
            assert!(kept <= frames, "{}: {kept} in {frames} frames", candidate.name);
        }
    }
}

#[test]
fn lru_misses_what_textbooks_say() {
    let belady = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5];
    assert_eq!([3, 4].map(|frames| misses(of("LRU", frames).as_mut(), belady)), [10, 8]);
}

#[test]
fn the_clock_spares_what_was_used_more_often() {
    assert_eq!(misses(of("clock", 2).as_mut(), [1, 1, 2, 3, 1]), 3);
}

#[test]
fn a_scan_empties_lru_and_the_clock_and_no_other() {
    let kept = PUBLISHED.map(|candidate| {
        let mut policy = (candidate.build)(100);
        // Hot pages that other pages evicted once: by then every policy knows them.
        for _ in 0..3 {
            misses(policy.as_mut(), (0..30).chain(0..30).chain(1_000..1_080));
        }
        misses(policy.as_mut(), 2_000..3_000);
        30 - misses(policy.as_mut(), 0..30)
    });
    assert_eq!(kept[..2], [0, 0]);
    assert!(kept[2..].iter().all(|&kept| kept > 0), "{kept:?}");
}

#[test]
fn traces_are_the_same_each_time_and_compared_at_six_sizes() {
    let pages = |trace: Trace| trace.pages;
    let first = traces::synthetic().into_iter().map(pages);
    assert!(first.eq(traces::synthetic().into_iter().map(pages)));
    let trace = Trace { name: "loop".to_owned(), pages: (0..100).cycle().take(1000).collect() };
    let lines = compare(&trace, &PUBLISHED[..1]);
    assert_eq!(lines.iter().map(|line| line.frames).collect::<Vec<_>>(), [2, 5, 10, 25, 50, 80]);
    assert!(lines.iter().all(|line| line.misses == [100.0]));
}
