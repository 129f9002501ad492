//! Which values are mapped, which are copied, and that all arrive.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of a test may fail it")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kw_map::{Access, Place, PlaceOptions, Wanted, What, place};
use kw_model::{
    ByteSource, Cancel, Catalogue, CatalogueBuilder, Code, CountingSource, DType, FileSource, Limits, Location,
    MemorySource, Result, Shape, TensorEntry, WeightsReader, crc32c,
};

/// `(offset in the file or None = decoded, bytes, digest fits)`.
type Row = (Option<u64>, u64, Option<bool>);

struct Plain {
    catalogue: Catalogue,
}

impl WeightsReader for Plain {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read_into(&self, index: usize, out: &mut [u8], _: &Cancel) -> Result<()> {
        out.fill(u8::try_from(index).expect("small"));
        Ok(())
    }

    fn read_strings(&self, _: usize) -> Result<Vec<Vec<u8>>> {
        unreachable!("no strings here")
    }

    fn format(&self) -> &'static str {
        "plain"
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|k| u8::try_from(k * 7 % 251).expect("small")).collect()
}

fn reader(source: Arc<dyn ByteSource>, rows: &[Row]) -> Plain {
    let bytes = content(usize::try_from(source.len()).expect("small"));
    let mut builder = CatalogueBuilder::new(vec![source], Limits::default());
    for (number, &(offset, byte_len, digest)) in rows.iter().enumerate() {
        let start = usize::try_from(offset.unwrap_or(0)).expect("small");
        let stored = crc32c(&bytes[start..start + usize::try_from(byte_len).expect("small")]);
        builder
            .tensor(TensorEntry {
                path: format!("t{number}"),
                dtype: DType::UInt8,
                shape: Shape::new([byte_len]),
                byte_len,
                location: offset.map_or(Location::Decoded, |offset| Location::Range { source: 0, offset }),
                digest: digest.map(|fits| if fits { stored } else { !stored }),
                attributes: BTreeMap::new(),
            })
            .expect("valid");
    }
    Plain { catalogue: builder.finish() }
}

struct Temporary(PathBuf);

impl Temporary {
    fn new(len: usize) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kw-place-{}-{number}", std::process::id()));
        std::fs::File::create(&path).expect("created").write_all(&content(len)).expect("written");
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("removed");
    }
}

fn options(access: Access) -> PlaceOptions {
    PlaceOptions { access, window_limit: u64::MAX, verify: true, page_in: true }
}

fn entries(rows: &[Row]) -> Vec<Wanted<'static>> {
    let wanted = |(index, row): (usize, &Row)| Wanted { what: What::Entry(index), byte_len: row.1, alignment: 4 };
    rows.iter().enumerate().map(wanted).collect()
}

const ROWS: [Row; 6] = [
    (Some(8), 400, Some(true)),
    (Some(1001), 300, Some(true)),
    (None, 50, None),
    (Some(2000), 0, None),
    (Some(70_000), 200_000, Some(true)),
    (None, 700_000, None),
];

/// What each row must hold.
fn expected(len: usize) -> Vec<Vec<u8>> {
    let bytes = content(len);
    ROWS.iter()
        .enumerate()
        .map(|(index, &(offset, size, _))| {
            let size = usize::try_from(size).expect("small");
            offset.map_or_else(
                || vec![u8::try_from(index).expect("small"); size],
                |offset| bytes[usize::try_from(offset).expect("small")..][..size].to_vec(),
            )
        })
        .collect()
}

fn values(placed: &kw_map::Placed) -> Vec<Vec<u8>> {
    let value = |place: &Place| {
        let mut out = vec![0; place.byte_len];
        if let Some(region) = place.region {
            placed.regions[region].copy_out(place.offset, &mut out).expect("inside");
        }
        out
    };
    placed.places.iter().map(value).collect()
}

#[test]
fn aligned_stored_tensors_are_mapped_and_the_others_packed() {
    let file = Temporary::new(1_000_000);
    let counted = Arc::new(CountingSource::new(Arc::new(FileSource::open(&file.0).expect("opened"))));
    let reader = reader(counted.clone(), &ROWS);
    let done = AtomicU64::new(0);
    let progress = |bytes| {
        done.fetch_add(bytes, Ordering::Relaxed);
    };
    let placed = place(&reader, &entries(&ROWS), &options(Access::Map), &Cancel::default(), &progress).expect("placed");
    assert_eq!(values(&placed), expected(1_000_000));
    let mapped: Vec<bool> = placed.regions.iter().map(kw_map::Region::is_mapped).collect();
    assert_eq!(mapped, [true, false, false]);
    let regions: Vec<Option<usize>> = placed.places.iter().map(|place| place.region).collect();
    assert_eq!(regions, [Some(0), Some(1), Some(1), None, Some(0), Some(2)]);
    assert!(placed.places.iter().all(|place| place.region.is_none_or(|_| place.offset % 4 == 0)));
    // Only the misaligned tensor was read.
    assert_eq!(counted.bytes_read(), 300);
    assert_eq!(done.into_inner(), ROWS.iter().map(|row| row.1).sum::<u64>());
}

