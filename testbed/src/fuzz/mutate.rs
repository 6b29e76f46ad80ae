//! What is done to good values: wrong types, missing and extra members, names twice, unknown words, numbers and
//! texts of any size, deep nesting, lone surrogates; and below the syntax: bytes that are no UTF-8, cuts, repeats.

use super::{Kind, seeds};
use crate::Dice;
use serde_json::Value;

/// Stands for a fragment that `serde_json::Value` cannot hold.
const HOLE: &str = "@hole@";
/// One input in so many is hundreds of kilobytes long: as long as an item of DynamoDB.
const HUGE_ONCE_IN: u64 = 4000;
const HUGE: u64 = 400 * 1024;

/// Values for any place, as JSON text. Some are no JSON.
const FRAGMENTS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "-1",
    "1",
    "2",
    "3.0",
    "0.5",
    "1e-7",
    "4e-7",
    "5e-7",
    "1e400",
    "-1e400",
    "1e-400",
    "255",
    "256",
    "65536",
    "4294967295",
    "4294967296",
    "2147483648",
    "-2147483649",
    "9007199254740993",
    "8999999999.999999",
    "8999999999.9999985",
    "9e9",
    "1000000.0000001",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "253402300799999",
    "253402300800000",
    "01",
    "+1",
    ".5",
    "1.",
    "NaN",
    "Infinity",
    "0x10",
    "\"\"",
    "\" \"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\u{fffd}\"",
    "\"ä\"",
    "\"\\n\"",
    "\"-1\"",
    "\"1\"",
    "\"null\"",
    "\"echo\"",
    "\"RUNNING\"",
    "\"Running\"",
    "\"Completed\"",
    "\"Cancelled\"",
    "\"started\"",
    "\"..\"",
    "\"1970-01-01T00:00:00Z\"",
    "\"1969-12-31T23:59:59Z\"",
    "\"9999-12-31T23:59:59.999Z\"",
    "\"10000-01-01T00:00:00Z\"",
    "\"2026-02-30T00:00:00Z\"",
    "\"2026-11-22T23:59:60Z\"",
    "\"2026-11-22 10:05:12\"",
    "\"2026-11-22T10:05:12.9999999999Z\"",
    "{}",
    "[]",
    "[null]",
    "[[]]",
    "{\"\":0}",
    "{\"a\":1,\"a\":2}",
    "{\"a~/b\":1}",
    "[1,]",
    "{\"a\"}",
    "/**/1",
    "{\"$serde_json::private::RawValue\":\"1\"}",
    "\"$serde_json::private::Number\"",
    "{\"state\":\"started\",\"task\":\"x\"}",
    "\u{feff}1",
];
/// Texts for formats other than JSON.
const WORDS: &[&str] = &[
    "",
    " ",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "=",
    "#",
    "'",
    "\"",
    "\\",
    "\\\"",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "{",
    "}",
    "[[a]]",
    "[a.b.c]",
    "a.b.c=1\n",
    "a=1\n",
    "inf",
    "nan",
    "1979-05-27T07:32:00Z",
    "0b1",
    "-",
    ":",
    "/",
    "//",
    "://",
    "@",
    "*",
    ",",
    ";",
    "%",
    "$A",
    "ä",
    "\u{feff}",
    "\u{2028}",
    "-1",
    "0",
    "1",
    "3600",
    "18446744073709551616",
    "1e5",
    "true",
    "localhost:",
    "127.0.0.1:65536",
    "redis://a@b@c/",
    "sqlite:",
    ":memory:",
];

/// Makes inputs.
#[derive(Debug)]
pub struct Mutator {
    dice: Dice,
}

