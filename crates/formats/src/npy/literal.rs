//! The Python literals that headers are made of.

/// A value in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Text(String),
    Bool(bool),
    Int(u64),
    /// A tuple or a list.
    Sequence(Vec<Literal>),
}

/// Deepest nesting of tuples and lists: records within records go no deeper in practice.
const MAX_DEPTH: u32 = 16;

/// Parses `{'key': value, …}` and nothing behind it but blanks; `None` if it is anything else.
pub(super) fn parse_dict(text: &str) -> Option<Vec<(String, Literal)>> {
    let mut parser = Parser { rest: text };
    let mut entries = Vec::new();
    parser.eat('{')?;
    while parser.eat('}').is_none() {
        let Literal::Text(key) = parser.value(0)? else { return None };
        parser.eat(':')?;
        entries.push((key, parser.value(0)?));
        if parser.eat(',').is_none() {
            parser.eat('}')?;
            break;
        }
    }
    parser.rest.trim().is_empty().then_some(entries)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn eat(&mut self, wanted: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(wanted)?;
        Some(())
    }

    fn value(&mut self, depth: u32) -> Option<Literal> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            quote @ ('\'' | '"') => {
                // No escapes: neither dtypes nor keys have any.
                let (text, rest) = self.rest.get(1..)?.split_once(quote)?;
                self.rest = rest;
                (!text.contains('\\')).then(|| Literal::Text(text.to_owned()))
            }
            '(' => self.sequence('(', ')', depth),
            '[' => self.sequence('[', ']', depth),
            '0'..='9' => {
                let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
                let (digits, rest) = self.rest.split_at_checked(end)?;
                // Python 2 wrote long integers as `3L`.
                self.rest = rest.strip_prefix('L').unwrap_or(rest);
                digits.parse().ok().map(Literal::Int)
            }
            _ => {
                let (rest, value) = match self.rest.strip_prefix("True") {
                    Some(rest) => (rest, true),
                    None => (self.rest.strip_prefix("False")?, false),
                };
                self.rest = rest;
                Some(Literal::Bool(value))
            }
        }
    }

    fn sequence(&mut self, open: char, close: char, depth: u32) -> Option<Literal> {
        (depth < MAX_DEPTH).then_some(())?;
        self.eat(open)?;
        let mut items = Vec::new();
        while self.eat(close).is_none() {
            items.push(self.value(depth + 1)?);
            if self.eat(',').is_none() {
                self.eat(close)?;
                break;
            }
        }
        Some(Literal::Sequence(items))
    }
}

#[cfg(test)]
mod tests {
    use super::{Literal, parse_dict};

    #[test]
    fn headers_of_all_ages_are_understood() {
        let int = Literal::Int;
        let wanted = vec![
            ("descr".to_owned(), Literal::Text("<f4".into())),
            ("fortran_order".to_owned(), Literal::Bool(false)),
            ("shape".to_owned(), Literal::Sequence(vec![int(3), int(4)])),
        ];
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }      \n",
            "{'descr':'<f4','fortran_order':False,'shape':(3,4)}",
            "{ \"descr\" : \"<f4\" ,\n 'fortran_order' : False , 'shape' : ( 3L , 4L , ) , }",
        ] {
            assert_eq!(parse_dict(text).as_ref(), Some(&wanted), "{text}");
        }
        assert_eq!(parse_dict("{}"), Some(vec![]));
        assert_eq!(parse_dict("{'a': (), 'b': (1,), 'c': [('x', '<i4')]}").map(|entries| entries.len()), Some(3));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "{",
            "}",
            "{'a'}",
            "{'a': }",
            "{'a': 1",
            "{'a': 1} x",
            "{1: 1}",
            "{'a': -1}",
            "{'a': 1.5}",
            "{'a': 'x}",
            "{'a': 'x\\n'}",
            "{'a': __import__('os')}",
            "{'a': (1}",
            "{'a': None}",
            "{'a': 99999999999999999999999}",
            "{,}",
            "{'a' 1}",
            &format!("{{'a': {}{}}}", "(".repeat(100_000), ")".repeat(100_000)),
        ] {
            assert_eq!(parse_dict(text), None, "{}", text.get(..40).unwrap_or(text));
        }
    }
}
