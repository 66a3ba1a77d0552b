//! How a node changes: an entry more, or two nodes out of one. Pure: bytes in, bytes out.

use super::node::{BEGIN, ENTRIES, HEADER, HIGH, LEVEL, Node, RIGHT, SLOT, VALUE, entries_from};

/// Returns whether [`put`] would have room.
pub(crate) fn has_room(page: &[u8], key: &[u8]) -> bool {
    let slots = HEADER + SLOT * Node(page).entries();
    Node(page).search(key).is_ok() || slots + SLOT + 1 + key.len() + VALUE <= begin(page)
}

/// Sets the value of `key`, and returns the former one, if there was one. The node has room.
pub(crate) fn put(page: &mut [u8], key: &[u8], value: u64) -> Option<u64> {
    match Node(page).search(key) {
        Ok(slot) => {
            let before = Node(page).value(slot);
            let (at, len) = Node(page).key_place(slot);
            page[at + len..][..VALUE].copy_from_slice(&value.to_le_bytes());
            Some(before)
        }
        Err(slot) => {
            insert(page, slot, key, value);
            None
        }
    }
}

fn insert(page: &mut [u8], slot: usize, key: &[u8], value: u64) {
    assert!(has_room(page, key), "an entry goes where there is room for it");
    let entries = Node(page).entries();
    let place = HEADER + SLOT * slot;
    page.copy_within(place..HEADER + SLOT * entries, place + SLOT);
    let at = store(page, key, &value.to_le_bytes());
    put_u16(page, place, at);
    put_u16(page, ENTRIES, entries + 1);
}

/// Adds bytes in front of those that are there; returns where they begin.
fn store(page: &mut [u8], key: &[u8], value: &[u8]) -> usize {
    let at = begin(page) - 1 - key.len() - value.len();
    page[at] = key.len() as u8;
    page[at + 1..][..key.len()].copy_from_slice(key);
    page[at + 1 + key.len()..][..value.len()].copy_from_slice(value);
    put_u16(page, BEGIN, at);
    at
}

/// Returns where the bytes of the entries begin: zero as long as there are none.
fn begin(page: &[u8]) -> usize {
    match Node(page).u16_at(BEGIN) {
        0 => page.len(),
        begin => begin,
    }
}

fn put_u16(page: &mut [u8], at: usize, value: usize) {
    page[at..][..2].copy_from_slice(&(value as u16).to_le_bytes());
}

/// The two halves of a node that has no room.
pub(crate) struct Halves {
    pub(crate) left: Vec<u8>,
    pub(crate) right: Vec<u8>,
    /// The lowest key that belongs to the right.
    pub(crate) separator: Box<[u8]>,
}

/// Divides the entries of a node, and a new one, between the node and a new right neighbour.
pub(crate) fn split(page: &[u8], key: &[u8], value: u64, right_block: u32) -> Halves {
    let mut entries: Vec<(&[u8], u64)> = entries_from(page, 0).collect();
    let place = Node(page).search(key).expect_err("a key that is there takes no room");
    entries.insert(place, (key, value));
    let cut = middle(&entries);
    let separator = entries[cut].0;
    let level = Node(page).level();
    let neighbour = Node(page).right().map(|right| (high_key(page), right));
    Halves {
        left: build(page.len(), level, &entries[..cut], Some((separator, right_block))),
        right: build(page.len(), level, &entries[cut..], neighbour),
        separator: separator.into(),
    }
}

/// Makes a root above two nodes of the level below.
pub(crate) fn root(page_size: usize, level: u16, left: u32, separator: &[u8], right: u32) -> Vec<u8> {
    build(page_size, level, &[(&[], u64::from(left)), (separator, u64::from(right))], None)
}

/// Returns the first entry of the second half, by bytes.
fn middle(entries: &[(&[u8], u64)]) -> usize {
    let size = |key: &[u8]| key.len() + 1 + VALUE + SLOT;
    let half = entries.iter().map(|(key, _)| size(key)).sum::<usize>() / 2;
    let mut before = 0;
    let in_first = |(key, _): &&(&[u8], u64)| {
        before += size(key);
        before <= half
    };
    entries.iter().take_while(in_first).count().max(1)
}

fn high_key(page: &[u8]) -> &[u8] {
    let at = Node(page).u16_at(HIGH);
    &page[at + 1..][..usize::from(page[at])]
}

/// Makes a node of these entries, which fit.
fn build(page_size: usize, level: u16, entries: &[(&[u8], u64)], neighbour: Option<(&[u8], u32)>) -> Vec<u8> {
    let mut page = vec![0; page_size];
    put_u16(&mut page, LEVEL, usize::from(level));
    if let Some((high_key, right)) = neighbour {
        page[RIGHT..][..4].copy_from_slice(&right.to_le_bytes());
        let at = store(&mut page, high_key, &[]);
        put_u16(&mut page, HIGH, at);
    }
    for (slot, (key, value)) in entries.iter().enumerate() {
        insert(&mut page, slot, key, *value);
    }
    page
}
