//! What lies in an area, and how one is made.

use std::collections::HashMap;

use crate::{
    doublewrite::{
        layout::{HalfFound, HalfHeader},
        recovery::{self, Copies, Half},
    },
    error::{Error, IoOp, Result},
    io::{file::File, plain, zeros::AlignedZeros},
    stats::Counters,
};

/// What lies in an area.
pub(super) struct Found {
    pub(super) headers: [Option<HalfHeader>; 2],
    /// The newest copies, by their files' tags.
    pub(super) copies: HashMap<u64, Copies>,
}

impl Found {
    pub(super) fn in_area(area: &File, page_size: usize, counters: &Counters) -> Result<Self> {
        let half_len = area.blocks() as usize / 2 * page_size;
        let mut memory = [0, 1].map(|_| AlignedZeros::new(half_len, page_size.max(4096)));
        let mut headers = [None; 2];
        for (half, bytes) in memory.iter_mut().enumerate() {
            let bytes = bytes.as_mut_slice();
            plain::read(area, bytes, (half * half_len) as u64, counters)
                .map_err(|error| area.error(IoOp::Read, error))?;
            headers[half] = match HalfHeader::decode(bytes, page_size) {
                HalfFound::Void => None,
                HalfFound::Header(header) => Some(header),
                HalfFound::OtherPageSize(size) => {
                    return Err(Error::config(format!(
                        "the doublewrite area {} was made for pages of {size} bytes; remove it only if no pool of such \
                         pages may have crashed with it",
                        area.path.display()
                    )));
                }
                HalfFound::OtherVersion(version) => {
                    return Err(Error::config(format!(
                        "the doublewrite area {} has version {version} of its layout, which this library does not know",
                        area.path.display()
                    )));
                }
            };
        }
        let halves = headers.iter().enumerate().filter_map(|(half, header)| {
            let offset = (half * half_len) as u64;
            header.map(|header| Half { header, bytes: memory[half].as_slice(), offset })
        });
        Ok(Self { headers, copies: recovery::newest_copies(halves.collect(), page_size) })
    }
}

/// Makes an area of this many units of one that has no copies.
pub(super) fn remake(area: &File, units: u32, page_size: usize, counters: &Counters) -> Result<()> {
    // Voided first: with the halves elsewhere, one might be found without what the other says about it.
    let void = AlignedZeros::new(page_size, page_size.max(4096));
    for first in [0, area.blocks() / 2].into_iter().filter(|&unit| unit < area.blocks()) {
        plain::write(area, &[void.as_slice()], u64::from(first) * page_size as u64, counters)
            .map_err(|error| area.error(IoOp::Write, error))?;
    }
    area.sync(counters)?;
    if let Some(missing) = units.checked_sub(area.blocks()).filter(|&missing| missing > 0) {
        area.extend(missing, counters)?;
    } else {
        let size = area.lock_size();
        let end = size.publish_end(units);
        size.cut()?;
        end.keep();
    }
    area.sync(counters).map(drop)
}
