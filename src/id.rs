//! The names of things: files, blocks, pages, log positions, page sizes. They know nothing of pools or disks.

use std::{fmt, ops::Range, str::FromStr};

use crate::error::{ConfigError, Result};

/// A file that a pool has open.
///
/// Returned by [`BufferPool::open_file`](crate::BufferPool::open_file), and never used twice by one pool. So a page of a closed
/// file can never be mistaken for a page of a later file.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub(crate) u32);

impl FileId {
    /// Returns the number inside, for logs and for an engine's own tables. Example: [`PageId`].
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the pages of the file at these blocks, in their order: the argument of
    /// [`read_stream`](crate::BufferPool::read_stream) and [`prefetch`](crate::BufferPool::prefetch). Example: [`FilePages`].
    pub fn pages<I>(self, blocks: I) -> FilePages<I::IntoIter>
    where
        I: IntoIterator<Item: Into<BlockNo>>,
    {
        FilePages { file: self, blocks: blocks.into_iter() }
    }
}

/// The pages of one file, by [`FileId::pages`].
///
/// # Examples
/// ```
/// # fn of(pool: &ringpool::BufferPool, file: ringpool::FileId) {
/// pool.prefetch(file.pages(10..20_u32));
///
/// // A queue of blocks, to which those are added that turn out to be wanted.
/// let mut pages = file.pages(vec![3_u32, 1].into_iter());
/// assert_eq!(pages.blocks_mut().len(), 2);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FilePages<I> {
    file: FileId,
    blocks: I,
}

impl<I> FilePages<I> {
    /// Returns the iterator of the blocks, to tell it which blocks are wanted next. Example: [`FilePages`].
    pub fn blocks_mut(&mut self) -> &mut I {
        &mut self.blocks
    }
}

impl<I: Iterator<Item: Into<BlockNo>>> Iterator for FilePages<I> {
    type Item = PageId;

    fn next(&mut self) -> Option<PageId> {
        self.blocks.next().map(|block| PageId::new(self.file, block))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.blocks.size_hint()
    }
}

impl<I: DoubleEndedIterator<Item: Into<BlockNo>>> DoubleEndedIterator for FilePages<I> {
    fn next_back(&mut self) -> Option<PageId> {
        self.blocks.next_back().map(|block| PageId::new(self.file, block))
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {}", self.0)
    }
}

/// The number of a block in its file: block `n` starts at byte `n * page_size`.
///
/// ```
/// use ringpool::BlockNo;
/// assert_eq!(BlockNo(7).next(), Some(BlockNo(8)));
/// assert_eq!(BlockNo(u32::MAX).next(), None);
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNo(pub u32);

impl BlockNo {
    /// Returns the block that follows, or `None` at the end of the number space. Example: [`BlockNo`].
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }
}

impl From<u32> for BlockNo {
    fn from(block: u32) -> Self {
        Self(block)
    }
}

impl fmt::Display for BlockNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}", self.0)
    }
}

/// A page: a block of a file (PostgreSQL: buffer tag). Ordered by file, then block, which is the order in which write-out sorts.
///
/// ```
/// # use ringpool::{BlockNo, PageId};
/// # fn of(file: ringpool::FileId) {
/// let page = PageId::new(file, 7);
/// assert_eq!(page, PageId { file, block: BlockNo(7) });
/// assert_eq!(page.to_string(), format!("block 7 of file {}", file.get()));
/// # }
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId {
    /// The file.
    pub file: FileId,
    /// The block in it.
    pub block: BlockNo,
}

impl PageId {
    /// Makes the id of the page of `file` at `block`. Example: [`PageId`].
    #[must_use]
    #[inline]
    pub fn new(file: FileId, block: impl Into<BlockNo>) -> Self {
        Self { file, block: block.into() }
    }

    /// Returns both numbers in one word, the file in the upper half. Words sort as pages do.
    #[inline]
    pub(crate) const fn to_word(self) -> u64 {
        ((self.file.0 as u64) << 32) | self.block.0 as u64
    }

