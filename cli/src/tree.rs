//! A JSON value that keeps the order of its members, and the same as YAML. `serde_json::Value` sorts
//! members, which is not how a person wrote them.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// The value in JSON text.
    pub(crate) fn of_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value in YAML text. Words such as `no` stay words, and `0755` and `1_000` are no numbers: only
    /// what is also JSON is read as anything but text.
    pub(crate) fn of_yaml(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())
    }

    /// As YAML. Every text that some reader of YAML could take for something else is quoted.
    pub(crate) fn yaml(&self) -> String {
        // Long lines are not folded: a person who edits one must see where it ends.
        let options =
            serde_saphyr::ser_options! { min_fold_chars: usize::MAX, folded_wrap_chars: usize::MAX };
        // The only failures are those of the writer, and a string does not fail.
        let mut text = serde_saphyr::to_string_with_options(self, options).unwrap_or_default();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    /// As JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A member of a map.
    pub(crate) fn get(&self, name: &str) -> Option<&Tree> {
        match self {
            Self::Map(members) => members.iter().find(|(n, _)| n == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The same without a member.
    pub(crate) fn without(mut self, name: &str) -> Self {
        if let Self::Map(members) = &mut self {
            members.retain(|(n, _)| n != name);
        }
        self
    }

    /// What a path of names leads to.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Tree> {
        path.iter().try_fold(self, |tree, name| tree.get(name))
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// On one line for people: a text without quotes, anything else as JSON.
    pub(crate) fn short(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            other => other.json(),
        }
    }

    /// The members of a map; none of anything else.
    pub(crate) fn members(&self) -> &[(String, Tree)] {
        match self {
            Self::Map(members) => members,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub(crate) fn items(&self) -> &[Tree] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

/// Equal whatever the order of members is.
pub(crate) fn same(a: &Tree, b: &Tree) -> bool {
    match (a, b) {
        (Tree::Map(left), Tree::Map(right)) => {
            left.len() == right.len()
                && left.iter().all(|(n, v)| b.get(n).is_some_and(|other| same(v, other)))
        }
        (Tree::List(left), Tree::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        _ => a == b,
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => s.serialize_unit(),
            Self::Bool(value) => s.serialize_bool(*value),
            Self::Number(value) => value.serialize(s),
            Self::Text(text) => s.serialize_str(text),
            Self::List(items) => items.serialize(s),
            Self::Map(members) => {
                let mut map = s.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can hold")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Tree, D::Error> {
        d.deserialize_any(Reader)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Tree, E> {
        let number = serde_json::Number::from_f64(value);
        number.map(Tree::Number).ok_or_else(|| E::custom("JSON has no such number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Tree::Map(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_tree() -> impl Strategy<Value = Tree> {
        let text = prop_oneof![
            any::<String>(),
            "[-~!#&*|>%@`'\":,{}\\[\\]? a-c\n\r\t]{0,12}",
            prop::sample::select(vec![
                "no",
                "on",
                "y",
                "null",
                "~",
                "0755",
                "1_000",
                "1e3",
                ".inf",
                "<<",
                "=",
                "---",
                "...",
                "0x1f",
                "12:30",
                "2026-11-22",
                "",
                " ",
                "- a",
                "? b",
                "a: b",
                "#c",
                "\u{feff}",
                "\u{85}",
                "\u{2028}",
                "true",
                "True",
                "0o7",
                "+1",
                ".5",
                "1.",
                "-",
                "tail \n\n",
                "\n x",
                "é😀",
            ])
            .prop_map(str::to_owned),
        ];
        let leaf = prop_oneof![
            Just(Tree::Null),
            any::<bool>().prop_map(Tree::Bool),
            any::<i64>().prop_map(|n| Tree::Number(n.into())),
            any::<u64>().prop_map(|n| Tree::Number(n.into())),
            any::<f64>().prop_filter_map("finite", |n| serde_json::Number::from_f64(n).map(Tree::Number)),
            text.clone().prop_map(Tree::Text),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::List),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|map| Tree::Map(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn what_is_written_as_yaml_is_read_as_the_same(tree in any_tree()) {
            let text = tree.yaml();
            let read = Tree::of_yaml(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
            // -0.0 is written as 0 by some; as a number it is the same.
            prop_assert!(same(&read, &tree), "{text}\n{read:?}");
        }
    }

    #[test]
    fn members_keep_their_order_and_words_stay_words() {
        let tree = Tree::of_json(r#"{"b":1,"a":{"z":[1.5,null],"c":"no"}}"#).unwrap();
        assert_eq!(tree.yaml(), "b: 1\na:\n  z:\n  - 1.5\n  - null\n  c: \"no\"\n");
        let typed = Tree::of_yaml("a: no\nb: 0755\nc: 1_000\nd: true\n").unwrap();
        assert_eq!(typed.json(), r#"{"a":"no","b":"0755","c":"1_000","d":true}"#);
    }

    #[test]
    fn what_yaml_cannot_mean_twice_is_refused_with_its_line() {
        let e = Tree::of_yaml("a: 1\na: 2\n").unwrap_err();
        assert!(e.contains("line 2") && e.contains('a'), "{e}");
        assert!(Tree::of_yaml("a: .inf").is_err());
        assert_eq!(Tree::of_yaml("# nothing\n").unwrap(), Tree::Null);
    }
}
