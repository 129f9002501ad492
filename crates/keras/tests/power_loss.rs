//! What a disk may hold when the power fails, or any step fails, while weights are saved over others: the old or the new ones,
//! in every container, and no litter after the next save.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of the tests")]

mod common;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use common::{Held, Scratch, evaluate, save, tree};
use kw_keras::Flavor::{Keras2, Keras3};
use kw_keras::{LoadOptions, ModelTree, SaveOptions, execute_save, plan_load, plan_save};
use kw_model::faults::{Disk, Fault, FaultyFilesystem, Operation, states_after_power_loss};
use kw_model::{Cancel, Limits, LocalFilesystem, Result, crc32c};

type Values = BTreeMap<usize, Vec<u8>>;

/// One way of saving: a name for messages, the target, the model, the options.
struct Kind {
    label: &'static str,
    target: &'static str,
    tree: ModelTree,
    options: SaveOptions,
}

fn kinds() -> Vec<Kind> {
    let shards = || SaveOptions { max_shard_bytes: Some(100), ..SaveOptions::default() };
    let whole = || SaveOptions { model_config: Some("{}".to_owned()), ..SaveOptions::default() };
    let kind = |label, target, flavor, options| {
        let tree = tree("shared_layers", flavor).expect("a tree");
        Kind { label, target, tree, options }
    };
    vec![
        kind("keras3_h5", "w.weights.h5", Keras3, SaveOptions::default()),
        kind("legacy_h5", "w.h5", Keras2, SaveOptions::default()),
        kind("keras", "m.keras", Keras3, whole()),
        kind("sharded", "w.weights.json", Keras3, shards()),
        kind("bundle", "w", Keras2, SaveOptions::default()),
        kind("bundle_shards", "w", Keras2, shards()),
        kind("safetensors", "w.safetensors", Keras3, SaveOptions::default()),
        kind("npz", "w.npz", Keras3, SaveOptions::default()),
    ]
}

fn numbered(tree: &ModelTree, seed: u64) -> Values {
    let bytes = |(index, variable): (usize, &kw_keras::Variable)| {
        let len = variable.shape.byte_len(variable.dtype).expect("small");
        (index, (0..len).map(|at| u8::try_from((at * 7 + index as u64 + seed) % 101).expect("small")).collect())
    };
    tree.variables.iter().enumerate().map(bytes).collect()
}

fn run(kind: &Kind, folder: &Path, fs: &FaultyFilesystem, values: &Values) -> Result<()> {
    let plan = plan_save(&kind.tree, &folder.join(kind.target), &kind.options)?;
    let digests: Vec<u32> = plan.variables().iter().map(|variable| crc32c(&values[variable])).collect();
    let mut held = Held { variables: plan.variables().to_vec(), values };
    execute_save(&plan, fs, &digests, &mut held, &Cancel::default(), &mut |_| ()).map(|_| ())
}

fn load(kind: &Kind, folder: &Path) -> Result<Values> {
    let file = kw_keras::open(&folder.join(kind.target), &LocalFilesystem, &Limits::default())?;
    let plan = plan_load(&kind.tree, &file, &LoadOptions::default())?;
    Ok(evaluate(&kind.tree, &file, &plan))
}

/// Whether the folder holds the new weights; fails when it holds neither those nor the old ones.
fn is_new(kind: &Kind, folder: &Path, old: &Values, new: &Values, label: &str) -> bool {
    let found = load(kind, folder).unwrap_or_else(|error| panic!("{label}: {error}"));
    let same = |values: &Values| found.iter().all(|(variable, bytes)| values[variable] == *bytes);
    assert!(found.len() > 3 && same(old) != same(new), "{label}: neither the old weights nor the new");
    same(new)
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("lists").map(|entry| entry.expect("an entry").path()).collect()
}

fn fresh(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    for file in files_in(&scratch.0) {
        std::fs::remove_file(file).expect("removes");
    }
    scratch
}

