//! The `.env` file: `NAME=value` lines. Nothing is interpolated and nothing is put into the process's
//! environment, so the file means the same on every machine. (The dotenv crates that are maintained
//! interpolate always, which would turn a `$` in a password into something else.)
//!
//! | written | read |
//! |---|---|
//! | `A=b c` | `b c` |
//! | `A=b # why` | `b` |
//! | `A='b # c'` | `b # c`, no escapes |
//! | `A="b\tc\n"` | escapes `\n \t \r \" \\ \$` |
//! | `export A=b` | `b` |

use std::collections::BTreeMap;

/// Why a `.env` file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DotEnvError {
    /// A line is not `NAME=value`.
    #[error("{file}, line {line}: {message}")]
    Line {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong. The line itself is not shown: it may hold a secret.
        message: &'static str,
    },
    /// The file is there and cannot be read.
    #[error("{file}: {message}")]
    File {
        /// The file.
        file: String,
        /// The operating system's words.
        message: String,
    },
}

/// Reads the text of a `.env` file. Of two lines with one name the later wins, as in a shell.
pub(super) fn parse(file: &str, text: &str) -> Result<BTreeMap<String, String>, DotEnvError> {
    let mut found = BTreeMap::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = assignment(line).map_err(|message| DotEnvError::Line {
            file: file.to_owned(),
            line: number + 1,
            message,
        })?;
        found.insert(name, value);
    }
    Ok(found)
}

fn assignment(line: &str) -> Result<(String, String), &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("NAME=value is needed")?;
    let name = name.trim();
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(fine) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("names are made of A-Z, a-z, 0-9 and '_' and do not start with a digit");
    }
    let value = value.trim_start();
    let (value, rest) = match value.chars().next() {
        Some('\'') => value[1..].split_once('\'').map(|(v, r)| (v.to_owned(), r)).ok_or(UNCLOSED)?,
        Some('"') => double_quoted(&value[1..])?,
        _ => (unquoted(value).to_owned(), ""),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        Ok((name.to_owned(), value))
    } else {
        Err("something follows the closing quote")
    }
}

const UNCLOSED: &str = "the quote is not closed on this line";

fn unquoted(value: &str) -> &str {
    let comment = value
        .char_indices()
        .find(|(at, c)| *c == '#' && (*at == 0 || value[..*at].ends_with(char::is_whitespace)));
    value[..comment.map_or(value.len(), |(at, _)| at)].trim_end()
}

/// The value, and what follows its closing quote.
fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next().map(|(_, c)| c) {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(c @ ('"' | '\\' | '$')) => c,
                _ => return Err("after a backslash one of n, t, r, \", \\ and $ is needed"),
            }),
            c => value.push(c),
        }
    }
    Err(UNCLOSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_table_says() {
        let text = "\u{feff}# first\n\nA=b c\r\nB=b # why\nC='b # c\\n'\nD=\"b\\tc \\\"\\$x\" # d\n\
                    export E = f#g\nF=\nG=#x\nA2=$A\nB=again\n";
        let found = parse(".env", text).unwrap();
        let expected = [
            ("A", "b c"),
            ("A2", "$A"),
            ("B", "again"),
            ("C", "b # c\\n"),
            ("D", "b\tc \"$x"),
            ("E", "f#g"),
            ("F", ""),
            ("G", ""),
        ];
        assert_eq!(found, expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_never_shown() {
        for bad in [
            "secret",
            "=secret",
            "9A=secret",
            "A-B=secret",
            "A='secret",
            "A=\"secret",
            "A='s' secret",
            "A=\"\\q\"",
        ] {
            let e = parse(".env", &format!("OK=1\n{bad}")).unwrap_err().to_string();
            assert!(e.starts_with(".env, line 2: ") && !e.contains("secret"), "{bad}: {e}");
        }
    }
}
