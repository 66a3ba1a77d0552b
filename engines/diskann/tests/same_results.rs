//! Searches through a pool find what searches by DiskANN's own reader find, whatever the pool holds and however it reads.

use std::{path::Path, sync::OnceLock, thread};

use diskann::ANNError;
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
use ringpool::{BufferPool, IoMethod, OpenOptions};
use ringpool_diskann::{
    PooledVertices,
    layout::LayoutError,
    sample::{self, BLOCK, IndexFiles, Numbering, SampleSize, Vectors, Vertices},
};
use tempfile::TempDir;

const SIZE: SampleSize =
    SampleSize { vectors: 2000, dimensions: 32, degree: 16, numbering: Numbering::Drawn };
const QUERIES: usize = 40;
const BEAM: usize = 4;

/// Returns the index that all tests search.
fn index() -> &'static IndexFiles {
    static INDEX: OnceLock<(TempDir, IndexFiles)> = OnceLock::new();
    let (_, files) = INDEX.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let files = sample::build(folder.path(), SIZE, 2).expect("an index");
        (folder, files)
    });
    files
}

fn searcher<F: VertexProviderFactory<Vertices>>(vertices: F) -> DiskIndexSearcher<Vertices, F> {
    let [pivots, compressed] = index().compressed();
    let reader = DiskIndexReader::new(pivots, compressed, &FileStorageProvider).expect("compressed vectors");
    DiskIndexSearcher::new(8, usize::MAX, &reader, vertices, Metric::L2, None).expect("a searcher")
}

/// Returns ids and distances of what each query finds.
fn found<F: VertexProviderFactory<Vertices>>(
    searcher: &DiskIndexSearcher<Vertices, F>,
) -> Vec<Vec<(u32, f32)>> {
    let queries = Vectors::new(SIZE, 1).draw_many(QUERIES);
    let search = |query: &Vec<f32>| {
        let found = searcher.search(query, 10, 40, Some(BEAM), SearchMode::graph()).expect("a search");
        found.results.iter().map(|item| (item.vertex_id, item.distance)).collect()
    };
    queries.iter().map(search).collect()
}

fn own_results() -> &'static Vec<Vec<(u32, f32)>> {
    static OWN: OnceLock<Vec<Vec<(u32, f32)>>> = OnceLock::new();
    OWN.get_or_init(|| {
        let graph = index().graph().to_string_lossy().into_owned();
        let own = DiskVertexProviderFactory::from_disk_index_path(graph, CachingStrategy::None);
        found(&searcher(own.expect("DiskANN's own reader")))
    })
}

fn pooled(frames: u32, method: IoMethod, graph: &Path) -> (BufferPool, PooledVertices) {
    let builder = BufferPool::builder().frames(frames).page_size(BLOCK as u32).io_method(method);
    let pool = builder.build().expect("a pool");
    let file = pool.open_file(graph, OpenOptions::new().read_only(true)).expect("the index");
    (pool.clone(), PooledVertices::new(pool, file))
}

#[test]
fn a_search_finds_the_same_in_pools_of_every_size_and_by_every_method() {
    for method in [IoMethod::Auto, IoMethod::Sync] {
        for frames in [16, 64, 1024] {
            let (_, vertices) = pooled(frames, method.clone(), &index().graph());
            assert_eq!(&found(&searcher(vertices)), own_results(), "{frames} frames, {method:?}");
        }
    }
}

#[test]
fn the_index_finds_most_of_the_nearest_vectors() {
    let vectors = sample::indexed(SIZE);
    let queries = Vectors::new(SIZE, 1).draw_many(QUERIES);
    let hits = queries.iter().zip(own_results()).map(|(query, found)| {
        let nearest = sample::nearest(&vectors, query, 10);
        found.iter().filter(|(id, _)| nearest.contains(id)).count()
    });
    let hits: usize = hits.sum();
    assert!(hits >= QUERIES * 9, "recall {hits} of {}", 10 * QUERIES);
}

#[test]
fn searches_of_many_threads_share_one_pool_and_find_the_same() {
    let (pool, vertices) = pooled(64, IoMethod::Auto, &index().graph());
    let searcher = searcher(vertices);
    thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(|| found(&searcher)));
        for thread in threads {
            assert_eq!(&thread.join().expect("a thread"), own_results());
        }
    });
    let counts = pool.stats().counts;
    assert!(counts.hits > 0 && counts.pages_read > 0, "{counts:?}");
}

#[test]
fn a_block_that_cannot_be_read_is_the_error_of_the_search() {
    let folder = tempfile::tempdir().expect("a folder");
    let short = folder.path().join("cut");
    std::fs::copy(index().graph(), &short).expect("a copy");
    let file = std::fs::OpenOptions::new().write(true).open(&short).expect("the copy");
    let (_, vertices) = pooled(64, IoMethod::Auto, &short);
    let searcher = searcher(vertices);
    // Before it was opened it would have been refused.
    file.set_len(10 * BLOCK as u64).expect("a cut");
    let queries = Vectors::new(SIZE, 1).draw_many(QUERIES);
    let search = |query: &Vec<f32>| searcher.search(query, 10, 40, Some(BEAM), SearchMode::graph());
    let errors: Vec<_> = queries.iter().filter_map(|query| search(query).err()).collect();
    assert_eq!(errors.len(), QUERIES, "no path of this graph keeps to nine blocks");
    let of_pool = |error: &ANNError| matches!(error.downcast_ref(), Some(ringpool::Error::Io { .. }));
    assert!(errors.iter().all(of_pool), "{errors:?}");
}

#[test]
fn an_index_that_was_cut_is_refused_before_it_is_searched() {
    let folder = tempfile::tempdir().expect("a folder");
    let cut = folder.path().join("cut");
    let whole = std::fs::copy(index().graph(), &cut).expect("a copy");
    let header = || {
        let (_, vertices) = pooled(64, IoMethod::Auto, &cut);
        VertexProviderFactory::<Vertices>::get_header(&vertices)
    };
    assert!(header().is_ok());
    for bytes in [whole - 1, whole - BLOCK as u64, BLOCK as u64] {
        std::fs::OpenOptions::new().write(true).open(&cut).expect("the copy").set_len(bytes).expect("a cut");
        let refused = header().err().expect("a vertex is missing");
        let needed = LayoutError::Cut { bytes, needed: whole };
        assert_eq!(refused.downcast_ref(), Some(&needed), "{refused}");
    }
}

#[test]
fn a_pool_with_other_pages_is_refused() {
    let builder = BufferPool::builder().frames(16).page_size(2 * BLOCK as u32);
    let pool = builder.build().expect("a pool");
    let file = pool.open_file(index().graph(), OpenOptions::new().read_only(true)).expect("the index");
    let vertices = PooledVertices::new(pool, file);
    let header = VertexProviderFactory::<Vertices>::get_header(&vertices).expect("a header");
    let refused = VertexProviderFactory::<Vertices>::create_vertex_provider(&vertices, 1, &header);
    let refused = refused.err().expect("pages are larger than blocks").to_string();
    assert!(refused.contains("must be equal"), "{refused}");
}