#[test]
fn a_loss_of_power_at_any_moment_leaves_old_or_new() {
    // `npm run test:oracle` asks TensorFlow for its opinion of the same states.
    let keep = std::env::var_os("KERAS_WEIGHTS_STATES").map(PathBuf::from);
    for kind in kinds() {
        let (old, new) = (numbered(&kind.tree, 1), numbered(&kind.tree, 2));
        let scratch = fresh(&format!("power-{}", kind.label));
        save(&kind.tree, &scratch.0.join(kind.target), &kind.options, &old).expect("saves");
        let before: Disk =
            files_in(&scratch.0).into_iter().map(|path| (path.clone(), std::fs::read(path).expect("reads"))).collect();
        let recorded = FaultyFilesystem::new(LocalFilesystem);
        run(&kind, &scratch.0, &recorded, &new).expect("saves");
        let log = recorded.log();
        let states = states_after_power_loss(&before, &log);
        let lay_out = |state: &Disk, folder: &Path| {
            for (path, bytes) in state {
                std::fs::write(folder.join(path.file_name().expect("a name")), bytes).expect("writes");
            }
        };
        let (mut olds, mut news) = (0, 0);
        for (number, state) in states.iter().enumerate() {
            let disk = fresh(&format!("disk-{}", kind.label));
            lay_out(state, &disk.0);
            let label = format!("{} state {number} of {}", kind.label, states.len());
            let new = is_new(&kind, &disk.0, &old, &new, &label);
            if new {
                news += 1;
            } else {
                olds += 1;
            }
            if let Some(keep) = keep.as_ref().filter(|_| kind.label.starts_with("bundle")) {
                let age = if new { "new" } else { "old" };
                let folder = keep.join(format!("{}-{number:04}-{age}", kind.label));
                std::fs::create_dir_all(&folder).expect("a folder");
                lay_out(state, &folder);
            }
        }
        assert!(olds > 3 && news > 0, "{}: {olds} old, {news} new", kind.label);
        // The states must be able to show a mistake: without syncs a name may outrun its content.
        let careless: Vec<_> = log.into_iter().filter(|step| !matches!(step, Operation::Sync { .. })).collect();
        let broken = states_after_power_loss(&before, &careless).iter().any(|state| {
            let disk = fresh(&format!("careless-{}", kind.label));
            lay_out(state, &disk.0);
            load(&kind, &disk.0).is_err()
        });
        assert!(broken, "{}: no state shows that a sync is missing", kind.label);
    }
}

#[test]
fn any_step_that_fails_leaves_old_or_new_and_no_litter_after_the_next_save() {
    let faults = [
        Fault::Error(ErrorKind::StorageFull),
        Fault::Short(ErrorKind::StorageFull),
        Fault::DoneButFailed(ErrorKind::Other),
        Fault::Killed,
    ];
    // Sets of files have sweeps of their own, beside their other tests.
    for kind in kinds().iter().filter(|kind| !["sharded", "bundle", "bundle_shards"].contains(&kind.label)) {
        let (old, new) = (numbered(&kind.tree, 1), numbered(&kind.tree, 2));
        for fault in faults {
            for step in 1.. {
                let scratch = fresh(&format!("sweep-{}", kind.label));
                let label = format!("{} {fault:?} at {step}", kind.label);
                save(&kind.tree, &scratch.0.join(kind.target), &kind.options, &old).expect("saves");
                let fs = FaultyFilesystem::new(LocalFilesystem).fail_at(step, fault);
                let outcome = run(kind, &scratch.0, &fs, &new);
                let replaced = is_new(kind, &scratch.0, &old, &new, &label);
                assert!(outcome.is_err() || replaced, "{label}: a save that did nothing");
                save(&kind.tree, &scratch.0.join(kind.target), &kind.options, &new).expect("the next save");
                assert_eq!(files_in(&scratch.0).len(), 1, "{label}: litter");
                if fs.count() < step {
                    assert!(step > 8, "{label}: the sweep saw {step} steps only");
                    break;
                }
            }
        }
    }
}

#[test]
fn of_several_savers_to_one_name_the_result_is_one_of_all() {
    for kind in kinds().iter().filter(|kind| kind.label != "sharded") {
        let scratch = fresh(&format!("savers-{}", kind.label));
        let target = scratch.0.join(kind.target);
        let all: Vec<Values> = (1..5).map(|seed| numbered(&kind.tree, seed)).collect();
        save(&kind.tree, &target, &kind.options, &all[0]).expect("saves");
        for round in 0..15 {
            std::thread::scope(|scope| {
                for values in &all {
                    let target = &target;
                    scope.spawn(move || save(&kind.tree, target, &kind.options, values).expect("saves"));
                }
            });
            let found = load(kind, &scratch.0).unwrap_or_else(|error| panic!("{} round {round}: {error}", kind.label));
            let same = |values: &&Values| found.iter().all(|(variable, bytes)| values[variable] == *bytes);
            assert_eq!(all.iter().filter(same).count(), 1, "{} round {round}: a mixture", kind.label);
        }
        save(&kind.tree, &target, &kind.options, &all[0]).expect("saves");
        let left = files_in(&scratch.0).len();
        assert!(left <= if kind.label.starts_with("bundle") { 20 } else { 1 }, "{}: litter, {left} files", kind.label);
    }
}
