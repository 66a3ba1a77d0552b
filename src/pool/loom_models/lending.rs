//! A page that is changed while the device reads it.

use super::{Bytes, check, pool_of, read_into, spawn};
use crate::{
    pool::{handle::Pin, latch::Latch, state::Place},
    sync::Arc,
};

/// The bytes of the one frame, by place: at home, and on the spare page. What the page says, wherever it is; and what the disk says.
struct Places {
    memory: [Bytes; 2],
    page: Bytes,
    disk: Bytes,
}

impl Places {
    fn new() -> Self {
        let none = || Bytes::new(0);
        Self { memory: [none(), none()], page: none(), disk: none() }
    }

    fn at(&self, place: Place) -> &Bytes {
        &self.memory[usize::from(place != Place::HOME)]
    }

    /// Those of a frame whose latch is held.
    fn of(&self, pin: &Pin) -> &Bytes {
        self.at(pin.frame().state.load().place())
    }
}

/// Changes the page as a guard does. Under the latch its bytes are nobody else's, the device's neither.
fn change(pin: &Pin, places: &Places, to: u32) {
    pin.latch(Latch::Exclusive);
    pin.make_own();
    places.of(pin).write(to);
    places.page.write(to);
    pin.unlatch_exclusive(true);
}

/// Writes the page out, if it is dirty: the device reads twice what it was lent, without a latch.
fn write_out(pin: &Pin, places: &Places) {
    let own = pin.again().unwrap();
    own.latch(Latch::Shared);
    let lent = own.lend().map(|place| (place, places.page.read()));
    own.unlatch_shared();
    if let Some((lent, version)) = lent {
        let sent = places.at(lent).read();
        assert_eq!(places.at(lent).read(), sent);
        places.disk.write(version);
        own.end_write(lent, true);
    }
}

#[test]
fn c8_what_the_device_was_lent_is_not_changed_and_a_change_is_not_forgotten() {
    check(3, || {
        let pool = pool_of(1);
        let places = Arc::new(Places::new());
        let pin = Arc::new(read_into(&pool, 1, || {}).unwrap());
        change(&pin, &places, 1);
        let writing = {
            let (pin, places) = (Arc::clone(&pin), Arc::clone(&places));
            spawn(move || write_out(&pin, &places))
        };
        change(&pin, &places, 2);
        writing.join().unwrap();
        // Dirty, unless the write came last.
        write_out(&pin, &places);
        let state = pin.frame().state.load();
        assert!(!state.is_dirty() && !state.is_writing() && !state.is_lent(), "{state:?}");
        assert_eq!(places.disk.read(), 2);
    });
}

/// A reader beside both: what it sees under its latch is of one moment.
#[test]
fn c1_a_reader_sees_whole_changes_while_the_page_moves() {
    check(2, || {
        let pool = pool_of(1);
        let places = Arc::new(Places::new());
        let pin = Arc::new(read_into(&pool, 1, || {}).unwrap());
        change(&pin, &places, 1);
        let writing = {
            let (pin, places) = (Arc::clone(&pin), Arc::clone(&places));
            spawn(move || write_out(&pin, &places))
        };
        let changing = {
            let (pin, places) = (Arc::clone(&pin), Arc::clone(&places));
            spawn(move || change(&pin, &places, 2))
        };
        pin.latch(Latch::Shared);
        let seen = places.of(&pin).read();
        assert_eq!(places.of(&pin).read(), seen);
        pin.unlatch_shared();
        writing.join().unwrap();
        changing.join().unwrap();
    });
}
