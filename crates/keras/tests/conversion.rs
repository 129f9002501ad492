//! Conversions between all containers, with and without a model.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of the tests")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Scratch, corpus, evaluate, open_file, save, tree};
use kw_keras::Flavor::{Keras2, Keras3};
use kw_keras::{ConvertReport, Format, LoadOptions, OpenedFile, SaveOptions, convert, convert_model, plan_load};
use kw_model::{Cancel, Code, DType, LocalFilesystem, Location, Result};

fn contents(file: &OpenedFile) -> BTreeMap<String, (DType, Vec<u64>, Vec<u8>)> {
    let read = |(index, entry): (usize, &kw_model::TensorEntry)| {
        let mut bytes = vec![0; usize::try_from(entry.byte_len).expect("small")];
        file.reader.read_into(index, &mut bytes, &Cancel::default()).expect("reads");
        (entry.path.clone(), (entry.dtype, entry.shape.axes().to_vec(), bytes))
    };
    file.reader.catalogue().entries().iter().enumerate().map(read).collect()
}

fn run(from: &Path, to: &Path, dtype: Option<DType>) -> Result<ConvertReport> {
    let sharded = to.to_string_lossy().ends_with(".json");
    let options = SaveOptions { max_shard_bytes: sharded.then_some(1 << 20), ..SaveOptions::default() };
    let cancel = Cancel::default();
    convert(&open_file(from), to, dtype, &options, &LocalFilesystem, &cancel, &mut |_| ())
}

#[test]
fn names_and_values_survive_every_pair_of_containers() {
    let scratch = Scratch::new("convert-pairs");
    let names = ["a.weights.h5", "b.weights.json", "c.safetensors", "d.npz"];
    for (model, flavor, source) in [
        ("cnn_bn", Keras3, "model.weights.h5"),
        ("cnn_bn", Keras3, "model.keras"),
        ("cnn_bn", Keras2, "v3.weights.h5"),
        ("mixed_bfloat16", Keras3, "model.weights.h5"),
    ] {
        let source = corpus().join(model).join(common::short(flavor)).join(source);
        let expected = contents(&open_file(&source));
        for first in names {
            for second in names {
                let (one, two) = (scratch.0.join(first), scratch.0.join(format!("z{second}")));
                let report = run(&source, &one, None).unwrap_or_else(|error| panic!("{first}: {error}"));
                assert!(report.left_out.is_empty() && report.overflowed.is_empty(), "{report:?}");
                assert_eq!(
                    report.dropped.is_empty(),
                    flavor == Keras2 || first.ends_with("h5") || first.ends_with("json")
                );
                run(&one, &two, None).unwrap_or_else(|error| panic!("{first} to {second}: {error}"));
                assert_eq!(contents(&open_file(&two)), expected, "{model} {first} {second}");
            }
        }
        // And it still is the model's.
        let tree = tree(model, flavor).expect("a tree");
        let file = open_file(&scratch.0.join("za.weights.h5"));
        let plan = plan_load(&tree, &file, &LoadOptions::default()).expect("loads");
        assert!(plan.report.missing.is_empty() && plan.report.unexpected.is_empty());
    }
}

#[test]
fn a_model_leads_from_one_layout_to_another() {
    let scratch = Scratch::new("convert-model");
    for (flavor, legacy, paths) in
        [(Keras2, "weights.h5", "v3.weights.h5"), (Keras3, "legacy_weights.h5", "model.weights.h5")]
    {
        let folder = corpus().join("cnn_bn").join(common::short(flavor));
        let (legacy, paths) = (folder.join(legacy), folder.join(paths));
        let target = scratch.0.join("w.weights.h5");
        let error = run(&legacy, &target, None).expect_err("names of layers are no object paths");
        assert_eq!(error.code(), Code::Format);
        assert_eq!(run(&paths, &scratch.0.join("w.h5"), None).map_err(|error| error.code()).err(), Some(Code::Format));
        let copied = scratch.0.join("copy.h5");
        assert_eq!(run(&legacy, &copied, None).expect("the same layout").format, Format::LegacyH5);
        let tree = tree("cnn_bn", flavor).expect("a tree");
        let all =
            |file: &OpenedFile| evaluate(&tree, file, &plan_load(&tree, file, &LoadOptions::default()).expect("loads"));
        assert_eq!(all(&open_file(&copied)), all(&open_file(&legacy)));
        for name in ["w.weights.h5", "w.safetensors", "w.npz"] {
            let target = scratch.0.join(name);
            let options = SaveOptions::default();
            let file = open_file(&legacy);
            let fs = LocalFilesystem;
            let report = convert_model(&tree, &file, &target, None, &options, &fs, &Cancel::default(), &mut |_| ());
            assert!(report.expect("converts").left_out.is_empty());
            assert_eq!(all(&open_file(&target)), all(&file), "{name}");
        }
    }
}

