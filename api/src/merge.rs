//! JSON merge patches (RFC 7396) on text, and the differences between two texts. Members that a patch does
//! not name are copied as they are, so that a payload survives an edit of something else byte for byte.

use contract::decode::below;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// How deep a patch may nest. A payload may be deeper, but then it is replaced as a whole: each level is
/// read once more, and without a limit a body of brackets would exhaust the stack.
const DEEPEST: usize = 32;

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unpatchable {
    /// Deeper than [`DEEPEST`].
    #[error("the patch nests deeper than {DEEPEST} levels")]
    Deep,
    /// Not JSON.
    #[error("{0}")]
    Syntax(String),
}

/// The members of an object; `None` for any other value.
pub(crate) fn members(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(text).ok()
}

/// `target` with `patch` applied. A target that is no object counts as an empty one.
pub(crate) fn merge(target: &str, patch: &str) -> Result<String, Unpatchable> {
    applied(target, patch, false)
}

/// Like [`merge`], but where there is nothing to remove a `null` stays. It may be a slip, and whoever decodes this
/// tells it by its name.
pub(crate) fn merge_keeping_nulls(target: &str, patch: &str) -> Result<String, Unpatchable> {
    applied(target, patch, true)
}

fn applied(target: &str, patch: &str, keep: bool) -> Result<String, Unpatchable> {
    if let Err(e) = serde_json::from_str::<serde::de::IgnoredAny>(patch) {
        return Err(Unpatchable::Syntax(e.to_string()));
    }
    let mut out = String::with_capacity(target.len() + patch.len());
    merge_into(&mut out, Some(target), patch, DEEPEST, keep)?;
    Ok(out)
}

fn merge_into(
    out: &mut String,
    target: Option<&str>,
    patch: &str,
    levels: usize,
    keep: bool,
) -> Result<(), Unpatchable> {
    let Some(changes) = members(patch) else {
        out.push_str(patch.trim());
        return Ok(());
    };
    let levels = levels.checked_sub(1).ok_or(Unpatchable::Deep)?;
    let mut kept = target.and_then(members).unwrap_or_default();
    out.push('{');
    let mut first = true;
    for (name, change) in changes {
        let before = kept.remove(&name);
        if change.get() != "null" || (keep && before.is_none()) {
            push_name(out, &mut first, &name);
            merge_into(out, before.map(RawValue::get), change.get(), levels, keep)?;
        }
    }
    for (name, value) in kept {
        push_name(out, &mut first, &name);
        out.push_str(value.get());
    }
    out.push('}');
    Ok(())
}

fn push_name(out: &mut String, first: &mut bool, name: &str) {
    if !std::mem::take(first) {
        out.push(',');
    }
    out.push_str(&serde_json::Value::from(name).to_string());
    out.push(':');
}

/// One difference between two texts.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Change {
    /// JSON pointer to the place.
    pub(crate) pointer: String,
    /// The value before; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<contract::JsonText>,
    /// The value after; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<contract::JsonText>,
}

/// The differences from `before` to `after`, member by member; both without white space between tokens.
pub(crate) fn differences(before: &str, after: &str) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), DEEPEST, &mut found);
    found
}

fn compare(at: &str, before: Option<&str>, after: Option<&str>, levels: usize, found: &mut Vec<Change>) {
    if before == after {
        return;
    }
    let both = before.and_then(members).zip(after.and_then(members));
    match both {
        Some((mut left, right)) if levels > 0 => {
            for (name, value) in right {
                let old = left.remove(&name).map(RawValue::get);
                compare(&below(at, &name), old, Some(value.get()), levels - 1, found);
            }
            for (name, value) in left {
                compare(&below(at, &name), Some(value.get()), None, 0, found);
            }
        }
        _ => {
            let text = |t: Option<&str>| t.and_then(|t| contract::JsonText::new(t).ok());
            found.push(Change { pointer: at.to_owned(), before: text(before), after: text(after) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_rfc_7396_appendix_a_give_its_results() {
        let table = [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"b":"c","a":"b"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ];
        for (target, patch, result) in table {
            assert_eq!(merge(target, patch).unwrap(), result, "{target} with {patch}");
        }
    }

    #[test]
    fn what_a_patch_does_not_name_keeps_its_digits() {
        let merged = merge(r#"{"payload":{"x":1.50,"y":1e400},"n":1}"#, r#"{"n":2}"#).unwrap();
        assert_eq!(merged, r#"{"n":2,"payload":{"x":1.50,"y":1e400}}"#);
    }

    #[test]
    fn a_patch_of_brackets_is_refused_instead_of_exhausting_the_stack() {
        let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        // Too deep for the parser's own limit or for ours, but never a crash.
        assert!(merge("{}", &deep).is_err());
        let forty = format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40));
        assert_eq!(merge("{}", &forty), Err(Unpatchable::Deep));
        let twenty = format!("{}1{}", "{\"a\":".repeat(20), "}".repeat(20));
        assert_eq!(merge("{}", &twenty).unwrap(), twenty);
    }

    #[test]
    fn differences_name_each_member_once() {
        let found = differences(r#"{"a":1,"b":{"c":1,"d/e":2},"f":[1]}"#, r#"{"a":1,"b":{"c":2},"g":0}"#);
        let places: Vec<_> = found.iter().map(|c| c.pointer.as_str()).collect();
        assert_eq!(places, ["/b/c", "/b/d~1e", "/g", "/f"]);
        assert_eq!(found[0].before.as_ref().unwrap().as_str(), "1");
        assert!(found[1].after.is_none() && found[2].before.is_none());
    }

    #[test]
    fn differences_below_the_deepest_level_are_one_difference_there() {
        let nested = |levels: usize, leaf: &str| {
            format!("{}{{\"x\":{leaf},\"y\":{leaf}}}{}", "{\"a\":".repeat(levels), "}".repeat(levels))
        };
        let places = |levels: usize| {
            let found = differences(&nested(levels, "1"), &nested(levels, "2"));
            found.into_iter().map(|c| c.pointer).collect::<Vec<_>>()
        };
        let last = DEEPEST - 1;
        assert_eq!(places(last), ["/x", "/y"].map(|name| "/a".repeat(last) + name));
        assert_eq!(places(DEEPEST), ["/a".repeat(DEEPEST)]);
        assert_eq!(places(DEEPEST + 3), ["/a".repeat(DEEPEST)]);
    }
}
