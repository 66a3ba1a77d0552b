//! Writes that a power cut cannot tear: which of a file's writes are, as a pure function of what the system says about it.
//!
//! From Linux 6.11 on (files of ext4 and XFS from 6.13 on) a direct write with `RWF_ATOMIC` happens as a whole or not at all. Its
//! length must be a power of two between two limits, its offset a multiple of its length, and its memory in few enough pieces.
//! `statx` tells the limits, for the very file: the device must support it, and the file system must have laid the file out for
//! it.

use crate::{id::PageSize, io::storage::WhyNot};

/// The flag of `pwritev2(2)` and of a ring's entry.
pub(crate) const RWF_ATOMIC: u32 = 0x40;

/// What the system says about a file.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AtomicUnits {
    /// The shortest and the longest atomic write, in bytes; 0 for none at all.
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) pieces: u32,
}

/// Returns why a page is not written atomically, if it is not. `units` is `None` where the kernel does not know of such writes.
pub(crate) fn check(units: Option<AtomicUnits>, is_direct: bool, page_size: PageSize) -> Result<(), WhyNot> {
    let page = page_size.bytes() as u32;
    let missing = match units {
        _ if !is_direct => "only direct writes are atomic, and the file is buffered".to_owned(),
        None => "the kernel knows no atomic writes: Linux 6.11 is the first that does".to_owned(),
        Some(AtomicUnits { max, pieces, .. }) if max == 0 || pieces == 0 => {
            "the file system or the device has no atomic writes for this file".to_owned()
        }
        Some(AtomicUnits { min, max, .. }) if !(min..=max).contains(&page) => {
            format!("atomic writes have {min} to {max} bytes here, and pages have {page}")
        }
        Some(_) => return Ok(()),
    };
    Err(WhyNot::Unsupported(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(min: u32, max: u32) -> Option<AtomicUnits> {
        Some(AtomicUnits { min, max, pieces: 1 })
    }

    #[test]
    fn pages_within_the_units_are_atomic_and_others_are_not_with_a_reason() {
        let page = PageSize::DEFAULT;
        for said in [(512, 65536), (8192, 8192), (4096, 16384), (4096, 12288)] {
            assert_eq!(check(units(said.0, said.1), true, page), Ok(()), "{said:?}");
        }
        let reason = |units, is_direct| match check(units, is_direct, page) {
            Err(WhyNot::Unsupported(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason(units(512, 65536), false).contains("buffered"));
        assert!(reason(None, true).contains("Linux 6.11"));
        assert!(reason(units(0, 0), true).contains("has no atomic writes"));
        assert!(reason(Some(AtomicUnits { min: 512, max: 65536, pieces: 0 }), true).contains("no atomic"));
        assert!(reason(units(512, 4096), true).contains("512 to 4096 bytes here, and pages have 8192"));
        assert!(reason(units(16384, 65536), true).contains("16384 to 65536"));
    }
}
