//! A heap file in ten minutes: lines of text in slotted pages, on ringpool.
//!
//! ```text
//! cargo run --release --example heap -- [TEXT FILE]
//! ```
//!
//! Loads every line of a text file into a heap file, checkpoints, closes everything, opens it again, scans it with prefetch,
//! and compares what comes out with what went in, byte for byte. Without an argument it loads its own source.
//!
//! What to look at: how a page is changed (`Heap::append`), what makes changes durable (`main`, the checkpoint), how a scan
//! keeps the disk busy ahead of itself (`Heap::scan`).

use std::{
    env,
    error::Error,
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Instant,
};

use ringpool::{
    BlockNo, BufferPool, CheckpointOptions, FileId, OpenOptions, PageId, PageWrite, PinnedPage, Shutdown,
};

/// A page of records: a header, records from the front, their lengths from the back.
///
/// ```text
/// | records: u16 | end of the bytes: u16 | bytes of record 0 | bytes of record 1 | ... free ... | length 1 | length 0 |
/// ```
///
/// A length's highest bit says that the record goes on in the next record of the file: a line may be longer than a page.
/// A page of zeros is an empty page, so a page that was just added to the file needs no set-up.
mod slotted {
    const HEADER: usize = 4;
    const SLOT: usize = 2;
    const CONTINUES: u16 = 1 << 15;

    fn u16_at(page: &[u8], at: usize) -> u16 {
        u16::from_le_bytes([page[at], page[at + 1]])
    }

    fn put_u16(page: &mut [u8], at: usize, value: u16) {
        page[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn count(page: &[u8]) -> usize {
        usize::from(u16_at(page, 0))
    }

    fn end(page: &[u8]) -> usize {
        usize::from(u16_at(page, 2)).max(HEADER)
    }

    /// How long a record may be to fit now; `None` where not even an empty one does.
    pub(crate) fn room(page: &[u8]) -> Option<usize> {
        page.len().checked_sub(end(page) + SLOT * (count(page) + 1))
    }

    /// Appends as much of `line` as fits and gives what is left; `None` where the line is in.
    pub(crate) fn append<'l>(page: &mut [u8], line: &'l [u8]) -> Option<&'l [u8]> {
        let Some(room) = room(page) else { return Some(line) };
        let (count, end) = (count(page), end(page));
        let (now, rest) = line.split_at(line.len().min(room));
        page[end..end + now.len()].copy_from_slice(now);
        let continues = if rest.is_empty() { 0 } else { CONTINUES };
        let slot = page.len() - SLOT * (count + 1);
        put_u16(page, slot, now.len() as u16 | continues);
        put_u16(page, 0, count as u16 + 1);
        put_u16(page, 2, (end + now.len()) as u16);
        (!rest.is_empty()).then_some(rest)
    }

    /// The page's records, each with whether it goes on in the next.
    pub(crate) fn records(page: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
        let mut at = HEADER;
        (1..=count(page)).map(move |n| {
            let slot = u16_at(page, page.len() - SLOT * n);
            let record = &page[at..at + usize::from(slot & !CONTINUES)];
            at += record.len();
            (record, slot & CONTINUES != 0)
        })
    }
}

/// An append-only file of lines.
struct Heap {
    pool: BufferPool,
    file: FileId,
    /// The page that is being filled.
    last: Option<PinnedPage>,
    /// Blocks that are added to the file, but empty yet.
    spare: std::ops::Range<u32>,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

impl Heap {
    /// Blocks by which the file grows: a larger step costs fewer metadata writes.
    const GROWTH: NonZeroU32 = NonZeroU32::new(128).unwrap();

    /// How far a scan reads ahead, and how many blocks it asks for at once.
    const AHEAD: u32 = 64;
    const BATCH: u32 = 16;

