//! JSON that is carried but not interpreted, and sections in the form in which a store returned them.

use crate::decode::Invalid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;

/// How deep a payload or a result may be nested. Many readers stop at 128 levels (serde_json among them), SQLite at 1,000, and
/// records and answers put the payload a few levels down.
pub const NESTING_LIMIT: usize = 100;

/// Any JSON value, kept as its text: the payload, a result. It is never taken apart on the way, so it costs
/// nothing to pass on and compares byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JsonText(Box<str>);

impl JsonText {
    /// Checks that `text` is one JSON value.
    ///
    /// # Errors
    /// What is wrong with the text, with line and column.
    pub fn new(text: impl Into<String>) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text.into()).map(|raw| Self(raw.get().into()))
    }

    /// The text of `value`, without spaces.
    #[must_use]
    pub fn of(value: &serde_json::Value) -> Self {
        Self(value.to_string().into_boxed_str())
    }

    /// The empty object, which stands for "no payload" and "no result file".
    #[must_use]
    pub fn empty_object() -> Self {
        Self("{}".into())
    }

    /// What readers stumble over, though the grammar allows it: nesting beyond [`NESTING_LIMIT`], and halves of
    /// surrogate pairs, which are no text.
    ///
    /// # Errors
    /// What it is, and what is allowed.
    pub fn is_readable(&self) -> Result<(), String> {
        let mut rest = self.0.as_bytes().iter();
        let (mut depth, mut quoted, mut half) = (0, false, false);
        while let Some(byte) = rest.next() {
            let escape = quoted && *byte == b'\\';
            let unit = if escape && rest.next() == Some(&b'u') { code_unit(&mut rest) } else { 0 };
            if half != matches!(unit, 0xdc00..=0xdfff) {
                return Err("a string holds half of a surrogate pair (\\ud800 to \\udfff)".to_owned());
            }
            half = matches!(unit, 0xd800..=0xdbff);
            match byte {
                b'"' => quoted = !quoted,
                b'[' | b'{' if !quoted => depth += 1,
                b']' | b'}' if !quoted => depth -= 1,
                _ => {}
            }
            if depth > NESTING_LIMIT {
                return Err(format!("is nested deeper than {NESTING_LIMIT} levels"));
            }
        }
        Ok(())
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The four hexadecimal digits of an escape; the text is known to have them.
fn code_unit<'a>(rest: &mut impl Iterator<Item = &'a u8>) -> u32 {
    rest.take(4).fold(0, |unit, digit| unit << 4 | char::from(*digit).to_digit(16).unwrap_or(0))
}

impl Default for JsonText {
    fn default() -> Self {
        Self::empty_object()
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(s)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(d)?.get().into()))
    }
}

/// A section as the store returned it: the text is what conditions compare, the parsed form is what code
/// works with. Two texts may parse alike and still be two different edits.
pub struct Raw<T> {
    text: Box<str>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Raw<T> {
    /// Wraps a stored text, whatever it holds.
    #[must_use]
    pub fn stored(text: impl Into<String>) -> Self {
        Self { text: text.into().into_boxed_str(), kind: PhantomData }
    }

    /// The stored text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<T: Serialize> Raw<T> {
    /// The text that this value is stored as.
    ///
    /// # Panics
    /// Never for the types of this crate, whose maps have string keys.
    #[must_use]
    pub fn of(value: &T) -> Self {
        Self::stored(serde_json::to_string(value).expect("sections serialise"))
    }
}

impl<T: DeserializeOwned> Raw<T> {
    /// Parses the section.
    ///
    /// # Errors
    /// [`Invalid`] with the place and the reason; a hand edit can put anything here.
    pub fn parse(&self) -> Result<T, Invalid> {
        serde_json::from_str(&self.text).map_err(|e| Invalid::one("", cut(&self.text), e.to_string()))
    }
}

/// The start of `text`, short enough for an error message.
pub(crate) fn cut(text: &str) -> String {
    cut_to(120, text)
}

/// The first `most` characters of `text`.
pub(crate) fn cut_to(most: usize, text: &str) -> String {
    let mut short: String = text.chars().take(most).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

// By hand, because derives would ask the same of `T`.
impl<T> Clone for Raw<T> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), kind: PhantomData }
    }
}
impl<T> PartialEq for Raw<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl<T> Eq for Raw<T> {}
impl<T> fmt::Debug for Raw<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carried_json_is_not_changed_by_the_way_through_a_record() {
        #[derive(Serialize, Deserialize)]
        struct Holder {
            payload: JsonText,
        }
        let text = r#"{"payload":{"b":1.0,"a":[1e400,"\u00e4"]}}"#;
        let holder: Holder = serde_json::from_str(text).unwrap();
        assert_eq!(holder.payload.as_str(), r#"{"b":1.0,"a":[1e400,"\u00e4"]}"#);
        assert_eq!(serde_json::to_string(&holder).unwrap(), text);
    }

    #[test]
    fn text_that_readers_stumble_over_is_told_from_text_that_only_looks_so() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let good = [
            nested(NESTING_LIMIT),
            format!("[{}]", ["{\"a\":[]}"; 200].join(",")),
            format!("\"\\\"{}\"", "[".repeat(200)),
            r#""\ud83d\ude00 \\ud800 \u00e4""#.to_owned(),
        ];
        for text in good {
            assert_eq!(JsonText::new(text.clone()).unwrap().is_readable(), Ok(()), "{text}");
        }
        for text in [r#""\ud800""#, r#""\ud800x\udc00""#, r#"["\udc00"]"#, r#"{"\uD800\n":1}"#] {
            assert!(JsonText::new(text).unwrap().is_readable().unwrap_err().contains("surrogate"), "{text}");
        }
        let deep = JsonText::new(nested(NESTING_LIMIT + 1)).unwrap();
        assert!(deep.is_readable().unwrap_err().contains("100 levels"));
        // Brackets in strings neither open nor close anything.
        assert_eq!(JsonText::new(r#"["]]}}",{"{[":"[[{"}]"#.to_owned()).unwrap().is_readable(), Ok(()));
        let deep = format!(r#"["]]",{}]"#, nested(NESTING_LIMIT));
        assert!(JsonText::new(deep).unwrap().is_readable().unwrap_err().contains("100 levels"));
    }

    #[test]
    fn text_that_is_no_json_value_is_refused() {
        assert!(JsonText::new("{").is_err());
        assert!(JsonText::new("1 2").is_err());
        assert_eq!(JsonText::new(" 1 ").unwrap().as_str(), "1");
    }
}