    /// Returns the page that [`to_word`](Self::to_word) packed.
    #[inline]
    pub(crate) const fn from_word(word: u64) -> Self {
        Self { file: FileId((word >> 32) as u32), block: BlockNo(word as u32) }
    }

    /// Spreads both numbers over all bits: two rounds of multiply and shift (the finaliser of MurmurHash3), since files all start at
    /// block 0 and strides are powers of two.
    #[inline]
    pub(crate) const fn spread(self) -> u64 {
        let mut word = self.to_word();
        word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        word ^ (word >> 33)
    }

    /// Returns whether `next` is the block right behind this one, so that one transfer can cover both.
    pub(crate) fn is_followed_by(self, next: Self) -> bool {
        self.file == next.file && self.block.next() == Some(next.block)
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.block, self.file)
    }
}

/// A position in the engine's write-ahead log, which rises from record to record. The engine chooses what its number counts: bytes,
/// or records.
///
/// The pool uses it in two ways, and a [`LogRecord`] has both. The pool writes a page when the log is durable up to the **end** of
/// the record of the page's last change. Redo starts at the **begin** of the record of its first change.
///
/// Shown as PostgreSQL shows it, the upper and the lower half in hexadecimal: `Lsn(4711)` is `LSN 0/1267`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// No log record: the page may be written without asking the log. It is `Lsn(0)`, so a log that counts records counts from 1.
    pub const UNLOGGED: Self = Self(0);
}

/// The record of a change: where it begins and where it ends in the log.
///
/// Made from a range if positions count bytes. Made from a single number if they count records: the record begins and ends there.
///
/// ```
/// use ringpool::{LogRecord, Lsn};
/// assert_eq!(LogRecord::from(Lsn(100)..Lsn(140)), LogRecord { begin: Lsn(100), end: Lsn(140) });
/// assert_eq!(LogRecord::from(Lsn(7)), LogRecord { begin: Lsn(7), end: Lsn(7) });
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Where redo must start to do the change again: what a checkpoint gives as its
    /// [`redo_lsn`](crate::CheckpointReport::redo_lsn).
    pub begin: Lsn,
    /// Up to where the log must be durable before the page is written: what [`Wal::flush`](crate::Wal::flush) is asked for.
    pub end: Lsn,
}

impl From<Lsn> for LogRecord {
    fn from(number: Lsn) -> Self {
        Self { begin: number, end: number }
    }
}

impl From<Range<Lsn>> for LogRecord {
    fn from(Range { start, end }: Range<Lsn>) -> Self {
        Self { begin: start, end }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LSN {:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

/// The size of every page of a pool: a power of two from 512 bytes to 64 KiB. As text it is a number with its unit, or of bytes.
///
/// ```
/// use ringpool::PageSize;
/// assert_eq!(PageSize::new(8192)?.bytes(), 8192);
/// assert!(PageSize::new(3000).is_err());
/// assert_eq!(PageSize::DEFAULT.to_string(), "8 KiB");
/// assert_eq!("16k".parse::<PageSize>()?, "16384".parse()?);
/// # Ok::<(), ringpool::Error>(())
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// The smallest page: one sector.
    pub const MIN: Self = Self(512);
    /// The largest page.
    pub const MAX: Self = Self(64 * 1024);
    /// The default, 8 KiB.
    pub const DEFAULT: Self = Self(8192);

    /// Checks that `bytes` is a power of two from 512 to 65536. Example: [`PageSize`].
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) that names the allowed sizes.
    pub fn new(bytes: u32) -> Result<Self> {
        if bytes.is_power_of_two() && (Self::MIN.0..=Self::MAX.0).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(Self::refused(bytes).into())
        }
    }

    fn refused(given: impl ToString) -> ConfigError {
        let (least, most) = (Self::MIN.0, Self::MAX.0);
        let advice = format!("choose a power of two from {least} to {most} bytes");
        ConfigError::new("page_size", given, advice)
    }

