//! The `checkpoint` file beside checkpoints: which one is the latest. `CheckpointState` as protocol-buffer text.

use kw_model::{Code, Result, WeightsError};

/// What the file says. Paths are absolute or relative to the folder of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckpointState {
    /// The latest checkpoint.
    pub model_checkpoint_path: String,
    /// All checkpoints that are kept, oldest first.
    pub all_model_checkpoint_paths: Vec<String>,
    /// When each was made, in seconds since 1970; may be empty.
    pub all_model_checkpoint_timestamps: Vec<f64>,
    /// When the last checkpoint was made that is kept for good, in seconds since 1970.
    pub last_preserved_timestamp: Option<f64>,
}

impl CheckpointState {
    /// What `save_weights` writes for one checkpoint.
    pub fn single(path: impl Into<String>) -> Self {
        let path = path.into();
        CheckpointState {
            all_model_checkpoint_paths: vec![path.clone()],
            model_checkpoint_path: path,
            ..CheckpointState::default()
        }
    }

    /// Parses the file. Fields that are not known are skipped.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when it is no such text.
    ///
    /// ```
    /// use kw_formats::tf_checkpoint::CheckpointState;
    /// let state = CheckpointState::parse(b"model_checkpoint_path: \"w\"\nall_model_checkpoint_paths: \"w\"\n")?;
    /// assert_eq!(state, CheckpointState::single("w"));
    /// # Ok::<(), kw_model::WeightsError>(())
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self> {
        let mut state = CheckpointState::default();
        let mut scanner = Scanner { rest: text, len: text.len() };
        while let Some(field) = scanner.field()? {
            let (name, value) = field;
            match (name.as_str(), value) {
                ("model_checkpoint_path", Scalar::Text(path)) => state.model_checkpoint_path = path,
                ("all_model_checkpoint_paths", Scalar::Text(path)) => state.all_model_checkpoint_paths.push(path),
                ("all_model_checkpoint_timestamps", Scalar::Number(time)) => {
                    state.all_model_checkpoint_timestamps.push(time);
                }
                ("last_preserved_timestamp", Scalar::Number(time)) => state.last_preserved_timestamp = Some(time),
                (
                    "model_checkpoint_path"
                    | "all_model_checkpoint_paths"
                    | "all_model_checkpoint_timestamps"
                    | "last_preserved_timestamp",
                    _,
                ) => return Err(scanner.error(&format!("{name} has a value of the wrong kind"))),
                _ => {}
            }
        }
        Ok(state)
    }

    /// The file as TensorFlow writes it.
    pub fn to_text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        if !self.model_checkpoint_path.is_empty() {
            out.push_str("model_checkpoint_path: ");
            put_quoted(&mut out, &self.model_checkpoint_path);
        }
        for path in &self.all_model_checkpoint_paths {
            out.push_str("all_model_checkpoint_paths: ");
            put_quoted(&mut out, path);
        }
        for time in &self.all_model_checkpoint_timestamps {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "all_model_checkpoint_timestamps: {time:?}");
        }
        if let Some(time) = self.last_preserved_timestamp {
            let _ = writeln!(out, "last_preserved_timestamp: {time:?}");
        }
        out
    }
}

fn put_quoted(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'"' => out.push_str("\\\""),
            b'\'' => out.push_str("\\'"),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(byte)),
            other => {
                let _ = write!(out, "\\{other:03o}");
            }
        }
    }
    out.push_str("\"\n");
}

enum Scalar {
    Text(String),
    Number(f64),
    Word,
}

struct Scanner<'a> {
    rest: &'a [u8],
    len: usize,
}

