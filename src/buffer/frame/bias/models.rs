//! Readers in slots against all that wants their page for itself. In each model one thread reads, and the other threads are those
//! for which the bias is set, or revoked.

#[cfg(loom)]
use crate::sync::every_schedule;
use crate::{
    buffer::{
        frame::{latch::Latch, pin::Pin, state::State},
        residency::Residency,
        small_pools::{page, pool_of, read_into},
    },
    id::FrameNo,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Runs the model under every schedule, or for shuttle under many.
fn check(scenario: impl Fn() + Send + Sync + 'static) {
    check_with(2, scenario);
}

/// Runs a model of three threads, of whose schedules there are many more.
fn check_three(scenario: impl Fn() + Send + Sync + 'static) {
    check_with(1, scenario);
}

fn check_with(_stops: usize, scenario: impl Fn() + Send + Sync + 'static) {
    #[cfg(loom)]
    every_schedule::check(_stops, scenario);
    #[cfg(shuttle)]
    crate::testing::model_check::check_part(scenario);
}

#[cfg(loom)]
use every_schedule::spawn;
#[cfg(shuttle)]
use shuttle::thread::spawn;

/// What stands for the page's bytes: written in two steps, so that a reader beside a writer sees two moments.
struct Halves([AtomicU32; 2]);

impl Halves {
    fn new(value: u32) -> Arc<Self> {
        Arc::new(Self([0; 2].map(|_| AtomicU32::new(value))))
    }

    fn read(&self) -> u32 {
        let [first, second] = [0, 1].map(|half| self.0[half].load(Ordering::Relaxed));
        assert_eq!(first, second, "read while it was changed");
        first
    }

    fn write(&self, new: u32) {
        self.0.iter().for_each(|half| half.store(new, Ordering::Relaxed));
    }
}

/// Makes a pool whose one frame has page 1, biased, and its bytes.
fn biased() -> (Arc<Residency>, Arc<Halves>) {
    let pool = Arc::new(pool_of(1));
    drop(read_into(&pool, page(1), || {}));
    (0..4).for_each(|_| pool.look_at(page(1)).unwrap().unlatch_and_unpin());
    assert!(pool.frame(FrameNo(0)).state.load().takes_slots());
    (pool, Halves::new(1))
}

/// Reads the page as readers do.
fn read(pool: &Residency, block: u32, bytes: &Halves) {
    if let Some(pin) = pool.look_at(page(block)) {
        bytes.read();
        pin.unlatch_and_unpin();
    }
}

fn change(pin: &Pin, bytes: &Halves) {
    pin.latch(Latch::Exclusive);
    bytes.write(bytes.read() + 1);
    pin.unlatch_exclusive(true);
}

fn assert_idle(pool: &Residency) {
    let state = pool.revoke_bias(FrameNo(0));
    assert_eq!(state.pins(), 0, "{state:?}");
    assert_eq!(pool.faults(), Vec::<String>::new());
}

#[test]
fn c1_a_writer_and_a_reader_in_a_slot_exclude_one_another_and_the_writer_is_woken() {
    check(|| {
        let (pool, bytes) = biased();
        let writer = pool.pin_unused(FrameNo(0), page(1)).unwrap();
        let reading = {
            let (pool, bytes) = (Arc::clone(&pool), Arc::clone(&bytes));
            spawn(move || read(&pool, 1, &bytes))
        };
        change(&writer, &bytes);
        reading.join().unwrap();
        drop(writer);
        assert_eq!(bytes.read(), 2);
        assert_idle(&pool);
    });
}

#[test]
fn c1_a_claim_and_a_reader_in_a_slot_exclude_one_another_and_the_next_page_is_not_taken_for_it() {
    check(|| {
        let (pool, bytes) = biased();
        let reading = {
            let (pool, bytes) = (Arc::clone(&pool), Arc::clone(&bytes));
            spawn(move || {
                if let Some(pin) = pool.look_at(page(1)) {
                    assert_eq!((pin.frame().page(), bytes.read()), (page(1), 1));
                    pin.unlatch_and_unpin();
                }
            })
        };
        if let Some(claimed) = pool.claim(FrameNo(0)) {
            let mapped = pool.map(claimed, page(2), false).unwrap();
            bytes.write(2);
            pool.end_read(mapped.reading, &Ok(()), true);
        }
        reading.join().unwrap();
        assert_idle(&pool);
    });
}

/// A sweep shows a victim that is biased; before its holders are counted another thread evicts the page, and so the frame is free.
#[test]
fn a_biased_victim_that_is_freed_meanwhile_is_had_from_the_free_ones_alone() {
    check(|| {
        let (pool, _) = biased();
        pool.frame(FrameNo(0)).state.try_update(State::forget_uses).unwrap();
        let evicting = {
            let pool = Arc::clone(&pool);
            spawn(move || drop(pool.claim(FrameNo(0))))
        };
        let read = read_into(&pool, page(2), || {});
        evicting.join().unwrap();
        assert_eq!(pool.faults(), Vec::<String>::new());
        drop(read);
    });
}

/// A reader lets go while its slot is counted, and another thread wants to change the page.
#[test]
fn c1_a_slot_that_is_freed_while_it_is_counted_is_released_once() {
    check(|| {
        let (pool, bytes) = biased();
        let held = pool.look_at(page(1)).unwrap();
        let writer = pool.pin_unused(FrameNo(0), page(1)).unwrap();
        let reading = {
            let bytes = Arc::clone(&bytes);
            spawn(move || {
                bytes.read();
                held.unlatch_and_unpin();
            })
        };
        change(&writer, &bytes);
        reading.join().unwrap();
        drop(writer);
        assert_idle(&pool);
    });
}

#[test]
fn c1_two_threads_that_revoke_at_once_count_a_slot_once() {
    check_three(|| {
        let (pool, bytes) = biased();
        let held = pool.look_at(page(1)).unwrap();
        let [first, second] = [(); 2].map(|()| pool.pin_unused(FrameNo(0), page(1)).unwrap());
        let changing = {
            let bytes = Arc::clone(&bytes);
            spawn(move || change(&first, &bytes))
        };
        let trying = {
            let bytes = Arc::clone(&bytes);
            spawn(move || {
                if second.try_latch(Latch::Exclusive) {
                    bytes.write(bytes.read() + 1);
                    second.unlatch_exclusive(true);
                }
            })
        };
        bytes.read();
        held.unlatch_and_unpin();
        changing.join().unwrap();
        trying.join().unwrap();
        assert_idle(&pool);
    });
}

/// Readers by the state word bias the page again at once, each time the bias is revoked.
#[test]
fn c6_a_writer_revokes_the_bias_once_and_then_gets_in_line() {
    check(|| {
        let (pool, _) = biased();
        let writer = pool.pin_unused(FrameNo(0), page(1)).unwrap();
        let reading = {
            let pool = Arc::clone(&pool);
            spawn(move || {
                // While slots are counted the page is not biased anew, so several reads in a row may be by the word.
                let (mut revoked, mut was_in_slot) = (0, true);
                for _ in 0..3 {
                    let Some(pin) = pool.look_at(page(1)) else { continue };
                    let is_in_slot = pin.slot().is_some();
                    revoked += u32::from(was_in_slot && !is_in_slot);
                    was_in_slot = is_in_slot;
                    pin.unlatch_and_unpin();
                }
                assert!(revoked <= 1, "the bias was revoked more than once");
            })
        };
        let is_had = writer.try_latch(Latch::Exclusive);
        reading.join().unwrap();
        if is_had {
            writer.unlatch_exclusive(false);
        }
        drop(writer);
        assert_idle(&pool);
    });
}

/// A pin in a slot gets a latch there, and loses it, while another thread revokes the bias.
#[test]
fn c1_a_latch_that_is_added_to_a_slot_excludes_a_writer() {
    check(|| {
        let (pool, bytes) = biased();
        let held = pool.pin_at(page(1)).unwrap();
        assert!(held.slot().is_some());
        let writer = pool.pin_unused(FrameNo(0), page(1)).unwrap();
        let reading = {
            let bytes = Arc::clone(&bytes);
            spawn(move || {
                held.latch(Latch::Shared);
                bytes.read();
                held.unlatch_shared();
            })
        };
        change(&writer, &bytes);
        reading.join().unwrap();
        drop(writer);
        assert_idle(&pool);
    });
}

/// The page was read in one thread and is let go in another, while a third one revokes the bias.
#[test]
fn a_read_guard_that_is_sent_to_another_thread_frees_its_slot_there() {
    check_three(|| {
        let (pool, bytes) = biased();
        let held = pool.look_at(page(1)).unwrap();
        let elsewhere = spawn(move || held.unlatch_and_unpin());
        let viewing = {
            let (pool, bytes) = (Arc::clone(&pool), Arc::clone(&bytes));
            spawn(move || read(&pool, 1, &bytes))
        };
        pool.revoke_bias(FrameNo(0));
        elsewhere.join().unwrap();
        viewing.join().unwrap();
        assert_idle(&pool);
    });
}

/// The pool goes while a slot holds a page: the thread that is last frees the memory, once.
#[test]
fn c5_a_pool_that_is_gone_is_kept_by_a_slot_until_that_is_freed() {
    check(|| {
        let (pool, _) = biased();
        let held = pool.look_at(page(1)).unwrap();
        let counters = Arc::clone(&pool.counters);
        let pool = Arc::into_inner(pool).unwrap();
        let dropping = spawn(move || drop(pool));
        assert_eq!(held.frame().page(), page(1));
        held.unlatch_and_unpin();
        dropping.join().unwrap();
        assert_eq!(Arc::strong_count(&counters), 1, "the pool is gone with its counters");
    });
}
