//! One file is replaced as a whole or not at all, whatever goes wrong.
#![expect(clippy::unwrap_used, reason = "helpers of a test may fail it")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use kw_model::faults::{Disk, Fault, FaultyFilesystem, Operation, states_after_power_loss};
use kw_model::{ByteSink, Code, FileSink, Filesystem, LocalFilesystem, Result, commit_file};
use tempfile::TempDir;

const OLD: &[u8] = b"the old weights";
const NEW: &[u8] = b"the new weights, which are longer";

fn write_new(sink: &mut dyn ByteSink) -> Result<()> {
    NEW.chunks(5).try_for_each(|piece| sink.write_all(piece))
}

fn save(fs: &dyn Filesystem, target: &Path, overwrite: bool) -> Result<()> {
    commit_file(fs, target, overwrite, Some(NEW.len() as u64), &mut write_new)
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The steps of one save, by name only.
fn steps(log: &[Operation]) -> Vec<String> {
    log.iter().map(|step| format!("{step:?}").split([' ', '{']).next().unwrap().to_owned()).collect()
}

#[test]
fn the_steps_are_in_the_order_that_makes_them_safe() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("w.h5");
    let fs = FaultyFilesystem::new(LocalFilesystem);
    save(&fs, &target, true).unwrap();
    assert_eq!(
        steps(&fs.log()),
        [
            "Metadata",
            "ResolveLinks",
            "List",
            "CreateTemporary",
            "Preallocate",
            "Write",
            "Sync",
            "RenameReplace",
            "SyncFolder"
        ]
    );
    assert_eq!(fs::read(&target).unwrap(), NEW);
    assert_eq!(names_in(folder.path()), ["w.h5"]);
}

#[test]
fn any_failing_step_leaves_old_or_new_and_no_litter_after_the_next_save() {
    let faults = [
        Fault::Error(ErrorKind::StorageFull),
        Fault::Error(ErrorKind::Other),
        Fault::Error(ErrorKind::PermissionDenied),
        Fault::Short(ErrorKind::StorageFull),
        Fault::DoneButFailed(ErrorKind::Other),
        Fault::Killed,
    ];
    for fault in faults {
        for (old, overwrite) in [(Some(OLD), true), (None, true), (None, false)] {
            sweep_over_steps(fault, old, overwrite);
        }
    }
}

fn sweep_over_steps(fault: Fault, old: Option<&[u8]>, overwrite: bool) {
    let mut failures = 0;
    for step in 1.. {
        let case = format!("{fault:?} at step {step}, old {}, overwrite {overwrite}", old.is_some());
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("w.h5");
        if let Some(old) = old {
            fs::write(&target, old).unwrap();
        }
        let faulty = FaultyFilesystem::new(LocalFilesystem).fail_at(step, fault);
        let result = save(&faulty, &target, overwrite);
        let found = fs::read(&target).ok();
        let renamed =
            faulty.log().iter().any(|s| matches!(s, Operation::RenameReplace { .. } | Operation::RenameNew { .. }));
        let wanted = if renamed { Some(NEW) } else { old };
        assert_eq!(found.as_deref(), wanted, "{case}: {result:?}");
        if result.is_ok() {
            assert!(renamed, "{case}");
        } else {
            failures += 1;
            let step_name = steps(&faulty.log()).pop();
            let unknown =
                fault == Fault::DoneButFailed(ErrorKind::Other) && step_name.as_deref() == Some("CreateTemporary");
            if fault != Fault::Killed && !unknown {
                // A file that was said not to have been created is left to the sweep, as is that of
                // a killed process. Any other is removed at once.
                assert!(names_in(folder.path()).iter().all(|name| name == "w.h5"), "{case}");
            }
        }
        save(&LocalFilesystem, &target, true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), NEW, "{case}");
        assert_eq!(names_in(folder.path()), ["w.h5"], "{case}");
        if faulty.count() < step {
            assert!(result.is_ok(), "{case}: nothing was made to fail");
            // Every step but the listing for a sweep matters.
            assert!(failures >= 8, "{case}: {failures}");
            return;
        }
    }
}

