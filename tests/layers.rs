//! The house keeps its shape: a part uses only parts above it, no module goes round in a circle, a
//! type's name stands once, only `store` speaks SQL, nobody takes it on trust that a pocket is
//! configured, and no caller passes a bare `true`.
//!
//! `ORDER` is the order of the table in `docs/explanation/architecture.md`. Within a part, files are
//! what is looked at: a file uses another one if a path in it leads there. What `pub use` passes on
//! counts for the file that uses it, not for the one that passes it on; tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprIndex, ExprMethodCall, FnArg, GenericArgument, ImplItemFn, Item, ItemFn,
    ItemUse, Member, PathArguments, Signature, TraitItemFn, Type, UseTree, Visibility,
};

/// The parts, those first that others may use.
const ORDER: [&str; 17] = [
    "core",
    "api",
    "system",
    "access",
    "git",
    "store",
    "archive",
    "environment",
    "sandbox",
    "builder",
    "node",
    "publish",
    "service",
    "daemon",
    "cli",
    "server",
    "web",
];

/// The names of a path below the root of its part; the root itself has none.
type Module = Vec<String>;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")
}

#[test]
fn a_part_uses_only_parts_above_it() {
    for (place, part) in ORDER.iter().enumerate() {
        let manifest = fs::read_to_string(sources().join(part).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        for line in dependencies.lines() {
            let name = line.split([' ', '.', '=']).next().unwrap();
            let Some(other) = name.strip_prefix("invirtibuilder-") else { continue };
            assert!(ORDER[..place].contains(&other), "{part} uses {other}, which is not above it");
        }
    }
}

#[test]
fn every_part_is_in_the_table() {
    let found: BTreeSet<String> = fs::read_dir(sources())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "bin")
        .collect();
    assert_eq!(found, ORDER.map(str::to_owned).into());
    let table = sources().join("../docs/explanation/architecture.md");
    let table = fs::read_to_string(table).unwrap();
    let places: Vec<_> = ORDER.map(|part| table.find(&format!("| [{part}]("))).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
}

#[test]
fn no_module_goes_round_in_a_circle() {
    for part in ORDER {
        let uses = uses_of(part);
        assert!(uses.len() > 2 || part == "git", "{part} has no modules");
        for start in uses.keys() {
            let mut seen = BTreeSet::new();
            let mut next: Vec<&Module> = uses[start].iter().collect();
            while let Some(module) = next.pop() {
                assert!(module != start, "{part}: {} is used by what it uses", start.join("::"));
                if seen.insert(module) {
                    next.extend(&uses[module]);
                }
            }
        }
    }
}

#[test]
fn a_types_name_stands_once() {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in ORDER {
        for (module, text) in files_of(part) {
            for item in syn::parse_file(&text).unwrap().items {
                let name = match item {
                    Item::Struct(item) => item.ident,
                    Item::Enum(item) => item.ident,
                    Item::Trait(item) => item.ident,
                    Item::Type(item) => item.ident,
                    _ => continue,
                };
                let place = format!("{part}::{}", module.join("::"));
                found.entry(name.to_string()).or_default().push(place);
            }
        }
    }
    assert!(found.len() > 300, "there are more types than {}", found.len());
    found.retain(|_, places| places.len() > 1);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn only_store_speaks_sql() {
    let calls_of = |part| {
        let mut found = BTreeMap::new();
        for (module, text) in files_of(part) {
            let mut calls = SqlCalls { found: Vec::new() };
            calls.visit_file(&syn::parse_file(&text).unwrap());
            if !calls.found.is_empty() {
                found.insert(format!("{part}::{}", module.join("::")), calls.found);
            }
        }
        found
    };
    assert!(calls_of("store").len() > 20, "{:?}", calls_of("store"));
    for part in ORDER.into_iter().filter(|part| *part != "store") {
        let manifest = fs::read_to_string(sources().join(part).join("Cargo.toml")).unwrap();
        if !manifest.contains("rusqlite") {
            continue; // Its queries are of something else.
        }
        assert_eq!(calls_of(part), BTreeMap::new(), "this moves to src/store");
    }
}

#[test]
fn a_pocket_is_looked_up_and_not_taken_on_trust() {
    for part in ORDER {
        for (module, text) in files_of(part) {
            let mut trust = Indexed { found: false };
            trust.visit_file(&syn::parse_file(&text).unwrap());
            let module = module.join("::");
            assert!(!trust.found, "{part}::{module} indexes pockets: Config::pocket finds one");
        }
    }
}

#[test]
fn a_public_signature_takes_no_bare_bool() {
    let mut found = Vec::new();
    let mut seen = 0;
    for part in ORDER {
        for (module, text) in files_of(part) {
            let mut signatures = Signatures { seen: 0, found: Vec::new() };
            signatures.visit_file(&syn::parse_file(&text).unwrap());
            seen += signatures.seen;
            let module = module.join("::");
            found.extend(signatures.found.iter().map(|name| format!("{part}::{module}::{name}")));
        }
    }
    assert!(seen > 800, "there are more public functions than {seen}");
    assert_eq!(found, [""; 0], "an enum says what true means");
}

/// Finds, for each file of a part, the other files that it uses.
fn uses_of(part: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let files = files_of(part);
    let modules: BTreeSet<Module> = files.keys().cloned().collect();
    files
        .into_iter()
        .map(|(module, text)| {
            let file = syn::parse_file(&text).unwrap();
            let mut paths = Paths { found: Vec::new() };
            paths.visit_file(&file);
            let used = paths.found.iter().filter_map(|path| target(path, &module, &modules));
            let used = used.filter(|other| *other != module).collect();
            (module, used)
        })
        .collect()
}

/// Reads the files of a part, but those of its tests.
fn files_of(part: &str) -> BTreeMap<Module, String> {
    let root = sources().join(part);
    let mut files = BTreeMap::new();
    collect(&root, &root, &mut files);
    files
}

fn collect(root: &Path, dir: &Path, files: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_test = ["tests.rs", "testing.rs", "properties.rs", "hostile.rs"].contains(&name)
            || name.ends_with("_tests.rs");
        if name.ends_with(".rs") && !is_test {
            let below = path.strip_prefix(root).unwrap().with_extension("");
            let mut module: Module =
                below.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
            if ["mod", "lib"].contains(&module.last().map_or("", String::as_str)) {
                module.pop();
            }
            files.insert(module, fs::read_to_string(&path).unwrap());
        }
    }
}

