//! What an asynchronous file is asked for, and how it answers.
//!
//! A request lends memory of the pool: the frames that a read fills, or that a write sends. It ends once: by its `finish`, or by its
//! drop, which counts as a failure. Until then the memory is the request's, whatever its callers do meanwhile.

use std::{fmt, io, ptr::NonNull, slice};

use smallvec::SmallVec;

/// Pieces of memory whose descriptions need no allocation of their own.
const IN_PLACE: usize = 16;

pub(in crate::io) type Piece = (NonNull<u8>, usize);

pub(in crate::io) type Ending = Box<dyn FnOnce(io::Result<usize>) + Send>;

/// What all kinds of requests have in common.
pub(crate) struct Request {
    offset: u64,
    len: usize,
    pieces: SmallVec<[Piece; IN_PLACE]>,
    is_awaited: bool,
    ending: Option<Ending>,
}

// SAFETY: the pieces are the request's alone (see `new`), and its ending can be sent.
#[allow(unsafe_code)]
unsafe impl Send for Request {}
// SAFETY: a shared request hands out shared slices only, and what has a request is the one that may write to its pieces.
#[allow(unsafe_code)]
unsafe impl Sync for Request {}

impl Request {
    /// Makes a request for the bytes from `offset` on.
    ///
    /// # Safety
    /// 1. Until `ending` is called, each piece is valid, initialised memory, and no two of them overlap. 2. Until then no other thread
    ///    writes to it; and for a read, none reads it.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn new(
        offset: u64,
        pieces: impl Iterator<Item = Piece>,
        is_awaited: bool,
        ending: Ending,
    ) -> Self {
        let pieces: SmallVec<_> = pieces.collect();
        let len = pieces.iter().map(|(_, len)| len).sum();
        Self { offset, len, pieces, is_awaited, ending: Some(ending) }
    }

    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        // SAFETY: by the contract of `new`; they are borrowed from the request, which is not over.
        #[allow(unsafe_code)]
        self.pieces.iter().map(|&(ptr, len)| unsafe { slice::from_raw_parts(ptr.as_ptr(), len) })
    }

    fn slices_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        // SAFETY: by the contract of `new`, for a read; they are borrowed from the request, which is not over, and do not overlap.
        #[allow(unsafe_code)]
        self.pieces.iter().map(|&(ptr, len)| unsafe { slice::from_raw_parts_mut(ptr.as_ptr(), len) })
    }

    fn finish(mut self, outcome: io::Result<usize>) {
        let len = self.len;
        let told = |count| match count {
            count if count <= len => Ok(count),
            count => Err(io::Error::other(format!("the storage has transferred {count} bytes of {len}"))),
        };
        if let Some(ending) = self.ending.take() {
            ending(outcome.and_then(told));
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            ending(Err(io::Error::other("the storage has dropped the request")));
        }
    }
}

/// Implements what a read and a write tell of themselves.
macro_rules! tells_what_is_asked {
    ($Request:ident) => {
        impl $Request {
            /// Returns where in the file it begins, in bytes. Example: [`StorageFile`](super::StorageFile).
            #[must_use]
            pub fn offset(&self) -> u64 {
                self.0.offset
            }

            /// Returns how many bytes it has: never 0. Example: [`ReadRequest`].
            #[must_use]
            #[allow(clippy::len_without_is_empty)] // It never is.
            pub fn len(&self) -> usize {
                self.0.len
            }

            /// Returns whether a thread or task waited for it when it was started; no caller waits for a page that is read ahead, or
            /// written in the background. A storage that cannot serve all at once serves these first. Example: [`ReadRequest`].
            #[must_use]
            pub fn is_awaited(&self) -> bool {
                self.0.is_awaited
            }
        }

        impl fmt::Debug for $Request {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Request { offset, len, .. } = &self.0;
                let mut shown = f.debug_struct(stringify!($Request));
                shown.field("offset", offset).field("len", len).finish_non_exhaustive()
            }
        }
    };
}

tells_what_is_asked!(ReadRequest);
tells_what_is_asked!(WriteRequest);

/// A read: the right to fill some frames, and the duty to say when that is done. Dropped, it has failed.
///
/// Forgotten (`mem::forget`), its frames stay busy for ever, and the pool's end waits for them.
///
/// # Examples
/// ```
/// use ringpool::storage::ReadRequest;
///
/// fn serve(mut request: ReadRequest) {
///     let (wanted, mut filled) = (request.len(), 0);
///     println!("{wanted} bytes, {}", if request.is_awaited() { "now" } else { "ahead" });
///     for piece in request.pieces() {
///         piece.fill(7);
///         filled += piece.len();
///     }
///     request.finish(Ok(filled));
/// }
/// ```
#[must_use = "a request that is dropped has failed"]
pub struct ReadRequest(pub(crate) Request);

