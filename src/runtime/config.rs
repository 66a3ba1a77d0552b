//! The options of a pool as typed values, checked once when the pool is built.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use crate::{
    buffer::frame::{
        copy_room::{COPIES_MAX, COPIES_MIN},
        page_lsn::PageLsn,
        unlogged::UnloggedChanges,
    },
    codec::PageCodec,
    error::ConfigError,
    id::PageSize,
    io::{
        doublewrite::options::TornPages,
        options::{IoMethod, Scheduling, choose, name_and_settings},
    },
    wal::Wal,
};

/// Whether a thread of the pool writes dirty pages before their frames are wanted, so that a fetch finds clean ones.
///
/// The thread sleeps until a fetch has taken a frame and few are left ready. It writes the next victims, with their dirty
/// neighbours in the file that are not used either. It keeps more frames ready when more are wanted. Pages that it cannot write it
/// tries again later; a fetch that needs a frame meanwhile writes for itself, and gets the error.
///
/// As text: `auto`, `off`, or `ready_frames:low=16,high=128`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackgroundWriter {
    /// For pools of at least 256 frames: at least a 128th of the frames is kept ready, at most a 16th.
    #[default]
    Auto,
    /// No such thread: a fetch that finds only dirty victims has them written.
    Off,
    /// This number of frames is kept ready: `low` as a rule, up to `high` when many are wanted. 1 to the number of frames.
    ReadyFrames {
        /// The fewest frames.
        low: u32,
        /// The most frames: as far as there are that many frames with pages that were not used, or fetches have met dirty ones
        /// beyond those.
        high: u32,
    },
}

impl BackgroundWriter {
    /// Below this many frames a share of them is too small to be worth a thread.
    const AUTO_FRAMES: u32 = 256;

    fn validate(self, frames: u32) -> Result<(), ConfigError> {
        match self {
            Self::ReadyFrames { low, high } if low == 0 || low > high || high > frames => {
                let advice = format!("choose 1 to {frames} frames, the lower number first");
                Err(ConfigError::new("background_writer", self, advice))
            }
            _ => Ok(()),
        }
    }

    /// Returns the bounds of the number kept ready in a pool of this number of frames; `None` if there is no writer.
    pub(crate) fn marks(self, frames: u32) -> Option<Marks> {
        let marks = |low: u32, high: u32| Some(Marks { low: low as usize, high: high as usize });
        match self {
            Self::Auto if frames >= Self::AUTO_FRAMES => marks(frames / 128, frames / 16),
            Self::Auto | Self::Off => None,
            // A pool may have shrunk since they were set.
            Self::ReadyFrames { low, high } => marks(low.min(frames), high.min(frames)),
        }
    }
}

impl fmt::Display for BackgroundWriter {
    /// As it is [read](FromStr): `auto`, `off`, or `ready_frames:low=16,high=128`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Off => f.pad("off"),
            Self::ReadyFrames { low, high } => f.pad(&format!("ready_frames:low={low},high={high}")),
        }
    }
}

impl FromStr for BackgroundWriter {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refused = || {
            ConfigError::new(
                "background_writer",
                text,
                "choose auto, off, or ready_frames:low=N,high=N in frames",
            )
        };
        let lower = text.to_ascii_lowercase();
        let (name, settings) = name_and_settings(&lower)
            .map_err(|advice| ConfigError::new("background_writer", text, advice))?;
        let settings: Option<Vec<(&str, &str)>> = settings.into_iter().collect();
        match (name, settings.as_deref()) {
            ("auto", Some([])) => Ok(Self::Auto),
            ("off", Some([])) => Ok(Self::Off),
            ("ready_frames", Some([("low", low), ("high", high)])) => {
                let number = |text: &str| text.parse().map_err(|_| refused());
                Ok(Self::ReadyFrames { low: number(low)?, high: number(high)? })
            }
            _ => Err(refused()),
        }
    }
}

impl FromStr for UnloggedChanges {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        choose("unlogged_changes", text, &[Self::Count, Self::Refuse])
    }
}

/// The bounds of the number of frames kept ready.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) low: usize,
    pub(crate) high: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) frames: u32,
    pub(crate) frames_at_most: u32,
    pub(crate) page_size: PageSize,
    pub(crate) io_method: IoMethod,
    pub(crate) wal: Option<Arc<dyn Wal>>,
    pub(crate) unlogged_changes: UnloggedChanges,
    pub(crate) page_lsn: Option<PageLsn>,
    pub(crate) codec: Option<Arc<dyn PageCodec>>,
    pub(crate) torn_pages: TornPages,
    /// The most that a fetch waits for pins.
    pub(crate) frame_wait: Duration,
    /// The most that a fetch that needs a frame waits for a disk that completes nothing.
    pub(crate) disk_wait: Duration,
    /// The most pages that one request covers.
    pub(crate) combine_pages: usize,
    pub(crate) background_depth: u32,
    pub(crate) background_writer: BackgroundWriter,
}

