//! Pages of which each sector says whose it is: its owner (a writer's epoch), its block, and the sync that wrote it.

pub const SECTOR: usize = 512;
pub const PAGE: usize = 2 * SECTOR;

pub fn page(owner: u64, block: u64, sync: u64) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE);
    for sector in 0..(PAGE / SECTOR) as u64 {
        for word in [owner, block, sync, sector] {
            page.extend_from_slice(&word.to_le_bytes());
        }
        let fill = (owner ^ block.wrapping_mul(31) ^ sync.wrapping_mul(7)) as u8;
        page.resize((sector as usize + 1) * SECTOR, fill);
    }
    page
}

/// Checks that each page of `bytes` is whole, and in its own place: zeros, or what one owner wrote there in one sync.
pub fn check(bytes: &[u8]) {
    assert_eq!(bytes.len() % PAGE, 0);
    for (block, found) in bytes.chunks(PAGE).enumerate() {
        if found.iter().all(|&byte| byte == 0) {
            continue;
        }
        let word = |at: usize| u64::from_le_bytes(found[at * 8..][..8].try_into().unwrap());
        assert_eq!(word(1), block as u64, "the page at block {block} is another's");
        assert!(found == page(word(0), block as u64, word(2)), "the page at block {block} is of two writes");
    }
}
