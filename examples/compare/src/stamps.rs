//! What the workloads that write leave in the files, and how a plain read finds it again.
//!
//! Before an arm's turn in a proof the places hold version [`BEFORE`]; what the arm has to write differs from it. So an arm that
//! writes nothing is noticed, though another arm has written the same before it.

use lab::baseline::Ending;
use lab::baseline::plain::Plain;
use lab::stamp::{check, stamp};
use lab::{Digest, Place, Result};

use crate::support::{Input, scratch};

/// What is there before an arm's turn.
pub(crate) const BEFORE: u64 = 1;

/// What an arm has to write.
pub(crate) const PROOF: u64 = 2;

/// Fills the page at a place as this version of it.
pub(crate) fn fill(version: u64) -> impl Fn(Place, &mut [u8]) + Copy + Sync {
    move |place, page| stamp(page, scratch::SEED, place.block, version)
}

/// Makes the next version of the page. A page that has no version of it stays as it is, and so is noticed.
pub(crate) fn make_next(place: Place, page: &mut [u8]) {
    if let Ok(version) = check(page, scratch::SEED, place.block) {
        fill(version + 1)(place, page);
    }
}

/// Puts what was there before to all places.
pub(crate) fn put_before(input: &Input, places: &[Place]) -> Result<()> {
    let files = input.open_plain(true)?;
    Plain::new(input.page_size()).write(&files, places, Ending::Written, fill(BEFORE))?;
    Ok(())
}

/// Returns the digest of the places if they hold what `fill` makes.
pub(crate) fn wanted(input: &Input, places: &[Place], fill: impl Fn(Place, &mut [u8])) -> u64 {
    let (digest, mut page) = (Digest::new(input.page_size()), vec![0; input.page_size() as usize]);
    for &place in places {
        fill(place, &mut page);
        digest.add(place, &page);
    }
    digest.value()
}

/// Returns the digest of what a plain read finds there.
pub(crate) fn found(input: &Input, places: &[Place]) -> Result<u64> {
    found_but(input, places, |_, _| ())
}

/// Returns the digest of what a plain read finds there, after `change` has replaced in each page what cannot be known in advance.
pub(crate) fn found_but(
    input: &Input,
    places: &[Place],
    change: impl Fn(Place, &mut [u8]) + Sync,
) -> Result<u64> {
    let digest = Digest::new(input.page_size());
    input.read_plainly(places, input.page_size(), |place, bytes| {
        let mut page = bytes.to_vec();
        change(place, &mut page);
        digest.add(place, &page);
    })?;
    Ok(digest.value())
}
