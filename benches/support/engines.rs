//! What real engines do on real data: the example engines, run in memory on the words of some texts, and the pages that they used.
//!
//! A heap holds the lines of the texts; a B+tree has each word of each line, with the block where the line is. The traces are
//! recorded anew in each run, which takes seconds: so only the texts are kept. Other texts, or a changed engine, make other traces.

use std::{collections::HashMap, ops::ControlFlow, path::Path, sync::Arc};

use replay::{Random, Trace};
use ringpool::testing::SimDisk;
use ringpool::{BufferPool, FileId, IoMethod, OpenOptions, PageId, options::BackgroundWriter};

#[path = "../../examples/heap/heap.rs"]
#[allow(dead_code)] // Programs scan line by line.
mod heap;
#[path = "../../examples/support/recorder.rs"]
#[allow(dead_code)] // Programs write files.
mod recorder;
#[path = "../../examples/heap/slotted.rs"]
mod slotted;
#[path = "../../examples/btree/tree/mod.rs"]
#[allow(dead_code)] // Programs look at single entries, and make checkpoints.
mod tree;
#[path = "../../examples/btree/words.rs"]
mod words;

use heap::Heap;
use recorder::Recorder;
use tree::{Log, LogFirst, PAGE_LSN, Tree, log::LogFile};

pub(crate) use heap::Result;

/// Small, so that small texts have many pages.
const PAGE: u32 = 1024;

/// As many frames as there may be pages: what is used does not depend on it, and so nothing needs to be written.
const FRAMES: u32 = 1 << 16;

/// Lines that a search for a word looks at.
const LINES: usize = 10;

/// Entries that a reader of the whole tree takes at once.
const AT_ONCE: usize = 20;

/// Records what the engines do with the texts of a folder: one trace of filling them, the others of `length` uses of pages at
/// least.
pub(crate) fn traces(folder: &Path, length: usize) -> Result<Vec<Trace>> {
    let texts = words::texts(folder)?;
    let words: Vec<&str> = texts.iter().flat_map(|text| words::words(text)).collect();
    let mut random = Random::new(5);
    let mut any = || words[random.below(words.len() as u64) as usize];
    let mut in_order = words.iter().copied().cycle();
    let mut next = || in_order.next().unwrap_or_default();

    let mut engines = Engines::new()?;
    let mut traces = vec![engines.filled(&texts)?];
    let blocks = engines.pool.blocks(engines.heap_file)?;
    let mut scan = (0..blocks).cycle();
    let mut reader = Vec::new();
    let mut record = |name: &str, step: &mut dyn FnMut(&Engines) -> Result<()>| -> Result<()> {
        traces.push(engines.repeated(name, length, step)?);
        Ok(())
    };
    record("words: looked up as in the text", &mut |engines| engines.look_up(next()).map(drop))?;
    record("words: looked up, and their lines", &mut |engines| engines.look_up_lines(any()))?;
    record("words: the same beside scans", &mut |engines| {
        scan.next().map_or(Ok(()), |block| engines.heap.page(block).map(drop))?;
        engines.look_up_lines(any())
    })?;
    record("words: beside readers of the tree", &mut |engines| {
        engines.read_on(&mut reader)?;
        engines.look_up(any()).map(drop)
    })?;
    Ok(traces)
}

/// A heap and a tree in one pool.
struct Engines {
    pool: BufferPool,
    heap_file: FileId,
    heap: Heap,
    tree: Tree,
    recorder: Recorder,
}

impl Engines {
    fn new() -> Result<Self> {
        let disk = SimDisk::new();
        let (log, survived) = Log::open(NoLog)?;
        let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE).wal(LogFirst(Arc::clone(&log)));
        let builder = builder.page_lsn(PAGE_LSN);
        let builder = builder.io_method(IoMethod::Sync).background_writer(BackgroundWriter::Off);
        let pool = builder.storage(disk).build()?;
        let open = |path, page_lsn| pool.open_file(path, OpenOptions::new().create(true).page_lsn(page_lsn));
        let (heap_file, tree_file) = (open("heap", false)?, open("tree", true)?);
        let recorder = Recorder::new();
        let heap = Heap::open(&pool, heap_file, &recorder);
        let tree = Tree::open(&pool, tree_file, &log, &survived)?.recorded(&recorder);
        Ok(Self { pool, heap_file, heap, tree, recorder })
    }

    /// Puts all lines into the heap, and their words into the tree.
    fn filled(&mut self, texts: &[String]) -> Result<Trace> {
        for (number, text) in texts.iter().enumerate() {
            for (at, line) in text.lines().enumerate() {
                let block = self.heap.append(line.as_bytes())?;
                for word in words::words(line) {
                    self.tree.insert(&words::key(word, number as u32, at as u32), u64::from(block))?;
                }
            }
        }
        Ok(trace("words: put into heap and tree", &self.recorder.take()))
    }

    /// Does `step` until the trace has this length.
    fn repeated(
        &self,
        name: &str,
        length: usize,
        step: &mut dyn FnMut(&Self) -> Result<()>,
    ) -> Result<Trace> {
        let mut used = Vec::new();
        while used.len() < length {
            step(self)?;
            used.append(&mut self.recorder.take());
        }
        Ok(trace(name, &used))
    }

    /// Returns the blocks of the first lines that have the word.
    fn look_up(&self, word: &str) -> Result<Vec<u32>> {
        let (prefix, mut blocks) = (words::prefix(word), Vec::new());
        self.tree.scan(&prefix, |key, block| {
            if blocks.len() == LINES || !key.starts_with(&prefix) {
                return ControlFlow::Break(());
            }
            blocks.push(block as u32);
            ControlFlow::Continue(())
        })?;
        Ok(blocks)
    }

    /// Looks a word up, and fetches the pages of the lines that have it.
    fn look_up_lines(&self, word: &str) -> Result<()> {
        let mut blocks = self.look_up(word)?;
        blocks.dedup();
        blocks.into_iter().try_for_each(|block| self.heap.page(block).map(drop))
    }

    /// Reads the next entries of the tree after those that were read before, and begins anew at its end.
    fn read_on(&self, from: &mut Vec<u8>) -> Result<()> {
        let (begin, mut left) = (std::mem::take(from), AT_ONCE);
        self.tree.scan(&begin, |key, _| {
            if left == 0 {
                from.extend_from_slice(key);
                return ControlFlow::Break(());
            }
            left -= 1;
            ControlFlow::Continue(())
        })
    }
}

/// Makes a trace of these uses, with the pages of both files numbered in order of first use.
fn trace(name: &str, used: &[PageId]) -> Trace {
    let mut numbers: HashMap<PageId, u64> = HashMap::new();
    let number = |page: &PageId| {
        let next = numbers.len() as u64;
        *numbers.entry(*page).or_insert(next)
    };
    Trace { name: name.to_owned(), pages: used.iter().map(number).collect() }
}

/// A log for runs that never recover.
struct NoLog;

impl LogFile for NoLog {
    fn read_all(&self) -> std::io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> std::io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }
}