impl ReadRequest {
    /// Returns the memory to fill, piece by piece in the order of the file.
    /// Example: [`ReadRequest`].
    pub fn pieces(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.0.slices_mut()
    }

    /// Ends the read with these bytes, or as many of them as were wanted. Fewer than were wanted: the rest is asked for again. None: the
    /// file ends here. Wakes those that wait. Example: [`StorageFile`](super::StorageFile).
    pub fn fill(mut self, mut bytes: &[u8]) {
        let mut filled = 0;
        for piece in self.pieces() {
            let (now, later) = bytes.split_at(bytes.len().min(piece.len()));
            piece[..now.len()].copy_from_slice(now);
            (bytes, filled) = (later, filled + now.len());
        }
        self.finish(Ok(filled));
    }

    /// Ends the read: `Ok(n)` says that the first `n` bytes are in their [`pieces`](Self::pieces), as [`fill`](Self::fill) does. Wakes
    /// those that wait. Example: [`ReadRequest`].
    ///
    /// An error of the kind [`Interrupted`](io::ErrorKind::Interrupted) or [`WouldBlock`](io::ErrorKind::WouldBlock) is tried again, up
    /// to 32 times, at once. Any other is reported to those that wait for a page of the request.
    pub fn finish(self, outcome: io::Result<usize>) {
        self.0.finish(outcome);
    }
}

/// A write: the bytes of some frames, lent until it ends. Dropped, it has failed, and the pages stay dirty.
///
/// Forgotten (`mem::forget`), its frames stay busy for ever, and the pool's end waits for them.
///
/// # Examples
/// ```
/// use std::{fs::File, io, os::unix::fs::FileExt};
/// use ringpool::storage::WriteRequest;
///
/// fn serve(request: WriteRequest, file: &File) {
///     println!("{} bytes, {}", request.len(), if request.is_awaited() { "now" } else { "when there is time" });
///     let mut at = request.offset();
///     let outcome = request.pieces().try_for_each(|piece| {
///         at += piece.len() as u64;
///         file.write_all_at(piece, at - piece.len() as u64)
///     });
///     let len = request.len();
///     request.finish(outcome.map(|()| len));
/// }
/// ```
#[must_use = "a request that is dropped has failed"]
pub struct WriteRequest(pub(crate) Request);

impl WriteRequest {
    /// Returns the bytes, piece by piece in the order of the file. They do not change until the request ends.
    /// Example: [`WriteRequest`].
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.0.slices()
    }

    /// Returns a copy of the bytes. Example: [`StorageFile`](super::StorageFile).
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces().flatten().copied().collect()
    }

    /// Ends the write: `Ok(n)` says that the first `n` bytes are written, and the rest is asked for again. Wakes those that wait. Errors are as
    /// for [`ReadRequest::finish`]. What was written in part may be there: the pages stay dirty, and are written again.
    /// Example: [`StorageFile`](super::StorageFile).
    pub fn finish(self, outcome: io::Result<usize>) {
        self.0.finish(outcome);
    }
}

/// A sync. Dropped, it has failed, and the file with it: see [`finish`](Self::finish). Forgotten (`mem::forget`), its caller waits for
/// ever.
///
/// Example: [`StorageFile`](super::StorageFile).
#[must_use = "a request that is dropped has failed"]
pub struct SyncRequest(Request);

impl SyncRequest {
    pub(crate) fn new(ending: Ending) -> Self {
        let pieces = SmallVec::new();
        Self(Request { offset: 0, len: 0, pieces, is_awaited: true, ending: Some(ending) })
    }

    /// Ends the sync. An error is final, of whatever kind: the file reports it at every later sync ([`Error::SyncPoisoned`](crate::Error::SyncPoisoned)),
    /// until it is opened anew. Its source is this error, so what a storage wraps in [`io::Error::other`] can be found there.
    /// Example: [`StorageFile`](super::StorageFile).
    pub fn finish(self, outcome: io::Result<()>) {
        self.0.finish(outcome.map(|()| 0));
    }
}

impl fmt::Debug for SyncRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncRequest")
    }
}