/// Finds the file that a path leads to, if it is one of the part's.
fn target(path: &[String], from: &Module, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut whole: Module = match path.first()?.as_str() {
        "crate" => path[1..].to_vec(),
        "self" => [&from[..], &path[1..]].concat(),
        "super" => {
            let up = path.iter().take_while(|name| *name == "super").count();
            [&from[..from.len().checked_sub(up)?], &path[up..]].concat()
        }
        first => {
            let child = [&from[..], &[first.to_owned()]].concat();
            modules.contains(&child).then(|| [&from[..], path].concat())?
        }
    };
    while !modules.contains(&whole) {
        whole.pop()?;
    }
    Some(whole)
}

/// Collects every path of a file but those of its tests.
struct Paths {
    found: Vec<Vec<String>>,
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string().contains("test"))
    })
}

/// Returns the attributes of an item of a kind that tests have too.
fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_of_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let passes_on = !matches!(item.vis, Visibility::Inherited);
        let mut found = Vec::new();
        expand(&item.tree, &mut Vec::new(), &mut found);
        found.retain(|path| !passes_on || matches!(path[0].as_str(), "crate" | "super" | "self"));
        self.found.append(&mut found);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if matches!(names[0].as_str(), "crate" | "super" | "self") && names.len() > 1 {
            self.found.push(names);
        }
        visit::visit_path(self, path);
    }
}

/// Collects the calls that hand SQL to SQLite, but those of tests: these may spoil a record.
struct SqlCalls {
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for SqlCalls {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_of_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        const SQL: [&str; 10] = [
            "execute",
            "execute_batch",
            "prepare_cached",
            "query",
            "query_and_then",
            "query_map",
            "query_one",
            "query_row",
            "pragma_query",
            "pragma_update",
        ];
        let name = call.method.to_string();
        if SQL.contains(&name.as_str()) {
            self.found.push(name);
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// Finds whether code, also that of tests, indexes a field `pockets`.
struct Indexed {
    found: bool,
}

impl<'ast> Visit<'ast> for Indexed {
    fn visit_expr_index(&mut self, index: &'ast ExprIndex) {
        self.found |= matches!(
            &*index.expr,
            Expr::Field(field) if matches!(&field.member, Member::Named(name) if name == "pockets")
        );
        visit::visit_expr_index(self, index);
    }
}

/// Collects the functions that others can call and that take a `bool`, but those of tests.
struct Signatures {
    seen: usize,
    found: Vec<String>,
}

impl Signatures {
    fn look(&mut self, signature: &Signature) {
        self.seen += 1;
        let takes_bool = signature.inputs.iter().any(|input| match input {
            FnArg::Typed(input) => is_bool(&input.ty),
            FnArg::Receiver(_) => false,
        });
        if takes_bool {
            self.found.push(signature.ident.to_string());
        }
    }
}

/// Tells whether a type is `bool`, or holds one without a name of its own.
fn is_bool(of: &Type) -> bool {
    match of {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            let mut inner = match &last.arguments {
                PathArguments::AngleBracketed(inner) => inner.args.iter().collect(),
                _ => Vec::new(),
            }
            .into_iter();
            last.ident == "bool"
                || inner.any(|inner| matches!(inner, GenericArgument::Type(of) if is_bool(of)))
        }),
        Type::Reference(to) => is_bool(&to.elem),
        Type::Tuple(all) => all.elems.iter().any(is_bool),
        Type::Array(of) => is_bool(&of.elem),
        Type::Slice(of) => is_bool(&of.elem),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Signatures {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_of_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if !matches!(function.vis, Visibility::Inherited) {
            self.look(&function.sig);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !matches!(function.vis, Visibility::Inherited) && !is_of_tests(&function.attrs) {
            self.look(&function.sig);
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        self.look(&function.sig);
    }
}

fn expand(tree: &UseTree, above: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(path) => {
            above.push(path.ident.to_string());
            expand(&path.tree, above, found);
            above.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| expand(tree, above, found)),
        UseTree::Name(name) => {
            let last = (name.ident != "self").then(|| name.ident.to_string());
            found.push(above.iter().cloned().chain(last).collect());
        }
        UseTree::Rename(rename) => {
            found.push(above.iter().cloned().chain([rename.ident.to_string()]).collect());
        }
        UseTree::Glob(_) => found.push(above.clone()),
    }
}
