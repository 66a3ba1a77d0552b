//! Copies that are read without a latch, against change, replacement and one another. There is one place for a mirror here.

use super::{check, page, pool_of, read_into, spawn};
use crate::{
    buffer::frame::{
        latch::Latch,
        pin::{Pin, PoolHandle},
    },
    id::PageSize,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

const SIZE: usize = PageSize::MIN.bytes();

/// A page's bytes, of which the first and the last word are looked at.
fn bytes(value: u8) -> [u8; SIZE] {
    [value; SIZE]
}

/// Makes a copy, as a reader does that found none.
fn mirror(pin: &Pin, value: u8) {
    pin.latch(Latch::Shared);
    pin.mirror(&bytes(value));
    pin.unlatch_shared();
}

/// What the page's copy holds, in two looks that must agree; `None` where there is none or it changes meanwhile.
fn look_aside(pool: &PoolHandle, block: u32) -> Option<u8> {
    let look = pool.look_aside(page(block))?;
    let (mut first, mut last) = ([0; 1], [0; 1]);
    let both = look.copy_to(0, &mut first) && look.copy_to(SIZE - 1, &mut last);
    both.then(|| {
        assert_eq!(first, last, "a copy of two moments");
        first[0]
    })
}

/// A page is changed and copied anew while it is read: whoever knows of the change does not read what was before.
#[test]
fn c1_a_copy_is_of_one_moment_and_never_out_of_date() {
    check(2, || {
        let pool = pool_of(1);
        let pin = read_into(&pool, 1, || {}).unwrap();
        mirror(&pin, 1);
        let known = Arc::new(AtomicU8::new(1));
        let looking = {
            let (pool, known) = (Arc::clone(&pool), Arc::clone(&known));
            spawn(move || {
                let oldest = known.load(Ordering::Acquire);
                if let Some(seen) = look_aside(&pool, 1) {
                    assert!(seen >= oldest, "read {seen} when {oldest} was known");
                }
            })
        };
        pin.latch(Latch::Exclusive);
        pin.make_own();
        pin.unlatch_exclusive(true);
        known.store(2, Ordering::Release);
        mirror(&pin, 2);
        looking.join().unwrap();
        assert_eq!(look_aside(&pool, 1), Some(2));
    });
}

/// The frame, and the place of the mirror, go to another page.
#[test]
fn c1_a_copy_is_of_the_page_that_was_asked_for() {
    check(2, || {
        let pool = pool_of(1);
        mirror(&read_into(&pool, 1, || {}).unwrap(), 1);
        let looking = {
            let pool = Arc::clone(&pool);
            spawn(move || {
                for block in [1, 2] {
                    assert!(look_aside(&pool, block).is_none_or(|seen| u32::from(seen) == block));
                }
            })
        };
        mirror(&read_into(&pool, 2, || {}).unwrap(), 2);
        looking.join().unwrap();
        assert_eq!(look_aside(&pool, 1), None, "its frame is another page's");
    });
}

/// The page comes into another frame while the thread that took it out of the old one is anywhere between the claim of that frame
/// and its end; then it is changed: the copy was made of the old frame.
#[test]
fn c1_a_copy_does_not_outlive_the_claim_of_its_frame_however_late_the_claimant_ends_it() {
    check(3, || {
        let pool = pool_of(2);
        let old = read_into(&pool, 1, || {}).unwrap();
        mirror(&old, 1);
        let no = old.frame_no();
        drop(old);
        let evicting = {
            let pool = Arc::clone(&pool);
            spawn(move || drop(pool.claim(no)))
        };
        // The page may still be in its old frame.
        if let Some(new) = read_into(&pool, 1, || {}) {
            new.latch(Latch::Exclusive);
            new.make_own();
            new.unlatch_exclusive(true);
            assert_eq!(look_aside(&pool, 1), None, "out of date");
        }
        evicting.join().unwrap();
    });
}

/// Two pages are after the one place, and one of them is changed: its copy goes, whoever has the place.
#[test]
fn c1_a_copy_that_is_being_replaced_is_not_left_behind() {
    check(2, || {
        let pool = pool_of(2);
        let first = read_into(&pool, 1, || {}).unwrap();
        let second = read_into(&pool, 2, || {}).unwrap();
        mirror(&first, 1);
        let copying = spawn(move || mirror(&second, 2));
        first.latch(Latch::Exclusive);
        first.make_own();
        first.unlatch_exclusive(true);
        assert_eq!(look_aside(&pool, 1), None, "out of date");
        copying.join().unwrap();
    });
}
