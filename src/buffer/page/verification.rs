//! Verification: a thread that wants a page has the engine's codec open it, in place and once, before the page can be used.
//!
//! For all other threads the read goes on meanwhile. A codec that refuses the page, or panics, fails the read: the page is
//! unmapped before any thread is told. So the bytes, which may be half opened by then, are shown to no thread, and not opened a
//! second time.

#![allow(unsafe_code)]

use crate::{
    buffer::{
        frame::{pin::Pin, state::State},
        residency::Residency,
    },
    error::{Callback, Error, Result},
};

/// The right to the bytes of a page that was read and not verified yet. Dropped without a verdict, as by a panic in the codec, it fails
/// the read.
pub(crate) struct Verification<'a> {
    pool: &'a Residency,
    /// The pin of the read, taken when it ends.
    reading: Option<Pin>,
}

impl<'a> Verification<'a> {
    /// Takes the verification for the caller, unless the page is verified, being verified, or gone.
    pub(crate) fn begin(pool: &'a Residency, pin: &Pin) -> Option<Self> {
        // A pin of its own, as every read has.
        let own = pin.again()?;
        // Made only if the verification was begun: dropped, it ends it.
        own.frame().state.try_update(State::begin_verify).is_ok().then(|| Self { pool, reading: Some(own) })
    }

    /// Has `open` change the bytes into those of the page, and ends the read accordingly.
    pub(crate) fn run(mut self, open: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        // SAFETY: 1. the bytes are this frame's, and are initialised; 2. the frame is READING by this very value, so no guard and no
        // lease on it exists, and no thread can claim it.
        let outcome = self.reading.as_ref().map_or(Ok(()), |pin| open(unsafe { pin.bytes().as_mut() }));
        if let Some(reading) = self.reading.take() {
            self.pool.end_read(reading, &outcome, true);
        }
        outcome
    }

    /// Stands for a read that has a frame and no transfer.
    pub(crate) fn of_read(pool: &'a Residency, reading: Pin) -> Self {
        Self { pool, reading: Some(reading) }
    }

    /// Ends the read with zeros in place of the bytes, and with the exclusive latch for another pin of the caller.
    pub(crate) fn end_with_zeros(mut self) {
        let Some(reading) = self.reading.take() else { return };
        // SAFETY: 1. the bytes are this frame's, and are initialised; 2. the frame is READING by this very value, so no guard, no
        // transfer and no other thread has them.
        unsafe { reading.bytes().as_mut() }.fill(0);
        self.pool.end_read_latched(reading);
    }
}

impl Drop for Verification<'_> {
    fn drop(&mut self) {
        if let Some(reading) = self.reading.take() {
            let page = reading.frame().page();
            let path = reading.frames().path_of(page.file);
            let error = Error::Panicked { callback: Callback::CodecOpen, page: Some(page), path };
            self.pool.end_read(reading, &Err(error), true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buffer::{frame::state::Phase, residency::Mapped, small_pools::pool_of},
        id::{FileId, PageId},
    };

    #[test]
    fn c9_one_thread_verifies_and_one_that_comes_too_late_does_not_spoil_it() {
        let pool = pool_of(1);
        let claimed = pool.take_clean().unwrap();
        let Mapped { reading, own: pin } = pool.map(claimed, PageId::new(FileId(0), 0), false).unwrap();
        pool.end_read(reading, &Ok(()), false);
        let verification = Verification::begin(&pool, &pin).unwrap();
        assert!(Verification::begin(&pool, &pin).is_none());
        assert_eq!(pin.frame().state.load().phase(), Phase::Reading, "the verification goes on");
        verification.run(|_| Ok(())).unwrap();
        assert!(Verification::begin(&pool, &pin).is_none());
        assert!(pin.frame().state.load().is_valid());
    }
}
