//! Which names a member may have.

use kw_model::Result;

use super::corrupt;

/// Fails for a name that would lead out of a folder, or means different things on different systems.
pub(super) fn check(name: &str) -> Result<()> {
    let path = name.strip_suffix('/').unwrap_or(name);
    let inside = !path.is_empty()
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        // A drive, an alternate stream, another separator, an early end.
        && !name.contains([':', '\\', '\0']);
    if inside {
        return Ok(());
    }
    Err(corrupt(format!("the archive has a member called {name:?}, which leads out of it")).weight(name))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names_stay_inside() {
        for name in ["config.json", "assets/layers/a b/vocabulary.txt", "assets/", "…/ü", "..a", "a..b", "arr_0.npy"]
        {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "/",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a/..",
            "./a",
            "a//b",
            "C:a",
            "a\\..\\b",
            "a\0b",
            "a:stream",
            "//x",
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
