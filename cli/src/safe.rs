//! What agents wrote, made safe for a terminal. A log may hold bytes that clear the screen, change the
//! title, answer questions on the terminal's behalf or hide what a line says; only `--raw` passes them on.

/// The longest colour sequence that is waited for; longer ones are shown.
const LONGEST_SEQUENCE: usize = 64;

/// Makes a stream of bytes safe, bit by bit. Line feeds and tabs stay, colours (`ESC [ … m`) are left out,
/// every other control character is shown as `cat -v` shows it, and what is not UTF-8 as U+FFFD.
#[derive(Debug, Default)]
pub(crate) struct Safe {
    /// The begin of something that the next bit completes.
    pending: Vec<u8>,
}

impl Safe {
    /// What can be shown after these bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut out = String::with_capacity(self.pending.len());
        let mut at = 0;
        while let Some(taken) = step(&self.pending[at..], &mut out) {
            at += taken;
        }
        self.pending.drain(..at);
        out
    }

    /// What was waiting for more that does not come.
    pub(crate) fn finish(mut self) -> String {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned();
        text.chars().map(shown).collect()
    }
}

/// Takes one character or sequence from the front; `None` when more is needed to know what it is.
fn step(bytes: &[u8], out: &mut String) -> Option<usize> {
    let first = *bytes.first()?;
    if first == 0x1b {
        return escape(bytes, out);
    }
    // A line of a program that writes CRLF ends like any other.
    if first == b'\r' {
        return match bytes.get(1)? {
            b'\n' => Some(1),
            _ => push(out, '\r', 1),
        };
    }
    let length = match first {
        0..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return push(out, char::REPLACEMENT_CHARACTER, 1),
    };
    let available = bytes.len().min(length);
    match std::str::from_utf8(&bytes[..available]) {
        Ok(text) => push(out, text.chars().next()?, length),
        // Only the begin of a character is there, and nothing is wrong with it.
        Err(e) if e.error_len().is_none() => None,
        Err(e) => push(out, char::REPLACEMENT_CHARACTER, e.error_len().unwrap_or(1)),
    }
}

fn push(out: &mut String, c: char, taken: usize) -> Option<usize> {
    match c {
        '\n' | '\t' => out.push(c),
        _ => out.push_str(&shown(c)),
    }
    Some(taken)
}

/// A sequence that colours is left out; of any other only the escape is replaced, which disarms it.
fn escape(bytes: &[u8], out: &mut String) -> Option<usize> {
    if *bytes.get(1)? == b'[' {
        let parameters = bytes[2..].iter().take_while(|b| matches!(b, b'0'..=b'9' | b';' | b':')).count();
        match bytes.get(2 + parameters) {
            Some(b'm') => return Some(3 + parameters),
            None if bytes.len() < LONGEST_SEQUENCE => return None,
            _ => {}
        }
    }
    out.push_str("^[");
    Some(1)
}

/// A character as it is shown: `^[` for an escape, `M-…` is left to `cat`, and characters that change the
/// direction or hide text by their code.
fn shown(c: char) -> String {
    match c {
        '\n' | '\t' => c.to_string(),
        '\0'..='\x1f' => format!("^{}", char::from(b'@' + c as u8)),
        '\x7f' => "^?".to_owned(),
        _ if is_hidden(c) => format!("<U+{:04X}>", c as u32),
        _ => c.to_string(),
    }
}

/// Control characters of the second block, and those that reorder or hide what stands around them (the
/// list of "Trojan Source", CVE-2021-42574, and the line separators).
pub(crate) fn is_hidden(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A whole text made safe; line feeds stay.
pub(crate) fn safe(text: &str) -> String {
    let mut stream = Safe::default();
    let begin = stream.push(text.as_bytes());
    begin + &stream.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let rows: &[(&str, &str)] = &[
            ("plain\ttext\n", "plain\ttext\n"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b[38;2;1;2;3mred", "red"),
            ("\x1b[2Jgone", "^[[2Jgone"),
            ("\x1b]0;title\x07", "^[]0;title^G"),
            ("\x1b[6n", "^[[6n"),
            ("a\r\nb\rc", "a\nb^Mc"),
            ("\u{9b}2J", "<U+009B>2J"),
            ("safe\u{202e}txt", "safe<U+202E>txt"),
            ("\x08\x7f\0", "^H^?^@"),
            ("ends in \x1b", "ends in ^["),
            ("ends in \x1b[3", "ends in ^[[3"),
            ("ends in \r", "ends in ^M"),
            ("é€😀", "é€😀"),
        ];
        for (text, expected) in rows {
            assert_eq!(safe(text), *expected, "{text:?}");
        }
        assert_eq!(safe(&format!("\x1b[{}", "1;".repeat(40))), format!("^[[{}", "1;".repeat(40)));
    }

    #[test]
    fn how_a_stream_is_cut_does_not_change_what_is_shown() {
        let text = b"a\xc3\xa9\xf0\x9f\x98\x80\x1b[1;31mred\x1b[0m\r\n\xff\xe2\x28\x1b[2J\xe2\x82";
        let whole = {
            let mut stream = Safe::default();
            stream.push(text) + &stream.finish()
        };
        assert_eq!(whole, "aé😀red\n\u{fffd}\u{fffd}(^[[2J\u{fffd}");
        for cut in 0..text.len() {
            let mut stream = Safe::default();
            let shown = stream.push(&text[..cut]) + &stream.push(&text[cut..]);
            assert_eq!(shown + &stream.finish(), whole, "cut at {cut}");
        }
    }
}