#[test]
fn interrupted_and_short_writes_are_continued() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("w.h5");
    // Step 6 is the first write, as the order of steps above says.
    for fault in [Fault::Error(ErrorKind::Interrupted), Fault::Short(ErrorKind::Interrupted)] {
        let fs = FaultyFilesystem::new(LocalFilesystem).fail_at(6, fault);
        save(&fs, &target, true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), NEW);
        assert!(fs.count() > 9, "a write was repeated");
    }
}

#[test]
fn a_loss_of_power_at_any_moment_leaves_old_or_new() {
    for old in [Some(OLD), None] {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("w.h5");
        let mut before = Disk::new();
        if let Some(old) = old {
            fs::write(&target, old).unwrap();
            before.insert(target.clone(), old.to_vec());
        }
        let fs = FaultyFilesystem::new(LocalFilesystem);
        save(&fs, &target, true).unwrap();
        let log = fs.log();
        let is_safe = |state: &Disk| {
            let found = state.get(&target).map(Vec::as_slice);
            found == old || found == Some(NEW)
        };
        let states = states_after_power_loss(&before, &log);
        assert!(states.len() > 5);
        assert!(states.iter().all(is_safe));
        assert!(states.iter().any(|state| state.get(&target).is_some_and(|found| found == NEW)));
        // After the last step, only the new content is possible.
        let after: Disk = [(target.clone(), NEW.to_vec())].into();
        assert!(states.contains(&after));

        // The model must be able to see a mistake: without the sync, the rename may outrun the content.
        let careless: Vec<_> = log.into_iter().filter(|s| !matches!(s, Operation::Sync { .. })).collect();
        assert!(!states_after_power_loss(&before, &careless).iter().all(is_safe));
    }
}

#[test]
fn without_overwrite_an_existing_file_is_never_replaced() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("w.h5");
    fs::write(&target, OLD).unwrap();
    let error = save(&LocalFilesystem, &target, false).unwrap_err();
    assert_eq!(error.code(), Code::Exists);
    assert_eq!(error.context().file.as_deref(), target.to_str());
    assert_eq!(fs::read(&target).unwrap(), OLD);

    // Nor one that comes while we write.
    fs::remove_file(&target).unwrap();
    let error = commit_file(&LocalFilesystem, &target, false, None, &mut |sink| {
        fs::write(&target, OLD).unwrap();
        sink.write_all(NEW)
    })
    .unwrap_err();
    assert_eq!(error.code(), Code::Exists);
    assert_eq!(fs::read(&target).unwrap(), OLD);
    assert_eq!(names_in(folder.path()), ["w.h5"]);
}

#[test]
fn of_many_savers_without_overwrite_one_wins() {
    let folder = TempDir::new().unwrap();
    let target = &folder.path().join("w.h5");
    let codes: Vec<_> = std::thread::scope(|scope| {
        let savers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| save(&LocalFilesystem, target, false).map_err(|e| e.code()))).collect();
        savers.into_iter().map(|saver| saver.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| code.is_ok()).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, Ok(()) | Err(Code::Exists))), "{codes:?}");
    assert_eq!(names_in(folder.path()), ["w.h5"]);
}

#[test]
fn of_two_savers_to_one_name_the_result_is_one_of_both() {
    let folder = TempDir::new().unwrap();
    let target = &folder.path().join("w.h5");
    let contents = [vec![b'a'; 300_000], vec![b'b'; 700_001]];
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for content in &contents {
                scope.spawn(move || {
                    commit_file(&LocalFilesystem, target, true, Some(content.len() as u64), &mut |sink| {
                        content.chunks(100_000).try_for_each(|piece| sink.write_all(piece))
                    })
                    .unwrap();
                });
            }
        });
        assert!(contents.contains(&fs::read(target).unwrap()));
        assert_eq!(names_in(folder.path()), ["w.h5"]);
    }
}

