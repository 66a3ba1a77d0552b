//! An option that cannot work, by its name, with its value and with a value that would work.

use std::{fmt, path::Path, sync::Arc};

/// An option, or an argument, with a value that cannot work.
///
/// Its text has all of it, in the order of the methods here: `queue_depth 0: choose 1 to 4096`.
///
/// ```
/// use ringpool::{BufferPool, Error};
///
/// let refused = BufferPool::builder().page_size(3000).build().unwrap_err();
/// let Error::Config(error) = refused else { panic!("{refused}") };
/// assert_eq!((error.option(), error.value()), ("page_size", Some("3000")));
/// assert_eq!(error.advice(), "choose a power of two from 512 to 65536 bytes");
/// assert_eq!(error.path(), None); // an option of the pool, and of no file
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    path: Option<Arc<Path>>,
    option: &'static str,
    value: Option<String>,
    advice: String,
}

impl ConfigError {
    #[allow(clippy::needless_pass_by_value)] // A number or a text.
    pub(crate) fn new(option: &'static str, value: impl ToString, advice: impl Into<String>) -> Self {
        Self { path: None, option, value: Some(value.to_string()), advice: advice.into() }
    }

    /// Makes the error for an option that was not set, or that has no value to name.
    pub(crate) fn unset(option: &'static str, advice: impl Into<String>) -> Self {
        Self { path: None, option, value: None, advice: advice.into() }
    }

    pub(crate) fn at(self, path: &Path) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// Returns the path of the file of the option, as it was given; `None` if the option is of the whole pool.
    /// Example: [`ConfigError`].
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns the name of the option: that of the method that sets it ([`Builder`](crate::Builder),
    /// [`OpenOptions`](crate::OpenOptions), ...), or that of the argument. Example: [`ConfigError`].
    #[must_use]
    pub fn option(&self) -> &'static str {
        self.option
    }

    /// Returns the value that it was given, as text; `None` if it was not set. Example: [`ConfigError`].
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Returns what is wrong with the value, and what would work. Example: [`ConfigError`].
    #[must_use]
    pub fn advice(&self) -> &str {
        &self.advice
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        f.write_str(self.option)?;
        if let Some(value) = &self.value {
            write!(f, " {value}")?;
        }
        write!(f, ": {}", self.advice)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_file_option_value_and_advice_as_far_as_there_are_any() {
        let whole = ConfigError::new("mode", "0o1", "choose 0o600").at(Path::new("data"));
        assert_eq!(whole.to_string(), "data: mode 0o1: choose 0o600");
        assert_eq!(ConfigError::unset("tag", "set it").to_string(), "tag: set it");
    }
}
