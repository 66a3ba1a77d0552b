//! Traces from elsewhere, as text: a page number a line, in decimal. Public collections have this form or are cut to it by
//! a line of `awk`.

use std::{fs, io, path::Path};

use super::Trace;

/// Reads the trace in the file, and names it after the file. Lines that are no number (headings, marks) are left out.
pub fn read(path: &Path) -> io::Result<Trace> {
    let text = fs::read_to_string(path)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Trace { name, pages: text.lines().filter_map(|line| line.trim().parse().ok()).collect() })
}