impl Mutator {
    /// The same seed makes the same inputs.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::seeded(seed) }
    }

    /// A number below `count`.
    pub fn choose(&mut self, count: usize) -> usize {
        usize::try_from(self.dice.number() % count.max(1) as u64).unwrap_or_default()
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        self.dice.one_of(all).copied().unwrap_or_default()
    }

    /// An input for `kind`: a good one, changed a little or a lot.
    pub fn input(&mut self, kind: Kind) -> Vec<u8> {
        let seed = self.one_of(seeds::of(kind));
        let mut text = seed.to_owned();
        for _ in 0..self.dice.within(0..=3) {
            text = self.changed(&text);
        }
        let mut bytes = text.into_bytes();
        if kind == Kind::Setting {
            bytes.insert(0, self.dice.number() as u8);
        }
        if self.dice.once_in(6) {
            for _ in 0..self.dice.within(1..=3) {
                self.change_bytes(&mut bytes, kind);
            }
        }
        bytes
    }

    fn changed(&mut self, text: &str) -> String {
        match serde_json::from_str::<Value>(text) {
            Ok(mut value) if !self.dice.once_in(8) => {
                let fragment = self.fragment();
                let twice = self.change_value(&mut value);
                let mut changed = value.to_string().replacen(&format!("\"{HOLE}\""), &fragment, 2);
                if let Some(name) = twice.filter(|_| changed.starts_with('{') && changed.len() > 2) {
                    // A second member of the same name, before the first.
                    let name = Value::String(name);
                    changed.insert_str(1, &format!("{name}:{fragment},"));
                }
                changed
            }
            _ => {
                let at = self.place(text);
                let end = text[at..].char_indices().nth(self.choose(9)).map_or(text.len(), |(i, _)| at + i);
                let huge = self.dice.once_in(HUGE_ONCE_IN);
                let word = if huge { self.huge() } else { self.one_of(WORDS).to_owned() };
                let rest = if self.dice.once_in(2) { at } else { end };
                format!("{}{word}{}", &text[..at], &text[rest..])
            }
        }
    }

    /// The start of a character of `text`.
    fn place(&mut self, text: &str) -> usize {
        let mut at = self.choose(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// Changes one place of `value`; may answer with a name that shall stand twice.
    fn change_value(&mut self, value: &mut Value) -> Option<String> {
        let go_on = !self.dice.once_in(4);
        match value {
            Value::Object(members) if go_on && !members.is_empty() => {
                let at = self.choose(members.len());
                let name = members.keys().nth(at).cloned().unwrap_or_default();
                match self.dice.within(0..=11) {
                    0 => drop(members.remove(&name)),
                    1 => {
                        let value = members.remove(&name).unwrap_or_default();
                        let name = self.slip(&name);
                        members.insert(name, value);
                    }
                    2 => drop(members.insert(self.slip(&name), Value::String(HOLE.to_owned()))),
                    3 => return Some(name),
                    4 | 5 => drop(members.insert(name, Value::String(HOLE.to_owned()))),
                    _ => {
                        if let Some(inner) = members.get_mut(&name) {
                            let _ = self.change_value(inner);
                        }
                    }
                }
            }
            Value::Array(items) if go_on && !items.is_empty() => {
                let at = self.choose(items.len());
                match self.dice.within(0..=4) {
                    0 => drop(items.remove(at)),
                    1 => items.push(items[at].clone()),
                    2 => items.insert(at, Value::String(HOLE.to_owned())),
                    _ => {
                        let _ = self.change_value(&mut items[at]);
                    }
                }
            }
            other => *other = Value::String(HOLE.to_owned()),
        }
        None
    }

    /// A name that is nearly `name`.
    fn slip(&mut self, name: &str) -> String {
        match self.dice.within(0..=4) {
            0 => format!("{name}s"),
            1 => name.to_uppercase(),
            2 => name.chars().rev().collect(),
            3 => self.one_of(WORDS).to_owned(),
            _ if self.dice.once_in(HUGE_ONCE_IN / 8) => self.huge(),
            _ => name.chars().skip(1).collect(),
        }
    }

    fn fragment(&mut self) -> String {
        if self.dice.once_in(HUGE_ONCE_IN) {
            let huge = self.huge();
            return match self.dice.within(0..=4) {
                0 => format!("{}{}", "[".repeat(huge.len() / 2), "]".repeat(huge.len() / 2)),
                1 => "9".repeat(huge.len()),
                2 => format!("[{}0]", "0,".repeat(huge.len() / 2)),
                3 => format!("{}1{}", "{\"a\":".repeat(huge.len() / 6), "}".repeat(huge.len() / 6)),
                _ => Value::String(huge).to_string(),
            };
        }
        match self.dice.within(0..=15) {
            0 => {
                let levels = usize::try_from(self.dice.within(1..=200)).unwrap_or(1);
                format!("{}{}", "[".repeat(levels), "]".repeat(levels))
            }
            1 => self.dice.number().to_string(),
            2 => format!("-{}", self.dice.number()),
            3 => f64::from_bits(self.dice.number()).to_string(),
            4 => Value::String(self.slip("name")).to_string(),
            _ => self.one_of(FRAGMENTS).to_owned(),
        }
    }

    fn huge(&mut self) -> String {
        let unit = self.one_of(&["a", "ä", "\\", "\"", "\u{0}", "a=", "[", "-", "0", "a.", "\n"]);
        let size = self.dice.within(1..=HUGE);
        unit.repeat(usize::try_from(size).unwrap_or_default() / unit.len())
    }

    fn change_bytes(&mut self, bytes: &mut Vec<u8>, kind: Kind) {
        let at = self.choose(bytes.len().max(1));
        let byte = self.dice.number() as u8;
        match self.dice.within(0..=5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), byte),
            2 => {
                if let Some(place) = bytes.get_mut(at) {
                    *place ^= 1 << (byte % 8);
                }
            }
            3 => {
                // Cut in the middle of characters, with bytes that UTF-8 never has.
                let end = at.min(bytes.len());
                bytes.splice(end..end, [0xff, 0xc3, byte]);
            }
            4 => {
                let end = (at + self.choose(20)).min(bytes.len());
                let copy = bytes[at.min(end)..end].to_vec();
                bytes.splice(end..end, copy);
            }
            _ => {
                let other = self.one_of(seeds::of(kind)).as_bytes();
                let from = self.choose(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}
