#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kw_model::{Cancel, Code};

use super::{Lease, LeaseState};
use crate::Region;

const LEN: usize = 5 << 20;

fn byte(at: usize) -> u8 {
    u8::try_from(at % 251).expect("small")
}

/// A file whose every byte can be told, its lease, and a mapping under it.
fn guarded(path: &Path) -> (Arc<File>, Arc<Lease>, Region) {
    let bytes: Vec<u8> = (0..LEN).map(byte).collect();
    File::create(path).expect("created").write_all(&bytes).expect("written");
    let file = Arc::new(File::open(path).expect("opened"));
    let lease = Lease::of(&file, "f").expect("the test's folder allows leases");
    let region = Region::map(&file, 0, LEN as u64, "f", Some(&lease)).expect("mapped").expect("the lease is held");
    (file, lease, region)
}

fn values(region: &Region) -> Vec<u8> {
    let mut out = vec![0; LEN];
    region.copy_out(0, &mut out).expect("kept");
    out
}

fn expected() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..LEN).map(byte).collect();
    bytes[3_000_000] = 250;
    bytes
}

type Writer = (&'static str, fn(&Path));

fn writable(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).expect("opened")
}

/// Changes the file as somebody else would; every case ends with the file changed.
#[test]
fn whatever_a_writer_does_the_mapping_keeps_its_values_and_what_was_stored() {
    let folder = tempfile::tempdir().expect("made");
    let writers: [Writer; 5] = [
        ("truncate", |path| {
            let status = std::process::Command::new("sh").args(["-c", ": > \"$0\""]).arg(path).status();
            assert!(status.expect("run").success());
        }),
        ("cut", |path| writable(path).set_len(5000).expect("cut")),
        ("overwrite", |path| writable(path).write_all_at(&vec![7; 100_000], 0).expect("written")),
        ("append", |path| writable(path).write_all_at(b"more", LEN as u64).expect("written")),
        ("replace the content", |path| std::fs::write(path, b"other").expect("written")),
    ];
    for (what, write) in writers {
        let path = folder.path().join("w");
        let (file, lease, mut region) = guarded(&path);
        region.bytes_mut()[3_000_000] = 250;
        let before = std::fs::read(&path).expect("read");
        write(&path);
        assert_ne!(std::fs::read(&path).expect("read"), before, "{what}");
        assert_eq!((lease.state(), values(&region) == expected()), (LeaseState::Private, true), "{what}");
        // The next user of the open file gets no lease, and so copies.
        assert!(Lease::of(&file, "f").is_none(), "{what}");
        region.page_in(0, LEN, &file, LEN as u64, "f", &Cancel::default()).expect("memory of our own");
        assert!(
            Region::map(&file, 0, 1, "f", Some(&lease)).is_ok_and(|region| region.is_none()) || what.starts_with("tr")
        );
    }
}

#[test]
fn what_leaves_the_content_alone_breaks_no_lease() {
    let folder = tempfile::tempdir().expect("made");
    let path = folder.path().join("w");
    let (_, lease, region) = guarded(&path);
    std::fs::read(&path).expect("read");
    std::fs::hard_link(&path, folder.path().join("link")).expect("linked");
    std::fs::write(folder.path().join("new"), b"new").expect("written");
    std::fs::rename(folder.path().join("new"), &path).expect("renamed over");
    std::fs::remove_file(&path).expect("removed");
    assert_eq!((lease.state(), values(&region)[77]), (LeaseState::Held, byte(77)));
}

#[test]
fn a_writer_that_will_not_wait_is_refused_once() {
    let folder = tempfile::tempdir().expect("made");
    let path = folder.path().join("w");
    let (_, _, region) = guarded(&path);
    let open = || OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
    assert_eq!(open().map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::WouldBlock));
    let start = Instant::now();
    while let Err(error) = open() {
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        assert!(start.elapsed() < Duration::from_secs(60), "never released");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(values(&region)[99], byte(99));
}

#[test]
fn where_somebody_writes_there_is_no_lease() {
    let folder = tempfile::tempdir().expect("made");
    let path = folder.path().join("w");
    let writer = File::create(&path).expect("created");
    let file = Arc::new(File::open(&path).expect("opened"));
    assert!(Lease::of(&file, "f").is_none());
    drop(writer);
    let lease = Lease::of(&file, "f").expect("nobody writes");
    // One open file has one lease, also while the first is being given back.
    assert!(Lease::of(&file, "f").is_some_and(|other| Arc::ptr_eq(&other, &lease)));
    drop(lease);
    // With the last user it goes: this writer does not wait.
    let open = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
    assert!(open.is_ok());
    assert!(Lease::of(&Arc::new(File::open("/proc/self/maps").expect("opened")), "maps").is_none());
}

#[test]
fn a_missed_deadline_is_an_error_and_reads_as_nan() {
    let folder = tempfile::tempdir().expect("made");
    let (_, lease, region) = guarded(&folder.path().join("w"));
    assert_eq!(lease.seal(Instant::now()), (false, LEN));
    assert_eq!(lease.state(), LeaseState::Lost);
    let mut out = [0; 8];
    assert_eq!(region.copy_out(0, &mut out).map_err(|error| error.code()), Err(Code::Changed));
    assert_eq!(region.digest(0, 8, &Cancel::default()).map_err(|error| error.code()), Err(Code::Changed));
    for at in [0, 4096, 2 << 20, LEN - 8] {
        // SAFETY: inside the region.
        let value = f64::from_ne_bytes(unsafe { region.base().as_ptr().add(at).cast::<[u8; 8]>().read_volatile() });
        assert!(value.is_nan(), "{at}");
    }
}

/// No lease is broken by this: it is found by looking.
#[test]
fn a_file_cut_by_opening_it_for_reading_is_lost_and_not_fatal() {
    let folder = tempfile::tempdir().expect("made");
    let path = folder.path().join("w");
    let (_, lease, region) = guarded(&path);
    // Rust's OpenOptions refuses the combination.
    let name = std::ffi::CString::new(path.to_str().expect("text")).expect("no zero");
    // SAFETY: a valid path; the file is closed with the process.
    assert!(unsafe { libc::open(name.as_ptr(), libc::O_RDONLY | libc::O_TRUNC) } >= 0);
    // Read through the system, which reports the missing pages as an error as long as they are missing.
    let memory = File::open("/proc/self/mem").expect("opened");
    let mut value = [0; 4];
    let start = Instant::now();
    while memory.read_exact_at(&mut value, region.base().as_ptr() as u64).is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "never noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(f32::from_ne_bytes(value).is_nan());
    assert_eq!(lease.state(), LeaseState::Lost);
}
