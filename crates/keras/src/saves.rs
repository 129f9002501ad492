//! Several processes that save under one name at once: how they see each other, and keep out of each other's way.

use std::hash::{BuildHasher, RandomState};

/// How many saves to the file `target` are under way: each has a temporary file, `.<target>.<random>.kw-tmp`, from its
/// beginning until the file is in place.
pub(crate) fn under_way<'a>(names: impl Iterator<Item = &'a str>, target: &str) -> usize {
    let is_mark = |name: &str| {
        let random = name.strip_prefix('.').and_then(|name| name.strip_prefix(target)?.strip_prefix('.'));
        random.and_then(|random| random.strip_suffix(".kw-tmp")).is_some_and(|random| !random.contains('.'))
    };
    names.filter(|name| is_mark(name)).count()
}

/// A number from 1 to `most` that another save hardly has.
pub(crate) fn apart(most: u64) -> u64 {
    RandomState::new().hash_one(std::process::id()) % most + 1
}

#[cfg(test)]
mod tests {
    use super::under_way;

    #[test]
    fn only_temporary_files_of_the_target_are_marks() {
        let names = [".w.index.0123.kw-tmp", "w.index", ".w.index", ".ww.index.1.kw-tmp", ".w.index.x.1.kw-tmp"];
        assert_eq!(under_way(names.into_iter(), "w.index"), 1);
    }
}
