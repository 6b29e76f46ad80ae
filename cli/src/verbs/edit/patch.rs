//! From two texts of `desired` to the merge patch (RFC 7396) that leads from one to the other. What was not
//! touched is not in the patch, so a payload that nobody edited survives byte for byte.

use crate::tree::{Tree, same};
use contract::FieldError;
use contract::decode::below;

/// The patch from `before` to `after`; `None` when they are the same.
///
/// # Errors
/// What a merge patch cannot say.
pub(super) fn patch(before: &Tree, after: &Tree) -> Result<Option<Tree>, Vec<FieldError>> {
    let mut errors = Vec::new();
    let patch = between("", Some(before), after, &mut errors);
    if errors.is_empty() { Ok(patch) } else { Err(errors) }
}

fn between(at: &str, before: Option<&Tree>, after: &Tree, errors: &mut Vec<FieldError>) -> Option<Tree> {
    if before.is_some_and(|before| same(before, after)) {
        return None;
    }
    let Tree::Map(members) = after else {
        // At the top null gives a field its default, which is what a person means by it.
        if *after == Tree::Null && at.matches('/').count() > 1 {
            errors.push(FieldError {
                pointer: at.to_owned(),
                value: "null".to_owned(),
                message: "cannot be written by edit: leave the member out, or use \
                          `agent-runner resubmit --payload` for a new job"
                    .to_owned(),
            });
        }
        return Some(after.clone());
    };
    let old = before.filter(|b| matches!(b, Tree::Map(_)));
    let mut changes = Vec::new();
    for (name, value) in members {
        let was = old.and_then(|old| old.get(name));
        // A member that stands where there was no object is new as a whole, even if nothing is in it.
        if let Some(change) = between(&below(at, name), was, value, errors) {
            changes.push((name.clone(), change));
        }
    }
    for (name, _) in old.map_or(&[][..], Tree::members) {
        if after.get(name).is_none() {
            changes.push((name.clone(), Tree::Null));
        }
    }
    Some(Tree::Map(changes))
}

/// The JSON pointers that a patch touches, each with what it makes of them.
pub(super) fn touched(patch: &Tree) -> Vec<(String, Tree)> {
    let mut found = Vec::new();
    walk("", patch, &mut found);
    found
}

fn walk(at: &str, patch: &Tree, found: &mut Vec<(String, Tree)>) {
    match patch {
        Tree::Map(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| walk(&below(at, name), value, found));
        }
        value => found.push((at.to_owned(), value.clone())),
    }
}

/// The pointers that both patches touch in different ways.
pub(super) fn quarrels(mine: &Tree, theirs: &Tree) -> Vec<(String, Tree)> {
    let mine = touched(mine);
    let meets = |pointer: &str, theirs: &Tree| {
        mine.iter().any(|(p, value)| {
            let above = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.starts_with('/'));
            (p == pointer && !same(value, theirs)) || above(p, pointer) || above(pointer, p)
        })
    };
    touched(theirs).into_iter().filter(|(pointer, value)| meets(pointer, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Tree {
        Tree::of_json(text).unwrap()
    }

    fn of(before: &str, after: &str) -> Option<String> {
        patch(&tree(before), &tree(after)).unwrap().map(|p| p.json())
    }

    #[test]
    fn only_what_was_touched_is_in_the_patch() {
        let before = r#"{"a":1,"env":{"K":"v","L":"w"},"payload":{"x":null,"y":[1,2]}}"#;
        let rows = [
            (r#"{"env":{"L":"w","K":"v"},"payload":{"y":[1,2],"x":null},"a":1}"#, None),
            (r#"{"a":2,"env":{"K":"v","L":"w"},"payload":{"x":null,"y":[1,2]}}"#, Some(r#"{"a":2}"#)),
            (
                r#"{"a":1,"env":{"K":"v2"},"payload":{"x":null,"y":[1,2]}}"#,
                Some(r#"{"env":{"K":"v2","L":null}}"#),
            ),
            (
                r#"{"a":1,"env":{},"payload":{"x":null,"y":[1]}}"#,
                Some(r#"{"env":{"K":null,"L":null},"payload":{"y":[1]}}"#),
            ),
            (
                r#"{"a":1,"env":{"K":"v","L":"w"},"payload":{"x":{"n":1},"y":[1,2]}}"#,
                Some(r#"{"payload":{"x":{"n":1}}}"#),
            ),
            (r#"{"env":{"K":"v","L":"w"},"payload":{"x":null,"y":[1,2]}}"#, Some(r#"{"a":null}"#)),
            (r#"{"a":null,"env":{"K":"v","L":"w"},"payload":{"x":null,"y":[1,2]}}"#, Some(r#"{"a":null}"#)),
        ];
        for (after, expected) in rows {
            assert_eq!(of(before, after).as_deref(), expected, "{after}");
        }
    }

    #[test]
    fn a_null_that_a_merge_patch_would_drop_is_refused() {
        let e = patch(&tree(r#"{"payload":{}}"#), &tree(r#"{"payload":{"a":{"b":null}}}"#)).unwrap_err();
        assert_eq!(e[0].pointer, "/payload/a/b");
        assert!(patch(&tree(r#"{"payload":{}}"#), &tree(r#"{"payload":{"a":[{"b":null}]}}"#)).is_ok());
    }

    #[test]
    fn a_quarrel_is_a_place_that_both_changed_differently() {
        let mine = tree(r#"{"priority":5,"env":{"K":"mine"},"labels":{"a":"1"}}"#);
        let theirs = tree(r#"{"priority":5,"env":{"K":"theirs","L":"x"},"labels":null,"queue":"q"}"#);
        let found: Vec<String> = quarrels(&mine, &theirs).into_iter().map(|(p, _)| p).collect();
        assert_eq!(found, ["/env/K", "/labels"]);
    }
}
