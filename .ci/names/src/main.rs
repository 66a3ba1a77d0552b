//! Checks the names and layers of `src`: `cargo run --manifest-path .ci/names/Cargo.toml -- src`.
//!
//! * No type name is used twice, so that each name has one meaning.
//! * Each folder imports only what stands below it in [`LAYERS`], none of [`STRANGERS`] the other, and what is [`BELOW_RESIDENCY`] nothing of that.
//! * No circle of imports joins more than two files.
//!
//! It reads `use` declarations and `crate::` paths, not macros or re-exports. Tests and model checks are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// From the lowest to the highest.
const LAYERS: [&[&str]; 10] = [
    &["id", "error", "wal", "codec"],
    &["sync", "events"],
    &["observe"],
    &["io"],
    &["buffer"],
    &["runtime"],
    &["write"],
    &["read"],
    &["files"],
    &["api"],
];

/// Meet in the lease alone: neither imports the other, though one stands above.
const STRANGERS: [&str; 2] = ["buffer", "io"];

/// Stands beside the layers: simulated disks and model checks.
const BESIDE: &str = "testing";

/// What keeps a page's bytes knows nothing of which page is where: these import nothing of `buffer` but one another.
const BELOW_RESIDENCY: [[&str; 2]; 2] = [["buffer", "memory"], ["buffer", "frame"]];

type Module = Vec<String>;

fn main() -> ExitCode {
    let root = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "src".to_owned()));
    let mut sources = BTreeMap::new();
    collect(&root, &root, &mut sources);
    let mut faults = types_named_twice(&sources);
    let imports = imports(&sources);
    faults.extend(imports_against_the_layers(&imports));
    faults.extend(circles(&imports));
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Source {
    name: String,
    text: String,
}

fn collect(root: &Path, folder: &Path, sources: &mut BTreeMap<Module, Source>) {
    for entry in fs::read_dir(folder).expect("the folder of the sources can be read") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("it is below the root").to_string_lossy().into_owned();
            let mut module: Module = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            module.pop_if(|last| ["mod", "lib"].contains(&last.as_str()));
            let text = fs::read_to_string(&path).expect("a source is text");
            let code = text.lines().map(|line| line.find("//").map_or(line, |at| &line[..at]));
            sources.insert(module, Source { name, text: code.collect::<Vec<_>>().join("\n") });
        }
    }
}

fn types_named_twice(sources: &BTreeMap<Module, Source>) -> Vec<String> {
    let mut types: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in sources.values() {
        for line in source.text.lines() {
            let is_indented = line.starts_with(' ');
            let mut words =
                line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            let declares = |word: &&str| !["pub", "crate", "super", "in", "unsafe"].contains(word);
            let kind = words.find(declares);
            // An indented `type` belongs to a trait.
            if matches!(kind, Some("struct" | "enum" | "trait" | "union"))
                || kind == Some("type") && !is_indented
            {
                types.entry(words.next().unwrap_or_default()).or_default().push(&source.name);
            }
        }
    }
    let twice = types.iter().filter(|(_, places)| places.len() > 1);
    twice
        .map(|(name, places)| format!("{} types are named {name}: {}", places.len(), places.join(", ")))
        .collect()
}

fn imports(sources: &BTreeMap<Module, Source>) -> BTreeMap<Module, BTreeSet<Module>> {
    let is_code = |module: &&Module| {
        !module.is_empty()
            && module[0] != BESIDE
            && !module.iter().any(|part| ["tests", "loom_models", "models"].contains(&part.as_str()))
    };
    let imports_of = |module: &Module| {
        let paths = paths_in(without_tests(&sources[module].text));
        let absolute = paths.into_iter().filter_map(|path| match path.first().map(String::as_str) {
            Some("crate") => Some(path[1..].to_vec()),
            Some("super") => Some([&module[..module.len() - 1], &path[1..]].concat()),
            _ => None,
        });
        let named = absolute.filter_map(|mut path| {
            while !path.is_empty() && !sources.contains_key(&path) {
                path.pop();
            }
            (!path.is_empty() && path != *module && path[0] != BESIDE).then_some(path)
        });
        named.collect()
    };
    sources.keys().filter(is_code).map(|module| (module.clone(), imports_of(module))).collect()
}