impl Config {
    /// The default limit of a request, as in PostgreSQL's `io_combine_limit`.
    pub(crate) const COMBINE_LIMIT: usize = 128 << 10;

    pub(crate) const FRAME_WAIT: Duration = Duration::from_secs(1);

    pub(crate) const DISK_WAIT: Duration = Duration::from_secs(60);

    pub(crate) fn scheduling(&self) -> Scheduling {
        let background = self.background_depth as usize;
        Scheduling { combine: self.combine_pages * self.page_size.bytes(), background }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.frames == 0 {
            return Err(ConfigError::new("frames", 0, "a pool needs at least one"));
        }
        if self.frames_at_most < self.frames {
            let (frames, most) = (self.frames, self.frames_at_most);
            let advice = format!("the pool has {frames} at first: choose at least as many");
            return Err(ConfigError::new("frames_at_most", most, advice));
        }
        if self.unlogged_changes == UnloggedChanges::Refuse && self.wal.is_none() {
            let advice = "a pool without a log cannot refuse them: set wal";
            return Err(ConfigError::new("unlogged_changes", self.unlogged_changes, advice));
        }
        if let Some(place) = self.page_lsn.filter(|place| !place.fits(self.page_size.bytes())) {
            let advice = format!("choose a byte of a page from which on {} are left", PageLsn::BYTES);
            return Err(ConfigError::new("page_lsn", place.offset(), advice));
        }
        self.background_writer.validate(self.frames)?;
        self.io_method.validate()
    }

    /// Returns the number of sealed copies for which there is room: one for each 400 frames that there may be, so that with all
    /// else beside the pages they stay below a hundredth of the page memory (8 KiB pages, 64 MiB and more). But at least a run of
    /// pages, if the pool has four times that many frames, and in the smallest pools [enough](COPIES_MIN) for two files. Without a
    /// codec there are none.
    pub(crate) fn copies(&self) -> usize {
        let frames = self.frames_at_most as usize;
        let copies = (frames / 400).max(16.min(frames / 4)).clamp(COPIES_MIN, COPIES_MAX);
        if self.codec.is_some() { copies } else { 0 }
    }
}

impl fmt::Debug for dyn Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BufferPool, Builder, testing::SimDisk};

    #[test]
    fn what_an_option_is_written_as_is_read_as_that_option() {
        let ready = BackgroundWriter::ReadyFrames { low: 16, high: u32::MAX };
        for writer in [BackgroundWriter::Auto, BackgroundWriter::Off, ready] {
            assert_eq!(writer.to_string().parse(), Ok(writer));
        }
        for rule in [UnloggedChanges::Count, UnloggedChanges::Refuse] {
            assert_eq!(rule.to_string().to_uppercase().parse(), Ok(rule));
        }
        for text in ["", "ready_frames:high=2,low=1", "ready_frames", "off:low=1,high=2", "auto,"] {
            let told = text.parse::<BackgroundWriter>().unwrap_err().to_string();
            assert!(told.starts_with("background_writer ") && told.contains("choose auto, off"), "{told}");
        }
        assert!("ready_frames:low=1,high=4294967296".parse::<BackgroundWriter>().is_err());
    }

    #[test]
    #[cfg(feature = "crc32c")]
    fn c6_each_pool_with_a_codec_has_room_for_copies_of_two_files() {
        let copies = |frames| {
            let builder =
                BufferPool::builder().frames(frames).io_method(IoMethod::Sync).storage(SimDisk::new());
            builder.page_size(512).codec(crate::Crc32c).build().unwrap().shared().config.copies()
        };
        let sizes = [1, 4, 16, 20, 64, 6_400, 8_000];
        assert_eq!(sizes.map(copies), [4, 4, 4, 5, 16, 16, 20]);
    }

    #[test]
    fn the_limit_of_reads_ahead_is_what_the_builder_was_told() {
        let limit = |told: fn(Builder) -> Builder| {
            let builder = BufferPool::builder().frames(2).io_method(IoMethod::Sync).storage(SimDisk::new());
            told(builder).build().unwrap().shared().config.scheduling().background
        };
        assert_eq!((limit(|builder| builder), limit(|builder| builder.background_depth(7))), (128, 7));
    }
}