#[test]
fn floats_are_rounded_to_even_and_overflow_is_told() {
    let scratch = Scratch::new("convert-dtype");
    let mut tree = tree("mnist_dense", Keras3).expect("a tree");
    tree.variables.truncate(4);
    let floats = [1.0_f32, 70_000.0, -1e30, f32::INFINITY, f32::NAN, 1.000_488_3, 65_519.0, 1.003_906_3];
    let values: BTreeMap<usize, Vec<u8>> = tree
        .variables
        .iter()
        .enumerate()
        .map(|(index, variable)| {
            let count = variable.shape.byte_len(variable.dtype).expect("small") / 4;
            let bytes = (0..count).flat_map(|at| floats[usize::try_from(at).expect("small") % 8].to_le_bytes());
            (index, bytes.collect())
        })
        .collect();
    let source = scratch.0.join("w.weights.h5");
    save(&tree, &source, &SaveOptions::default(), &values).expect("saves");
    let half = scratch.0.join("half.safetensors");
    let report = run(&source, &half, Some(DType::Float16)).expect("converts");
    assert_eq!(report.overflowed.len(), 4);
    let small = tree.variables.iter().map(|v| v.shape.byte_len(v.dtype).expect("small") / 4).min().expect("some");
    assert_eq!(report.overflowed.values().min(), Some(&(small / 8 * 2 + (small % 8).saturating_sub(1).min(2))));
    let first = |path: &Path| {
        let bytes = contents(&open_file(path)).into_values().next().expect("one").2;
        bytes.chunks_exact(2).take(8).map(|b| u16::from_le_bytes([b[0], b[1]])).collect::<Vec<_>>()
    };
    let bits = first(&half);
    assert_eq!((&bits[..4], &bits[5..7]), (&[0x3c00, 0x7c00, 0xfc00, 0x7c00][..], &[0x3c00, 0x7bff][..]));
    let brain = scratch.0.join("brain.weights.h5");
    let report = run(&source, &brain, Some(DType::BFloat16)).expect("converts");
    assert!(report.overflowed.is_empty(), "{:?}", report.overflowed);
    let bits = first(&brain);
    assert_eq!((bits[0], bits[7]), (0x3f80, 0x3f80), "half-way goes to even");
    let error = run(&source, &brain, Some(DType::Int8)).expect_err("no float");
    assert_eq!(error.code(), Code::Argument);
}

#[test]
fn damage_is_not_hidden_under_new_digests() {
    let scratch = Scratch::new("convert-damage");
    let tree = tree("cnn_bn", Keras3).expect("a tree");
    let source = corpus().join("cnn_bn/k3/model.weights.h5");
    let ours = scratch.0.join("w.weights.h5");
    run(&source, &ours, None).expect("converts");
    let mut bytes = std::fs::read(&ours).expect("reads");
    let Location::Range { offset, .. } = open_file(&ours).reader.catalogue().entries()[3].location else {
        panic!("in place")
    };
    bytes[usize::try_from(offset).expect("small")] ^= 1;
    std::fs::write(&ours, bytes).expect("writes");
    let target = scratch.0.join("x.safetensors");
    assert_eq!(run(&ours, &target, None).expect_err("damaged").code(), Code::Digest);
    let through = convert_model(
        &tree,
        &open_file(&ours),
        &target,
        None,
        &SaveOptions::default(),
        &LocalFilesystem,
        &Cancel::default(),
        &mut |_| (),
    );
    assert_eq!(through.expect_err("damaged").code(), Code::Digest);
    assert!(!target.exists());
    let cancel = Cancel::default();
    cancel.cancel();
    let file = open_file(&source);
    let stopped = convert(&file, &target, None, &SaveOptions::default(), &LocalFilesystem, &cancel, &mut |_| ());
    assert_eq!(stopped.expect_err("aborted").code(), Code::Aborted);
}
