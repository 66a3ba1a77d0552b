//! Options of the I/O methods, and how they order requests.

use std::{fmt, str::FromStr};

use crate::error::ConfigError;

/// What to do about something that the system may refuse. As text: `require`, `prefer`, `off`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// Fail where it is refused.
    Require,
    /// Use it where it is granted, and do without it otherwise; the stats tell the reason.
    #[default]
    Prefer,
    /// Do not use it.
    Off,
}

impl fmt::Display for Fallback {
    /// Writes it as it is [read](FromStr): `require`, `prefer` or `off`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Require => "require",
            Self::Prefer => "prefer",
            Self::Off => "off",
        })
    }
}

impl FromStr for Fallback {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        choose("fallback", text, &[Self::Require, Self::Prefer, Self::Off])
    }
}

/// Returns the one of these values that has this text, whatever the case of its letters.
pub(crate) fn choose<T: Copy + fmt::Display>(
    option: &'static str,
    text: &str,
    values: &[T],
) -> Result<T, ConfigError> {
    let is_meant = |value: &&T| value.to_string().eq_ignore_ascii_case(text.trim());
    values.iter().find(is_meant).copied().ok_or_else(|| {
        let texts: Vec<_> = values.iter().map(ToString::to_string).collect();
        ConfigError::new(option, text, format!("choose one of {}", texts.join(", ")))
    })
}

/// The name in an option's text, and its settings, with a `None` for each part that is no pair.
type NameAndSettings<'t> = (&'t str, Vec<Option<(&'t str, &'t str)>>);

/// Splits `name:key=value,key=value`.
///
/// # Errors
/// Advice: a colon without settings, or a setting that is there twice.
pub(crate) fn name_and_settings(text: &str) -> Result<NameAndSettings<'_>, String> {
    let Some((name, settings)) = text.split_once(':') else { return Ok((text.trim(), Vec::new())) };
    if settings.trim().is_empty() {
        return Err(format!("name a setting after the colon, or write {} without it", name.trim()));
    }
    let pairs: Vec<_> = settings
        .split(',')
        .map(|setting| setting.split_once('=').map(|(name, value)| (name.trim(), value.trim())))
        .collect();
    for (at, (name, _)) in pairs.iter().enumerate().filter_map(|(at, pair)| Some((at, (*pair)?))) {
        if pairs[..at].iter().flatten().any(|&(before, _)| before == name) {
            return Err(format!("set {name} once"));
        }
    }
    Ok((name.trim(), pairs))
}

/// How the io_uring method sets up its ring.
///
/// # Examples
/// ```
/// use ringpool::{BufferPool, IoMethod, options::{Fallback, UringOptions}};
///
/// let ring = UringOptions::default()
///     .queue_depth(64)
///     .workers(2)
///     .fixed_buffers(Fallback::Off)
///     .fixed_files(Fallback::Off);
/// match BufferPool::builder().frames(16).io_method(IoMethod::Uring(ring)).build() {
///     Ok(pool) => println!("{}", pool.stats().method),
///     Err(error) => println!("no io_uring here: {error}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct UringOptions {
    /// The most requests in flight at once, 1 to 4096; the completion queue always has room for all of them. One file gets three
    /// quarters of it, and so do reads that no caller waits for. 256 unless set: even the share of a single file is more than
    /// most devices gain from.
    pub queue_depth: u32,
    /// Whether the frames are registered with the ring. Refused where `RLIMIT_MEMLOCK` is too small.
    pub fixed_buffers: Fallback,
    /// Whether files are registered with the ring.
    pub fixed_files: Fallback,
    /// How many submission workers there are, 1 to 64, each with a ring of its own of `queue_depth`. One unless set, which serves
    /// a few hundred thousand requests a second; more are for machines with many cores and devices. Neighbours in a file are
    /// served by one worker.
    pub workers: u32,
}

impl Default for UringOptions {
    fn default() -> Self {
        Self { queue_depth: 256, fixed_buffers: Fallback::Prefer, fixed_files: Fallback::Prefer, workers: 1 }
    }
}

impl UringOptions {
    /// Sets the most requests in flight. Example: [`UringOptions`].
    pub fn queue_depth(mut self, requests: u32) -> Self {
        self.queue_depth = requests;
        self
    }

    /// Sets whether frames are registered. Example: [`UringOptions`].
    pub fn fixed_buffers(mut self, fallback: Fallback) -> Self {
        self.fixed_buffers = fallback;
        self
    }

    /// Sets whether files are registered. Example: [`UringOptions`].
    pub fn fixed_files(mut self, fallback: Fallback) -> Self {
        self.fixed_files = fallback;
        self
    }