    fn open(path: &Path) -> Result<Self> {
        // 1,024 frames of 8 KiB. The I/O method is chosen by what works here: io_uring, else threads.
        let pool = BufferPool::builder().frames(1024).page_size(8192).build()?;
        let file = pool.open_file(path, OpenOptions::new().create(true))?;
        Ok(Self { pool, file, last: None, spare: 0..0 })
    }

    fn append(&mut self, line: &[u8]) -> Result<()> {
        let mut rest = line;
        loop {
            let page = match self.last.take() {
                Some(page) => page,
                None => self.next_page()?,
            };
            // The guard is the exclusive latch. Touching its bytes marks the page dirty; dropping it lets others in.
            let mut bytes: PageWrite<'_> = page.write()?;
            let left = slotted::append(&mut bytes, rest);
            drop(bytes);
            match left {
                None => {
                    self.last = Some(page);
                    return Ok(());
                }
                // The page is full: its pin goes, and with it its claim to a frame.
                Some(left) => rest = left,
            }
        }
    }

    fn next_page(&mut self) -> Result<PinnedPage> {
        if self.spare.is_empty() {
            let added = self.pool.extend(self.file, Self::GROWTH).wait()?;
            self.spare = added.first.0..added.first.0 + added.blocks;
        }
        let block = self.spare.next().ok_or("extend gives at least one block")?;
        Ok(self.pool.fetch(PageId::new(self.file, block)).wait()?)
    }

    /// Shows every line in order, with the disk always some blocks ahead.
    fn scan(&self, mut show: impl FnMut(Vec<u8>)) -> Result<()> {
        let blocks = self.pool.blocks(self.file)?;
        let mut line = Vec::new();
        for block in 0..blocks {
            if block % Self::BATCH == 0 {
                let from = if block == 0 { 0 } else { block + Self::AHEAD };
                self.pool.prefetch(
                    self.file,
                    (from..block + Self::AHEAD + Self::BATCH).take_while(|&b| b < blocks),
                );
            }
            let page = self.pool.fetch(PageId { file: self.file, block: BlockNo(block) }).wait()?;
            for (record, continues) in slotted::records(&page.read()) {
                line.extend_from_slice(record);
                if !continues {
                    show(std::mem::take(&mut line));
                }
            }
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let text = env::args_os().nth(1).map_or_else(|| PathBuf::from(file!()), PathBuf::from);
    let contents = fs::read(&text).map_err(|error| format!("{}: {error}", text.display()))?;
    let lines: Vec<&[u8]> = contents.split(|&byte| byte == b'\n').collect();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lines.heap");

    let begun = Instant::now();
    let mut heap = Heap::open(&path)?;
    for line in &lines {
        heap.append(line)?;
    }
    heap.last = None;
    // From here on the lines survive a power cut: everything dirty is written, in sorted batches, and the file synced.
    let checkpoint = heap.pool.checkpoint(CheckpointOptions::new()).wait()?;
    let loaded = begun.elapsed();
    println!(
        "loaded {} lines in {loaded:.1?}; the checkpoint wrote {} pages",
        lines.len(),
        checkpoint.pages_written
    );
    heap.pool.shutdown(Shutdown::Flush)?;

    let begun = Instant::now();
    let heap = Heap::open(&path)?;
    let (mut seen, mut different) = (0, 0);
    heap.scan(|line| {
        different += usize::from(lines.get(seen) != Some(&line.as_slice()));
        seen += 1;
    })?;
    println!("scanned {seen} lines in {:.1?}", begun.elapsed());
    let stats = heap.pool.stats();
    println!("I/O method: {}", stats.method);
    println!(
        "{} pages in {} read requests; {} fetches found their page ready, {} waited for one on its way, {} read it themselves",
        stats.counts.pages_read,
        stats.counts.read_requests,
        stats.counts.hits,
        stats.counts.joins,
        stats.counts.misses,
    );
    if seen != lines.len() || different > 0 {
        return Err(
            format!("{} lines went in, {seen} came out, {different} of them different", lines.len()).into()
        );
    }
    println!("what came out is what went in");
    Ok(())
}
