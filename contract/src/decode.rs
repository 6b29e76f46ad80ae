//! Reading what people wrote: every error of a text is collected, and each names the field, the value and
//! what is allowed. An unknown field is an error with a suggestion, never dropped.

use crate::json::{JsonText, cut, cut_to};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

/// The most errors of one text. What is wrong a hundred times is wrong in one way, and a text of a megabyte must not
/// be answered with a hundred.
pub const MOST_ERRORS: usize = 100;
/// The most characters of a message; it may quote what was sent, and a parser quotes all of it.
const MESSAGE: usize = 1000;
/// The most bytes of all errors as one text, which is stored in `control`.
const TEXT: usize = 4096;
/// No slip of the pen is longer than this, and likeness costs time by length.
const LONGEST_SLIP: usize = 64;
/// How many known names a wrong one is compared with, and how many are listed: with thousands of queues, each named
/// wrongly by a job type, reading the file took the square of their number.
const MOST_COMPARED: usize = 200;
const MOST_LISTED: usize = 40;

/// The JSON pointer (RFC 6901) to the member `name` of what is at `at`.
#[must_use]
pub fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// One thing that is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the place, relative to the body; empty for the whole. Cut to 120 characters.
    pub pointer: String,
    /// The offending value as JSON, cut to 120 characters.
    pub value: String,
    /// What is allowed, or what is wrong, as a phrase.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "/" } else { &self.pointer };
        if self.value.is_empty() {
            write!(f, "{place}: {}", self.message)
        } else {
            write!(f, "{place}: {} is not allowed: {}", self.value, self.message)
        }
    }
}

/// Everything that is wrong with a text; never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[error("{}", self.text())]
pub struct Invalid {
    /// The errors in the order of the fields.
    pub errors: Vec<FieldError>,
}

impl Invalid {
    /// A single error.
    #[must_use]
    pub fn one(pointer: impl Into<String>, value: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            errors: vec![FieldError {
                pointer: pointer.into(),
                value: value.into(),
                message: cut_to(MESSAGE, &message.into()),
            }],
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (at, error) in self.errors.iter().enumerate() {
            let shown = cut_to(MESSAGE, &error.to_string());
            if text.len() + shown.len() > TEXT {
                return format!("{text}; and {} more", self.errors.len() - at);
            }
            text = if at == 0 { shown } else { format!("{text}; {shown}") };
        }
        text
    }
}

/// Adds an error, unless there are enough.
fn push(errors: &mut Vec<FieldError>, error: FieldError) {
    if errors.len() < MOST_ERRORS {
        let FieldError { pointer, value, message } = error;
        errors.push(FieldError { pointer: cut(&pointer), value, message: cut_to(MESSAGE, &message) });
    }
}

