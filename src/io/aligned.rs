//! A piece of zeroed memory whose start is aligned as direct I/O needs it. For the rare paths: growing a file, trying out an
//! alignment.

/// Zeroed bytes at an aligned address. A vector with room to spare, so that it needs no `unsafe`.
#[derive(Debug)]
pub(crate) struct AlignedZeros {
    // Never grown, so the address of its bytes does not change.
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedZeros {
    /// Makes `len` zero bytes. `align` must be a power of two.
    pub(crate) fn new(len: usize, align: usize) -> Self {
        let memory = vec![0; len + align];
        let start = memory.as_ptr().align_offset(align);
        Self { memory, start, len }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_zero_aligned_and_all_there() {
        for align in [1, 512, 4096, 65536] {
            let mut zeros = AlignedZeros::new(8192, align);
            assert_eq!(zeros.as_slice(), [0; 8192]);
            assert!(zeros.as_mut_slice().as_ptr().addr().is_multiple_of(align));
        }
    }
}
