//! What is read: a file of our own, or the files that were named.

use std::path::Path;

use lab::Result;
use lab::files::TestFile;
use lab::machine::Machine;

use crate::options::Options;
use crate::support::{Input, Wish, scratch};

/// The files, and our own one that is removed at the end.
pub(crate) struct Subject {
    pub(crate) input: Input,
    own: Option<TestFile>,
}

impl Subject {
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let own = match options.paths.is_empty() {
            true => Some(scratch::create(&options.dir(), options.page_size, options.size())?),
            false => None,
        };
        let paths = own.as_ref().map_or_else(|| options.paths.clone(), |file| vec![file.path().to_owned()]);
        let wish = if options.buffered { Wish::Buffered } else { Wish::Direct };
        let input = Input::new(paths, options.page_size, wish)?;
        Ok(Self { input, own })
    }

    /// Whether the files may be written to: only one that we made.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    pub(crate) fn describe(&self) {
        let input = &self.input;
        println!("{}", Machine::of(input.paths().first().map_or(Path::new("."), |path| path)));
        let what = match (&self.own, input.paths()) {
            (Some(_), _) => "a test file".to_owned(),
            (None, [path]) => path.display().to_string(),
            (None, paths) => format!("{} files", paths.len()),
        };
        let mib = input.bytes() as f64 / f64::from(1 << 20);
        println!("{what}: {mib:.1} MiB in pages of {} bytes", input.page_size());
        match input.buffered() {
            None => {
                println!(
                    "direct I/O: the page cache is bypassed by every arm but one that is named after it"
                );
            }
            Some(why) => println!(
                "buffered I/O ({why}): every arm goes through the page cache, which is emptied before each run where the \
                 file system can"
            ),
        }
    }
}