#[test]
fn only_abandoned_temporary_files_of_the_same_target_are_swept() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("w.h5");
    let held = LocalFilesystem.create_temporary(&target).unwrap();
    let held_name = held.path().file_name().unwrap().to_str().unwrap().to_owned();
    let kept = [
        ".other.h5.0123456789abcdef.kw-tmp",
        ".w.h5.0123456789abcde.kw-tmp",
        ".w.h5.0123456789abcdeg.kw-tmp",
        ".w.h5.kw-tmp",
        "w.h5.0123456789abcdef.kw-tmp",
        ".w.h5.0123456789abcdef.kw-tmp.bak",
    ];
    for name in kept.iter().copied().chain([".w.h5.0123456789abcdef.kw-tmp"]) {
        fs::write(folder.path().join(name), "left").unwrap();
    }
    fs::create_dir(folder.path().join(".w.h5.aaaaaaaaaaaaaaaa.kw-tmp")).unwrap();
    save(&LocalFilesystem, &target, true).unwrap();

    let mut wanted: Vec<&str> = kept.to_vec();
    wanted.extend([".w.h5.aaaaaaaaaaaaaaaa.kw-tmp", "w.h5", &held_name]);
    wanted.sort_unstable();
    assert_eq!(names_in(folder.path()), wanted);

    // Once its writer is gone, the held one goes too.
    drop(held);
    save(&LocalFilesystem, &target, true).unwrap();
    assert!(!names_in(folder.path()).contains(&held_name));
}

#[test]
fn sweeping_and_creating_at_once_never_takes_a_file_away_from_its_writer() {
    let folder = TempDir::new().unwrap();
    let target = &folder.path().join("w.h5");
    let stop = &std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for name in names_in(target.parent().unwrap()) {
                    let _removed = LocalFilesystem.remove_if_abandoned(&target.with_file_name(name));
                }
            }
        });
        for _ in 0..500 {
            let file = LocalFilesystem.create_temporary(target).unwrap();
            assert!(file.path().exists());
            LocalFilesystem.remove(file.path()).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn what_cannot_be_a_target_is_said_clearly() {
    let folder = TempDir::new().unwrap();
    let cases = [
        (folder.path().to_path_buf(), Code::Io, "it is a folder"),
        (folder.path().join("no/such/w.h5"), Code::NotFound, "no/such does not exist; create it first"),
        ("".into(), Code::Argument, "does not name a file"),
        (folder.path().join("no/.."), Code::Argument, "does not name a file"),
    ];
    for (target, code, words) in cases {
        for overwrite in [true, false] {
            let error = save(&LocalFilesystem, &target, overwrite).unwrap_err();
            assert_eq!(error.code(), code, "{target:?}: {error}");
            assert!(error.message().contains(words), "{target:?}: {error}");
        }
    }
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn room_that_is_not_there_shows_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("w.h5");
    fs::write(&target, OLD).unwrap();
    let error = commit_file(&LocalFilesystem, &target, true, Some(1 << 60), &mut |_| unreachable!()).unwrap_err();
    assert_eq!(error.code(), Code::Io, "{error}");
    assert_eq!(fs::read(&target).unwrap(), OLD);
    assert_eq!(names_in(folder.path()), ["w.h5"]);
}

#[test]
fn a_wrong_length_a_failing_writer_and_a_panic_leave_the_old_file() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("w.h5");
    fs::write(&target, OLD).unwrap();
    for len in [NEW.len() as u64 - 1, NEW.len() as u64 + 1] {
        let error = commit_file(&LocalFilesystem, &target, true, Some(len), &mut write_new).unwrap_err();
        assert_eq!(error.code(), Code::Internal);
    }
    let aborted = || kw_model::WeightsError::new(Code::Aborted, "the caller aborted");
    let error = commit_file(&LocalFilesystem, &target, true, None, &mut |_| Err(aborted())).unwrap_err();
    assert_eq!(error.code(), Code::Aborted);
    let panicked = std::panic::catch_unwind(|| {
        commit_file(&LocalFilesystem, &target, true, None, &mut |sink| {
            sink.write_all(NEW).unwrap();
            panic!("in the middle")
        })
    });
    assert!(panicked.is_err());
    assert_eq!(fs::read(&target).unwrap(), OLD);
    assert_eq!(names_in(folder.path()), ["w.h5"]);
}

#[test]
fn large_and_small_pieces_arrive_in_order() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("w.h5");
    let bytes: Vec<u8> = (0..600_000_u64).flat_map(|n| (n * 7_654_321).to_le_bytes()).collect();
    let sizes = [1, 100, 262_143, 262_144, 262_145, 5, 1_000_000, 0, 262_139];
    commit_file(&LocalFilesystem, &target, true, None, &mut |sink| {
        let mut rest = &bytes[..];
        for &size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            sink.write_all(piece)?;
            rest = after;
            assert_eq!(sink.position(), (bytes.len() - rest.len()) as u64);
            if rest.is_empty() {
                return Ok(());
            }
        }
        unreachable!()
    })
    .unwrap();
    assert_eq!(fs::read(&target).unwrap(), bytes);
}

