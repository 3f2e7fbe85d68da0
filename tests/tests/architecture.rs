//! ARCHITECTURE.md agrees with the code: in every crate that it lists, a room uses only rooms below it, and files have
//! no circular dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Attribute, Item, UseTree};

/// The path of a module from its crate's root; of the root itself, nothing.
type Module = Vec<String>;

/// What the files of a crate use of each other.
struct Code {
    /// What each file names of its own crate, re-exports followed to where things are defined.
    uses: BTreeMap<Module, BTreeSet<Module>>,
}

impl Code {
    /// Reads a crate's sources.
    fn read(folder: &Path) -> Self {
        let mut sources = Vec::new();
        collect(folder, &mut sources);
        let sources = sources.iter().map(|file| {
            let text = std::fs::read_to_string(file).expect("a source");
            (module(file.strip_prefix(folder).expect("inside")), text)
        });
        Self::parse(sources.collect())
    }

    fn parse(sources: Vec<(Module, String)>) -> Self {
        let mut files: BTreeMap<Module, Names> = BTreeMap::new();
        for (module, text) in sources {
            let file = syn::parse_file(&text).expect("Rust");
            files.insert(module.clone(), Names::of(module, &file));
        }
        let exports: BTreeMap<Module, Module> =
            files.values().flat_map(|names| names.exports.clone()).collect();
        let home = |path: &Module| -> Option<Module> {
            let mut path = path.clone();
            // A re-export leads to another at most a few times.
            for _ in 0..5 {
                let known = (1..=path.len()).rev().find_map(|n| Some((n, exports.get(&path[..n])?)));
                let Some((n, target)) = known else { break };
                path = target.iter().chain(&path[n..]).cloned().collect();
            }
            (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|start| files.contains_key(start))
        };
        let uses = files.iter().map(|(module, names)| {
            let used = names.used.iter().filter_map(&home).filter(|used| used != module);
            (module.clone(), used.collect())
        });
        Self { uses: uses.collect() }
    }

    /// The rooms: the files and folders right under the root.
    fn rooms(&self) -> BTreeSet<&str> {
        let rooms = self.uses.keys().filter_map(|module| module.first()).map(String::as_str);
        rooms.filter(|room| !["lib", "main"].contains(room)).collect()
    }

    /// Uses of a room that does not stand below.
    fn upward(&self, layers: &[String]) -> Vec<String> {
        let depth = |module: &Module| layers.iter().position(|room| *room == module[0]);
        let mut found = Vec::new();
        for (from, used) in &self.uses {
            for to in used.iter().filter(|to| to[0] != from[0]) {
                if let (Some(above), Some(below)) = (depth(from), depth(to))
                    && below <= above
                {
                    found.push(format!("{} uses {}", from.join("::"), to.join("::")));
                }
            }
        }
        found
    }

    /// A circle of files, if there is one.
    fn circle(&self) -> Option<String> {
        let mut done = BTreeSet::new();
        for module in self.uses.keys() {
            let mut way = Vec::new();
            if self.goes_round(module, &mut way, &mut done) {
                let names: Vec<String> = way.iter().map(|module| module.join("::")).collect();
                return Some(names.join(" -> "));
            }
        }
        None
    }

    fn goes_round<'a>(
        &'a self,
        module: &'a Module,
        way: &mut Vec<&'a Module>,
        done: &mut BTreeSet<&'a Module>,
    ) -> bool {
        if way.contains(&module) {
            way.push(module);
            return true;
        }
        if done.contains(module) {
            return false;
        }
        way.push(module);
        if self.uses[module].iter().any(|used| self.goes_round(used, way, done)) {
            return true;
        }
        way.pop();
        done.insert(module);
        false
    }
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !holds_tests(&path) {
            sources.push(path);
        }
    }
}

fn holds_tests(file: &Path) -> bool {
    file.file_stem().is_some_and(|name| name == "tests" || name.to_string_lossy().ends_with("_test"))
}

fn module(file: &Path) -> Module {
    file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect()
}

/// What one file names.
struct Names {
    /// Where it is: nothing for the root.
    base: Module,
    /// What its names stand for.
    known: BTreeMap<String, Module>,
    used: BTreeSet<Module>,
    exports: BTreeMap<Module, Module>,
}

impl Names {
    fn of(module: Module, file: &syn::File) -> Self {
        let base = if module == ["lib"] || module == ["main"] { Vec::new() } else { module };
        let mut names =
            Self { base, known: BTreeMap::new(), used: BTreeSet::new(), exports: BTreeMap::new() };
        for item in file.items.iter().filter(|item| !is_test(item)) {
            if let Item::Mod(child) = item
                && child.content.is_none()
            {
                let path = names.base.iter().cloned().chain([child.ident.to_string()]).collect();
                names.known.insert(child.ident.to_string(), path);
            }
        }
        for item in file.items.iter().filter(|item| !is_test(item)) {
            names.visit_item(item);
        }
        names
    }

