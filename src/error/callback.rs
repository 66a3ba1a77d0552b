//! The callbacks of the engine, as an error names them.

use std::fmt;

/// Code of the engine that the pool calls: what [`Error::Panicked`](crate::Error::Panicked) names.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Callback {
    /// [`PageCodec::seal`](crate::PageCodec::seal), for a page that was to be written.
    CodecSeal,
    /// [`PageCodec::open`](crate::PageCodec::open), for a page that was read.
    CodecOpen,
    /// A call of the [`Wal`](crate::Wal), before pages were to be written.
    Log,
    /// The disk that the pool was built on, or a subscriber of `tracing`, during the sync of a file.
    Sync,
    /// Any code of the engine, in an operation that was carried out as a whole: it is not known which.
    Unknown,
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CodecSeal => "the codec's seal",
            Self::CodecOpen => "the codec's open",
            Self::Log => "the log",
            Self::Sync => "the sync of a file",
            Self::Unknown => "a callback of the engine",
        })
    }
}
