//! Lookups against eviction and reuse, and against entries that come and go around the one that is sought.

use super::{Bytes, check, page, pool_of, read_into, spawn};
use crate::{
    id::FrameNo,
    pool::{
        frame_pool::Lookup,
        handle::PoolHandle,
        latch::Latch,
        table::{PageTable, tests::neighbours},
    },
    sync::Arc,
};

/// One frame changes from page 1 to page 2 while somebody looks both up: who gets a page gets its own bytes.
#[test]
fn c1_who_pins_a_page_sees_its_bytes_while_its_frame_is_reused() {
    while_a_frame_is_reused(|pool, block, bytes| {
        if let Lookup::Pinned(pin) = pool.lookup(page(block))
            && pin.frame().state.load().is_valid()
        {
            pin.latch(Latch::Shared);
            assert_eq!((pin.frame().page(), bytes.read()), (page(block), block));
            pin.unlatch_shared();
        }
    });
}

/// The same with pin and latch in one step.
#[test]
fn c1_who_looks_at_a_page_sees_its_bytes_while_its_frame_is_reused() {
    while_a_frame_is_reused(|pool, block, bytes| {
        if let Some(pin) = pool.look_at(page(block)) {
            assert_eq!((pin.frame().page(), bytes.read()), (page(block), block));
            pin.unlatch_and_unpin();
        }
    });
}

/// Page 1 gives its frame, the only one, to page 2, while another thread has `look` look at both.
fn while_a_frame_is_reused(look: fn(&PoolHandle, u32, &Bytes)) {
    check(3, move || {
        let pool = pool_of(1);
        let bytes = Arc::new(Bytes::new(1));
        drop(read_into(&pool, 1, || {}));
        let looking = {
            let (pool, bytes) = (Arc::clone(&pool), Arc::clone(&bytes));
            spawn(move || [1, 2].into_iter().for_each(|block| look(&pool, block, &bytes)))
        };
        // With the frame pinned there is no victim.
        drop(read_into(&pool, 2, || bytes.write(2)));
        looking.join().unwrap();
    });
}

/// Two misses of one page: it gets one frame.
#[test]
fn c1_a_page_gets_one_frame_whoever_reads_it() {
    check(2, || {
        let pool = pool_of(2);
        let reading = {
            let pool = Arc::clone(&pool);
            spawn(move || drop(read_into(&pool, 1, || {})))
        };
        drop(read_into(&pool, 1, || {}));
        reading.join().unwrap();
        let holders = pool.frames().filter_map(|(_, frame)| frame.glance());
        assert_eq!(holders.filter(|(held, _)| *held == page(1)).count(), 1);
    });
}

/// An entry that nobody touches is found at any moment, also in a bucket behind the one where it belongs, while its neighbours
/// there and here come and go.
#[test]
fn an_entry_at_rest_is_always_found() {
    check(3, || {
        let table = Arc::new(PageTable::new(10, 10).unwrap());
        // As many pages as a bucket holds, one that is sought, which went on as the only one, and one that comes.
        let pages = neighbours(&table, 12);
        let [gone, sought, coming] = [0, 10, 11].map(|n| pages[n]);
        for (n, &page) in pages.iter().enumerate().take(11) {
            table.lock(table.slot(page)).insert(FrameNo(n as u32)).unwrap();
        }
        let looking = {
            let table = Arc::clone(&table);
            spawn(move || {
                let found = table.find(table.slot(sought), |frame| (frame == FrameNo(10)).then_some(()));
                assert!(found.is_some());
            })
        };
        // It makes room in the first bucket, which is filled again, and goes itself behind the one that is sought and back.
        table.lock(table.slot(gone)).remove(FrameNo(0));
        table.lock(table.slot(coming)).insert(FrameNo(11)).unwrap();
        table.lock(table.slot(gone)).insert(FrameNo(12)).unwrap();
        table.lock(table.slot(gone)).remove(FrameNo(12));
        looking.join().unwrap();
    });
}

/// Page and state that belong together, for who has no pin.
#[test]
fn a_glance_never_shows_a_page_with_the_state_of_another() {
    check(3, || {
        let pool = pool_of(1);
        drop(read_into(&pool, 1, || {}));
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
        mapped.reading.end_read(&Ok(()), true);
        glancing.join().unwrap();
    });
}
