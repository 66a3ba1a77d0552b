//! What can be done against torn pages.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{error::ConfigError, io::options::Fallback};

/// What is done against torn pages. A power cut in the middle of a write may leave some sectors of a page old and others new.
///
/// An engine whose log holds the whole image of a page at its first change after a checkpoint, as PostgreSQL's does, needs
/// nothing: redo [overwrites](crate::BufferPool::overwrite) the page, without reading what is torn. A checksum only finds a torn
/// page; what is chosen here puts it right.
///
/// # Examples
/// ```
/// use ringpool::{BufferPool, OpenOptions, options::{DoubleWriteArea, TornPages}};
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let area = DoubleWriteArea::new(folder.join("area")).bytes(8 << 20);
/// let pool = BufferPool::builder().frames(16).torn_pages(TornPages::DoubleWrite(area)).build()?;
/// let file = pool.open_file(folder.join("table"), OpenOptions::new().create(true).tag(7))?;
///
/// // After a crash, when all files are open: what the area still has is of files that were removed.
/// for tag in pool.torn_page_tags() {
///     pool.give_up_torn_pages(tag)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// As text: `unprotected`, `atomic`, `doublewrite` and `atomic_or_doublewrite`, the last two with the area. Its path comes last, and is
/// the rest of the text, commas and spaces included:
///
/// ```
/// use ringpool::options::{DoubleWriteArea, TornPages};
///
/// let area = DoubleWriteArea::new("/data/area");
/// assert_eq!("doublewrite:path=/data/area".parse(), Ok(TornPages::DoubleWrite(area.clone())));
/// let large = TornPages::AtomicOrDoubleWrite(area.bytes(64 << 20));
/// assert_eq!(large.to_string(), "atomic_or_doublewrite:bytes=67108864,path=/data/area");
/// assert_eq!("unprotected".parse(), Ok(TornPages::Unprotected));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TornPages {
    /// Nothing: the engine's log can restore a torn page, or pages are no larger than what the disk writes atomically.
    #[default]
    Unprotected,
    /// Copies of the pages are made durable in an area of their own before the pages go to their places, and are put back
    /// where needed when a file is opened.
    ///
    /// Every file must have a [`tag`](crate::OpenOptions::tag) of its own, under which it is known after a crash. Files must not
    /// be changed by other programs, or by a pool without the area, between a crash and the next opening.
    ///
    /// The area keeps the copies of a file whose sync has failed, or with a page that cannot be written, until it was closed and opened
    /// again, or [given up](crate::BufferPool::give_up_torn_pages). When it has no more room beside those copies, every write of a page that
    /// needs a copy fails with [`Error::TornPages`](crate::Error::TornPages), which names the file's tag, and leaves the page dirty.
    /// Meanwhile each opening, closing and cut of a file with copies there adds a page to the area, with no bound. These pages are used
    /// again once the file does not need its copies any more, and cut off at the end of the pool.
    ///
    /// A sync of the area that fails is final: it may have lost copies that it was asked to keep. From then on every write of a page that
    /// needs a copy, and the opening, cutting and closing of a file that has copies, fails with [`Error::File`](crate::Error::File), which
    /// names the area and the first error. The pages stay dirty and readable; shut this pool down with
    /// [`Shutdown::Discard`](crate::Shutdown::Discard) and build a new one.
    ///
    /// After a crash, an area that was damaged since it was written (a bit flipped, a sector was lost) may have lost the newest copy of a
    /// page. An older copy is never put back over what may be newer, and no page that may be torn is handed out as whole:
    ///
    /// * With a [codec](crate::PageCodec), which must then refuse torn pages, the pool asks it: a page that is whole in its place
    ///   is left. One that is torn gets its newest copy that is left, if one newer copy was lost, and no more: that is the
    ///   version that the page had before its last write began. Else it stays torn, and reading it fails with
    ///   [`Error::Corrupt`](crate::Error::Corrupt).
    /// * Without one, opening a file of whose pages the newest copy is damaged fails with
    ///   [`Error::AreaDamaged`](crate::Error::AreaDamaged), and the file is as the crash left it. Check it, or restore it from a backup;
    ///   [`give_up_torn_pages`](crate::BufferPool::give_up_torn_pages) has it opened as it is.
    /// * Without one, where the damage hides which pages there were copies of, any page of any file may be torn.
    ///   [`Builder::build`](crate::Builder::build) fails with [`Error::AreaDamaged`](crate::Error::AreaDamaged), and nothing is
    ///   changed. Check or restore the files, and remove the area, which has the pool built without its copies.
    ///
    /// Damage is recognised by what was written to the area later. So a damaged *last* write, or one of several that were made
    /// side by side at the end, is taken for one that the crash has cut off: older copies of its pages are put back. The area is
    /// empty after an orderly end, and there is nothing to damage.
    ///
    /// A thread that writes out waits for the area's disk, which is synced once a batch. So does a task, where it has to write
    /// for itself since no [background writer](crate::options::BackgroundWriter) does. All files share the area: one whose disk
    /// does not answer holds up the writes of the others.
    DoubleWrite(DoubleWriteArea),
    /// Pages are written atomically: no power cut tears such a write. A file for which the system has no atomic writes as long as
    /// a page is refused, unless it is opened for reading only.
    ///
    /// Requires direct I/O, Linux 6.13, and a device and a file system that support it.
    Atomic,
    /// Each file by what the system allows: its pages are written atomically if that is possible, and copied first otherwise.
    /// [`FileInfo`](crate::report::FileInfo) tells which and why.
    AtomicOrDoubleWrite(DoubleWriteArea),
}