    /// A path of the crate, if it is one.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.base.clone(),
            "super" => self.base[..self.base.len().checked_sub(1)?].to_vec(),
            name => self.known.get(name)?.clone(),
        };
        Some(start.into_iter().chain(rest.iter().cloned()).collect())
    }

    fn import(&mut self, tree: &UseTree, path: &mut Vec<String>, public: bool) {
        match tree {
            UseTree::Path(step) => {
                path.push(step.ident.to_string());
                self.import(&step.tree, path, public);
                path.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, path, public);
                }
            }
            UseTree::Name(name) if name.ident == "self" => {
                let name = path.last().cloned().unwrap_or_default();
                self.take(path, name, public);
            }
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.take(path, name.ident.to_string(), public);
                path.pop();
            }
            UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                self.take(path, name.rename.to_string(), public);
                path.pop();
            }
            UseTree::Glob(_) => self.take(path, "*".into(), public),
        }
    }

    fn take(&mut self, path: &[String], name: String, public: bool) {
        let Some(target) = self.absolute(path) else { return };
        if public {
            self.exports.insert(self.base.iter().cloned().chain([name]).collect(), target.clone());
            // A room's own parts may be named from its top; what is another room's is used.
            if self.base.is_empty() || target.first() == self.base.first() {
                return;
            }
            self.used.insert(target);
            return;
        }
        self.known.insert(name, target.clone());
        self.used.insert(target);
    }
}

impl Visit<'_> for Names {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        let public = !matches!(item.vis, syn::Visibility::Inherited);
        self.import(&item.tree, &mut Vec::new(), public);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1
            && let Some(target) = self.absolute(&segments)
        {
            self.used.insert(target);
        }
        syn::visit::visit_path(self, path);
    }
}

fn is_test(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    };
    let test = |attribute: &Attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|argument| argument.is_ident("test"))
    };
    attributes.iter().any(test)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rooms of each crate from the top down, as ARCHITECTURE.md lists them: a heading that names the folder, then
/// the names at the beginning of each line of the first block, with commas between several.
fn picture() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut layers = BTreeMap::new();
    for section in text.split("\n### ").skip(1) {
        let (heading, rest) = section.split_once('\n').unwrap_or((section, ""));
        let Some(folder) = heading.split('`').nth(1).filter(|folder| folder.ends_with("/src")) else {
            continue;
        };
        let block = rest.split("```").nth(1).expect("a block under the heading");
        let names = block.lines().skip(1).filter_map(|line| line.split("  ").next());
        let rooms = names.flat_map(|names| names.split(", ")).filter(|name| !name.is_empty());
        layers.insert(folder.to_owned(), rooms.map(str::to_owned).collect());
    }
    layers
}

#[test]
fn rooms_use_only_rooms_below_them() {
    let picture = picture();
    for drawn in ["attendance/src", "edge/src", "hub/src", "models/src", "proto/src"] {
        let layers = picture.get(drawn).unwrap_or_else(|| panic!("ARCHITECTURE.md does not draw {drawn}"));
        let code = Code::read(&root().join(drawn));
        let listed: BTreeSet<&str> = layers.iter().map(String::as_str).collect();
        assert_eq!(listed.len(), layers.len(), "{drawn}: a room is listed twice");
        assert_eq!(listed, code.rooms(), "{drawn}: the rooms of ARCHITECTURE.md and those of the code");
        assert_eq!(code.upward(layers), Vec::<String>::new(), "{drawn}");
    }
}

#[test]
fn files_have_no_circular_dependencies() {
    for folder in ["attendance/src", "edge/src", "hub/src", "models/src", "proto/src", "tests/src"] {
        assert_eq!(Code::read(&root().join(folder)).circle(), None, "{folder}");
    }
}

fn code(sources: &[(&str, &str)]) -> Code {
    let module = |path: &str| path.split("::").map(str::to_owned).collect();
    Code::parse(sources.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect())
}

#[test]
fn upward_uses_are_found_in_every_notation() {
    let layers: Vec<String> = ["console", "people", "db"].map(str::to_owned).to_vec();
    let found = |text: &str| {
        let sources = [("lib", "mod console; mod people; mod db;"), ("people", "pub struct Person;")];
        let other = [("console", "pub fn page() {}"), ("db", text)];
        code(&[sources, other].concat()).upward(&layers)
    };
    let wrong = ["db uses people"];
    assert_eq!(found("use crate::people::Person;"), wrong);
    assert_eq!(found("use crate::{people::{self, Person}};"), wrong);
    assert_eq!(found("fn f() -> crate::people::Person { todo!() }"), wrong);
    assert_eq!(found("use super::people as p; fn f(_: p::Person) {}"), wrong);
    assert_eq!(found("pub use crate::people::Person;"), wrong);
    assert_eq!(found("#[cfg(test)] mod tests { use crate::people::Person; }"), Vec::<String>::new());
    assert_eq!(found("use std::fmt;"), Vec::<String>::new());
}

#[test]
fn a_circle_through_a_re_export_is_found() {
    let sources = [
        ("people", "mod photo; mod enrolment; pub use photo::Photo;"),
        ("people::photo", "use crate::people::enrolment::KEPT; pub struct Photo;"),
        ("people::enrolment", "use crate::people::Photo; pub const KEPT: usize = 20;"),
    ];
    let circle = code(&sources).circle().expect("a circle");
    assert_eq!(circle, "people::enrolment -> people::photo -> people::enrolment");
    let straight = [sources[0], ("people::photo", "pub struct Photo;"), sources[2]];
    assert_eq!(code(&straight).circle(), None);
}