impl Scanner<'_> {
    fn error(&self, what: &str) -> WeightsError {
        let offset = self.len.saturating_sub(self.rest.len());
        WeightsError::new(Code::Corrupt, format!("the checkpoint state file cannot be parsed: {what}"))
            .format(super::FORMAT)
            .offset(offset as u64)
    }

    fn skip_blanks(&mut self) {
        loop {
            let trimmed = self.rest.trim_ascii_start();
            self.rest = trimmed;
            if trimmed.first() != Some(&b'#') {
                return;
            }
            let end = trimmed.iter().position(|byte| *byte == b'\n').unwrap_or(trimmed.len());
            self.rest = trimmed.get(end..).unwrap_or_default();
        }
    }

    fn word(&mut self) -> String {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(byte);
        let end = self.rest.iter().position(|byte| !plain(byte)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        String::from_utf8_lossy(word).into_owned()
    }

    fn field(&mut self) -> Result<Option<(String, Scalar)>> {
        self.skip_blanks();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let name = self.word();
        self.skip_blanks();
        let Some(rest) = self.rest.strip_prefix(b":").filter(|_| !name.is_empty()) else {
            return Err(self.error("a field name and a colon were expected"));
        };
        self.rest = rest;
        self.skip_blanks();
        let value = if let Some(b'"' | b'\'') = self.rest.first() {
            Scalar::Text(self.text()?)
        } else {
            let word = self.word();
            if word.is_empty() {
                return Err(self.error("a value was expected"));
            }
            word.parse().map_or(Scalar::Word, Scalar::Number)
        };
        self.skip_blanks();
        if let Some(rest) = self.rest.strip_prefix(b",").or_else(|| self.rest.strip_prefix(b";")) {
            self.rest = rest;
        }
        Ok(Some((name, value)))
    }

    /// One string, or several in a row, which belong together.
    fn text(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        while let Some((&quote @ (b'"' | b'\''), rest)) = self.rest.split_first() {
            self.rest = rest;
            loop {
                let Some((&byte, rest)) = self.rest.split_first() else {
                    return Err(self.error("a string does not end"));
                };
                self.rest = rest;
                match byte {
                    _ if byte == quote => break,
                    b'\n' => return Err(self.error("a string does not end on its line")),
                    b'\\' => self.escape(&mut bytes)?,
                    _ => bytes.push(byte),
                }
            }
            self.skip_blanks();
        }
        String::from_utf8(bytes).map_err(|_| self.error("a path is not valid UTF-8"))
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Some((&byte, rest)) = self.rest.split_first() else { return Err(self.error("a string does not end")) };
        self.rest = rest;
        out.push(match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'v' => 0x0b,
            b'"' | b'\'' | b'\\' | b'?' => byte,
            b'0'..=b'7' => return self.number(u32::from(byte - b'0'), 8, 2, out),
            b'x' | b'X' => return self.number(0, 16, 2, out),
            _ => return Err(self.error("a string holds an unknown escape")),
        });
        Ok(())
    }

    fn number(&mut self, mut value: u32, base: u32, digits: usize, out: &mut Vec<u8>) -> Result<()> {
        for _ in 0..digits {
            let digit = self.rest.first().and_then(|byte| char::from(*byte).to_digit(base));
            let Some(digit) = digit else { break };
            value = value * base + digit;
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        out.push(u8::try_from(value).map_err(|_| self.error("an escape is above 255"))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::CheckpointState;

    #[test]
    fn states_read_back() {
        let state = CheckpointState {
            model_checkpoint_path: "a \"b\" \\ 'c'\n\u{e9}".into(),
            all_model_checkpoint_paths: vec!["/x/1".into(), "a \"b\" \\ 'c'\n\u{e9}".into()],
            all_model_checkpoint_timestamps: vec![1_700_000_000.125, 2.0],
            last_preserved_timestamp: Some(-0.5),
        };
        assert_eq!(CheckpointState::parse(state.to_text().as_bytes()).expect("ours"), state);
        assert_eq!(
            CheckpointState::single("w-1").to_text(),
            "model_checkpoint_path: \"w-1\"\nall_model_checkpoint_paths: \"w-1\"\n"
        );
    }

    #[test]
    fn other_spellings_are_understood() {
        let text =
            b"# made by hand\nmodel_checkpoint_path:'w' \"-\\x31\"; other: true all_model_checkpoint_timestamps: 1e3";
        let state = CheckpointState::parse(text).expect("legal");
        assert_eq!(state.model_checkpoint_path, "w-1");
        assert_eq!(state.all_model_checkpoint_timestamps, [1000.0]);
        assert_eq!(CheckpointState::parse(b"").expect("empty"), CheckpointState::default());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            &b"model_checkpoint_path"[..],
            b"model_checkpoint_path: ",
            b"model_checkpoint_path: 3",
            b"model_checkpoint_path: \"w",
            b"model_checkpoint_path: \"w\n\"",
            b"model_checkpoint_path: \"\\q\"",
            b"model_checkpoint_path: \"\\777\"",
            b"model_checkpoint_path: \"\\377\"",
            b"last_preserved_timestamp: \"w\"",
            b"{}",
            b"\x00\x01",
            b": 1",
        ] {
            assert!(CheckpointState::parse(text).is_err(), "{}", text.escape_ascii());
        }
    }
}
