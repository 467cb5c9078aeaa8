//! F-71: ARCHITECTURE.md says what the files of the transport use. That is what they import, and no files import each other in a circle.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file, by the path of its module: `hub/peers/table`. That of the crate itself is empty.
type Module = String;

/// What every file may use, and the table leaves out. Files of the hub also use `hub/common.rs`.
const LEFT_OUT: [&str; 5] = ["", "error", "log", "hub/common", "settings_docs"];

struct Sources {
    code: BTreeMap<Module, String>,
    /// Where a name really is that a module exports again.
    exported: BTreeMap<(Module, String), (Module, Vec<String>)>,
}

impl Sources {
    fn read() -> Self {
        let mut sources = Self { code: BTreeMap::new(), exported: BTreeMap::new() };
        sources.read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("transport/src"), "");
        let modules: Vec<Module> = sources.code.keys().cloned().collect();
        for module in modules {
            for (is_public, path) in uses(&sources.code[&module]) {
                let (path, name) = renamed(&path);
                if let Some(found) = sources.find(&module, &path).filter(|_| is_public) {
                    sources.exported.insert((module.clone(), name), found);
                }
            }
        }
        sources
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_stem().unwrap().to_str().unwrap();
            let module = if name == "lib" { String::new() } else { format!("{prefix}{name}") };
            if name == "tests" {
                continue;
            } else if entry.is_dir() {
                self.read_folder(&entry, &format!("{module}/"));
            } else {
                self.code.insert(module, code(&fs::read_to_string(&entry).unwrap()));
            }
        }
    }

    /// The deepest module on a path that is written in `module`, and what is named of it. `None` for other crates.
    fn find(&self, module: &str, path: &[String]) -> Option<(Module, Vec<String>)> {
        let mut path = path.to_vec();
        let mut base = match path.first()?.as_str() {
            "crate" => String::new(),
            "self" => module.to_owned(),
            "super" => parent(module),
            first if self.code.contains_key(&child(module, first)) => {
                path.insert(0, "self".into());
                module.to_owned()
            }
            _ => return None,
        };
        let mut rest = path.split_off(1);
        while let Some(first) = rest.first().cloned() {
            if first == "super" {
                base = parent(&base);
            } else if self.code.contains_key(&child(&base, &first)) {
                base = child(&base, &first);
            } else if let Some((module, path)) = self.exported.get(&(base.clone(), first)) {
                let path = path.iter().cloned().chain(rest.into_iter().skip(1)).collect();
                (base, rest) = (module.clone(), path);
                continue;
            } else {
                break;
            }
            rest.remove(0);
        }
        Some((base, rest))
    }

    /// The files whose items a file uses.
    fn imports(&self, module: &str) -> BTreeSet<Module> {
        let code = &self.code[module];
        let private = uses(code).into_iter().filter(|(is_public, _)| !is_public);
        let mut paths: Vec<Vec<String>> = private.map(|(_, path)| renamed(&path).0).collect();
        // Paths in the code itself.
        let plain: String = statements(code).filter(|statement| used(statement).is_none()).collect();
        let words = plain.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        paths.extend(words.filter(|word| word.contains("::")).map(segments));
        let found = paths.iter().filter_map(|path| self.find(module, path));
        found.map(|(found, _)| found).filter(|found| found != module && !found.is_empty()).collect()
    }
}

fn child(module: &str, name: &str) -> Module {
    if module.is_empty() { name.to_owned() } else { format!("{module}/{name}") }
}

