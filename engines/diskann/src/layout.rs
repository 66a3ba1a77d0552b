//! Where the parts of a vertex stand in the index file. Pure: numbers in, numbers out.
//!
//! The file is blocks of one size. The first has the header, each of the others the same number of vertices, one behind the other. A
//! vertex is its vector, how many neighbours it has, their ids, unused places for more, and at its end what the index's author
//! associates with it.

use std::{fmt, ops::Range};

use diskann_disk::data_model::GraphHeader;

/// Bytes of a block where the header does not say: in files of the oldest layout.
const BLOCK_OF_OLDEST: u64 = 4096;

/// Bytes of the id of a vertex, and of how many neighbours it has.
const WORD: usize = size_of::<u32>();

/// The layout of an index file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct VertexLayout {
    /// Vertices of a block. Not zero.
    vertices_a_block: u32,
    /// Bytes of a vertex. So many vertices fit into a block.
    vertex: usize,
    /// Bytes of its vector. With [`WORD`] and what is associated no more than a vertex.
    vector: usize,
    /// Bytes of what is associated with it.
    associated: usize,
}

/// Why an index file cannot be read through a pool.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// A vertex takes several blocks.
    VertexIsLarge {
        /// Bytes of the vertex.
        vertex: u64,
        /// Bytes of a block.
        block: u64,
    },
    /// The pool's pages have another size than the file's blocks.
    PageSize {
        /// Bytes of a block.
        block: u64,
        /// Bytes of a page.
        page: u64,
    },
    /// The header contradicts itself.
    Damaged,
    /// The file ends before the last of its vertices.
    Cut {
        /// Bytes of the file.
        bytes: u64,
        /// Bytes that its blocks take.
        needed: u64,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VertexIsLarge { vertex, block } => write!(
                f,
                "a vertex takes {vertex} bytes and a block {block}: build the index with blocks in which a vertex fits"
            ),
            Self::PageSize { block, page } => {
                write!(
                    f,
                    "the index has blocks of {block} bytes and the pool pages of {page}: they must be equal"
                )
            }
            Self::Damaged => f.write_str("the header of the index file contradicts itself"),
            Self::Cut { bytes, needed } => write!(
                f,
                "the index file has {bytes} bytes of {needed}: it was cut, or not copied to its end"
            ),
        }
    }
}

impl std::error::Error for LayoutError {}

impl VertexLayout {
    /// Returns the layout of a file with this header, whose vectors have elements of `element` bytes, in a pool of pages of `page`
    /// bytes.
    ///
    /// # Errors
    /// Any [`LayoutError`].
    pub fn new(header: &GraphHeader, element: usize, page: usize) -> Result<Self, LayoutError> {
        let metadata = header.metadata();
        let version = header.layout_version();
        let is_oldest = version.major_version() == 0 && version.minor_version() == 0;
        let block = if is_oldest || header.block_size() == 0 { BLOCK_OF_OLDEST } else { header.block_size() };
        if metadata.num_nodes_per_block == 0 {
            return Err(LayoutError::VertexIsLarge { vertex: metadata.node_len, block });
        }
        if block != page as u64 {
            return Err(LayoutError::PageSize { block, page: page as u64 });
        }
        let layout = Self {
            vertices_a_block: u32::try_from(metadata.num_nodes_per_block)
                .map_err(|_| LayoutError::Damaged)?,
            vertex: usize::try_from(metadata.node_len).map_err(|_| LayoutError::Damaged)?,
            vector: metadata.dims.checked_mul(element).ok_or(LayoutError::Damaged)?,
            associated: metadata.associated_data_length,
        };
        if layout.is_sound(page) { Ok(layout) } else { Err(LayoutError::Damaged) }
    }

    /// Returns the number of blocks of a file with so many vertices, the header's included.
    #[must_use]
    pub fn blocks_of(&self, vertices: u64) -> u64 {
        vertices.div_ceil(self.vertices_a_block.into()).saturating_add(1)
    }

