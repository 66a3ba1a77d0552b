//! A page that is changed while the device reads it.

use super::{Bytes, check, page, pool_of, read_into, spawn};
use crate::{
    buffer::{
        frame::{latch::Latch, pin::Pin},
        residency::Residency,
    },
    sync::{Arc, witness},
};

/// A page in the only frame, which moves to a shadow page when it is changed while it is lent.
struct Subject {
    pin: Pin,
    /// The version in the page's bytes, wherever they are. Used under the latch.
    page: Bytes,
    /// The version on disk.
    disk: Bytes,
    pool: Arc<Residency>,
}

impl Subject {
    fn new(has_memory: bool) -> Arc<Self> {
        witness::swear_in();
        let pool = pool_of(1);
        pool.shadow_pages.is_refused.store(!has_memory, std::sync::atomic::Ordering::Relaxed);
        let pin = read_into(&pool, page(1), || {}).unwrap();
        Arc::new(Self { pin, page: Bytes::new(0), disk: Bytes::new(0), pool })
    }

    /// Changes the page as a guard does. Under the latch no other thread has its bytes, nor does the device.
    fn change(&self, to: u32) {
        let pin = &self.pin;
        pin.latch(Latch::Exclusive);
        pin.make_own();
        assert_eq!(witness::read(pin.address()), self.page.read());
        witness::written(pin.address(), to);
        self.page.write(to);
        pin.leave_shadow();
        pin.unlatch_exclusive(true);
    }

    /// Writes the page out, if it is dirty: the device reads twice what is in the frame, without a latch.
    fn write_out(&self) {
        let own = self.pin.again().unwrap();
        own.latch(Latch::Shared);
        let version = own.lend().then(|| self.page.read());
        own.unlatch_shared();
        if let Some(version) = version {
            let frame = self.pool.arena.at(self.pool.offset_of(own.frame_no()));
            for _ in 0..2 {
                assert_eq!(witness::read(frame), version);
            }
            self.disk.write(version);
            own.end_write(true);
        }
    }

    /// Reads twice under a share latch, and checks that both reads agree.
    fn look(&self) {
        self.pin.latch(Latch::Shared);
        let (version, address) = (self.page.read(), self.pin.address());
        for _ in 0..2 {
            assert_eq!(witness::read(address), version);
        }
        self.pin.unlatch_shared();
    }
}

fn go(subject: &Arc<Subject>, part: impl FnOnce(&Subject) + Send + 'static) -> loom::thread::JoinHandle<()> {
    let subject = Arc::clone(subject);
    spawn(move || part(&subject))
}

#[test]
fn c8_what_the_device_was_lent_is_not_changed_and_a_change_is_not_forgotten() {
    for has_memory in [true, false] {
        check(3, move || {
            let subject = Subject::new(has_memory);
            subject.change(1);
            let writing = go(&subject, Subject::write_out);
            subject.change(2);
            writing.join().unwrap();
            // Dirty, unless the write came last.
            subject.write_out();
            let state = subject.pin.frame().state.load();
            assert!(!state.is_dirty() && !state.is_writing() && !state.is_shadowed(), "{state:?}");
            assert_eq!(subject.disk.read(), 2);
            assert_eq!(subject.pool.faults(), Vec::<String>::new());
        });
    }
}

/// A reader beside both: what it sees under its latch is of one moment.
#[test]
fn c1_a_reader_sees_whole_changes_while_the_page_moves() {
    check(2, || {
        let subject = Subject::new(true);
        subject.change(1);
        let writing = go(&subject, Subject::write_out);
        let changing = go(&subject, |subject| subject.change(2));
        subject.look();
        writing.join().unwrap();
        changing.join().unwrap();
    });
}

/// A page that a reader has kept on its shadow page, and that two threads come to write while it is read and changed.
#[test]
fn c8_what_is_copied_back_for_the_device_is_not_changed_either() {
    check(2, || {
        let subject = Subject::new(true);
        let Subject { pin, .. } = &*subject;
        subject.change(1);
        let own = pin.again().unwrap();
        pin.latch(Latch::Shared);
        assert!(own.lend());
        pin.unlatch_shared();
        subject.change(2);
        pin.latch(Latch::Shared);
        own.end_write(true);
        assert!(pin.frame().state.load().is_shadowed());
        let writing = go(&subject, Subject::write_out);
        subject.write_out();
        pin.unlatch_shared();
        subject.change(3);
        writing.join().unwrap();
        subject.write_out();
        assert_eq!(subject.disk.read(), 3);
    });
}