    /// Returns the size in bytes. Example: [`PageSize`].
    #[must_use]
    #[inline]
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// Returns the offset in its file of the first byte of `block`. Cannot overflow: at most 2^32 blocks of 2^16 bytes.
    pub(crate) const fn offset_of(self, block: BlockNo) -> u64 {
        block.0 as u64 * self.0 as u64
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self.0 {
            bytes @ 0..1024 => format!("{bytes} B"),
            bytes => format!("{} KiB", bytes / 1024),
        })
    }
}

impl FromStr for PageSize {
    type Err = ConfigError;

    /// Reads a number of bytes, or of KiB with `k`, `kB` or `KiB` behind it (1,024 bytes each, as in PostgreSQL), in upper or lower
    /// case.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
        let unit = match lower[digits..].trim() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1024,
            _ => return Err(Self::refused(text)),
        };
        let bytes = lower[..digits].parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
        bytes.and_then(|bytes| Self::new(bytes).ok()).ok_or_else(|| Self::refused(text))
    }
}

/// The number of a frame in its pool.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FrameNo(pub(crate) u32);

impl FrameNo {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The position of a page, in terms that stay the same when the program runs again. A checksum is seeded with it, so that a page in
/// the wrong place is recognised.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PageAddress {
    /// The number that the engine gave the file in [`OpenOptions::tag`](crate::OpenOptions::tag).
    pub tag: u64,
    /// The block.
    pub block: BlockNo,
}

impl PageAddress {
    /// Makes the address of the page at `block` of the file with this tag. Example: [`PageCodec`](crate::PageCodec).
    #[must_use]
    pub fn new(tag: u64, block: impl Into<BlockNo>) -> Self {
        Self { tag, block: block.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_survives_packing_and_keeps_its_order() {
        let pages = [
            PageId::new(FileId(0), 0),
            PageId::new(FileId(0), u32::MAX),
            PageId::new(FileId(1), 0),
            PageId::new(FileId(u32::MAX), u32::MAX),
        ];
        for pair in pages.windows(2) {
            assert!(pair[0].to_word() < pair[1].to_word());
        }
        for page in pages {
            assert_eq!(PageId::from_word(page.to_word()), page);
        }
    }

    #[test]
    fn neighbours_are_in_one_file_and_do_not_wrap() {
        let last = PageId::new(FileId(0), u32::MAX);
        assert!(PageId::new(FileId(0), 6).is_followed_by(PageId::new(FileId(0), 7)));
        assert!(!PageId::new(FileId(0), 6).is_followed_by(PageId::new(FileId(1), 7)));
        assert!(!last.is_followed_by(PageId::new(FileId(1), 0)));
    }

    #[test]
    fn a_block_begins_where_those_before_it_end_and_no_offset_overflows() {
        assert_eq!((PageSize::DEFAULT.bytes(), PageSize::DEFAULT.offset_of(BlockNo(3))), (8192, 24_576));
        assert_eq!(PageSize::MAX.offset_of(BlockNo(u32::MAX)), u64::from(u32::MAX) << 16);
    }

    #[test]
    fn a_page_size_is_read_as_it_is_written_and_in_the_ways_that_people_write_it() {
        for power in 9..=16 {
            let size = PageSize::new(1 << power).unwrap();
            assert_eq!(size.to_string().parse(), Ok(size));
            assert_eq!(size.bytes().to_string().parse(), Ok(size));
        }
        for text in ["8192", "8k", "8 KiB", " 8kB ", "8192B", "8 K"] {
            assert_eq!(text.parse(), Ok(PageSize::DEFAULT), "{text}");
        }
        for text in
            ["", "k", "-8k", "8.0k", "8M", "8 8", "4194304k", "99999999999", "3000", "128k", "\u{661}"]
        {
            let told = text.parse::<PageSize>().unwrap_err().to_string();
            assert_eq!(told, format!("page_size {text}: choose a power of two from 512 to 65536 bytes"));
        }
    }

    #[test]
    fn page_sizes_outside_the_rule_are_refused_with_advice() {
        for bytes in [0, 1, 256, 513, 8191, 12288, 131_072, u32::MAX] {
            let error = PageSize::new(bytes).unwrap_err().to_string();
            assert!(error.contains("power of two from 512 to 65536"), "{error}");
        }
    }
}
