//! A page codec that encrypts: XChaCha20-Poly1305, an AEAD.
//!
//! ```text
//! a page in its frame   | the engine's bytes                      | 40 bytes that are the codec's |
//! the page on disk      | the same number of bytes, as ciphertext | nonce, 24 bytes | tag, 16     |
//! ```
//!
//! * **Nonce**: 192 random bits from the system for each call of `seal`, so each write of a page has one of its own and no count has to
//!   survive a crash. By chance two of 2^64 writes under one key have the same with a probability of about 2^-65.
//! * **Tag**: over the ciphertext and the page's address (the file's tag and the block). A page with a flipped bit, one that is torn, one that was
//!   moved to another block or file, one of another key, and zeros are refused.
//!
//! What it does **not** notice: an *older version* of a page that is put back in its own place, be it by an attacker or by a disk
//! that lost a write. That page was sealed under this key for this address. Only something outside the page can notice it: an
//! engine that keeps the LSN, or the tag, of each page with what refers to the page, as in a tree of hashes whose root is kept
//! safe.
//!
//! What it does **not** hide: names and lengths of files, which pages are written when, the pages in memory, and whatever the engine writes by
//! itself. A log has the same data, and needs the same protection.
//!
//! A key is for one database: tags of files are unique within one only. It can be changed by reading all pages under the old key and writing them under the new
//! one, as into a new file.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{AeadInOut, Generate, Tag},
};
use ringpool::{PageAddress, PageCodec};

/// The bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Encrypts pages on their way to disk.
pub(crate) struct Encrypted {
    /// Overwrites its key when it is dropped.
    cipher: XChaCha20Poly1305,
}

impl Encrypted {
    /// The bytes at the end of each page that belong to the codec. The engine leaves them alone.
    pub(crate) const TRAILER: usize = NONCE_BYTES + TAG_BYTES;

    /// Makes a codec of a key, of random bytes, that is used for nothing else.
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self { cipher: XChaCha20Poly1305::new(key.into()) }
    }
}

/// Returns what the tag covers beside the page's bytes: what these bytes are, and where they belong.
fn associated_data(at: PageAddress) -> [u8; 28] {
    let mut data = *b"ringpool page 1\0____________";
    data[16..24].copy_from_slice(&at.tag.to_le_bytes());
    data[24..].copy_from_slice(&at.block.0.to_le_bytes());
    data
}

impl PageCodec for Encrypted {
    /// Panics where the system gives no random bytes: the write then fails, and the page stays dirty.
    fn seal(&self, at: PageAddress, page: &mut [u8]) {
        let (body, trailer) = page.split_last_chunk_mut::<{ Self::TRAILER }>().expect("a page has 512 bytes");
        let nonce = XNonce::generate();
        let tag = self.cipher.encrypt_inout_detached(&nonce, &associated_data(at), body.into());
        trailer[..NONCE_BYTES].copy_from_slice(&nonce);
        trailer[NONCE_BYTES..].copy_from_slice(&tag.expect("one nonce is enough for 256 GiB"));
    }

    fn open(&self, at: PageAddress, page: &mut [u8]) -> Result<(), String> {
        let (body, trailer) =
            page.split_last_chunk_mut::<{ Self::TRAILER }>().ok_or("shorter than its nonce and its tag")?;
        let (nonce, tag) = trailer.split_at(NONCE_BYTES);
        let nonce = XNonce::try_from(nonce).map_err(|_| "no nonce")?;
        let tag = Tag::<XChaCha20Poly1305>::try_from(tag).map_err(|_| "no tag")?;
        let opened = self.cipher.decrypt_inout_detached(&nonce, &associated_data(at), body.into(), &tag);
        opened.map_err(|_| "damaged, torn, moved, never written, or encrypted with another key")?;
        // What the engine finds there does not depend on the cipher.
        trailer.fill(0);
        Ok(())
    }
}
