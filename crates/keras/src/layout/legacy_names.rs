//! Lists of names in attributes, which Keras splits when they outgrow an HDF5 object header.

use kw_model::{AttributeValue, Code, Group, Result, WeightsError};

/// Bytes of one attribute above which Keras splits it (`HDF5_OBJECT_HEADER_LIMIT`).
pub(crate) const OBJECT_HEADER_LIMIT: usize = 64_512;

/// Reads `name`, or else `name0`, `name1`, … joined; no such attribute is an empty list.
pub(crate) fn read(group: &Group, path: &str, name: &str) -> Result<Vec<String>> {
    if let Some(value) = group.attributes.get(name) {
        return texts(value, path, name);
    }
    let mut names = Vec::new();
    for piece in 0_usize.. {
        let piece = format!("{name}{piece}");
        match group.attributes.get(&piece) {
            Some(value) => names.extend(texts(value, path, &piece)?),
            None => break,
        }
    }
    Ok(names)
}

fn texts(value: &AttributeValue, path: &str, name: &str) -> Result<Vec<String>> {
    match value {
        AttributeValue::Texts(names) => Ok(names.clone()),
        other => Err(WeightsError::new(
            Code::Corrupt,
            format!("the attribute {name} of the group {path:?} should list names, but is {other:?}"),
        )),
    }
}

/// The pieces that Keras would write: one for `name` itself, or several for `name0`, `name1`, ….
///
/// numpy gives every name the width of the longest (`S<width>`), and splits into the fewest pieces that fit, the first
/// ones being longer by one.
pub(crate) fn pieces(names: &[String], name: &str) -> Result<Vec<Vec<String>>> {
    let width = names.iter().map(String::len).max().unwrap_or_default();
    if width > OBJECT_HEADER_LIMIT {
        let longest =
            names.iter().find(|text| text.len() == width).map(|text| text.chars().take(60).collect::<String>());
        return Err(WeightsError::new(
            Code::Name,
            format!(
                "{name}: the name {:?}… has {width} bytes, HDF5 attributes hold {OBJECT_HEADER_LIMIT}",
                longest.unwrap_or_default()
            ),
        ));
    }
    let mut count = 1_usize;
    // The longest piece has the ceiling of names per piece.
    while names.len().div_ceil(count).saturating_mul(width) > OBJECT_HEADER_LIMIT {
        count = count.saturating_add(1);
    }
    if count == 1 {
        return Ok(vec![names.to_vec()]);
    }
    let (short, longer) = (names.len() / count, names.len() % count);
    let mut rest = names.iter();
    Ok((0..count)
        .map(|piece| rest.by_ref().take(short.saturating_add(usize::from(piece < longer))).cloned().collect())
        .collect())
}

/// `base/name` without empty and `.` components, as HDF5 resolves it.
pub(crate) fn join(base: &str, name: &str) -> String {
    let parts = base.split('/').chain(name.split('/')).filter(|part| !part.is_empty() && *part != ".");
    let mut path = String::with_capacity(base.len().saturating_add(name.len()).saturating_add(1));
    for part in parts {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::{join, pieces, read};
    use kw_model::{AttributeValue, Code, Group};

    #[test]
    fn names_split_as_numpy_splits_them() {
        let names = |count: usize, width: usize| vec!["x".repeat(width); count];
        let lengths =
            |names: &[String]| pieces(names, "layer_names").map(|p| p.iter().map(Vec::len).collect::<Vec<_>>());
        // Lengths from numpy.array_split in Keras' loop; 700 x 100 is the corpus model many_weights.
        let cases = [
            (names(0, 0), vec![0]),
            (names(645, 100), vec![645]),
            (names(646, 100), vec![323, 323]),
            (names(700, 100), vec![350, 350]),
            (names(3, 64_512), vec![1, 1, 1]),
            (names(5, 30_000), vec![2, 2, 1]),
        ];
        for (names, expected) in cases {
            assert_eq!(lengths(&names).expect("fits"), expected);
        }
        assert_eq!(lengths(&names(1, 64_513)).map_err(|error| error.code()), Err(Code::Name));
    }

    #[test]
    fn a_plain_list_hides_the_pieces() {
        let list = |names: &[&str]| AttributeValue::Texts(names.iter().map(|&name| name.to_owned()).collect());
        let mut group = Group::default();
        assert_eq!(read(&group, "", "weight_names").expect("none"), Vec::<String>::new());
        group.attributes.insert("weight_names0".into(), list(&["a", "b"]));
        group.attributes.insert("weight_names1".into(), list(&["c"]));
        group.attributes.insert("weight_names3".into(), list(&["never reached"]));
        assert_eq!(read(&group, "", "weight_names").expect("pieces"), ["a", "b", "c"]);
        group.attributes.insert("weight_names".into(), list(&[]));
        assert_eq!(read(&group, "", "weight_names").expect("plain"), Vec::<String>::new());
        group.attributes.insert("weight_names".into(), AttributeValue::Int(3));
        assert_eq!(read(&group, "", "weight_names").map_err(|error| error.code()), Err(Code::Corrupt));
    }

    #[test]
    fn paths_resolve_as_in_hdf5() {
        assert_eq!(join("", "dense"), "dense");
        assert_eq!(join("model_weights", "/a//b/./c:0"), "model_weights/a/b/c:0");
    }
}