    fn is_sound(&self, page: usize) -> bool {
        let parts = self.vector.checked_add(WORD).and_then(|parts| parts.checked_add(self.associated));
        let vertices = self.vertex.checked_mul(self.vertices_a_block as usize);
        parts.is_some_and(|parts| parts <= self.vertex) && vertices.is_some_and(|bytes| bytes <= page)
    }

    /// Returns the block of a vertex.
    #[must_use]
    pub fn block_of(&self, vertex: u32) -> u32 {
        // No overflow: a vertex shares its block, or has a number below the file's number of blocks.
        (vertex / self.vertices_a_block).saturating_add(1)
    }

    /// Returns the vertex's bytes in its block.
    fn vertex_in(&self, vertex: u32) -> Range<usize> {
        let first = (vertex % self.vertices_a_block) as usize * self.vertex;
        first..first + self.vertex
    }

    /// Returns the vector's bytes in the vertex's block.
    #[must_use]
    pub fn vector_in(&self, vertex: u32) -> Range<usize> {
        let first = self.vertex_in(vertex).start;
        first..first + self.vector
    }

    /// Returns the bytes of the neighbours' ids in the vertex's block, which is `page`. `None` where it names more neighbours than
    /// a vertex has room for.
    #[must_use]
    pub fn neighbours_in(&self, page: &[u8], vertex: u32) -> Option<Range<usize>> {
        let vertex = self.vertex_in(vertex);
        let count_at = vertex.start + self.vector;
        let count = u32::from_le_bytes(*page.get(count_at..)?.first_chunk()?);
        let first = count_at + WORD;
        let end = first.checked_add((count as usize).checked_mul(WORD)?)?;
        (end <= vertex.end - self.associated).then_some(first..end)
    }

    /// Returns the bytes of what is associated with the vertex, in its block.
    #[must_use]
    pub fn associated_in(&self, vertex: u32) -> Range<usize> {
        let end = self.vertex_in(vertex).end;
        end - self.associated..end
    }
}

#[cfg(test)]
mod tests {
    use diskann_disk::data_model::{GraphLayoutVersion, GraphMetadata};

    use super::*;

    const PAGE: usize = 4096;

    fn header(vertex: u64, vertices_a_block: u64, dims: usize, associated: usize) -> GraphHeader {
        let metadata = GraphMetadata::new(100, dims, 0, vertex, vertices_a_block, 0, 0, 0, associated);
        GraphHeader::new(metadata, PAGE as u64, GraphLayoutVersion::new(1, 0))
    }

    #[test]
    fn the_parts_of_a_vertex_stand_one_behind_the_other() {
        let layout = VertexLayout::new(&header(100, 3, 8, 4), 4, PAGE).unwrap();
        assert_eq!([0, 2, 3, 8].map(|vertex| layout.block_of(vertex)), [1, 1, 2, 3]);
        assert_eq!([0, 3, 4].map(|vertices| layout.blocks_of(vertices)), [1, 2, 3]);
        assert_eq!((layout.vector_in(4), layout.associated_in(4)), (100..132, 196..200));
        let mut page = vec![0; PAGE];
        page[132] = 15;
        assert_eq!(layout.neighbours_in(&page, 4), Some(136..196));
        page[132] = 16;
        assert_eq!(layout.neighbours_in(&page, 4), None, "these would reach into what is associated");
        page[132..136].fill(0xff);
        assert_eq!(layout.neighbours_in(&page, 4), None);
    }

    #[test]
    fn a_file_that_no_pool_can_read_is_refused_with_the_reason() {
        let refused = |header: GraphHeader, page| VertexLayout::new(&header, 4, page).unwrap_err();
        assert_eq!(
            refused(header(5000, 0, 1000, 0), PAGE),
            LayoutError::VertexIsLarge { vertex: 5000, block: 4096 }
        );
        assert_eq!(refused(header(100, 3, 8, 0), 8192), LayoutError::PageSize { block: 4096, page: 8192 });
        for damaged in
            [header(100, 41, 8, 0), header(100, 3, 25, 0), header(100, 3, 24, 4), header(u64::MAX, 3, 8, 0)]
        {
            assert_eq!(refused(damaged, PAGE), LayoutError::Damaged);
        }
    }
}
