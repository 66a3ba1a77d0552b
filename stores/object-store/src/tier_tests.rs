//! Tests [`LocalTier`]: what it returns is right, whatever happens to its file.

use std::path::PathBuf;

use super::*;

const SLOT: u32 = 512;
const SLOTS: u64 = 8;

fn path() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier");
    (folder, path)
}

fn open(path: &Path) -> LocalTier {
    LocalTier::open(path, SLOTS * (u64::from(SLOT) + ENTRY as u64), SLOT).unwrap()
}

fn block(number: u32) -> Block {
    Block { file: 5, object: ObjectId(6), number }
}

fn bytes(number: u32) -> Bytes {
    vec![number as u8 + 1; SLOT as usize].into()
}

impl LocalTier {
    fn keep_now(&self, number: u32) {
        self.inner.keep(block(number), &bytes(number));
    }

    async fn read_one(&self, number: u32) -> Option<Bytes> {
        self.read(&Handle::current(), vec![block(number)]).await.remove(0)
    }

    async fn count(&self, numbers: std::ops::Range<u32>) -> usize {
        let found = self.read(&Handle::current(), numbers.clone().map(block).collect()).await;
        for (number, found) in numbers.zip(&found) {
            assert!(found.is_none() || *found == Some(bytes(number)));
        }
        found.iter().flatten().count()
    }
}

#[tokio::test]
async fn what_was_kept_is_found_and_what_is_read_stays() {
    let (_folder, path) = path();
    let tier = open(&path);
    assert_eq!(tier.read_one(1).await, None);
    (0..8).for_each(|number| tier.keep_now(number));
    assert_eq!(tier.count(0..8).await, 8);
    // All were read: the hand passes over them once, and takes the first ones.
    (8..12).for_each(|number| tier.keep_now(number));
    assert_eq!(tier.count(4..12).await, 8);
    // Of these only three are read before others come.
    (20..28).for_each(|number| tier.keep_now(number));
    assert_eq!(tier.count(20..23).await, 3);
    (30..35).for_each(|number| tier.keep_now(number));
    assert_eq!(tier.count(20..23).await, 3);
    assert_eq!(tier.counts().damaged, 0);
}

#[tokio::test]
async fn what_an_earlier_process_kept_serves_on() {
    let (_folder, path) = path();
    let tier = open(&path);
    (0..8).for_each(|number| tier.keep_now(number));
    assert_eq!(LocalTier::open(&path, 10_000, SLOT).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(tier);
    assert_eq!(open(&path).count(0..8).await, 8);
    // In slots of another size nothing is what it was.
    let other = LocalTier::open(&path, 10_000, SLOT * 2).unwrap();
    assert_eq!(other.inner.slots().of_block.len(), 0);
}

#[tokio::test]
async fn a_damaged_block_is_a_miss_wherever_the_damage_is() {
    let (_folder, path) = path();
    let tier = open(&path);
    (0..8).for_each(|number| tier.keep_now(number));
    let len = tier.inner.file.metadata().unwrap().len();
    drop(tier);
    let image = std::fs::read(&path).unwrap();
    assert_eq!(image.len() as u64, len);
    for at in (0..image.len()).step_by(3) {
        let mut damaged = image.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&path, &damaged).unwrap();
        // `count` checks that what is found is right.
        let found = open(&path).count(0..8).await;
        let is_spare = at < SLOTS as usize * ENTRY && at % ENTRY >= 40;
        assert_eq!(found, if is_spare { 8 } else { 7 }, "byte {at}");
    }
    // A slot with another block's bytes, as a crash between the two writes leaves it.
    let mut swapped = image.clone();
    let first = SLOTS as usize * ENTRY;
    swapped.copy_within(first..first + SLOT as usize, first + SLOT as usize);
    std::fs::write(&path, &swapped).unwrap();
    let tier = open(&path);
    assert_eq!(tier.count(0..8).await, 7);
    assert_eq!(tier.counts().damaged, 1);
    assert_eq!(tier.count(0..8).await, 7);
    assert_eq!(tier.counts().damaged, 1, "it was forgotten");
}
