//! Generates vectors and an index of them, for tests and for the bench: the same ones for the same numbers.
//!
//! Vectors lie in clusters, and in a space of few dimensions that is turned into one of many, as those of learned embeddings do: in noise
//! of as many dimensions no graph finds neighbours.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use diskann::{ANNResult, graph::config};
use diskann_disk::{
    DiskIndexBuildParameters, QuantizationType,
    build::builder::build::DiskIndexBuilder,
    data_model::AdHoc,
    disk_index_build_parameter::{MemoryBudget, NumPQChunks},
    storage::DiskIndexWriter,
};
use diskann_providers::{model::IndexConfiguration, storage::FileStorageProvider};
use diskann_vector::distance::Metric;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rand_distr::{StandardNormal, Zipf};

/// What the index's vertices are: vectors of `f32`, with nothing associated.
pub type Vertices = AdHoc<f32>;

/// Bytes of a block of the index file.
pub const BLOCK: usize = 4096;

/// Dimensions of the space in which the vectors differ.
const INNER: usize = 24;

/// Vectors of a cluster, on average.
const CLUSTER: usize = 500;

/// How far vectors are from the middle of their cluster, where the middles' own spread is 1.
const SPREAD: f32 = 0.6;

/// In which order vectors get their ids, and so which of them share a block.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Numbering {
    /// As they were drawn: the vectors of a block have nothing in common.
    #[default]
    Drawn,
    /// One cluster after the other: the vectors of a block are near one another, as in an index whose vectors were partitioned before it
    /// was built, or whose graph was renumbered by neighbourhoods.
    ByCluster,
}

/// How many vectors there are, and of what kind.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SampleSize {
    /// Vectors, from 1,000 on.
    pub vectors: usize,
    /// Their dimensions, from 8 on.
    pub dimensions: usize,
    /// The most neighbours of a vertex.
    pub degree: usize,
    /// How they are numbered.
    pub numbering: Numbering,
}

/// Where the files of an index are.
#[derive(Clone, Debug)]
pub struct IndexFiles {
    prefix: String,
}

impl IndexFiles {
    fn at(folder: &Path, size: SampleSize) -> Self {
        let name = format!("{}x{}r{}{:?}", size.vectors, size.dimensions, size.degree, size.numbering);
        Self { prefix: folder.join(name).to_string_lossy().into_owned() }
    }

    /// Returns the path of the graph, which searches read.
    #[must_use]
    pub fn graph(&self) -> PathBuf {
        format!("{}_disk.index", self.prefix).into()
    }

    /// Returns the paths of the pivots and of the compressed vectors, which searches keep in memory.
    #[must_use]
    pub fn compressed(&self) -> [String; 2] {
        ["pq_pivots", "pq_compressed"].map(|part| format!("{}_{part}.bin", self.prefix))
    }
}

/// Draws vectors, one after the other.
#[derive(Debug)]
pub struct Vectors {
    /// The clusters' middles, and then the matrix that turns a point into a vector.
    middles: Vec<[f32; INNER]>,
    turns: Vec<[f32; INNER]>,
    /// Whether some clusters are drawn more often than others: the n-th in one n-th of the cases of the first (Zipf's law).
    is_skewed: bool,
    random: SmallRng,
}

impl Vectors {
    /// Makes a source for vectors of this kind. All of one kind come from the same clusters; `stream` says which vectors they are.
    #[must_use]
    pub fn new(size: SampleSize, stream: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(1);
        let mut point = |_| std::array::from_fn(|_| random.sample::<f32, _>(StandardNormal));
        let middles = (0..size.vectors.div_ceil(CLUSTER)).map(&mut point).collect();
        let turns = (0..size.dimensions).map(&mut point).collect();
        Self { middles, turns, is_skewed: false, random: SmallRng::seed_from_u64(stream.wrapping_add(2)) }
    }

    /// Draws from some clusters more often than from others, as users ask for some things more often.
    #[must_use]
    pub fn skewed(mut self, is_skewed: bool) -> Self {
        self.is_skewed = is_skewed;
        self
    }

