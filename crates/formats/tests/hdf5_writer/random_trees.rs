//! Trees that nobody thought of.

use std::collections::BTreeMap;

use kw_formats::hdf5::writer::{DIGEST_ATTRIBUTE, DatasetOptions, H5Attribute, H5Builder};
use kw_model::{AttributeValue, DType, Shape, crc32c};

use super::strict::{self, Value};
use super::{emit, keep, patterns, read_back};

/// A small generator of numbers (xorshift); the seed is the name of the case.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn text(&mut self, longest: usize) -> String {
        let letters = ['a', 'b', 'Z', '0', '_', '.', ':', ' ', 'ß', '層', '🙂'];
        (0..self.below(longest + 1)).map(|_| *self.pick(&letters)).collect()
    }

    fn name(&mut self) -> String {
        let longest = *self.pick(&[2, 4, 40]);
        format!("{}{}", self.pick(&["vars", "layers", "x", "0", "é"]), self.text(longest))
    }
}

/// What was put in, by path.
type Model = BTreeMap<String, (Option<Kind>, Attributes)>;
type Kind = (DType, Shape, bool);
type Attributes = Vec<(String, Vec<String>)>;

fn random_tree(numbers: &mut Numbers) -> (H5Builder, Model) {
    let mut builder = H5Builder::new();
    let mut model = Model::from([(String::new(), (None, Vec::new()))]);
    let mut groups = vec![String::new()];
    for _ in 0..numbers.below(150) {
        let parent = numbers.pick(&groups).clone();
        let name = numbers.name();
        let path = if parent.is_empty() { name } else { format!("{parent}/{name}") };
        if model.contains_key(&path) {
            continue;
        }
        if numbers.below(3) == 0 {
            builder.group(&path).unwrap();
            groups.push(path.clone());
            model.insert(path.clone(), (None, Vec::new()));
        } else {
            let dtype = *numbers.pick(&DType::NUMERIC[..15]);
            let axes: Vec<u64> = (0..numbers.below(4)).map(|_| numbers.below(6) as u64).collect();
            let digest = numbers.below(2) == 0;
            builder.dataset(&path, dtype, Shape::new(axes.clone()), DatasetOptions { digest }).unwrap();
            model.insert(path.clone(), (Some((dtype, Shape::new(axes), digest)), Vec::new()));
        }
        for number in 0..numbers.below(4) {
            let texts: Vec<String> = (0..=numbers.below(3)).map(|_| numbers.text(300)).collect();
            let name = format!("{number}{}", numbers.text(20));
            builder.attribute(&path, &name, H5Attribute::TextList(texts.clone())).unwrap();
            model.get_mut(&path).unwrap().1.push((name, texts));
        }
    }
    (builder, model)
}

#[test]
fn random_trees_arrive_whole() {
    for seed in 1..200_u64 {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (builder, model) = random_tree(&mut numbers);
        let plan = builder.plan().unwrap();
        let values = patterns(&plan);
        let bytes = emit(&plan, &values, 1 + numbers.below(500)).unwrap();
        keep(&bytes);
        read_back(&plan, &values, &bytes, |catalogue| {
            for (path, (dataset, attributes)) in &model {
                let found = match dataset {
                    Some(_) => &catalogue.entry(catalogue.find(path).unwrap()).unwrap().attributes,
                    None => &catalogue.group(path).unwrap().attributes,
                };
                for (name, texts) in attributes {
                    assert_eq!(found.get(name), Some(&AttributeValue::Texts(texts.clone())), "seed {seed}, {path}");
                }
            }
        });
        let found = strict::read(&bytes);
        assert_eq!(found.objects.len(), model.len(), "seed {seed}");
        let by_path: BTreeMap<_, _> = plan.datasets().iter().map(|dataset| &dataset.path).zip(&values).collect();
        for (path, (dataset, attributes)) in &model {
            let object = &found.objects[path];
            assert_eq!(object.is_group, dataset.is_none(), "seed {seed}, {path}");
            let mut wanted: Vec<_> =
                attributes.iter().map(|(name, texts)| (name.clone(), Value::Texts(texts.clone()))).collect();
            if let Some((_, shape, digest)) = dataset {
                let values = by_path[path];
                assert_eq!(object.shape, shape.axes(), "seed {seed}, {path}");
                assert_eq!(&bytes[object.values.clone().unwrap_or_default()], values, "seed {seed}, {path}");
                if *digest {
                    wanted.push((DIGEST_ATTRIBUTE.into(), Value::Bytes(crc32c(values).to_le_bytes().to_vec())));
                }
            }
            let found: Vec<_> = object.attributes.iter().map(|(name, found)| (name.clone(), &found.value)).collect();
            assert!(
                found.iter().map(|(n, v)| (n, *v)).eq(wanted.iter().map(|(n, v)| (n, v))),
                "seed {seed}, attributes of {path}"
            );
        }
    }
}
