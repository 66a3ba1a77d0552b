//! Which I/O method a pool uses, and why not a better one.

use std::fmt;

use crate::io::options::IoMethod;

/// How bytes move between frames and files.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MethodKind {
    /// One submission worker that owns an io_uring.
    Uring,
    /// Worker threads, which call `pread` and `pwrite`.
    Worker,
    /// The calling thread.
    Sync,
}

impl fmt::Display for MethodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring => "io_uring",
            Self::Worker => "worker",
            Self::Sync => "sync",
        })
    }
}

/// Whether something is registered with the ring, which saves the kernel work on every transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registration {
    /// It is registered.
    InUse,
    /// The options said not to.
    NotAsked,
    /// The method has nothing to register with.
    NotApplicable,
    /// The system refused; the text says what and how to change it. Transfers work all the same.
    Refused(String),
}

/// The I/O method that a pool was asked for, the one it uses, and why they differ where they do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MethodReport {
    /// What the pool was built with.
    pub asked: IoMethod,
    /// What it uses now: io_uring as long as one of its rings is of use.
    pub in_use: MethodKind,
    /// Why the method is not a better one: `IoMethod::Auto` could not have it, or the system has taken away what the pool was
    /// built with (io_uring's calls are refused, and for how many of its rings; no thread can be started).
    pub reason: Option<String>,
    /// Whether the frames are registered.
    pub fixed_buffers: Registration,
    /// Whether files are registered.
    pub fixed_files: Registration,
}

impl MethodReport {
    /// Notes what the method uses since it was opened, and why.
    pub(crate) fn amend(&mut self, in_use: MethodKind, reason: &str) {
        let before = self.reason.take().map(|before| before + "; ").unwrap_or_default();
        self.reason = Some(before + reason);
        self.in_use = in_use;
        if in_use != MethodKind::Uring {
            (self.fixed_buffers, self.fixed_files) =
                (Registration::NotApplicable, Registration::NotApplicable);
        }
    }
}

impl fmt::Display for MethodReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (asked for {}", self.in_use, self.asked)?;
        if let Some(reason) = &self.reason {
            write!(f, "; {reason}")?;
        }
        if self.in_use == MethodKind::Uring {
            write!(f, "; fixed buffers {}, fixed files {}", self.fixed_buffers, self.fixed_files)?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("in use"),
            Self::NotAsked => f.write_str("not asked for"),
            Self::NotApplicable => f.write_str("not applicable"),
            Self::Refused(reason) => write!(f, "refused ({reason})"),
        }
    }
}