#[test]
fn copying_gives_the_same_values_and_no_mapping() {
    let file = Temporary::new(1_000_000);
    let source: Arc<dyn ByteSource> = Arc::new(FileSource::open(&file.0).expect("opened"));
    for (source, access) in [
        (source, Access::Copy),
        (Arc::new(MemorySource::new(content(1_000_000), "bytes")), Access::Auto),
        (Arc::new(MemorySource::new(content(1_000_000), "bytes")), Access::Copy),
    ] {
        let reader = reader(source, &ROWS);
        let placed = place(&reader, &entries(&ROWS), &options(access), &Cancel::default(), &|_| ()).expect("placed");
        assert_eq!(values(&placed), expected(1_000_000));
        assert!(placed.regions.iter().all(|region| !region.is_mapped()));
    }
}

#[test]
fn mapping_on_demand_refuses_what_is_no_file() {
    let reader = reader(Arc::new(MemorySource::new(content(1_000_000), "bytes")), &ROWS);
    let error = place(&reader, &entries(&ROWS), &options(Access::Map), &Cancel::default(), &|_| ()).expect_err("bytes");
    assert_eq!(error.code(), Code::Unsupported);
}

#[test]
fn a_tensor_that_two_variables_want_is_shared_by_neither() {
    let file = Temporary::new(1000);
    let reader = reader(Arc::new(FileSource::open(&file.0).expect("opened")), &[(Some(0), 100, None)]);
    let wanted = [0, 0].map(|index| Wanted { what: What::Entry(index), byte_len: 100, alignment: 4 });
    let placed = place(&reader, &wanted, &options(Access::Map), &Cancel::default(), &|_| ()).expect("placed");
    assert_ne!(placed.places[0].region, placed.places[1].region);
    assert_eq!(values(&placed), [content(100), content(100)]);
}

#[test]
fn a_digest_that_does_not_fit_is_found_mapped_or_copied_unless_switched_off() {
    let file = Temporary::new(1000);
    for offset in [0, 1] {
        let reader = reader(Arc::new(FileSource::open(&file.0).expect("opened")), &[(Some(offset), 500, Some(false))]);
        let wanted = [Wanted { what: What::Entry(0), byte_len: 500, alignment: 4 }];
        let error =
            place(&reader, &wanted, &options(Access::Map), &Cancel::default(), &|_| ()).expect_err("wrong digest");
        assert_eq!(error.code(), Code::Digest);
        assert_eq!(error.context().weight.as_deref(), Some("t0"));
        let off = PlaceOptions { verify: false, ..options(Access::Map) };
        place(&reader, &wanted, &off, &Cancel::default(), &|_| ()).expect("not looked at");
    }
}

#[test]
fn computed_values_get_exactly_their_bytes_and_their_errors_come_out() {
    let reader = reader(Arc::new(MemorySource::new(content(10), "bytes")), &[]);
    let fill = |out: &mut [u8], _: &Cancel| {
        out.fill(3);
        Ok(())
    };
    let fail = |_: &mut [u8], _: &Cancel| Err(kw_model::WeightsError::new(Code::DType, "no"));
    let computed = |compute, byte_len| Wanted { what: What::Computed(compute), byte_len, alignment: 8 };
    let wanted = [computed(&fill, 5), computed(&fill, 9)];
    let placed = place(&reader, &wanted, &options(Access::Auto), &Cancel::default(), &|_| ()).expect("placed");
    assert_eq!(values(&placed), [vec![3; 5], vec![3; 9]]);
    assert_eq!(placed.places[1], Place { region: Some(0), offset: 64, byte_len: 9 });
    let error =
        place(&reader, &[computed(&fail, 1)], &options(Access::Auto), &Cancel::default(), &|_| ()).expect_err("no");
    assert_eq!(error.code(), Code::DType);
}

#[test]
fn cancelled_work_stops() {
    let file = Temporary::new(1000);
    let reader = reader(Arc::new(FileSource::open(&file.0).expect("opened")), &[(Some(0), 100, None)]);
    let cancel = Cancel::default();
    cancel.cancel();
    for access in [Access::Auto, Access::Copy] {
        let wanted = [Wanted { what: What::Entry(0), byte_len: 100, alignment: 4 }];
        let error = place(&reader, &wanted, &options(access), &cancel, &|_| ()).expect_err("cancelled");
        assert_eq!(error.code(), Code::Aborted);
    }
}