    /// Sets how many submission workers there are. Example: [`UringOptions`].
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// Returns the settings that differ from the defaults, as text.
    fn settings(&self) -> String {
        let Self { queue_depth, fixed_buffers, fixed_files, workers } = self;
        let usual = Self::default();
        let settings = [
            (*queue_depth != usual.queue_depth).then(|| format!("queue_depth={queue_depth}")),
            (*workers != usual.workers).then(|| format!("workers={workers}")),
            (*fixed_buffers != usual.fixed_buffers).then(|| format!("fixed_buffers={fixed_buffers}")),
            (*fixed_files != usual.fixed_files).then(|| format!("fixed_files={fixed_files}")),
        ];
        settings.into_iter().flatten().collect::<Vec<_>>().join(",")
    }

    /// Takes a setting from text; `None` where there is no such name, or the value does not fit it.
    fn set(&mut self, setting: &str, value: &str) -> Option<()> {
        match setting {
            "queue_depth" => self.queue_depth = value.parse().ok()?,
            "workers" => self.workers = value.parse().ok()?,
            "fixed_buffers" => self.fixed_buffers = value.parse().ok()?,
            "fixed_files" => self.fixed_files = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=4096).contains(&self.queue_depth) {
            return Err(ConfigError::new("queue_depth", self.queue_depth, "choose 1 to 4096"));
        }
        if !(1..=64).contains(&self.workers) {
            return Err(ConfigError::new("workers", self.workers, "choose 1 to 64"));
        }
        Ok(())
    }
}

/// How bytes move between frames and files. Every method gives the same results (C7).
///
/// As text: `auto`, `sync`, `worker`, `io_uring` (or `uring`), the last two with what differs from the defaults. A worker has `threads`; a
/// ring what [`UringOptions`] sets, by the same names, `fixed_buffers` and `fixed_files` with a [`Fallback`]'s text:
///
/// ```
/// use ringpool::{IoMethod, options::UringOptions};
///
/// let method: IoMethod = "io_uring:queue_depth=64,workers=2".parse()?;
/// assert_eq!(method, IoMethod::Uring(UringOptions::default().queue_depth(64).workers(2)));
/// assert_eq!(method.to_string(), "io_uring:queue_depth=64,workers=2");
/// assert_eq!(IoMethod::uring().to_string(), "io_uring");
/// assert_eq!(IoMethod::worker(), IoMethod::Worker { threads: 8 });
/// assert_eq!("worker:threads=4".parse::<IoMethod>()?, IoMethod::Worker { threads: 4 });
/// # Ok::<(), ringpool::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoMethod {
    /// The best that works here: io_uring, else worker threads, else sync. The stats tell which and why.
    #[default]
    Auto,
    /// One submission worker that owns an io_uring; an error where the system forbids it.
    Uring(UringOptions),
    /// Threads that call `pread` and `pwrite`.
    ///
    /// With two threads or more, no file has all of them ([`max_in_flight`](crate::OpenOptions::max_in_flight)): if the disk of one
    /// file does not answer, the pages of the others are still read and written. With one thread that does not hold. While this
    /// thread waits for a disk that does not answer, all other transfers wait as well, of whatever files. Only a thread that waits
    /// for a missing page, and has a frame for it, goes on: it reads the page by itself.
    Worker {
        /// How many, 1 to 256.
        threads: u32,
    },
    /// Every transfer is made by the thread that asks for it: the reference against which the other methods are tested.
    ///
    /// A thread that needs a frame, and finds only dirty pages, writes some of them first, whatever files they are of. So does a
    /// task, in the thread that polls it, and a stream or prefetch. If the disk of one of these files does not answer, the thread
    /// waits for as long as the disk takes, even if the page that it wants is of another file. No
    /// [`disk_wait`](crate::Builder::disk_wait) ends a transfer. Threads that find their pages resident, or a clean frame, do not
    /// wait.
    Sync,
}

impl IoMethod {
    /// Returns the io_uring method with its defaults. Example: [`IoMethod`].
    #[must_use]
    pub fn uring() -> Self {
        Self::Uring(UringOptions::default())
    }

    /// Returns the worker threads method with eight threads. Example: [`IoMethod`].
    #[must_use]
    pub fn worker() -> Self {
        Self::Worker { threads: Self::DEFAULT_THREADS }
    }

    pub(crate) const DEFAULT_THREADS: u32 = 8;

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::Uring(options) => options.validate(),
            Self::Worker { threads } if !(1..=256).contains(threads) => {
                Err(ConfigError::new("threads", threads, "choose 1 to 256"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for IoMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, settings) = match self {
            Self::Auto => ("auto", String::new()),
            Self::Uring(options) => ("io_uring", options.settings()),
            Self::Worker { threads: Self::DEFAULT_THREADS } => ("worker", String::new()),
            Self::Worker { threads } => ("worker", format!("threads={threads}")),
            Self::Sync => ("sync", String::new()),
        };
        let colon = if settings.is_empty() { "" } else { ":" };
        f.pad(&format!("{name}{colon}{settings}"))
    }
}

impl FromStr for IoMethod {
    type Err = ConfigError;

