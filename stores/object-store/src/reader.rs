//! A version of a file that is open for reading: [`Reader`].
//!
//! A reader loads the version's map once, and needs the head no more. A pin (`pin.rs`) keeps the version's objects from being removed.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::errors::VersionGone;
use crate::files::ObjectFiles;
use crate::manifest::Head;
use crate::names::{Identity, unique};
use crate::objects::Objects;
use crate::page_map::PageMap;
use crate::pin::Pin;
use crate::state::Source;
use crate::swap;

/// A version of a file that is open for reading. Clones are the same open file: the drop of the last one lets the version go.
#[derive(Debug, Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    objects: Objects,
    map: PageMap,
    len: u64,
    version: u64,
    _pin: Pin,
}

pub(crate) async fn open(files: &ObjectFiles, name: &str, asked: Option<u64>) -> io::Result<Reader> {
    let names = files.names(name)?;
    let mut attempts = files.client.attempts();
    loop {
        let head = swap::read(&files.client, &names).await?.ok_or(io::ErrorKind::NotFound)?.head;
        let version = asked.unwrap_or(head.latest().version);
        let steps = head.steps_of(version).ok_or_else(|| gone(name, version, &head))?;
        let path = names.pin(head.identity, version, unique()? as u64);
        let pin = Pin::put(files, path).await?;
        // With the pin in the store: is it in time?
        let now = swap::read(&files.client, &names).await?.ok_or(io::ErrorKind::NotFound)?.head;
        if now.identity != head.identity || now.steps_of(version).is_none() {
            if attempts.wait().await {
                continue;
            }
            return Err(gone(name, version, &now).into());
        }
        let objects = files.objects(names, head.identity);
        let len = steps.last().expect("a version has a base").len;
        let map = objects.map(&steps).await?;
        let inner = Inner { name: name.to_owned(), objects, map, len, version, _pin: pin };
        return Ok(Reader { inner: Arc::new(inner) });
    }
}

fn gone(name: &str, version: u64, head: &Head) -> VersionGone {
    VersionGone { file: name.to_owned(), version, kept: head.oldest_kept..=head.latest().version }
}

impl Reader {
    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        self.inner.len
    }

    /// Returns what tells the file from others.
    pub(crate) fn identity(&self) -> Identity {
        self.inner.objects.identity
    }

    /// Returns whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.inner.len == 0
    }

    /// Returns the version.
    pub fn version(&self) -> u64 {
        self.inner.version
    }

    /// Reads up to `len` bytes at `at`: fewer at the end of the file.
    ///
    /// # Errors
    ///
    /// Errors of the store; [`VersionGone`] when this reader was out of touch for so long that its version is not kept any more.
    pub async fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.read_from(self.sources(at, len)).await
    }

    /// Returns where the bytes of a read are.
    pub(crate) fn sources(&self, at: u64, len: usize) -> Vec<Source> {
        let end = at.saturating_add(len as u64).min(self.inner.len);
        let source = |(range, place): (std::ops::Range<u64>, Option<_>)| match place {
            Some(place) => Source::Stored(place),
            None => Source::Zeros(range.end - range.start),
        };
        self.inner.map.over(at..end).into_iter().map(source).collect()
    }

    pub(crate) async fn read_from(&self, sources: Vec<Source>) -> io::Result<Bytes> {
        let inner = &self.inner;
        match inner.objects.fetch(sources).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match swap::read(&inner.objects.client, &inner.objects.names).await? {
                    Some(held) if held.head.identity == inner.objects.identity => {
                        Err(gone(&inner.name, inner.version, &held.head).into())
                    }
                    // Removed, with all its versions. Another file may have its name now.
                    _ => Err(error),
                }
            }
            result => result,
        }
    }
}
