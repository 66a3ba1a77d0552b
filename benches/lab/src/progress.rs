//! Progress bars on a terminal, and nothing elsewhere. They go to the standard error and are drawn between runs only, so
//! that they cost no arm anything.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `length` steps. Its message says what goes on.
#[must_use]
pub fn steps(length: u64) -> ProgressBar {
    styled(ProgressBar::new(length), "{elapsed_precise} [{bar:30}] {pos}/{len} {msg}")
}

/// A bar of `length` bytes. Its message says what they are.
#[must_use]
pub fn bytes(length: u64) -> ProgressBar {
    styled(ProgressBar::new(length), "{elapsed_precise} [{bar:30}] {bytes}/{total_bytes} {msg}")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    bar.with_style(style.progress_chars("=> "))
}