fn parent(module: &str) -> Module {
    module.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned()
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

/// A path, and the name that it has from then on.
fn renamed(path: &str) -> (Vec<String>, String) {
    let (path, name) = path.split_once(" as ").map_or((path, None), |(path, name)| (path, Some(name)));
    let path = segments(path);
    let name = name.map_or_else(|| path.last().cloned().unwrap_or_default(), str::to_owned);
    (path, name)
}

/// A source without comments, tests, and the places in which an item is visible.
fn code(text: &str) -> String {
    let (mut code, mut lines) = (String::new(), text.lines().peekable());
    while let Some(line) = lines.next() {
        let attribute = line.trim_start();
        if attribute.starts_with("#[cfg(test") || attribute.starts_with("#[cfg(all(test") {
            let indent = &line[..line.len() - attribute.len()];
            while lines.next_if(|line| line.trim_start().starts_with('#')).is_some() {}
            // An item of one line, or of several.
            if lines.next().is_some_and(|line| line.ends_with('{')) {
                let end = format!("{indent}}}");
                lines.by_ref().find(|line| *line == end);
            }
            continue;
        }
        let line = line.split("//").next().unwrap_or_default();
        let line = line.split_once("pub(in ").map_or(line, |(_, rest)| rest.split_once(')').unwrap().1);
        code.push_str(line);
        code.push('\n');
    }
    code
}

fn statements(code: &str) -> impl Iterator<Item = &str> {
    code.split_inclusive([';']).flat_map(|part| {
        // What a block begins with.
        let at = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "]
            .iter()
            .filter_map(|start| {
                part.rfind(&format!("\n{start}")).or_else(|| part.starts_with(start).then_some(0))
            })
            .min();
        let (before, rest) = part.split_at(at.unwrap_or(0));
        [before, rest]
    })
}

/// The paths of a `use` statement, in one text, and whether it is public.
fn used(statement: &str) -> Option<(bool, &str)> {
    let statement = statement.trim();
    let (visibility, paths) = statement.split_once("use ")?;
    let visibility = visibility.trim();
    let is_use = visibility.is_empty() || visibility.starts_with("pub") && !visibility.contains(['{', '\n']);
    is_use.then(|| (!visibility.is_empty(), paths.trim_end_matches(';')))
}

/// All that a source uses by `use`, one path each, and whether it is exported.
fn uses(code: &str) -> Vec<(bool, String)> {
    let mut all = Vec::new();
    for (is_public, paths) in statements(code).filter_map(used) {
        let text = paths.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut paths = Vec::new();
        expand("", &text, &mut paths);
        all.extend(paths.into_iter().map(|path| (is_public, path)));
    }
    all
}

/// `a::{b, c::{d, e}}` is `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, text: &str, paths: &mut Vec<String>) {
    let text = text.trim();
    let Some((before, group)) = text.split_once('{') else {
        paths.push(format!("{prefix}{text}"));
        return;
    };
    let prefix = format!("{prefix}{}", before.trim());
    let (mut depth, mut start) = (0_u32, 0);
    let group = group.strip_suffix('}').unwrap();
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = group.get(start..at).unwrap();
                if !part.trim().is_empty() {
                    expand(&prefix, part, paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// What the table says of a row of files.
struct Row {
    files: Vec<Module>,
    uses: BTreeSet<Module>,
}

/// Files stand for the folders that have their names; in the hub each has one of its own.
fn room(module: &str) -> Module {
    let parts = if module.starts_with("hub/") { 2 } else { 1 };
    module.split('/').take(parts).collect::<Vec<_>>().join("/")
}

fn rows(sources: &Sources) -> Vec<Row> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let page = fs::read_to_string(page).unwrap();
    let table = page.split("| inside `transport/src` |").nth(1).unwrap();
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let find = |name: &str, in_hub: bool| {
        let name = name.replace('`', "").trim_end_matches('/').trim_end_matches(".rs").to_owned();
        let hub = format!("hub/{name}");
        let places = if in_hub { [hub, name] } else { [name, hub] };
        let found = places.iter().find(|place| sources.code.contains_key(*place));
        found.unwrap_or_else(|| panic!("ARCHITECTURE.md names {places:?}: neither is there")).clone()
    };
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let files: Vec<Module> = cells[0].split(',').map(|file| find(file.trim(), false)).collect();
        let in_hub = files[0].starts_with("hub");
        let words = cells[2].split([',', ';', ':', ' ', '–']).filter(|word| !word.is_empty());
        Row { files, uses: words.map(|word| room(&find(word, in_hub))).collect() }
    };
    lines.map(row).collect()
}

#[test]
fn f_71_the_files_of_the_transport_use_what_architecture_md_says() {
    let sources = Sources::read();
    let rows = rows(&sources);
    // A file belongs to the row that names it, or the nearest folder that it is in.
    let is_in = |module: &str, file: &str| module == file || module.starts_with(&format!("{file}/"));
    let row_of = |module: &str| {
        let nearest = |row: &Row| {
            let files = row.files.iter().filter(|file| is_in(module, file));
            files.map(String::len).max()
        };
        (0..rows.len()).filter(|&row| nearest(&rows[row]).is_some()).max_by_key(|&row| nearest(&rows[row]))
    };
    let mut imported: Vec<BTreeSet<Module>> = rows.iter().map(|_| BTreeSet::new()).collect();
    for module in sources.code.keys().filter(|module| !LEFT_OUT[..2].contains(&module.as_str())) {
        match row_of(module) {
            Some(row) => imported[row].extend(sources.imports(module).iter().map(|file| room(file))),
            None => assert!(LEFT_OUT.contains(&module.as_str()), "{module} is in no row of ARCHITECTURE.md"),
        }
    }
    let mut wrong = String::new();
    for (row, mut imported) in rows.iter().zip(imported) {
        let mut said = row.uses.clone();
        for own in row.files.iter().map(|file| room(file)).chain(LEFT_OUT.map(str::to_owned)) {
            imported.remove(&own);
            said.remove(&own);
        }
        if imported != said {
            let (missing, extra) = (imported.difference(&said), said.difference(&imported));
            wrong += &format!(
                "{:?}: uses also {:?}, and not {:?}\n",
                row.files,
                missing.collect::<Vec<_>>(),
                extra.collect::<Vec<_>>()
            );
        }
    }
    assert!(wrong.is_empty(), "the column \"uses\" is wrong:\n{wrong}");
}

#[test]
fn f_71_no_files_of_the_transport_import_each_other_in_a_circle() {
    let sources = Sources::read();
    let mut left: BTreeMap<Module, BTreeSet<Module>> =
        sources.code.keys().map(|module| (module.clone(), sources.imports(module))).collect();
    assert!(left["hub"].contains("hub/shared") && left["hub/core"].contains("hub/peers/table"));
    // What imports nothing that is left is in no circle; nor is what nothing that is left imports.
    loop {
        let known: Vec<Module> = left.keys().cloned().collect();
        left.retain(|_, imports| known.iter().any(|module| imports.contains(module)));
        let imported: BTreeSet<Module> = left.values().flatten().cloned().collect();
        left.retain(|module, _| imported.contains(module));
        if left.len() == known.len() {
            break;
        }
    }
    // The rest is circles, and what is between two of them.
    let circle: Vec<&Module> = left.keys().collect();
    assert!(circle.is_empty(), "these import each other in a circle: {circle:?}");
}