/// Returns what stands before the first module of tests.
fn without_tests(text: &str) -> &str {
    let is_test = |at: &usize| {
        let behind = text[*at..].lines().find(|line| !line.starts_with("#["));
        behind.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let attributes = text.match_indices("\n#[cfg(").map(|(at, _)| at + 1);
    let tests = attributes.filter(|&at| text[at..].lines().next().is_some_and(|line| line.contains("test")));
    tests.into_iter().find(is_test).map_or(text, |at| &text[..at])
}

/// Returns the paths that `use` declarations name, and those that begin with `crate::` elsewhere.
fn paths_in(text: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let begins_line = text[..at].rsplit('\n').next().is_some_and(|before| {
            let before = before.trim();
            before.is_empty() || before.starts_with("pub") && !before.contains(' ')
        });
        if begins_line && let Some(end) = text[at..].find(';') {
            tree(&[], &mut tokens(&text[at + 4..at + end]).into_iter().peekable(), &mut paths);
        }
    }
    for (at, _) in text.match_indices("crate::") {
        let end = text[at..]
            .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
            .unwrap_or(text.len() - at);
        paths.push(text[at..at + end].split("::").map(str::to_owned).collect());
    }
    paths
}

fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let len = if word > 0 { word } else { first.len_utf8() };
        tokens.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    tokens
}

fn tree<'a>(
    prefix: &[String],
    tokens: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    paths: &mut Vec<Module>,
) {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.next() {
        match token {
            ":" => {}
            "{" => {
                while tokens.peek().is_some_and(|&next| next != "}") {
                    tree(&path, tokens, paths);
                }
                tokens.next();
                if tokens.peek() == Some(&",") {
                    tokens.next();
                }
                return;
            }
            "as" => drop(tokens.next()),
            "," => break,
            name => path.push(name.to_owned()),
        }
        if tokens.peek() == Some(&"}") {
            break;
        }
    }
    if path.len() > prefix.len() {
        path.pop_if(|last| last == "self");
        paths.push(path);
    }
}

fn imports_against_the_layers(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let layer = |module: &Module| {
        let layer = LAYERS.iter().position(|names| names.contains(&module[0].as_str()));
        layer.unwrap_or_else(|| panic!("{} is in no layer: add it to .ci/names", module[0]))
    };
    let all = imports.iter().flat_map(|(module, others)| others.iter().map(move |other| (module, other)));
    let is_stranger = |module: &Module| STRANGERS.contains(&module[0].as_str());
    let are_strangers =
        |one: &Module, other: &Module| one[0] != other[0] && is_stranger(one) && is_stranger(other);
    let is_below = |module: &Module| BELOW_RESIDENCY.iter().any(|folder| module.iter().take(2).eq(folder));
    let is_upwards =
        |module: &Module, other: &Module| is_below(module) && other[0] == "buffer" && !is_below(other);
    let wrong = all.filter(|(module, other)| {
        layer(other) > layer(module) || are_strangers(module, other) || is_upwards(module, other)
    });
    wrong
        .map(|(module, other)| format!("{} must not import {}", module.join("::"), other.join("::")))
        .collect()
}

/// Returns the circles of more than two files: the sets of modules each of which reaches all others.
fn circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let reach = |from: &Module| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for other in imports.get(module).into_iter().flatten() {
                if reached.insert(other.clone()) {
                    next.push(other);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        imports.keys().map(|module| (module, reach(module))).collect();
    let circle_of = |module: &Module| -> BTreeSet<String> {
        let back = |other: &&Module| reached.get(other).is_some_and(|theirs| theirs.contains(module));
        reached[module].iter().filter(back).map(|other| other.join("::")).collect()
    };
    let circles: BTreeSet<BTreeSet<String>> = imports.keys().map(circle_of).collect();
    let large = circles.iter().filter(|circle| circle.len() > 2);
    large
        .map(|circle| {
            format!("a circle of imports: {}", circle.iter().cloned().collect::<Vec<_>>().join(", "))
        })
        .collect()
}
