//! Replaces a file's head by compare-and-swap, and finds out what became of a swap whose answer was lost: [`swap`].
//!
//! A put of the head asks that the head is still the one that was read, by its tag. Each head has a random number of its own ([`Head::swap`]), so no
//! two are equal, tags that are made from the content included, and a put that arrives late or twice changes nothing. After any failure the head is
//! read: with the new number the swap succeeded; with the old one it did not, or not yet, and the same put is sent again, of which one can succeed;
//! with another one it is lost.

use std::io;

use object_store::{PutMode, UpdateVersion};

use crate::client::Client;
use crate::manifest::Head;
use crate::names::Names;

/// A head as it was read, and its tag.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) head: Head,
    tag: UpdateVersion,
}

#[derive(Debug)]
pub(crate) enum Swapped {
    Done(Held),
    /// Another head was there; `None` for none at all.
    Lost(Option<Held>),
}

/// Reads the head of a file. `None` where there is no such file.
pub(crate) async fn read(client: &Client, names: &Names) -> io::Result<Option<Held>> {
    match client.get(&names.head()).await? {
        Some((bytes, tag)) => Ok(Some(Held { head: Head::decoded(&bytes)?, tag })),
        None => Ok(None),
    }
}

/// Replaces `from`, or nothing, by `to`.
///
/// # Errors
///
/// The outcome could not be found out in time, or the store refuses such requests.
pub(crate) async fn swap(
    client: &Client,
    names: &Names,
    from: Option<&Held>,
    to: Head,
) -> io::Result<Swapped> {
    let path = names.head();
    let bytes = to.encoded();
    let mut mode = match from {
        Some(held) => PutMode::Update(held.tag.clone()),
        None => PutMode::Create,
    };
    let mut attempts = client.attempts();
    loop {
        let failure = match client.put_once(&path, bytes.clone(), mode.clone()).await {
            Ok(tag) if tag.e_tag.is_some() || tag.version.is_some() => {
                return Ok(Swapped::Done(Held { head: to, tag }));
            }
            // The store does not say under which tag it is: the head that is read has it.
            Ok(_) => None,
            Err(failure) if failure.is_final() => return Err(failure.into()),
            Err(failure) => Some(failure),
        };
        let now = read(client, names).await?;
        let number = now.as_ref().map(|held| held.head.swap);
        if number == Some(to.swap) {
            return Ok(Swapped::Done(now.expect("it has a number")));
        }
        if number != from.map(|held| held.head.swap) {
            return Ok(Swapped::Lost(now));
        }
        if let Some(held) = now {
            mode = PutMode::Update(held.tag);
        }
        if !attempts.wait().await {
            return Err(failure.map_or_else(|| io::ErrorKind::TimedOut.into(), Into::into));
        }
    }
}
