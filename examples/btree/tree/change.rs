//! What a log record says of a page, and how it is written down.
//!
//! ```text
//! | block: u32 | length of the rest: u32 | kind: u8 | value: u64 | key |       an entry
//!                                        | kind: u8 | bytes of the page |      a whole node
//! ```

use super::edit;

/// A change of one page. Done twice, it is as if it was done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// The key has this value.
    Put { key: &'a [u8], value: u64 },
    /// The page is this, whatever it was.
    Whole(&'a [u8]),
}

const PUT: u8 = 1;
const WHOLE: u8 = 2;

impl<'a> Change<'a> {
    pub(crate) fn apply(&self, page: &mut [u8]) -> Option<u64> {
        match self {
            Self::Put { key, value } => edit::put(page, key, *value),
            Self::Whole(bytes) => {
                page.copy_from_slice(bytes);
                None
            }
        }
    }

    pub(crate) fn encode(&self, block: u32, to: &mut Vec<u8>) {
        let value;
        let (kind, parts): (u8, [&[u8]; 2]) = match self {
            Self::Put { key, value: number } => {
                value = number.to_le_bytes();
                (PUT, [&value, key])
            }
            Self::Whole(bytes) => (WHOLE, [bytes, &[]]),
        };
        let len = 1 + parts[0].len() + parts[1].len();
        to.extend(block.to_le_bytes());
        to.extend((len as u32).to_le_bytes());
        to.push(kind);
        parts.iter().for_each(|part| to.extend_from_slice(part));
    }

    /// Decodes the first change in `bytes` with its block, and the rest of them; `None` where there is none.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<((u32, Self), &'a [u8])> {
        let (block, bytes) = bytes.split_first_chunk()?;
        let (len, bytes) = bytes.split_first_chunk()?;
        let (bytes, rest) = bytes.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let change = match bytes.split_first()? {
            (&PUT, bytes) => {
                let (value, key) = bytes.split_first_chunk()?;
                Self::Put { key, value: u64::from_le_bytes(*value) }
            }
            (&WHOLE, bytes) => Self::Whole(bytes),
            _ => return None,
        };
        Some(((u32::from_le_bytes(*block), change), rest))
    }
}
