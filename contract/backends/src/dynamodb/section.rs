//! Sections as attributes: native maps, so that `aws dynamodb update-item` edits a single field.
//!
//! The rest of the system knows a section as JSON text ([`Raw`]). A map has neither an order nor spaces nor
//! spellings of numbers, so its text is made here, always the same one: the text that the contract's own type
//! gives it if the map holds exactly such a value, and sorted keys otherwise. Two maps have one text only if
//! they are equal or mean the same. In the other direction:
//!
//! * A text that is not as tight as that (spaces, a name twice, a number of 39 digits, 30 levels) has no map
//!   with which it could be told from others, so it is kept as a string and read back as it was. A string that
//!   an operator stores in place of the map is read as the text it holds, in the same way.
//! * JSON that is carried but not interpreted (the payload, a launch request) is one string in its map, byte by
//!   byte: DynamoDB has no place for `1.50`, `1e400` or an agent's 40 digits. An operator may also put a
//!   native value there.
//! * What has no JSON form (bytes, sets) is written as `{ "SS": ["a"] }`, with spaces that no other text has.
//!   It is no value that any field takes, so it is reported at that field.

use super::number;
use aws_sdk_dynamodb::types::AttributeValue;
use contract::{Claim, Closing, Control, Created, Desired, Gate, Raw, Report, StatusView};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// DynamoDB nests 32 levels, the item's own included (developer guide, "Service quotas").
const LEVELS: usize = 30;

/// Names that lead from a section to carried JSON.
type Path = &'static [&'static str];

/// A section of a record.
pub(super) trait Section {
    /// Where JSON is carried as text.
    const CARRIED: &'static [Path] = &[];
    /// The text of the value that `text` is, if it is one.
    fn own_text(text: &str) -> Option<String>;
}

fn own_text<T: Serialize + DeserializeOwned>(text: &str) -> Option<String> {
    serde_json::from_str::<T>(text).ok().map(|value| Raw::of(&value).text().to_owned())
}

macro_rules! sections {
    ($($name:ident $(carries $carried:expr)?;)*) => {
        $(impl Section for $name {
            $(const CARRIED: &'static [Path] = $carried;)?
            fn own_text(text: &str) -> Option<String> {
                own_text::<Self>(text)
            }
        })*
    };
}
sections! {
    Created;
    Control;
    StatusView;
    Claim carries &[&["payload", "inline"], &["request"]];
    Gate;
    Report;
    Closing;
}

impl Section for Desired {
    const CARRIED: &'static [Path] = &[&["payload"]];
    fn own_text(text: &str) -> Option<String> {
        Self::parse(text).ok().map(|desired| desired.to_text())
    }
}

/// The attribute that `text` is stored as.
pub(super) fn attribute<T: Section>(text: &str) -> AttributeValue {
    match read(text, T::CARRIED, LEVELS) {
        // A string stands for the text that it holds, so JSON that is a string is kept with its quotes.
        Some(AttributeValue::S(_)) | None => AttributeValue::S(text.to_owned()),
        Some(native) => native,
    }
}

/// The attribute of a value.
pub(super) fn attribute_of<T: Section + Serialize>(value: &T) -> AttributeValue {
    attribute::<T>(Raw::of(value).text())
}

/// The text of a stored attribute.
pub(super) fn text<T: Section>(stored: &AttributeValue) -> Raw<T> {
    if let AttributeValue::S(text) = stored {
        return Raw::stored(text.clone());
    }
    let mut sorted = String::new();
    write(&mut sorted, stored, T::CARRIED);
    match T::own_text(&sorted) {
        Some(own) if attribute::<T>(&own) == *stored => Raw::stored(own),
        _ => Raw::stored(sorted),
    }
}

/// Reads a tight text. `None`: no map stands for this text alone.
fn read(text: &str, carried: &[Path], levels: usize) -> Option<AttributeValue> {
    let levels = levels.checked_sub(1)?;
    match text.bytes().next()? {
        b'{' => {
            let Members(members) = serde_json::from_str(text).ok()?;
            let mut tight = String::with_capacity(text.len());
            let mut map = std::collections::HashMap::with_capacity(members.len());
            for (name, value) in members {
                tight.push(if tight.is_empty() { '{' } else { ',' });
                tight.push_str(&quoted(&name));
                tight.push(':');
                tight.push_str(value.get());
                let below = below(carried, &name);
                let value = if below.contains(&(&[] as Path)) {
                    AttributeValue::S(value.get().to_owned())
                } else {
                    read(value.get(), &below, levels)?
                };
                if name.is_empty() || map.insert(name.into_owned(), value).is_some() {
                    return None;
                }
            }
            (is_closed(tight, '{', '}', text)).then_some(AttributeValue::M(map))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let mut tight = String::with_capacity(text.len());
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                tight.push(if tight.is_empty() { '[' } else { ',' });
                tight.push_str(item.get());
                list.push(read(item.get(), &[], levels)?);
            }
            (is_closed(tight, '[', ']', text)).then_some(AttributeValue::L(list))
        }
        b'"' => {
            let value: String = serde_json::from_str(text).ok()?;
            (quoted(&value) == text).then_some(AttributeValue::S(value))
        }
        b't' if text == "true" => Some(AttributeValue::Bool(true)),
        b'f' if text == "false" => Some(AttributeValue::Bool(false)),
        b'n' if text == "null" => Some(AttributeValue::Null(true)),
        b'-' | b'0'..=b'9' => {
            let _: &RawValue = serde_json::from_str(text).ok()?;
            number::canonical(text).map(AttributeValue::N)
        }
        _ => None,
    }
}