#[test]
fn a_name_as_long_as_the_file_system_allows_can_be_saved_to() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("ü".repeat(127));
    save(&LocalFilesystem, &target, true).unwrap();
    assert_eq!(fs::read(&target).unwrap(), NEW);
}

#[test]
fn a_new_file_under_its_final_name_is_exclusive() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("shard");
    LocalFilesystem.create_new(&target).unwrap().write(NEW).unwrap();
    assert_eq!(LocalFilesystem.create_new(&target).err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
    assert_eq!(fs::read(&target).unwrap(), NEW);
}

#[test]
fn a_scratch_file_is_written_then_read_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let fs = FaultyFilesystem::new(LocalFilesystem);
    let mut scratch = fs.create_scratch(&folder.path().join("w.h5")).unwrap();
    let mut sink = FileSink::new(&mut *scratch, "scratch");
    sink.write_all(NEW).unwrap();
    sink.flush().unwrap();
    if cfg!(unix) {
        assert!(names_in(folder.path()).is_empty(), "not even while it is open");
    }
    let source = scratch.into_source().unwrap();
    let mut found = vec![0; NEW.len() - 4];
    source.read_exact_at(4, &mut found).unwrap();
    assert_eq!((source.len(), &found[..]), (NEW.len() as u64, &NEW[4..]));
    drop(source);
    assert!(names_in(folder.path()).is_empty());
    assert_eq!(steps(&fs.log()), ["CreateScratch", "Write", "IntoSource", "Read"]);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use std::fs::File;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_link_stays_and_the_file_behind_it_is_replaced() {
        let folder = TempDir::new().unwrap();
        let other = TempDir::new_in(folder.path()).unwrap();
        let target = folder.path().join("latest.h5");
        let middle = folder.path().join("middle");
        let real = other.path().join("run-7.h5");
        symlink(&real, &middle).unwrap();
        symlink("middle", &target).unwrap();
        // At first the link leads nowhere.
        for overwrite in [false, true] {
            save(&LocalFilesystem, &target, overwrite).unwrap();
            assert!(fs::symlink_metadata(&target).unwrap().is_symlink());
            assert_eq!(fs::read(&real).unwrap(), NEW);
            fs::write(&real, OLD).unwrap();
        }
        assert_eq!(save(&LocalFilesystem, &target, false).unwrap_err().code(), Code::Exists);
        assert_eq!(names_in(other.path()), ["run-7.h5"]);
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("round.h5");
        symlink("round.h5", &target).unwrap();
        assert_eq!(save(&LocalFilesystem, &target, true).unwrap_err().code(), Code::Io);
    }

    #[test]
    fn a_device_is_not_replaced() {
        let error = save(&LocalFilesystem, Path::new("/dev/null"), true).unwrap_err();
        assert_eq!(error.code(), Code::Io);
        assert!(error.message().contains("not a regular file"), "{error}");
    }

    #[test]
    fn permissions_of_the_old_file_are_kept() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("w.h5");
        for wanted in [0o600, 0o640, 0o666, 0o755] {
            fs::write(&target, OLD).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(wanted)).unwrap();
            save(&LocalFilesystem, &target, true).unwrap();
            assert_eq!(mode(&target), wanted, "{wanted:o}");
        }
        // A new file gets what every new file gets.
        let (plain, fresh) = (folder.path().join("plain"), folder.path().join("fresh.h5"));
        File::create(&plain).unwrap();
        save(&LocalFilesystem, &fresh, true).unwrap();
        assert_eq!(mode(&fresh), mode(&plain));
    }

    #[test]
    fn a_write_protected_file_is_not_replaced() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("w.h5");
        fs::write(&target, OLD).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o444)).unwrap();
        // To the superuser nothing is protected: then the save goes through, as every write would.
        let protected = File::options().write(true).open(&target).is_err();
        let result = save(&LocalFilesystem, &target, true);
        assert_eq!(result.is_err(), protected);
        assert_eq!(fs::read(&target).unwrap(), if protected { OLD } else { NEW });
    }
}
