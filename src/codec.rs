//! Page codecs: changes of a page's bytes on their way to and from disk.

use std::fmt;

use crate::id::PageAddress;

/// Changes pages on their way to disk and back: checksums, encryption, compression within the page.
///
/// A checksum finds pages that are torn, damaged or in the wrong place, when they are read. It cannot find a *lost write*: if the
/// disk reported a write and kept the older page, that page is whole and in its place. Only something outside the page finds that,
/// such as an engine that keeps each page's LSN beside the reference to the page. To repair a torn page takes
/// [`TornPages`](crate::options::TornPages), or images of pages in the engine's log, with which redo
/// [overwrites](crate::BufferPool::overwrite) them.
///
/// A sealed page has as many bytes as the page. What a codec adds (a checksum, a nonce, an authentication tag) is kept in bytes
/// that the engine does not use.
///
/// A codec that encrypts must *authenticate* too, with an AEAD, the page's address as associated data, and a nonce that is new for
/// each call of `seal`: the pool's [recovery](crate::options::TornPages) accepts as whole each page that the codec opens. The
/// [guide](crate::guide#checksums-and-encryption) says more; `examples/encrypted` in the repository is such a codec. The frames in
/// memory are not encrypted, and neither is what the engine writes by itself, such as its log.
///
/// The pool makes both calls from several threads at once, most of them without a lock. They must not call the pool, which may hold
/// one: the size lock of a file while `seal` makes new pages for an extension, and the lock of the doublewrite area while `open`
/// looks for torn pages. A call that panics fails the operation ([`Error::Panicked`](crate::Error::Panicked)).
///
/// # Examples
/// Pages that are scrambled, and end in a checksum:
/// ```
/// # #[cfg(feature = "crc32c")] {
/// use ringpool::{Crc32c, PageAddress, PageCodec};
///
/// struct Scrambled;
///
/// fn scramble(page: &mut [u8]) {
///     let body = page.len() - Crc32c::TRAILER;
///     page[..body].iter_mut().for_each(|byte| *byte ^= 0x55);
/// }
///
/// impl PageCodec for Scrambled {
///     fn seal(&self, at: PageAddress, page: &mut [u8]) {
///         scramble(page);
///         Crc32c.seal(at, page);
///     }
///
///     fn open(&self, at: PageAddress, page: &mut [u8]) -> Result<(), String> {
///         Crc32c.open(at, page)?;
///         scramble(page);
///         Ok(())
///     }
/// }
///
/// let at = PageAddress::new(7, 0);
/// let mut page = vec![1; 8192];
/// Scrambled.seal(at, &mut page);
/// assert_eq!(page[0], 0x54);
/// Scrambled.open(at, &mut page).unwrap();
/// assert_eq!(page[0], 1);
///
/// let pool = ringpool::BufferPool::builder().frames(16).codec(Scrambled).build().unwrap();
/// # }
/// ```
pub trait PageCodec: Send + Sync + 'static {
    /// Seals a copy of the page for the disk, anew for each write. The page in its frame stays as it is. Pages that are
    /// [added](crate::BufferPool::extend) to a file are sealed too, as pages of zeros. Example: [`PageCodec`].
    fn seal(&self, at: PageAddress, page: &mut [u8]);

    /// Verifies a page that was just read, and changes its bytes in place into those that were sealed. The thread that wants the
    /// page makes this call, once for each read, before any thread sees the page.
    ///
    /// A page of zeros was never sealed, or is lost: a codec should refuse it. Open files that have such pages with
    /// [`OpenOptions::sparse`](crate::OpenOptions::sparse); then the pool does not ask the codec about a page of zeros.
    ///
    /// Example: [`PageCodec`].
    ///
    /// # Errors
    /// Why this page cannot be trusted; becomes [`Error::Corrupt`](crate::Error::Corrupt). The pool shows its bytes, changed or
    /// not, to no thread, and the next access reads the page again.
    fn open(&self, at: PageAddress, page: &mut [u8]) -> Result<(), String>;
}

impl fmt::Debug for dyn PageCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageCodec")
    }
}

/// Seals each page with a CRC32C over its address and contents, in the page's last four bytes, which the engine must not use. Finds
/// torn, flipped, misplaced and zeroed pages (C9).
#[cfg(feature = "crc32c")]
#[derive(Copy, Clone, Debug, Default)]
pub struct Crc32c;

#[cfg(feature = "crc32c")]
impl Crc32c {
    /// The bytes at the end of each page that belong to the checksum.
    pub const TRAILER: usize = 4;

    fn checksum(at: PageAddress, body: &[u8]) -> u32 {
        let seed = crc32c::crc32c(&at.tag.to_le_bytes());
        let block = if seeded!("checksum_without_the_block") { 0 } else { at.block.0 };
        let seed = crc32c::crc32c_append(seed, &block.to_le_bytes());
        // Never 0, so a page of zeros never has a right checksum.
        crc32c::crc32c_append(seed, body).max(1)
    }
}

#[cfg(feature = "crc32c")]
impl PageCodec for Crc32c {
    fn seal(&self, at: PageAddress, page: &mut [u8]) {
        if let Some((body, trailer)) = page.split_last_chunk_mut::<{ Self::TRAILER }>() {
            *trailer = Self::checksum(at, body).to_le_bytes();
        }
    }

    fn open(&self, at: PageAddress, page: &mut [u8]) -> Result<(), String> {
        let (body, trailer) =
            page.split_last_chunk::<{ Self::TRAILER }>().ok_or("shorter than its checksum")?;
        let (expected, found) = (Self::checksum(at, body), u32::from_le_bytes(*trailer));
        if expected == found {
            return Ok(());
        }
        let is_zero = found == 0 && body.iter().all(|&byte| byte == 0);
        let what = match is_zero {
            true => "zeroed, or never written, as in a file that is opened with sparse(true)",
            false => "torn, flipped or misplaced",
        };
        Err(format!("its checksum is {found:08x} and should be {expected:08x}: {what}"))
    }
}

#[cfg(all(test, feature = "crc32c"))]
mod tests {
    use super::*;

    #[test]
    fn c9_a_torn_flipped_misplaced_or_zeroed_page_is_refused() {
        let at = PageAddress::new(7, 11);
        let mut page: Vec<u8> = (0..8192_u32).map(|n| (n * 31) as u8).collect();
        Crc32c.seal(at, &mut page);
        assert_eq!(Crc32c.open(at, &mut page), Ok(()));
        assert!(Crc32c.open(PageAddress::new(7, 12), &mut page).is_err(), "another block");
        assert!(Crc32c.open(PageAddress::new(8, 11), &mut page).is_err(), "another file");
        let mut torn = page.clone();
        torn[4096..8188].fill(0);
        assert!(Crc32c.open(at, &mut torn).is_err());
        for bit in [0, 4095 * 8, 8191 * 8 + 7] {
            let mut flipped = page.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Crc32c.open(at, &mut flipped).is_err(), "bit {bit}");
        }
        let mut unsealed = page.clone();
        unsealed[8188..].fill(0);
        assert!(
            Crc32c.open(at, &mut unsealed).is_err(),
            "a checksum that was lost is none that was never there"
        );
        assert!(Crc32c.open(at, &mut [0; 8192]).unwrap_err().contains("zeroed, or never written"));
        let mut emptied = vec![0; 8192];
        emptied[8188..].copy_from_slice(&page[8188..]);
        assert!(Crc32c.open(at, &mut emptied).is_err(), "the checksum of what is gone");
    }
}