/// Whether what was put together again is the whole text.
fn is_closed(mut tight: String, open: char, close: char, text: &str) -> bool {
    if tight.is_empty() {
        tight.push(open);
    }
    tight.push(close);
    tight == text
}

/// What is left of the paths below `name`; an empty one means that the value itself is carried.
fn below(carried: &[Path], name: &str) -> Vec<Path> {
    let steps = carried.iter().filter_map(|path| path.split_first());
    steps.filter(|(first, _)| **first == name).map(|(_, rest)| rest).collect()
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// The members of an object in their order, doubles included.
struct Members<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Members<'t> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Read<'t>(std::marker::PhantomData<&'t ()>);
        impl<'de: 't, 't> Visitor<'de> for Read<'t> {
            type Value = Members<'t>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((Cow::Owned(name), value));
                }
                Ok(Members(members))
            }
        }
        d.deserialize_map(Read(std::marker::PhantomData))
    }
}

fn write(to: &mut String, value: &AttributeValue, carried: &[Path]) {
    match value {
        AttributeValue::M(map) => {
            let mut names: Vec<_> = map.iter().collect();
            names.sort_by_key(|(name, _)| name.as_str());
            for (at, (name, value)) in names.into_iter().enumerate() {
                to.push(if at == 0 { '{' } else { ',' });
                let below = below(carried, name);
                if below.contains(&(&[] as Path)) {
                    write_carried(to, name, value);
                } else {
                    to.push_str(&quoted(name));
                    to.push(':');
                    write(to, value, &below);
                }
            }
            to.push_str(if map.is_empty() { "{}" } else { "}" });
        }
        AttributeValue::L(list) => {
            to.push('[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                write(to, value, &[]);
            }
            to.push(']');
        }
        AttributeValue::S(text) => to.push_str(&quoted(text)),
        AttributeValue::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
        AttributeValue::Null(_) => to.push_str("null"),
        AttributeValue::N(text) => match number::canonical(text) {
            Some(number) => to.push_str(&number),
            None => write_strange(to, "N", vec![text.clone()]),
        },
        AttributeValue::Ss(items) => write_strange(to, "SS", items.clone()),
        AttributeValue::Ns(items) => write_strange(to, "NS", items.clone()),
        AttributeValue::B(bytes) => write_strange(to, "B", vec![hex(bytes.as_ref())]),
        AttributeValue::Bs(items) => {
            write_strange(to, "BS", items.iter().map(|bytes| hex(bytes.as_ref())).collect());
        }
        _ => write_strange(to, "a type of a later SDK", Vec::new()),
    }
}

/// What JSON has no value for. Sets have no order.
fn write_strange(to: &mut String, kind: &str, mut items: Vec<String>) {
    items.sort();
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    to.push_str(&format!("{{ {}: [{}] }}", quoted(kind), items.join(", ")));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A member that carries JSON. Any JSON is a good payload, so what is none gets a name that no field has: the
/// error then names the field and what is wrong with it.
fn write_carried(to: &mut String, name: &str, value: &AttributeValue) {
    let wrong = match value {
        AttributeValue::S(text) => match serde_json::from_str::<&RawValue>(text) {
            Ok(json) if json.get() == text => {
                to.push_str(&format!("{}:{text}", quoted(name)));
                return;
            }
            _ => Some("S that is not one JSON text"),
        },
        _ => without_json(value),
    };
    let name = wrong.map_or_else(|| name.to_owned(), |wrong| format!("{name} (holds {wrong})"));
    to.push_str(&format!("{}:", quoted(&name)));
    write(to, value, &[]);
}

/// A type somewhere in `value` that JSON does not have.
fn without_json(value: &AttributeValue) -> Option<&'static str> {
    match value {
        AttributeValue::M(map) => map.values().find_map(without_json),
        AttributeValue::L(list) => list.iter().find_map(without_json),
        AttributeValue::S(_) | AttributeValue::Bool(_) | AttributeValue::Null(_) => None,
        AttributeValue::N(text) => number::canonical(text).is_none().then_some("N"),
        AttributeValue::B(_) => Some("B"),
        AttributeValue::Ss(_) => Some("SS"),
        AttributeValue::Ns(_) => Some("NS"),
        AttributeValue::Bs(_) => Some("BS"),
        _ => Some("a type of a later SDK"),
    }
}