    /// Reads what [`Display`](fmt::Display) writes, whatever the case of its letters; `uring` is `io_uring`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refused = || {
            let understood = "choose auto, sync, worker, worker:threads=N, io_uring, or \
                 io_uring:queue_depth=N,workers=N,fixed_buffers=F,fixed_files=F, where F is require, prefer or off";
            ConfigError::new("io_method", text, understood)
        };
        let lower = text.to_ascii_lowercase();
        let (name, settings) =
            name_and_settings(&lower).map_err(|advice| ConfigError::new("io_method", text, advice))?;
        let mut method = match name {
            "auto" => Self::Auto,
            "io_uring" | "uring" => Self::uring(),
            "worker" => Self::worker(),
            "sync" => Self::Sync,
            _ => return Err(refused()),
        };
        for setting in settings {
            let (setting, value) = setting.ok_or_else(refused)?;
            match (&mut method, setting) {
                (Self::Uring(options), _) => options.set(setting, value).ok_or_else(refused)?,
                (Self::Worker { threads }, "threads") => *threads = value.parse().map_err(|_| refused())?,
                _ => return Err(refused()),
            }
        }
        method.validate().map(|()| method)
    }
}

/// The most reads ahead that one ring has in flight, unless told otherwise.
pub(crate) const BACKGROUND_DEPTH: u32 = 128;

/// How an I/O method orders requests, beyond its own options.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Scheduling {
    /// Bytes up to which requests that touch are joined.
    pub(crate) combine: usize,
    /// Reads ahead that one ring has in flight.
    pub(crate) background: usize,
}

/// The largest request, in bytes.
pub(crate) const COMBINE_LIMIT_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fallback() -> impl Strategy<Value = Fallback> {
        prop::sample::select(vec![Fallback::Require, Fallback::Prefer, Fallback::Off])
    }

    fn method() -> impl Strategy<Value = IoMethod> {
        let ring = (1_u32..=4096, 1_u32..=64, fallback(), fallback());
        let ring = ring.prop_map(|(depth, workers, buffers, files)| {
            let options = UringOptions::default().queue_depth(depth).workers(workers);
            IoMethod::Uring(options.fixed_buffers(buffers).fixed_files(files))
        });
        let threads = (1_u32..=256).prop_map(|threads| IoMethod::Worker { threads });
        let plain =
            prop::sample::select(vec![IoMethod::Auto, IoMethod::Sync, IoMethod::uring(), IoMethod::worker()]);
        prop_oneof![ring, threads, plain]
    }

    proptest! {
        #[test]
        fn what_an_option_is_written_as_is_read_as_that_option(method in method(), fallback in fallback()) {
            prop_assert_eq!(method.to_string().parse(), Ok(method.clone()));
            prop_assert_eq!(method.to_string().to_uppercase().parse(), Ok(method));
            prop_assert_eq!(fallback.to_string().parse(), Ok(fallback));
        }

        #[test]
        fn whatever_is_written_is_a_method_that_works_or_refused(
            text in "(auto|sync|worker|io_uring)?:?(threads|workers|queue_depth)?=?[0-9]{0,10},?.{0,3}",
        ) {
            match text.parse::<IoMethod>() {
                Ok(method) => prop_assert_eq!(method.validate(), Ok(())),
                Err(error) => prop_assert!(!error.option().is_empty()),
            }
        }
    }

    #[test]
    fn a_text_that_is_no_option_is_refused_with_all_that_are() {
        let refused = |text: &str| text.parse::<IoMethod>().unwrap_err().to_string();
        for text in ["", "uringg", "sync:threads=2", "worker:threads", "worker:threads=x", "io_uring:depth=4"]
        {
            let told = refused(text);
            assert!(told.starts_with(&format!("io_method {text}: choose auto, sync, worker")), "{told}");
        }
        for text in ["worker:threads=4,", "worker:,threads=4"] {
            assert!(refused(text).contains("choose auto"), "{text}");
        }
        let twice = refused("worker:threads=4,threads=4");
        assert_eq!(twice, "io_method worker:threads=4,threads=4: set threads once");
        let empty = ["auto: ", "sync:", "worker:", "io_uring:"].map(refused);
        assert!(empty.iter().all(|told| told.contains("name a setting after the colon")), "{empty:?}");
        assert_eq!(refused("io_uring:queue_depth=0"), "queue_depth 0: choose 1 to 4096");
        let told = "on".parse::<Fallback>().unwrap_err().to_string();
        assert_eq!(told, "fallback on: choose one of require, prefer, off");
    }
}
