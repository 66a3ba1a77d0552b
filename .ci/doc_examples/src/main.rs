//! Checks that each public function has an example, or says where one is: `cargo run --manifest-path .ci/doc_examples/Cargo.toml -- src`.
//!
//! * Its documentation has a block of code that calls it, or a line that names what has one: ``Example: [`Builder`].``
//! * What such a line names has a block of code that calls the function: a type, a function of one (``[`BufferPool::fetch`]``), or one of
//!   [`PAGES`] (``[`guide`](crate::guide)``).
//!
//! The compiler sees to it that a `pub fn` can be reached (`unreachable_pub`), so each counts, and each function of a `pub trait`.
//! Functions of traits that a type implements are exempt.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Pages that an example may be on, by the name that a link has.
const PAGES: [(&str, &str); 3] =
    [("guide", "guide.md"), ("ringpool", "lib.rs"), ("testing", "testing/mod.rs")];

struct Function {
    place: String,
    owner: Option<String>,
    name: String,
    documentation: Vec<String>,
}

#[derive(Default)]
struct Interface {
    functions: Vec<Function>,
    /// The blocks of code of types, of functions and of pages, by what a link to them says.
    examples: BTreeMap<String, String>,
}

fn main() -> ExitCode {
    let root = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "src".to_owned()));
    let mut interface = Interface::default();
    read_folder(&root, &mut interface);
    for (name, file) in PAGES {
        let text = fs::read_to_string(root.join(file)).expect("the page can be read");
        let lines = text.lines().map(|line| line.strip_prefix("//!").unwrap_or(line).trim().to_owned());
        interface.examples.insert(name.to_owned(), code_of(&lines.collect::<Vec<_>>()));
    }
    let faults: Vec<String> =
        interface.functions.iter().filter_map(|it| fault_of(it, &interface.examples)).collect();
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read_folder(folder: &Path, interface: &mut Interface) {
    let entries = fs::read_dir(folder).expect("the folder of the sources can be read");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("its entries can be read").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_folder(&path, interface);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read_source(&path, interface);
        }
    }
}

/// Relies on `cargo fmt`: what stands at the margin ends at a brace at the margin.
fn read_source(path: &Path, interface: &mut Interface) {
    let text = fs::read_to_string(path).expect("a source is text");
    let mut owner: Option<String> = None;
    let mut in_trait = false;
    let mut documentation = Vec::new();
    let mut in_attribute = false;
    for (number, line) in text.lines().enumerate() {
        let code = line.trim();
        if let Some(text) = code.strip_prefix("///") {
            documentation.push(text.trim().to_owned());
            continue;
        }
        if in_attribute || code.starts_with("#[") {
            let code = code.split(" //").next().unwrap_or_default();
            in_attribute = !code.ends_with(']');
            continue;
        }
        let documentation = std::mem::take(&mut documentation);
        let mut words =
            code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        let is_public = words.clone().next() == Some("pub") && !code.starts_with("pub(");
        let kind = words.find(|word| !["pub", "const", "async", "unsafe"].contains(word));
        let name = words.next().unwrap_or_default().to_owned();
        match kind {
            Some("struct" | "enum" | "trait" | "type") if is_public => {
                in_trait = kind == Some("trait");
                owner = in_trait.then(|| name.clone());
                interface.examples.insert(name, code_of(&documentation));
            }
            Some("impl") if code.ends_with('{') => owner = type_of(code),
            Some("fn") if is_public || in_trait && line.starts_with("    ") && !line.starts_with("     ") => {
                let owner = owner.clone();
                let link = owner.iter().chain([&name]).cloned().collect::<Vec<_>>().join("::");
                interface.examples.insert(link, code_of(&documentation));
                let place = format!("{}:{}", path.display(), number + 1);
                interface.functions.push(Function { place, owner, name, documentation });
            }
            _ if line == "}" => (owner, in_trait) = (None, false),
            _ => {}
        }
    }
}

/// Returns the type that an `impl` is for, without its parameters.
fn type_of(code: &str) -> Option<String> {
    let mut depth = 0;
    let outside = |c: &char| {
        depth += i32::from(*c == '<') - i32::from(*c == '>');
        depth == 0 && *c != '>'
    };
    let bare: String = code.chars().filter(outside).collect();
    let last = bare.split(" where ").next()?.trim_end_matches('{').trim().rsplit([' ', ':']).next()?;
    Some(last.to_owned())
}

fn code_of(documentation: &[String]) -> String {
    let mut is_code = false;
    let mut code = String::new();
    for line in documentation {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

fn fault_of(function: &Function, examples: &BTreeMap<String, String>) -> Option<String> {
    let Function { place, owner, name, documentation } = function;
    let full = owner.iter().chain([name]).cloned().collect::<Vec<_>>().join("::");
    if calls(&code_of(documentation), owner.as_deref(), name) {
        return None;
    }
    let Some(link) = documentation.iter().find_map(|line| {
        let text = line.split_once("Example: [`")?.1;
        Some(text.split_once("`]")?.0)
    }) else {
        return Some(format!("{place}: {full} has no example that calls it"));
    };
    let link = match (link.strip_prefix("Self"), owner) {
        (Some(rest), Some(owner)) => format!("{owner}{rest}"),
        _ => link.to_owned(),
    };
    match examples.get(&link) {
        Some(code) if calls(code, owner.as_deref(), name) => None,
        _ => {
            Some(format!("{place}: {full} says that its example is at {link}, which has none that calls it"))
        }
    }
}

/// Returns whether the code has `.name(`, `Owner::name`, or an implementation of it: `fn name(`.
fn calls(code: &str, owner: Option<&str>, name: &str) -> bool {
    let ways = [format!(".{name}("), format!("fn {name}("), format!(".{name}::<")];
    let path = owner.map_or(name.to_owned(), |owner| format!("{owner}::{name}"));
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    ways.iter().any(|way| code.contains(way)) || code.split(&path).skip(1).any(ends)
}