impl TornPages {
    pub(crate) fn area(&self) -> Option<&DoubleWriteArea> {
        match self {
            Self::DoubleWrite(area) | Self::AtomicOrDoubleWrite(area) => Some(area),
            Self::Unprotected | Self::Atomic => None,
        }
    }

    /// Returns whether files that can be written atomically are to be, or must be.
    pub(crate) fn atomic(&self) -> Fallback {
        match self {
            Self::Unprotected | Self::DoubleWrite(_) => Fallback::Off,
            Self::AtomicOrDoubleWrite(_) => Fallback::Prefer,
            Self::Atomic => Fallback::Require,
        }
    }
}

impl fmt::Display for TornPages {
    /// Writes it as it is [read](FromStr), except for a path that is no Unicode: that one cannot be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Unprotected => "unprotected".to_owned(),
            Self::DoubleWrite(area) => format!("doublewrite:{}", area.settings()),
            Self::Atomic => "atomic".to_owned(),
            Self::AtomicOrDoubleWrite(area) => format!("atomic_or_doublewrite:{}", area.settings()),
        })
    }
}

impl FromStr for TornPages {
    type Err = ConfigError;

    /// Reads what [`Display`](fmt::Display) writes, whatever the case of its letters before the path.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let chosen = match name.trim().to_ascii_lowercase().as_str() {
            "unprotected" if !text.contains(':') => Some(Self::Unprotected),
            "atomic" if !text.contains(':') => Some(Self::Atomic),
            "doublewrite" => DoubleWriteArea::read(settings).map(Self::DoubleWrite),
            "atomic_or_doublewrite" => DoubleWriteArea::read(settings).map(Self::AtomicOrDoubleWrite),
            _ => None,
        };
        chosen.ok_or_else(|| {
            let understood = "choose unprotected, atomic, or doublewrite or atomic_or_doublewrite with the area: \
                 doublewrite:path=P, or doublewrite:bytes=N,path=P";
            ConfigError::new("torn_pages", text, understood)
        })
    }
}

/// The file in which copies of pages go first. See [`TornPages`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct DoubleWriteArea {
    /// Where it is: a regular file that no other pool uses, made where there is none. One that is neither empty nor an area for pages of
    /// this size is refused, and left as it is.
    ///
    /// It holds pages as they are on disk. They are cut off when a pool is shut down with
    /// [`Shutdown::Flush`](crate::Shutdown::Flush); after any other end they stay there until the next orderly one. So give its folder
    /// permissions that are no wider than those of the data.
    pub path: PathBuf,
    /// Its size in bytes; 32 MiB unless set, and never less than what the largest batch needs. Each time half of it is full,
    /// files are synced. Building a pool writes zeros up to this length if the file is shorter, as it is when it is new and after
    /// an orderly end.
    pub bytes: usize,
}

impl DoubleWriteArea {
    const DEFAULT_BYTES: usize = 32 << 20;

    /// Makes an area of 32 MiB. Example: [`TornPages`].
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), bytes: Self::DEFAULT_BYTES }
    }

    /// Sets the size of the area, in bytes. Example: [`TornPages`].
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Returns it as text; the size only if it differs from the default.
    fn settings(&self) -> String {
        let path = self.path.display();
        match self.bytes {
            Self::DEFAULT_BYTES => format!("path={path}"),
            bytes => format!("bytes={bytes},path={path}"),
        }
    }

    /// Reads it from text; `None` where a setting is unknown or has a wrong value, or there is no path.
    fn read(settings: &str) -> Option<Self> {
        let (name, value) = settings.split_once('=')?;
        match name.trim().to_ascii_lowercase().as_str() {
            "path" if !value.is_empty() => Some(Self::new(value)),
            "bytes" => {
                let (bytes, path) = value.split_once(',')?;
                let (name, path) = path.split_once('=')?;
                let is_path = name.trim().eq_ignore_ascii_case("path") && !path.is_empty();
                is_path.then_some(Self::new(path).bytes(bytes.trim().parse().ok()?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn protection() -> impl Strategy<Value = TornPages> {
        let area =
            ("[a-zA-Z/ ,:=ä]{1,20}", prop_oneof![Just(DoubleWriteArea::DEFAULT_BYTES), any::<usize>()]);
        let area = area.prop_map(|(path, bytes)| DoubleWriteArea::new(path).bytes(bytes));
        prop_oneof![
            Just(TornPages::Unprotected),
            Just(TornPages::Atomic),
            area.clone().prop_map(TornPages::DoubleWrite),
            area.prop_map(TornPages::AtomicOrDoubleWrite),
        ]
    }

    proptest! {
        #[test]
        fn a_protection_is_read_as_it_is_written(protection in protection()) {
            prop_assert_eq!(protection.to_string().parse(), Ok(protection));
        }
    }

    #[test]
    fn letters_before_the_path_may_be_of_either_case_and_the_path_is_kept() {
        let read = "DoubleWrite:Bytes=1024, PATH=/Data,1".parse();
        assert_eq!(read, Ok(TornPages::DoubleWrite(DoubleWriteArea::new("/Data,1").bytes(1024))));
    }

    #[test]
    fn a_text_that_is_no_protection_is_refused_with_all_that_are() {
        for text in [
            "",
            "doublewrite",
            "doublewrite:",
            "doublewrite:path=",
            "doublewrite:bytes=1",
            "doublewrite:bytes=x,path=p",
            "doublewrite:bytes=1,path=",
            "doublewrite:bytes=1,bytes=2,path=p",
            "atomic:",
            "atomic:path=p",
            "unprotected:1",
            "double",
        ] {
            let refused = text.parse::<TornPages>().unwrap_err();
            assert_eq!((refused.option(), refused.value()), ("torn_pages", Some(text)));
            assert!(refused.advice().starts_with("choose unprotected, atomic, or doublewrite"), "{refused}");
        }
    }
}
