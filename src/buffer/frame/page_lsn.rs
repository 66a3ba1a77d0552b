//! Where a page keeps its LSN. The end of a [read](super::pin::Pin::load_lsn) reads it there, and the end of a
//! [change](crate::OwnedPageWrite) puts it there. The one thread that has the bytes does either. So while no thread changes the
//! page, the frame's page LSN is the one in its bytes, and what is written, lent or copied and sealed, carries it. PostgreSQL's
//! counterparts: `PageGetLSN`, `PageSetLSN`.

use crate::id::Lsn;

/// Where each page of a pool keeps its LSN: 8 bytes that the pool reads when the page comes from disk, and writes when the page
/// is changed.
///
/// With it ([`Builder::page_lsn`](crate::Builder::page_lsn)) [`lsn`](crate::OwnedPageRead::lsn) of a guard is where the last record of the page ends, also after a restart, and redo
/// compares that with its records. What [`set_lsn`](crate::PageWrite::set_lsn) stated is in the page's bytes when its guard ends, so each write
/// carries it. The engine does not change those bytes itself. It may copy others over them, as with an older image of the whole page: they
/// get the page's LSN when the guard ends, zero where it has none. A page that was [overwritten](crate::BufferPool::overwrite)
/// has lost the one that it had: without a record since, its LSN is what the engine has put there, as with a page from a backup.
///
/// It holds for all files of the pool except those that are opened [otherwise](crate::OpenOptions::page_lsn). A page whose 8
/// bytes are zero has no LSN ([`Lsn::UNLOGGED`]), for example a page of zeros. A page for which no record was ever stated stays
/// so.
///
/// # Positions rise over all lives of the files
/// An LSN in a page stays there when the log is deleted. So a new log for the same files must begin at or above the end of the old
/// one. If it begins at 0, the pages have higher LSNs than its records: redo skips records that were committed, and the pool asks
/// the log for [positions beyond its end](crate::Wal::flush).
///
/// # Examples
/// ```
/// # use std::num::NonZeroU32;
/// # use ringpool::{BufferPool, Lsn, OpenOptions, PageId, PageLsn, Shutdown};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("pages");
/// # let open = || -> ringpool::Result<_> {
/// let pool = BufferPool::builder().frames(16).page_lsn(PageLsn::at(8)).build()?;
/// # let file = pool.open_file(&path, OpenOptions::new().create(true))?;
/// # Ok((pool, file))
/// # };
/// # let (pool, file) = open()?;
/// # pool.extend(file, NonZeroU32::MIN).wait()?;
/// # let page = PageId::new(file, 0);
/// pool.write(page).wait()?.set_lsn(Lsn(100)..Lsn(140));
/// # pool.shutdown(Shutdown::Flush)?;
/// # let (pool, file) = open()?;
/// # let page = PageId::new(file, 0);
///
/// // After a restart: redo of a record that ends at 140 or before has nothing to do.
/// let page = pool.read(page).wait()?;
/// assert_eq!(page.lsn(), Lsn(140));
/// assert_eq!(page[8..16], 140_u64.to_le_bytes());
/// # Ok(())
/// # }
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PageLsn {
    offset: usize,
    is_big_endian: bool,
}

impl PageLsn {
    /// The bytes that an LSN takes in a page.
    pub const BYTES: usize = 8;

    /// Makes a place at this byte of each page, for a little-endian number. Any byte from which 8 are left will do, unless a
    /// [codec](crate::PageCodec) has them for itself. Example: [`PageLsn`].
    #[must_use]
    pub const fn at(offset: usize) -> Self {
        Self { offset, is_big_endian: false }
    }

    /// Sets the byte order of the number to big-endian.
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, Lsn, OpenOptions, PageId, PageLsn};
    /// # let folder = tempfile::tempdir()?;
    /// let place = PageLsn::at(8).big_endian();
    /// # let pool = BufferPool::builder().frames(16).page_lsn(place).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
    ///
    /// pool.write(PageId::new(file, 0)).wait()?.set_lsn(Lsn(100)..Lsn(140));
    /// assert_eq!(pool.read(PageId::new(file, 0)).wait()?[8..16], 140_u64.to_be_bytes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn big_endian(self) -> Self {
        Self { is_big_endian: true, ..self }
    }

    pub(crate) fn offset(self) -> usize {
        self.offset
    }

    pub(crate) fn fits(self, page_bytes: usize) -> bool {
        self.offset.checked_add(Self::BYTES).is_some_and(|end| end <= page_bytes)
    }

    pub(crate) fn read(self, page: &[u8]) -> Lsn {
        let mut bytes = [0; Self::BYTES];
        bytes.copy_from_slice(&page[self.offset..][..Self::BYTES]);
        Lsn(if self.is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    pub(crate) fn write(self, lsn: Lsn, page: &mut [u8]) {
        let bytes = if self.is_big_endian { lsn.0.to_be_bytes() } else { lsn.0.to_le_bytes() };
        page[self.offset..][..Self::BYTES].copy_from_slice(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_is_read_where_it_was_put_in_either_order_of_bytes() {
        for place in [PageLsn::at(0), PageLsn::at(13), PageLsn::at(504).big_endian()] {
            let mut page = [0; 512];
            assert_eq!(place.read(&page), Lsn::UNLOGGED);
            for lsn in [Lsn(1), Lsn(0x0102_0304_0506_0708), Lsn(u64::MAX)] {
                place.write(lsn, &mut page);
                assert_eq!(place.read(&page), lsn);
            }
        }
        let mut page = [0; 512];
        PageLsn::at(1).big_endian().write(Lsn(0x0102), &mut page);
        assert_eq!(page[..10], [0, 0, 0, 0, 0, 0, 0, 1, 2, 0]);
    }

    #[test]
    fn it_lies_within_the_page() {
        assert!(PageLsn::at(504).fits(512));
        assert!(!PageLsn::at(505).fits(512) && !PageLsn::at(usize::MAX).fits(512));
    }
}