/// Reads the fields of one JSON object. Take each known field once, then call [`Fields::finish`], which
/// reports those that nobody took.
pub struct Fields<'a> {
    at: String,
    members: BTreeMap<String, JsonText>,
    known: Vec<&'static str>,
    errors: &'a mut Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// Starts reading `text` as an object that stands at pointer `at`. A text that is no object is
    /// reported, and then every field looks absent.
    pub fn of(text: &str, at: impl Into<String>, errors: &'a mut Vec<FieldError>) -> Self {
        let at = at.into();
        let members = match serde_json::from_str::<BTreeMap<String, JsonText>>(text) {
            Ok(members) => members,
            Err(e) => {
                let message = match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                    Ok(_) => "an object is needed here".to_owned(),
                    Err(_) => format!("not valid JSON: {e}"),
                };
                push(errors, FieldError { pointer: at.clone(), value: cut(text), message });
                BTreeMap::new()
            }
        };
        Self { at, members, known: Vec::new(), errors }
    }

    /// Starts reading an element that [`Fields::list`] returned.
    pub fn nested<'b>(&'b mut self, text: &JsonText, at: impl Into<String>) -> Fields<'b> {
        Fields::of(text.as_str(), at, self.errors)
    }

    /// Whether an error at field `name` was recorded already.
    #[must_use]
    pub fn has_error(&self, name: &str) -> bool {
        let pointer = format!("{}/{name}", self.at);
        self.errors.iter().any(|e| e.pointer == pointer)
    }

    /// Records an error at field `name`.
    pub fn error(&mut self, name: &str, value: &str, message: impl Into<String>) {
        let pointer = below(&self.at, name);
        push(self.errors, FieldError { pointer, value: cut(value), message: message.into() });
    }

    /// The raw text of a field; `null` counts as absent.
    pub fn raw(&mut self, name: &'static str) -> Option<JsonText> {
        self.known.push(name);
        self.members.remove(name).filter(|text| text.as_str() != "null")
    }

    /// The raw text of a field whose `null` is a value like any other.
    pub fn raw_with_null(&mut self, name: &'static str) -> Option<JsonText> {
        self.known.push(name);
        self.members.remove(name)
    }

    /// The raw text of a field that people are not told of when they mistype another.
    pub fn unlisted(&mut self, name: &str) -> Option<JsonText> {
        self.members.remove(name).filter(|text| text.as_str() != "null")
    }

    fn value(&mut self, name: &'static str) -> Option<(Value, JsonText)> {
        let text = self.raw(name)?;
        match serde_json::from_str(text.as_str()) {
            Ok(value) => Some((value, text)),
            Err(e) => {
                self.error(name, text.as_str(), e.to_string());
                None
            }
        }
    }

    /// A whole number within `allowed`.
    pub fn integer(&mut self, name: &'static str, allowed: RangeInclusive<i64>) -> Option<i64> {
        let (value, text) = self.value(name)?;
        match value.as_i64() {
            Some(n) if allowed.contains(&n) => Some(n),
            _ => {
                let message = format!("a whole number from {} to {}", allowed.start(), allowed.end());
                self.error(name, text.as_str(), message);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let (value, text) = self.value(name)?;
        let found = value.as_bool();
        if found.is_none() {
            self.error(name, text.as_str(), "true or false");
        }
        found
    }

    /// A decimal number from one millionth to `most`, in millionths.
    pub fn micros(&mut self, name: &'static str, most: u32) -> Option<u64> {
        let (value, text) = self.value(name)?;
        match value.as_f64() {
            Some(n) if n >= 1e-6 && n <= f64::from(most) => Some((n * 1e6).round() as u64),
            _ => {
                self.error(name, text.as_str(), format!("a number from 0.000001 to {most}"));
                None
            }
        }
    }

    /// A string that `check` accepts; `check` answers with what is allowed otherwise.
    pub fn string(
        &mut self,
        name: &'static str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let (value, text) = self.value(name)?;
        let Value::String(found) = value else {
            self.error(name, text.as_str(), "a string");
            return None;
        };
        match check(&found) {
            Ok(()) => Some(found),
            Err(allowed) => {
                self.error(name, text.as_str(), allowed);
                None
            }
        }
    }

    /// One of a closed set of words.
    pub fn word<T: std::str::FromStr<Err = String>>(&mut self, name: &'static str) -> Option<T> {
        let (value, text) = self.value(name)?;
        match value.as_str().unwrap_or_default().parse() {
            Ok(word) => Some(word),
            Err(message) => {
                self.error(name, text.as_str(), message.split_once(" is ").map_or(message.as_str(), |m| m.1));
                None
            }
        }
    }

    /// A map of strings whose entries `check` accepts.
    pub fn strings(
        &mut self,
        name: &'static str,
        most: usize,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> Option<BTreeMap<String, String>> {
        let text = self.raw(name)?;
        let Ok(map) = serde_json::from_str::<BTreeMap<String, String>>(text.as_str()) else {
            self.error(name, text.as_str(), "an object whose values are strings");
            return None;
        };
        if map.len() > most {
            self.error(name, "", format!("{} entries; at most {most} are allowed", map.len()));
        }
        for (key, value) in &map {
            if let Err(message) = check(key, value) {
                let pointer = below(&below(&self.at, name), key);
                push(self.errors, FieldError { pointer, value: cut(&format!("{:?}", cut(value))), message });
            }
        }
        Some(map)
    }

    /// The elements of an array, each as text with its pointer: the first `most`. More are an error, and looking
    /// into them as well would cost their number times that of the errors.
    pub fn list(&mut self, name: &'static str, most: usize) -> Option<Vec<(String, JsonText)>> {
        let text = self.raw(name)?;
        let Ok(items) = serde_json::from_str::<Vec<JsonText>>(text.as_str()) else {
            self.error(name, text.as_str(), "an array");
            return None;
        };
        if items.len() > most {
            self.error(name, "", format!("{} entries; at most {most} are allowed", items.len()));
        }
        let at = &self.at;
        let items = items.into_iter().take(most).enumerate();
        Some(items.map(|(i, item)| (format!("{at}/{name}/{i}"), item)).collect())
    }

    /// A list of whole numbers within `allowed`; empty when absent.
    pub fn integers(&mut self, name: &'static str, allowed: RangeInclusive<i32>) -> BTreeSet<i32> {
        let Some(text) = self.raw(name) else { return BTreeSet::new() };
        match serde_json::from_str::<BTreeSet<i32>>(text.as_str()) {
            Ok(found) if found.iter().all(|n| allowed.contains(n)) => found,
            _ => {
                let message = format!("whole numbers from {} to {}", allowed.start(), allowed.end());
                self.error(name, text.as_str(), message);
                BTreeSet::new()
            }
        }
    }

    /// A list of words; empty when absent.
    pub fn words<T: std::str::FromStr + Ord>(&mut self, name: &'static str) -> BTreeSet<T>
    where
        T::Err: fmt::Display,
    {
        let Some(text) = self.raw(name) else { return BTreeSet::new() };
        let Ok(found) = serde_json::from_str::<Vec<String>>(text.as_str()) else {
            self.error(name, text.as_str(), "an array of strings");
            return BTreeSet::new();
        };
        let mut words = BTreeSet::new();
        for word in found {
            match word.parse::<T>() {
                Ok(word) => drop(words.insert(word)),
                Err(e) => self.error(name, &format!("{word:?}"), format!("{e}")),
            }
        }
        words
    }

    /// Reads a nested object with `read`.
    pub fn object<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Fields<'_>) -> T) -> Option<T> {
        let text = self.raw(name)?;
        let mut inner = Fields::of(text.as_str(), format!("{}/{name}", self.at), self.errors);
        let found = read(&mut inner);
        inner.finish();
        Some(found)
    }

    /// Reports fields that are not known, each with the known name it looks like.
    pub fn finish(mut self) {
        for name in std::mem::take(&mut self.members).into_keys() {
            if self.errors.len() >= MOST_ERRORS {
                return;
            }
            let message = unknown(&name, self.known.iter().copied());
            self.error(&name, "", message);
        }
    }
}

/// The known name that `name` is most likely a slip of, if one is near.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .take(if name.len() <= LONGEST_SLIP { MOST_COMPARED } else { 0 })
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

/// The message for an unknown name, with a suggestion when one is near.
#[must_use]
pub fn unknown<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    if known.clone().next().is_none() {
        return format!("{:?} is not known; nothing is allowed here", cut(name));
    }
    match nearest(name, known.clone()) {
        Some(k) => format!("{name:?} is not known; did you mean {k:?}?"),
        None => {
            let more = if known.clone().nth(MOST_LISTED).is_some() { ", …" } else { "" };
            let known = known.take(MOST_LISTED).collect::<Vec<_>>().join(", ");
            format!("{:?} is not known; known are {known}{more}", cut(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::desired::Desired;
    use crate::json::Raw;
    use crate::{Control, Gate};

    fn refused(text: &str) -> Vec<super::FieldError> {
        let invalid = Desired::parse(text).expect_err("refused");
        assert!(invalid.to_string().len() < 8192, "{} bytes", invalid.to_string().len());
        let longest = invalid.errors.iter().map(|e| e.pointer.len() + e.value.len() + e.message.len()).max();
        assert!(longest < Some(8192), "an error of {longest:?} bytes");
        invalid.errors
    }

    #[test]
    fn errors_that_just_fit_into_the_text_are_all_shown() {
        let one = |length| super::FieldError {
            pointer: "/a".to_owned(),
            value: String::new(),
            message: "x".repeat(length - "/a: ".len()),
        };
        // Four of a thousand, three separators between them, and what is left of the limit.
        let fifth = super::TEXT - 4 * 1000 - 3 * "; ".len();
        let text = |fifth| {
            let errors = [1000, 1000, 1000, 1000, fifth].map(one).to_vec();
            super::Invalid { errors }.to_string()
        };
        assert_eq!(text(fifth).matches("/a: ").count(), 5);
        assert!(text(fifth + 1).ends_with("; and 1 more"));
    }

    #[test]
    fn rules_beyond_the_allowed_number_are_not_looked_into() {
        // 350,000 rules without an action, in a body of the allowed size, were compared with each other.
        let text =
            format!(r#"{{"job_type":"e","failure_policy":{{"rules":[{}]}}}}"#, vec!["{}"; 350_000].join(","));
        let errors = refused(&text);
        assert_eq!(errors[0].message, "350000 entries; at most 20 are allowed");
        assert_eq!(errors.len(), 21);
    }

    #[test]
    fn a_text_that_is_wrong_a_thousand_times_is_answered_with_a_hundred_errors() {
        let members =
            |value: &str| (0..1000).map(|n| format!("\"k{n}\":{value}")).collect::<Vec<_>>().join(",");
        assert_eq!(refused(&format!("{{{}}}", members("1"))).len(), super::MOST_ERRORS);
        let labels = format!(r#"{{"job_type":"e","labels":{{{}}}}}"#, members(r#""\n""#));
        assert_eq!(refused(&labels).len(), super::MOST_ERRORS);
    }

    #[test]
    fn an_explanation_does_not_quote_a_name_or_a_word_of_hundreds_of_kilobytes() {
        // It is stored in `control`, and an item of DynamoDB has 400 KB.
        let long = "x".repeat(400_000);
        assert_eq!(refused(&format!(r#"{{"job_type":"e","{long}":1}}"#)).len(), 1);
        refused(&format!(r#"{{"job_type":"e","capacity":"{long}"}}"#));
        refused(&format!(r#"{{"job_type":"e","labels":{{"{long}":"a"}}}}"#));
        refused(&format!(
            r#"{{"job_type":"e","failure_policy":{{"rules":[{{"action":"Fail","classes":["{long}"]}}]}}}}"#
        ));
        let unknown_member = Raw::<Control>::stored(format!(r#"{{"{long}":1}}"#)).parse().unwrap_err();
        assert!(unknown_member.to_string().len() < 8192);
        let unknown_word = Raw::<Gate>::stored(format!(r#"{{"state":"{long}"}}"#)).parse().unwrap_err();
        assert!(unknown_word.to_string().len() < 8192);
    }

    #[test]
    fn a_wrong_name_is_compared_with_a_bounded_number_of_known_ones() {
        let many: Vec<String> = (0..5000).map(|n| format!("queue-{n}")).collect();
        let message = super::unknown("xyz", many.iter().map(String::as_str));
        assert!(message.ends_with("queue-39, …"), "{message}");
        let few = super::unknown("xyz", many[..40].iter().map(String::as_str));
        assert!(few.ends_with("queue-39"), "{few}");
    }

    #[test]
    fn a_cost_limit_that_rounds_to_nothing_is_refused_and_not_stored_as_a_record_that_is_invalid() {
        assert_eq!(refused(r#"{"job_type":"e","max_cost_usd":1e-7}"#)[0].pointer, "/max_cost_usd");
        let least = Desired::parse(r#"{"job_type":"e","max_cost_usd":0.000001}"#).unwrap();
        assert_eq!(Desired::parse(&least.to_text()).unwrap(), least);
    }
}
