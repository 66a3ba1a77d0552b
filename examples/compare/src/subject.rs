//! What is read: a file of our own, or the files that were named.

use std::path::Path;

use lab::Result;
use lab::files::TestFile;

use crate::folder::Folder;
use crate::host::Host;
use crate::options::Options;
use crate::support::{Input, Wish, scratch};

/// The files, and our own one that is removed at the end.
pub(crate) struct Subject {
    pub(crate) input: Input,
    /// The test file, and the folder that it is in: removed in this order.
    own: Option<(TestFile, Folder)>,
}

impl Subject {
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let own = match options.paths.is_empty() {
            true => {
                let folder = Folder::make(&options.dir())?;
                Some((scratch::create(folder.path(), options.page_size, options.size())?, folder))
            }
            false => None,
        };
        let paths =
            own.as_ref().map_or_else(|| options.paths.clone(), |(file, _)| vec![file.path().to_owned()]);
        let wish = if options.buffered { Wish::Buffered } else { Wish::Direct };
        let input = Input::new(paths, options.page_size, wish)?;
        Ok(Self { input, own })
    }

    /// Returns whether the files may be written to: only one that we made.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Returns where workloads put further files.
    ///
    /// # Panics
    ///
    /// If the files were named: then there are no further ones.
    pub(crate) fn folder(&self) -> &Path {
        let (_, folder) = self.own.as_ref().expect("workloads that write have a file of their own");
        folder.path()
    }

    pub(crate) fn host(&self) -> Host {
        Host::of(self.input.paths().first().map_or(Path::new("."), |path| path))
    }

    /// Formats lines on the machine and the files.
    pub(crate) fn lines(&self, host: &Host) -> Vec<String> {
        let input = &self.input;
        let what = match (&self.own, input.paths()) {
            (Some(_), _) => "a test file".to_owned(),
            (None, [path]) => path.display().to_string(),
            (None, paths) => format!("{} files", paths.len()),
        };
        let mib = input.bytes() as f64 / f64::from(1 << 20);
        let cache = match input.buffered() {
            None => {
                "direct I/O: every arm bypasses the page cache, but those named after it: they find it empty, and are served as \
                 the system serves any program, with its own reads ahead"
                    .to_owned()
            }
            Some(why) => format!(
                "buffered I/O ({why}): every arm goes through the page cache, which is emptied before each run where the file \
                 system can"
            ),
        };
        vec![host.line(), format!("{what}: {mib:.1} MiB in pages of {} bytes", input.page_size()), cache]
    }
}
