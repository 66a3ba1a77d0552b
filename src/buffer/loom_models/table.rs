//! Lookups against eviction and reuse, and against entries that come and go around the one that is sought.

use super::{Bytes, check, page, pool_of, read_into, spawn};
use crate::{
    buffer::{
        frame::latch::Latch,
        page_table::{PageTable, tests::pages_at},
        residency::Residency,
    },
    id::{FrameNo, PageId},
    sync::Arc,
};

/// One frame changes its page while another thread looks up the old page and the new: it gets the bytes of the page that it asked for.
#[test]
fn c1_a_thread_that_pins_a_page_sees_its_bytes_while_its_frame_is_reused() {
    while_a_frame_is_reused(|pool, block, bytes| {
        if let Ok(pin) = pool.lookup(page(block))
            && pin.frame().state.load().is_valid()
        {
            pin.latch(Latch::Shared);
            assert_eq!((pin.frame().page(), bytes.read()), (page(block), block));
            pin.unlatch_shared();
        }
    });
}

/// One frame changes its page while another thread looks at the old page and the new, with pin and latch in one step: it gets the
/// bytes of the page that it asked for.
#[test]
fn c1_a_thread_that_looks_at_a_page_sees_its_bytes_while_its_frame_is_reused() {
    while_a_frame_is_reused(|pool, block, bytes| {
        if let Some(pin) = pool.look_at(page(block)) {
            assert_eq!((pin.frame().page(), bytes.read()), (page(block), block));
            pin.unlatch_and_unpin();
        }
    });
}

/// Moves the only frame from a page to another page, while another thread has `look` look at both: to a page of its own cluster,
/// and to one whose cluster takes the place of the old one.
fn while_a_frame_is_reused(look: fn(&Residency, u32, &Bytes)) {
    let block = |page: PageId| page.block.0;
    for same_cluster in [true, false] {
        check(3, move || {
            let pool = pool_of(1);
            let mut pages = pages_at(&pool.table, 0).map(block);
            let [old, other] = [pages.next().unwrap(), pages.next().unwrap()];
            let new = if same_cluster { old - 1 } else { other };
            let bytes = Arc::new(Bytes::new(old));
            drop(read_into(&pool, page(old), || {}));
            let looking = {
                let (pool, bytes) = (Arc::clone(&pool), Arc::clone(&bytes));
                spawn(move || [old, new].into_iter().for_each(|block| look(&pool, block, &bytes)))
            };
            // With the frame pinned there is no victim.
            drop(read_into(&pool, page(new), || bytes.write(new)));
            looking.join().unwrap();
        });
    }
}

/// Two misses of one page: it gets one frame.
#[test]
fn c1_a_page_gets_one_frame_whichever_thread_reads_it() {
    check(2, || {
        let pool = pool_of(2);
        let reading = {
            let pool = Arc::clone(&pool);
            spawn(move || drop(read_into(&pool, page(1), || {})))
        };
        drop(read_into(&pool, page(1), || {}));
        reading.join().unwrap();
        let holders = pool.frames.iter().filter_map(|(_, frame)| frame.glance());
        assert_eq!(holders.filter(|(held, _)| *held == page(1)).count(), 1);
    });
}

/// A frame gives its page up for one of another cluster, and then the partition grows and moves that cluster to where the old one was,
/// while another thread looks at the old page.
#[test]
fn c1_a_thread_that_looks_at_a_page_sees_its_bytes_while_clusters_change_their_places() {
    check(2, || {
        let pool = pool_of(6);
        let [going, staying, third] = [2, 0, 1].map(|bucket| pages_at(&pool.table, bucket).next().unwrap());
        let block = |page: PageId| page.block.0;
        let bytes = Arc::new(Bytes::new(block(going)));
        // It keeps its cluster.
        drop(read_into(&pool, page(block(going) - 1), || {}));
        let no = read_into(&pool, page(block(going)), || {}).unwrap().frame_no();
        let looking = {
            let (pool, bytes) = (Arc::clone(&pool), Arc::clone(&bytes));
            spawn(move || {
                if let Some(pin) = pool.look_at(going) {
                    assert_eq!((pin.frame().page(), bytes.read()), (going, block(going)));
                    pin.unlatch_and_unpin();
                }
            })
        };
        if let Some(claimed) = pool.claim(no) {
            let mapped = pool.map(claimed, staying, false).unwrap();
            bytes.write(block(staying));
            pool.end_read(mapped.reading, &Ok(()), true);
        }
        pool.table.lock(third).insert(FrameNo(5)).unwrap();
        looking.join().unwrap();
    });
}

/// An entry that no thread touches is found at any moment, also in a bucket behind the one where it belongs, while its neighbours
/// there and here come and go.
#[test]
fn an_entry_at_rest_is_always_found() {
    while_it_is_looked_for(2, |table, [other, coming]| {
        // It makes room in the first bucket, which is filled again, and moves behind the entry that is sought and back.
        table.lock(other).remove([(other, FrameNo(0))]);
        table.lock(coming).insert(FrameNo(3)).unwrap();
        table.lock(other).insert(FrameNo(4)).unwrap();
        table.lock(other).remove([(other, FrameNo(4))]);
    });
}

/// An entry that no thread touches is found at any moment while its partition grows.
#[test]
fn an_entry_at_rest_is_found_while_its_partition_grows() {
    while_it_is_looked_for(0, |table, [coming, _]| table.lock(coming).insert(FrameNo(3)).unwrap());
}

/// Looks for a page while `change` changes other entries; those of `before` pages were there before.
fn while_it_is_looked_for(before: usize, change: fn(&PageTable, [PageId; 2])) {
    check(3, move || {
        let table = Arc::new(PageTable::new(3, 3).unwrap());
        let pages: Vec<_> = pages_at(&table, 0).take(4).collect();
        for (n, &page) in pages.iter().enumerate().take(before) {
            table.lock(page).insert(FrameNo(n as u32)).unwrap();
        }
        let sought = pages[2];
        table.lock(sought).insert(FrameNo(2)).unwrap();
        let looking = {
            let table = Arc::clone(&table);
            spawn(move || {
                let found = table.find_at_rest(sought).expect("it is there all the time");
                assert!(found.frame() == FrameNo(2) || !found.still_holds());
            })
        };
        change(&table, [pages[0], pages[3]]);
        looking.join().unwrap();
    });
}

/// A caller without a pin sees page and state that belong together.
#[test]
fn a_glance_never_shows_a_page_with_the_state_of_another() {
    check(3, || {
        let pool = pool_of(1);
        drop(read_into(&pool, page(1), || {}));
        let glancing = {
            let pool = Arc::clone(&pool);
            spawn(move || {
                if let Some((shown, state)) = pool.frame(FrameNo(0)).glance() {
                    assert_eq!(shown == page(2), state.is_read_only(), "{shown}: {state:?}");
                }
            })
        };
        let claimed = pool.claim(FrameNo(0)).unwrap();
        let mapped = pool.map(claimed, page(2), true).unwrap();
        pool.end_read(mapped.reading, &Ok(()), true);
        glancing.join().unwrap();
    });
}
