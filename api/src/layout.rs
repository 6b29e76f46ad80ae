//! JSON text with other white space. Values are copied as they are: a number such as `1.50` or `1e400`
//! survives, which a trip through parsed values would not promise.

/// `text` indented by two spaces per level. The text must be valid JSON.
pub(crate) fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (token, after) = rest.split_at(token_length(rest));
        rest = after;
        match c {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                out.push(c);
                let inner = rest.trim_start();
                if inner.starts_with(['}', ']']) {
                    out.push_str(&inner[..1]);
                    rest = &inner[1..];
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push_str(token),
        }
    }
    out
}

/// `text` without white space between its tokens. The text must be valid JSON.
pub(crate) fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (token, after) = rest.split_at(token_length(rest));
        if !token.starts_with([' ', '\t', '\n', '\r']) {
            out.push_str(token);
        }
        rest = after;
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Bytes of the token at the start of `text`: a whole string, or a run of anything that is neither a quote
/// nor structure nor white space, or one character.
fn token_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    if bytes[0] == b'"' {
        let mut at = 1;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' => at += 2,
                b'"' => return at + 1,
                _ => at += 1,
            }
        }
        return bytes.len();
    }
    let structural = |b: &u8| b" \t\n\r{}[],:\"".contains(b);
    if structural(&bytes[0]) {
        return 1;
    }
    bytes.iter().position(structural).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_tokens_changes() {
        let text = r#"{"a":[1.50,{"b\"]":"x y"},[],{ }],"c":null}"#;
        let shown = indented(text);
        assert_eq!(
            shown,
            "{\n  \"a\": [\n    1.50,\n    {\n      \"b\\\"]\": \"x y\"\n    },\n    [],\n    {}\n  ],\n  \"c\": null\n}"
        );
        assert_eq!(compact(&shown), r#"{"a":[1.50,{"b\"]":"x y"},[],{}],"c":null}"#);
    }

    #[test]
    fn text_that_ends_inside_a_string_does_not_loop_or_panic() {
        assert_eq!(compact("\"abc"), "\"abc");
        assert_eq!(compact("\"abc\\"), "\"abc\\");
    }
}
