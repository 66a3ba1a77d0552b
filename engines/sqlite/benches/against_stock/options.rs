//! The command line: of the bench, and of a process that runs one arm of it.

use std::{error::Error, path::PathBuf};

use ringpool::options::Fallback;

use crate::{
    arms::{Label, Memory},
    rows::Scale,
};

/// What the bench runs.
pub struct Options {
    pub rounds: usize,
    pub scale: Scale,
    /// A part of the names of the rows to run.
    pub only: String,
    /// A part of the titles of the cases to run.
    pub case: String,
    pub dir: Option<PathBuf>,
    /// The one arm to run, for a profile of it.
    pub arm: Option<Label>,
    /// What this process runs for another that measures.
    pub work: Option<Work>,
}

/// What the process of one arm is told by the process that measures.
#[derive(Clone)]
pub struct Work {
    pub arm: Label,
    pub memory: Memory,
    pub direct: Fallback,
    pub folder: PathBuf,
}

impl Work {
    /// Returns the arguments that [`options`] makes this of.
    pub fn arguments(&self) -> [String; 5] {
        let direct = if self.direct == Fallback::Off { "buffered" } else { "direct" };
        let memory = if self.memory == Memory::All { "all" } else { "eighth" };
        let folder = self.folder.to_str().expect("the folder has a plain name").into();
        ["--work".into(), self.arm.to_string(), memory.into(), direct.into(), folder]
    }
}

const USAGE: &str = "--quick, --rounds N, --only TEXT, --case TEXT, --dir DIR, --arm pool|cache|mapped";

/// Reads the command line.
///
/// # Errors
/// For words that are none of the options, or lack their value.
pub fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        rounds: 15,
        scale: Scale::FULL,
        only: String::new(),
        case: String::new(),
        dir: None,
        arm: None,
        work: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--quick" => (options.rounds, options.scale) = (5, Scale::QUICK),
            "--rounds" => options.rounds = value()?.parse()?,
            "--only" => options.only = value()?,
            "--case" => options.case = value()?,
            "--dir" => options.dir = Some(value()?.into()),
            "--arm" => options.arm = Some(Label::of(&value()?)?),
            "--work" => {
                options.work = Some(Work {
                    arm: Label::of(&value()?)?,
                    memory: if value()? == "all" { Memory::All } else { Memory::Eighth },
                    direct: if value()? == "direct" { Fallback::Prefer } else { Fallback::Off },
                    folder: value()?.into(),
                });
            }
            "--bench" => {} // From cargo.
            _ => return Err(format!("{argument}: {USAGE}").into()),
        }
    }
    Ok(options)
}
