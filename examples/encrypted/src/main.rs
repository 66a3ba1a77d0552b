//! Pages that are encrypted on disk, and that are refused after tampering.
//!
//! ```text
//! cargo run -p ringpool-encrypted
//! ```
//!
//! [`encrypted`] has the codec, and says what it protects and what it does not. `tampering` tests it on a simulated disk.

mod encrypted;
#[cfg(test)]
mod tampering;

use std::{error::Error, fs, num::NonZeroU32};

use chacha20poly1305::{Key, aead::Generate};
use ringpool::{BufferPool, FileId, OpenOptions, PageId, Shutdown};

use crate::encrypted::{Encrypted, KEY_BYTES};

const PAGE: usize = 8192;

/// The file's number within the database, the same each time it is opened. A page of another file is refused by it.
const TAG: u64 = 1;

const SECRET: &[u8] = b"the treasure is under the old oak";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("secrets");
    // An engine gets its key from a key store. This one is lost with the program.
    let key = Key::generate().into();

    let open = |key: &[u8; KEY_BYTES]| -> ringpool::Result<(BufferPool, FileId)> {
        let pool =
            BufferPool::builder().frames(64).page_size(PAGE as u32).codec(Encrypted::new(key)).build()?;
        let file = pool.open_file(&path, OpenOptions::new().create(true).tag(TAG))?;
        Ok((pool, file))
    };

    let (pool, file) = open(&key)?;
    pool.extend(file, NonZeroU32::MIN).wait()?;
    pool.write(PageId::new(file, 0)).wait()?[..SECRET.len()].copy_from_slice(SECRET);
    pool.shutdown(Shutdown::Flush)?;

    let on_disk = fs::read(&path)?;
    assert!(!on_disk.windows(SECRET.len()).any(|bytes| bytes == SECRET));
    println!("on disk:              {:02x?} ...", &on_disk[..12]);

    let (pool, file) = open(&key)?;
    let page = pool.read(PageId::new(file, 0)).wait()?;
    println!("with the key:         {:?}", str::from_utf8(&page[..SECRET.len()])?);
    drop((page, pool));

    let (pool, file) = open(&Key::generate().into())?;
    let refused = pool.read(PageId::new(file, 0)).wait().expect_err("it is another key");
    println!("with another key:     {refused}");
    drop(pool);

    let mut damaged = on_disk;
    damaged[4711] ^= 1;
    fs::write(&path, damaged)?;
    let (pool, file) = open(&key)?;
    let refused = pool.read(PageId::new(file, 0)).wait().expect_err("one bit is flipped");
    println!("with one bit flipped: {refused}");
    Ok(())
}