    fn draw_cluster(&mut self) -> usize {
        let clusters = self.middles.len();
        if !self.is_skewed {
            return self.random.random_range(0..clusters);
        }
        let rank = Zipf::new(clusters as f32, 1.0).expect("there is a cluster");
        (self.random.sample(rank) as usize - 1).min(clusters - 1)
    }

    /// Draws a vector, and the number of its cluster.
    fn draw(&mut self) -> (usize, Vec<f32>) {
        let cluster = self.draw_cluster();
        let point =
            self.middles[cluster].map(|at| at + SPREAD * self.random.sample::<f32, _>(StandardNormal));
        let element = |turn: &[f32; INNER]| turn.iter().zip(&point).map(|(turn, at)| turn * at).sum();
        (cluster, self.turns.iter().map(element).collect())
    }

    /// Draws so many vectors.
    pub fn draw_many(&mut self, count: usize) -> Vec<Vec<f32>> {
        (0..count).map(|_| self.draw().1).collect()
    }
}

/// Returns the vectors of the index, by their ids.
#[must_use]
pub fn indexed(size: SampleSize) -> Vec<Vec<f32>> {
    let mut source = Vectors::new(size, 0);
    let mut drawn: Vec<_> = (0..size.vectors).map(|_| source.draw()).collect();
    if size.numbering == Numbering::ByCluster {
        drawn.sort_by_key(|&(cluster, _)| cluster);
    }
    drawn.into_iter().map(|(_, vector)| vector).collect()
}

/// Returns the ids of the `count` vectors that are nearest to the query, in no order.
#[must_use]
pub fn nearest(vectors: &[Vec<f32>], query: &[f32], count: usize) -> Vec<u32> {
    let distance = |vector: &[f32]| vector.iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    let mut all: Vec<_> = (0..).zip(vectors).map(|(id, vector)| (distance(vector), id)).collect();
    all.select_nth_unstable_by(count, |(a, _), (b, _)| a.total_cmp(b));
    all[..count].iter().map(|&(_, id)| id).collect()
}

/// Builds the index in this folder, unless it is there.
///
/// # Errors
/// What building it, or writing it, met.
pub fn build(folder: &Path, size: SampleSize, threads: usize) -> ANNResult<IndexFiles> {
    let files = IndexFiles::at(folder, size);
    if files.graph().exists() {
        return Ok(files);
    }
    let data = format!("{}_vectors.bin", files.prefix);
    write_vectors(Path::new(&data), size)?;
    // Under another name until it is whole.
    let unfinished = IndexFiles { prefix: format!("{}_unfinished", files.prefix) };
    let metric = Metric::L2;
    let graph = config::Builder::new_with(
        size.degree,
        config::MaxDegree::default_slack(),
        2 * size.degree,
        metric.into(),
        |_| {},
    )
    .build()?;
    let configuration =
        IndexConfiguration::new(metric, size.dimensions, size.vectors, NonZeroUsize::MIN, threads, graph)
            .with_pseudo_rng();
    let parameters = DiskIndexBuildParameters::new(
        MemoryBudget::try_from_gb(4.0)?,
        QuantizationType::FP,
        NumPQChunks::new_with(size.dimensions / 4, size.dimensions)?,
    );
    let writer = DiskIndexWriter::new(data.clone(), unfinished.prefix.clone(), None, BLOCK)?;
    DiskIndexBuilder::<Vertices, _>::new(&FileStorageProvider, parameters, configuration, writer)?.build()?;
    for (from, to) in unfinished.compressed().iter().zip(files.compressed()) {
        std::fs::rename(from, to)?;
    }
    std::fs::remove_file(data)?;
    std::fs::rename(unfinished.graph(), files.graph())?;
    Ok(files)
}

/// Writes the vectors as DiskANN's tools do: how many, of how many dimensions, and their elements.
fn write_vectors(path: &Path, size: SampleSize) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for count in [size.vectors, size.dimensions] {
        file.write_all(&u32::try_from(count).map_err(io::Error::other)?.to_le_bytes())?;
    }
    for vector in indexed(size) {
        file.write_all(bytemuck::cast_slice(&vector))?;
    }
    file.flush()
}
