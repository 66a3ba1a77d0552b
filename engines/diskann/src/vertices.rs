//! Vertices in the frames of a pool: DiskANN's `VertexProvider`, without buffers of its own.
//!
//! A search names the vertices of its next step. Their pages are read as one batch, unless they are in the pool, and latched for
//! reading. Vectors and lists of neighbours are then borrowed from the frames; only what the index's author associates with a
//! vertex is copied, since its type is any.
//!
//! Invariant: `found` names places in `pages`, and parts of the page there that lie within it.

use std::{collections::HashMap, ops::Range};

use diskann::{ANNError, ANNResult};
use diskann_disk::{
    data_model::{GraphDataType, GraphHeader},
    search::traits::{VertexProvider, VertexProviderFactory},
};
use ringpool::{BufferPool, FileId, OwnedPageRead, PageId};

use crate::layout::{LayoutError, VertexLayout};

/// Bytes before the header in the first block of an index file.
const BEFORE_HEADER: usize = 8;

/// An index file in a pool: makes what each search reads its vertices by.
///
/// The pool's pages are as large as the file's blocks, and it has at least as many frames as all searches at one time name
/// vertices in a step: a search's beam for each.
#[derive(Clone, Debug)]
pub struct PooledVertices {
    pool: BufferPool,
    file: FileId,
}

impl PooledVertices {
    /// Makes the vertices of an open file.
    #[must_use]
    pub fn new(pool: BufferPool, file: FileId) -> Self {
        Self { pool, file }
    }

    fn layout<Data: GraphDataType>(&self, header: &GraphHeader) -> Result<VertexLayout, LayoutError> {
        VertexLayout::new(header, size_of::<Data::VectorDataType>(), self.pool.page_size().bytes())
    }

    /// Refuses a file that ends before its last block does. The pool would show zeros in place of the missing bytes.
    fn check_length(&self, blocks: u64) -> ANNResult<()> {
        let page = self.pool.page_size().bytes() as u64;
        let info = self.pool.file_info(self.file).map_err(ANNError::new)?;
        // The pool counts a block that is there in part. A file that is not the system's has whole ones.
        let whole = u64::from(info.blocks).saturating_mul(page);
        let bytes = std::fs::metadata(info.path).map_or(whole, |found| found.len());
        let needed = blocks.saturating_mul(page);
        if bytes < needed { Err(ANNError::new(LayoutError::Cut { bytes, needed })) } else { Ok(()) }
    }
}

impl<Data: GraphDataType<VectorIdType = u32>> VertexProviderFactory<Data> for PooledVertices {
    type VertexProviderType = PooledVertexProvider<Data>;

    fn get_header(&self) -> ANNResult<GraphHeader> {
        let page = self.pool.read(PageId::new(self.file, 0_u32)).wait().map_err(ANNError::new)?;
        let header = GraphHeader::try_from(&page[BEFORE_HEADER..])?;
        drop(page);
        // Another layout is refused by the provider, with its reason.
        if let Ok(layout) = self.layout::<Data>(&header) {
            self.check_length(layout.blocks_of(header.metadata().num_pts))?;
        }
        Ok(header)
    }

    fn create_vertex_provider(&self, _: usize, header: &GraphHeader) -> ANNResult<Self::VertexProviderType> {
        Ok(PooledVertexProvider {
            pool: self.pool.clone(),
            file: self.file,
            layout: self.layout::<Data>(header).map_err(ANNError::new)?,
            wanted: Vec::new(),
            pages: Vec::new(),
            found: HashMap::new(),
            loaded: 0,
        })
    }
}

/// The vertices of one search: those of its last step, latched in their frames.
pub struct PooledVertexProvider<Data: GraphDataType<VectorIdType = u32>> {
    pool: BufferPool,
    file: FileId,
    layout: VertexLayout,
    /// The pages of the step, kept for its memory.
    wanted: Vec<PageId>,
    /// By place in the list of the step.
    pages: Vec<OwnedPageRead>,
    found: HashMap<u32, Found<Data>>,
    /// Vertices loaded by this search so far.
    loaded: u32,
}

struct Found<Data: GraphDataType> {
    /// Its place among the pages.
    page: usize,
    neighbours: Range<usize>,
    associated: Data::AssociatedDataType,
}

impl<Data: GraphDataType<VectorIdType = u32>> PooledVertexProvider<Data> {
    fn found(&self, vertex: u32) -> ANNResult<&Found<Data>> {
        let missing = || ANNError::message(format!("vertex {vertex} was not loaded by the last step"));
        self.found.get(&vertex).ok_or_else(missing)
    }

    /// Borrows a part of a frame as values of `T`.
    fn borrow<T: bytemuck::Pod>(&self, page: usize, bytes: Range<usize>) -> ANNResult<&[T]> {
        // Frames are aligned to their size, so only a vertex of odd length is not aligned.
        bytemuck::try_cast_slice(&self.pages[page][bytes])
            .map_err(|error| ANNError::message(format!("a vertex is not aligned in its block: {error}")))
    }

    fn let_go(&mut self) {
        self.found.clear();
        self.pages.clear();
    }
}

impl<Data: GraphDataType<VectorIdType = u32>> VertexProvider<Data> for PooledVertexProvider<Data> {
    fn get_vector(&self, vertex: &u32) -> ANNResult<&[Data::VectorDataType]> {
        self.borrow(self.found(*vertex)?.page, self.layout.vector_in(*vertex))
    }

    fn get_adjacency_list(&self, vertex: &u32) -> ANNResult<&[u32]> {
        let found = self.found(*vertex)?;
        self.borrow(found.page, found.neighbours.clone())
    }

    fn get_associated_data(&self, vertex: &u32) -> ANNResult<&Data::AssociatedDataType> {
        Ok(&self.found(*vertex)?.associated)
    }

    fn load_vertices(&mut self, vertices: &[u32]) -> ANNResult<()> {
        self.let_go();
        self.wanted.clear();
        self.wanted
            .extend(vertices.iter().map(|&vertex| PageId::new(self.file, self.layout.block_of(vertex))));
        self.pages = self.pool.read_many(&self.wanted).wait().map_err(ANNError::new)?;
        self.loaded += vertices.len() as u32;
        Ok(())
    }

    fn process_loaded_node(&mut self, vertex: &u32, page: usize) -> ANNResult<()> {
        let bytes = &self.pages[page];
        let neighbours = self.layout.neighbours_in(bytes, *vertex);
        let neighbours = neighbours.ok_or_else(|| {
            ANNError::message(format!("vertex {vertex} names more neighbours than it has room for"))
        })?;
        let associated =
            bincode::deserialize(&bytes[self.layout.associated_in(*vertex)]).map_err(ANNError::new)?;
        self.found.insert(*vertex, Found { page, neighbours, associated });
        Ok(())
    }

    fn io_operations(&self) -> u32 {
        self.loaded
    }

    fn vertices_loaded_count(&self) -> u32 {
        self.loaded
    }

    fn clear(&mut self) {
        self.let_go();
        self.loaded = 0;
    }
}
