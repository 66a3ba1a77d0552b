//! The pools that scripts run on.

use std::{fmt, path::Path, time::Duration};

use ringpool::{
    BufferPool, IoMethod, OpenOptions, Result,
    options::{BackgroundWriter, Fallback},
};

pub(crate) struct Configuration {
    pub(crate) method: IoMethod,
    pub(crate) direct: bool,
    pub(crate) frames: u32,
    pub(crate) page_size: u32,
}

impl Configuration {
    const FRAMES: [u32; 5] = [1, 2, 3, 16, 1024];

    /// Returns all configurations of one method, buffered or direct.
    pub(crate) fn class(method: &IoMethod, direct: bool) -> impl Iterator<Item = Self> {
        // 512 bytes are below what most file systems demand of direct I/O.
        let page_sizes: &[u32] = if direct { &[4096, 8192, 16384] } else { &[512, 4096, 8192, 16384] };
        page_sizes.iter().flat_map(move |&page_size| {
            Self::FRAMES.map(|frames| Self { method: method.clone(), direct, frames, page_size })
        })
    }

    pub(crate) fn build(&self) -> Result<BufferPool> {
        BufferPool::builder()
            .io_method(self.method.clone())
            .frames(self.frames)
            .page_size(self.page_size)
            // How long truncate and close wait for pins, which scripts hold on purpose. Fetches have a bound of their own.
            .frame_wait(Duration::from_millis(20))
            .background_writer(self.background_writer())
            .build()
    }

    /// Returns the background writer: none in the smallest pools, so that fetches have to write for themselves.
    fn background_writer(&self) -> BackgroundWriter {
        match self.frames {
            1 | 2 => BackgroundWriter::Off,
            frames => BackgroundWriter::ReadyFrames { low: 1, high: frames / 2 },
        }
    }

    pub(crate) fn open_options(&self) -> OpenOptions {
        OpenOptions::new().direct(if self.direct { Fallback::Require } else { Fallback::Off })
    }

    /// Returns why this machine cannot run it.
    pub(crate) fn obstacle(&self, dir: &Path) -> Option<String> {
        let pool = match self.build() {
            Ok(pool) => pool,
            Err(error) => return Some(error.to_string()),
        };
        let path = dir.join("probe");
        pool.open_file(path, self.open_options().create(true)).err().map(|error| error.to_string())
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.direct { "direct" } else { "buffered" };
        let Self { method, frames, page_size, .. } = self;
        write!(f, "{method:?}, {access}, {frames} frames, pages of {page_size} bytes")
    }
}
