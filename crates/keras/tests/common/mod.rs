//! Real files and Keras' recorded answers.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "helpers of several test binaries, each of which uses a part"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kw_keras::{Flavor, ModelTree};
use serde_json::Value as Json;
use sha2::Digest as _;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// The fixtures of the repository, which are always there.
pub fn fixtures() -> PathBuf {
    repository().join("__test__/fixtures")
}

/// The large corpus if it is there, else the fixtures, which have the same folders for a part of it.
pub fn corpus() -> PathBuf {
    if let Some(path) = std::env::var_os("KERAS_WEIGHTS_CORPUS") {
        return PathBuf::from(path);
    }
    let beside = repository().join("../shared/corpus");
    if beside.join("README.md").is_file() { beside } else { fixtures() }
}

pub fn json(path: &Path) -> Json {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `k2` or `k3`.
pub fn short(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Keras2 => "k2",
        Flavor::Keras3 => "k3",
    }
}

/// The golden tree of a model of the zoo.
pub fn tree(model: &str, flavor: Flavor) -> Option<ModelTree> {
    let path = fixtures().join(format!("trees/{model}.{}.json", short(flavor)));
    let text = std::fs::read_to_string(path).ok()?;
    Some(ModelTree::from_json(&text).unwrap_or_else(|error| panic!("{model}: {error}")))
}

/// Trees kept together in one file, by name.
pub fn trees(file: &str) -> BTreeMap<String, ModelTree> {
    let all = json(&fixtures().join("trees").join(file));
    let parse =
        |(name, tree): (&String, &Json)| (name.clone(), ModelTree::from_json(&tree.to_string()).expect("a tree"));
    all.as_object().expect("an object").iter().map(parse).collect()
}

/// Keras' own orders for the golden trees.
pub fn orders(flavor: Flavor) -> BTreeMap<String, Json> {
    let all = json(&fixtures().join(format!("trees/orders.{}.json", short(flavor))));
    all.as_object().expect("an object").iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

pub fn indices(value: &Json) -> Vec<usize> {
    let index = |value: &Json| usize::try_from(value.as_u64().expect("an index")).expect("small");
    value.as_array().expect("a list").iter().map(index).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The models for which the corpus has a folder of this Keras.
pub fn models(flavor: Flavor) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(corpus())
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| corpus().join(name).join(short(flavor)).join("expected.json").is_file())
        .collect();
    names.sort();
    assert!(names.len() >= 10, "only {names:?}");
    names
}

/// The recorded SHA-256 of each weight in `get_weights` order; with a gap in the middle for models of over 200 weights.
pub fn expected_weights(folder: &Path, count: usize) -> Vec<Option<String>> {
    let recorded = json(&folder.join("expected.json"));
    let mut weights = vec![None; count];
    for weight in recorded["get_weights"].as_array().expect("a list") {
        let index = usize::try_from(weight["index"].as_u64().expect("an index")).expect("small");
        weights[index] = Some(weight["sha256"].as_str().expect("a digest").to_owned());
    }
    assert!(weights.iter().flatten().count() >= 1);
    weights
}

/// Opens a file under default limits.
pub fn open_file(path: &Path) -> kw_keras::OpenedFile {
    kw_keras::open(path, &kw_model::LocalFilesystem, &kw_model::Limits::default())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The bytes every planned variable gets, as a caller has to compute them.
pub fn evaluate(tree: &ModelTree, file: &kw_keras::OpenedFile, plan: &kw_keras::LoadPlan) -> BTreeMap<usize, Vec<u8>> {
    let cancel = kw_model::Cancel::default();
    let reader = file.reader.as_ref();
    let mut values = BTreeMap::new();
    for assignment in &plan.assignments {
        let target = &tree.variables[assignment.variable];
        let bytes = match &assignment.value {
            kw_keras::Value::Computed(recipe) => {
                assert_eq!(recipe.shape(), target.shape);
                recipe.evaluate(reader, &cancel).expect("computes")
            }
            kw_keras::Value::Tensor { entry, cast, reinterpret } => {
                let stored = reader.catalogue().entry(*entry).expect("an entry");
                assert_eq!(stored.shape, target.shape);
                let mut raw = vec![0; usize::try_from(stored.byte_len).expect("small")];
                reader.read_into(*entry, &mut raw, &cancel).expect("reads");
                match cast {
                    None => raw,
                    Some(to) => {
                        let from = reinterpret.unwrap_or(stored.dtype);
                        let elements = raw.len() / from.size();
                        let mut out = vec![0; elements * to.size()];
                        kw_keras::cast::cast(&raw, from, *to, &mut out).expect("casts");
                        out
                    }
                }
            }
        };
        assert_eq!(bytes.len() as u64, target.shape.byte_len(target.dtype).expect("small"));
        assert!(values.insert(assignment.variable, bytes).is_none(), "assigned twice");
    }
    values
}

/// A folder that is removed when dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kw-keras-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Hands over values that are in memory, in small pieces.
pub struct Held<'a> {
    pub variables: Vec<usize>,
    pub values: &'a BTreeMap<usize, Vec<u8>>,
}

impl kw_keras::ValueStream for Held<'_> {
    fn pump(&mut self, tensor: usize, out: &mut dyn FnMut(&[u8]) -> kw_model::Result<()>) -> kw_model::Result<()> {
        self.values[&self.variables[tensor]].chunks(1000).try_for_each(out)
    }
}

/// Plans and writes a file of these values.
pub fn save(
    tree: &ModelTree,
    target: &Path,
    options: &kw_keras::SaveOptions,
    values: &BTreeMap<usize, Vec<u8>>,
) -> kw_model::Result<kw_keras::SaveReport> {
    let plan = kw_keras::plan_save(tree, target, options)?;
    let digests: Vec<u32> = plan.variables().iter().map(|variable| kw_model::crc32c(&values[variable])).collect();
    let mut stream = Held { variables: plan.variables().to_vec(), values };
    let cancel = kw_model::Cancel::default();
    kw_keras::execute_save(&plan, &kw_model::LocalFilesystem, &digests, &mut stream, &cancel, &mut |_| ())
}

/// Cases that fall under a row of `docs/compatibility.md`.
pub struct Rows(BTreeMap<&'static str, Vec<String>>);

impl Rows {
    pub fn new() -> Self {
        Rows(BTreeMap::new())
    }

    pub fn count(&mut self, row: &'static str, case: &str) {
        self.0.entry(row).or_default().push(case.to_owned());
    }

    /// Every row used is documented, and those expected were used.
    pub fn assert_documented(&self, used: &[&str]) {
        let path = repository().join("docs/compatibility.md");
        let page = std::fs::read_to_string(&path).expect("docs/compatibility.md");
        for row in self.0.keys() {
            assert!(page.contains(&format!("| `{row}` |")), "{row} is not in docs/compatibility.md");
        }
        for row in used {
            assert!(self.0.contains_key(row), "no case falls under {row}: {self}");
        }
    }
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (row, cases) in &self.0 {
            write!(f, "{row}: {} ", cases.len())?;
        }
        Ok(())
    }
}
