//! Words of real texts, and where they are.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The longest word that is looked at, in bytes.
const LONGEST: usize = 40;

/// Reads a folder's files that are text, in the order of their names, without what is hidden or built.
pub(crate) fn texts(folder: &Path) -> io::Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut paths = vec![folder.to_owned()];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let within = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
            let mut within: Vec<PathBuf> = within.collect::<io::Result<_>>()?;
            within.retain(|path| !is_left_out(path));
            within.sort_by(|one, other| other.cmp(one));
            paths.append(&mut within);
        } else if let Ok(text) = String::from_utf8(fs::read(path)?) {
            texts.push(text);
        }
    }
    Ok(texts)
}

fn is_left_out(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name == "target" || name == "Cargo.lock" || path.is_symlink()
}

/// Returns the words of a line.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    let is_of_none = |character: char| !character.is_alphanumeric() && character != '_';
    line.split(is_of_none).filter(|word| (1..=LONGEST).contains(&word.len()))
}

/// Returns the key of a word in a line: all lines of a word are side by side, in their order.
pub(crate) fn key(word: &str, text: u32, line: u32) -> Vec<u8> {
    [word.as_bytes(), &[0], &text.to_be_bytes(), &line.to_be_bytes()].concat()
}

/// Returns what all keys of a word begin with.
pub(crate) fn prefix(word: &str) -> Vec<u8> {
    [word.as_bytes(), &[0]].concat()
}
