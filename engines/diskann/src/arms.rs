//! The arms of the comparison: one index, and searches by DiskANN's own reader and through a pool.

use std::{
    fs, io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use diskann::ANNResult;
use diskann_disk::{
    data_model::CachingStrategy,
    search::{
        provider::{
            disk_provider::DiskIndexSearcher, disk_vertex_provider_factory::DiskVertexProviderFactory,
        },
        search_mode::SearchMode,
        traits::VertexProviderFactory,
    },
    storage::disk_index_reader::DiskIndexReader,
};
use diskann_providers::storage::FileStorageProvider;
use diskann_vector::distance::Metric;
use ringpool::{BufferPool, OpenOptions};
use ringpool_diskann::{
    PooledVertices,
    sample::{BLOCK, IndexFiles, SampleSize, Vertices},
};

/// Results of a query.
pub const RESULTS: u32 = 10;

/// How queries are searched, the same in all arms.
#[derive(Copy, Clone, Debug)]
pub struct Search {
    /// Candidates that a search keeps.
    pub list: u32,
    /// Vertices that a search reads together.
    pub beam: usize,
    /// Threads that search at once.
    pub threads: usize,
}

/// What reads the vertices.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    /// DiskANN's own, a ring for each search, which keeps so many vertices next to the entry for good.
    Own { kept: usize },
    /// A pool of so many frames.
    Pool { frames: u32 },
}

/// Finds the ids of the vectors that are nearest to a query.
type Find = dyn Fn(&[f32]) -> ANNResult<Vec<u32>> + Sync;

/// A searcher of either kind.
pub struct Arm(Box<Find>);

/// What a run of an arm measured.
#[derive(Clone, Debug)]
pub struct Measured {
    pub queries_per_s: f64,
    pub p99: Duration,
    pub cpu_us_a_query: f64,
    pub kib_a_query: f64,
    /// By query.
    pub found: Vec<Vec<u32>>,
}

impl Arm {
    /// Makes the searcher of an arm.
    pub fn new(
        reader: Reader,
        files: &IndexFiles,
        search: Search,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let graph = files.graph();
        Ok(match reader {
            Reader::Own { kept } => {
                let keeps = if kept == 0 {
                    CachingStrategy::None
                } else {
                    CachingStrategy::StaticCacheWithBfsNodes(kept)
                };
                let graph = graph.to_string_lossy().into_owned();
                Self::of(DiskVertexProviderFactory::from_disk_index_path(graph, keeps)?, files, search)?
            }
            Reader::Pool { frames } => {
                let pool = BufferPool::builder().frames(frames).page_size(BLOCK as u32).build()?;
                let file = pool.open_file(graph, OpenOptions::new().read_only(true))?;
                Self::of(PooledVertices::new(pool, file), files, search)?
            }
        })
    }

    fn of<F>(vertices: F, files: &IndexFiles, search: Search) -> ANNResult<Self>
    where
        F: VertexProviderFactory<Vertices> + 'static,
        F::VertexProviderType: 'static,
    {
        let [pivots, compressed] = files.compressed();
        let reader = DiskIndexReader::new(pivots, compressed, &FileStorageProvider)?;
        let searcher =
            DiskIndexSearcher::new(search.threads, usize::MAX, &reader, vertices, Metric::L2, None)?;
        Ok(Self(Box::new(move |query| {
            let found =
                searcher.search(query, RESULTS, search.list, Some(search.beam), SearchMode::graph())?;
            Ok(found.results.iter().map(|item| item.vertex_id).collect())
        })))
    }

    /// Searches all queries, by all threads at once.
    pub fn run(&self, queries: &[Vec<f32>], threads: usize) -> Result<Measured, Box<dyn std::error::Error>> {
        let (before, cpu, began) = (bytes_read()?, cpu_time(), Instant::now());
        let next = AtomicUsize::new(0);
        let search = || -> ANNResult<Vec<(usize, Duration, Vec<u32>)>> {
            let mut done = Vec::new();
            while let number = next.fetch_add(1, Ordering::Relaxed)
                && let Some(query) = queries.get(number)
            {
                let began = Instant::now();
                let found = (self.0)(query)?;
                done.push((number, began.elapsed(), found));
            }
            Ok(done)
        };
        let mut done = Vec::new();
        thread::scope(|scope| -> ANNResult<()> {
            let searching: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
            searching.into_iter().try_for_each(|thread| {
                done.extend(thread.join().expect("a thread that searches does not panic")?);
                Ok(())
            })
        })?;
        let (count, elapsed) = (queries.len() as f64, began.elapsed());
        let mut latencies: Vec<_> = done.iter().map(|&(_, latency, _)| latency).collect();
        latencies.sort_unstable();
        done.sort_unstable_by_key(|&(number, ..)| number);
        Ok(Measured {
            queries_per_s: count / elapsed.as_secs_f64(),
            p99: latencies[latencies.len() * 99 / 100],
            cpu_us_a_query: (cpu_time() - cpu).as_secs_f64() * 1e6 / count,
            kib_a_query: (bytes_read()? - before) as f64 / 1024.0 / count,
            found: done.into_iter().map(|(.., found)| found).collect(),
        })
    }
}

/// Returns how many vertices DiskANN's reader keeps in the memory of so many blocks: each as its vector and its list of
/// neighbours, without what its table takes.
pub fn kept_in(blocks: u32, size: SampleSize) -> usize {
    blocks as usize * BLOCK / (size_of::<f32>() * size.dimensions + size_of::<u32>() * size.degree)
}

/// Returns how many bytes the process has had from devices.
fn bytes_read() -> io::Result<u64> {
    let counts = fs::read_to_string("/proc/self/io")?;
    let line = counts.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|number| number.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/io has no read_bytes"))
}

/// Returns the processor time of the process.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on Linux, and the call writes the time that the reference names.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
