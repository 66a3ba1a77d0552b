//! A stream gives the pages of its blocks, in their order, each once for each time it is asked for.

use ringpool::StreamOptions;

use crate::support::{Bench, assert_stamped, with_each_method};

#[test]
fn pages_come_in_the_order_of_their_blocks() {
    with_each_method(|method| {
        for frames in [1, 2, 3, 16, 64] {
            let bench = Bench::new(method.clone(), frames, 200);
            let orders: [Vec<u32>; 4] = [
                (0..200).collect(),
                (0..200).rev().collect(),
                (0..50).flat_map(|n| [n, n, 199 - n]).collect(),
                (0..4).flat_map(|first| (first..200).step_by(4)).collect(),
            ];
            for blocks in orders {
                let stream = bench.pool.read_stream(bench.file, blocks.iter().copied(), StreamOptions::new());
                let mut seen = Vec::new();
                for page in stream {
                    let page = page.unwrap();
                    assert_stamped(&page, 1);
                    seen.push(page.id().block.0);
                }
                assert_eq!(seen, blocks);
                bench.assert_at_rest();
                assert_eq!(bench.pool.stats().frames.reading_ahead, 0);
            }
        }
    });
}
