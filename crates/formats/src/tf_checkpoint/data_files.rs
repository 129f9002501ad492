//! Names of the files of a bundle, and which of them a save may use without touching the last one.

use kw_model::{Code, Result, WeightsError};

/// The index file of the bundle at `prefix`.
pub fn index_file_name(prefix: &str) -> String {
    format!("{prefix}.index")
}

/// The data file of shard `shard` of `count`.
///
/// ```
/// assert_eq!(kw_formats::tf_checkpoint::data_file_name("w", 0, 1), "w.data-00000-of-00001");
/// ```
pub fn data_file_name(prefix: &str, shard: u32, count: u32) -> String {
    format!("{prefix}.data-{shard:05}-of-{count:05}")
}

/// Shard and count of a file name that belongs to the bundle at `prefix`; both without folders.
pub fn is_data_file_of(prefix: &str, name: &str) -> Option<(u32, u32)> {
    let (shard, count) = name.strip_prefix(prefix)?.strip_prefix(".data-")?.split_once("-of-")?;
    let number = |digits: &str| {
        (digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
    };
    Some((number(shard)?, number(count)?))
}

/// Which shard numbers the data files of one save get: `first`, `first + 1`, … of `count`.
///
/// TensorFlow's own naming lets a new generation lie beside the one that is still current:
/// the index alone says which numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardSlots {
    /// Number of the first data file.
    pub first: u32,
    /// The count in the names and in the index.
    pub count: u32,
}

impl ShardSlots {
    /// What TensorFlow uses for a new prefix: all numbers from 0.
    pub fn fresh(shards: u32) -> Self {
        ShardSlots { first: 0, count: shards }
    }

    /// The first run of `shards` numbers that none of `existing` (names in the same folder) uses, of `from` at least.
    ///
    /// # Errors
    /// [`Code::Name`] when two hundred thousand generations lie there already.
    ///
    /// ```
    /// use kw_formats::tf_checkpoint::ShardSlots;
    /// assert_eq!(ShardSlots::free("w", ["other"], 1, 0)?, ShardSlots { first: 0, count: 1 });
    /// assert_eq!(ShardSlots::free("w", ["w.data-00000-of-00001"], 1, 0)?, ShardSlots { first: 0, count: 2 });
    /// # Ok::<(), kw_model::WeightsError>(())
    /// ```
    pub fn free<'a>(prefix: &str, existing: impl IntoIterator<Item = &'a str>, shards: u32, from: u32) -> Result<Self> {
        let mut used: Vec<(u32, u32)> = existing
            .into_iter()
            .filter_map(|name| is_data_file_of(prefix, name))
            .map(|(shard, count)| (count, shard))
            .collect();
        used.sort_unstable();
        let least = shards.max(from);
        for count in least..least.saturating_add(200_000) {
            let taken = used.iter().filter(|(of, _)| *of == count).map(|(_, shard)| *shard);
            let mut first = 0_u32;
            for shard in taken {
                if first.saturating_add(shards) <= shard {
                    break;
                }
                first = shard.saturating_add(1);
            }
            if first.saturating_add(shards) <= count {
                return Ok(ShardSlots { first, count });
            }
        }
        Err(WeightsError::new(Code::Name, format!("no free data file name is left beside {prefix}"))
            .format(super::FORMAT))
    }

    /// File name of the `index`-th data file of the save.
    pub fn file_name(self, prefix: &str, index: u32) -> String {
        data_file_name(prefix, self.first.saturating_add(index), self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::{ShardSlots, data_file_name, is_data_file_of};

    #[test]
    fn names_are_understood() {
        assert_eq!(is_data_file_of("w", "w.data-00003-of-00010"), Some((3, 10)));
        assert_eq!(is_data_file_of("w", "w.data-123456-of-123457"), Some((123_456, 123_457)));
        for name in
            ["w.index", "v.data-00003-of-00010", "w.data-3-of-00010", "w.data-00003-of-+0010", "ww.data-00003-of-00010"]
        {
            assert_eq!(is_data_file_of("w", name), None, "{name}");
        }
    }

    #[test]
    fn free_slots_never_meet_an_existing_file() {
        for shards in 1..4 {
            let mut existing: Vec<String> = vec!["w.data-00001-of-00004".into(), "w.data-00000-of-00002".into()];
            for _ in 0..50 {
                let slots = ShardSlots::free("w", existing.iter().map(String::as_str), shards, 0).expect("room");
                assert!(slots.first + shards <= slots.count);
                for index in 0..shards {
                    let name = slots.file_name("w", index);
                    assert!(!existing.contains(&name), "{name}");
                    existing.push(name);
                }
            }
        }
        assert_eq!(data_file_name("a/b", 7, 9), "a/b.data-00007-of-00009");
    }
}
