//! Data goes to stdout, everything said about it to stderr. A reader that goes away (`| head`) is no
//! error: what it does not want is not written, and the exit code stays that of the work.

use contract::Timestamp;
use std::io::{self, IsTerminal, Write};

/// Writes data.
pub(crate) fn data(text: &str) -> io::Result<()> {
    bytes(text.as_bytes())
}

/// Writes data as it is.
pub(crate) fn bytes(data: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Says something to the person at the terminal. If nobody hears it, nothing else can be done.
pub(crate) fn say(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.write_all(b"\n"));
}

/// Says what went wrong. Errors repeat what was sent and stored, which may hold anything.
pub(crate) fn complain(error: &str) {
    say(&crate::safe::safe(&format!("error: {error}")));
}

/// Writes what somebody else says to stderr; like [`say`], if nobody hears it, that is no error.
pub(crate) fn chatter(bytes: &[u8]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    let _ = err.write_all(bytes).and_then(|()| err.flush());
    Ok(())
}

/// Whether to colour what goes to stdout (<https://no-color.org>).
pub(crate) fn stdout_colours() -> bool {
    wants_colour() && io::stdout().is_terminal()
}

/// Whether to colour what goes to stderr.
pub(crate) fn stderr_colours() -> bool {
    wants_colour() && io::stderr().is_terminal()
}

/// Whether what stands on stderr may be drawn over.
pub(crate) fn stderr_moves() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A status in its colour, padded to `width`.
pub(crate) fn status(word: &str, width: usize, colours: bool) -> String {
    let padded = format!("{word:width$}");
    let colour = match word {
        "SUCCEEDED" => "32",
        "FAILED" => "31",
        "RUNNING" => "36",
        _ => return padded,
    };
    if colours { format!("\x1b[{colour}m{padded}\x1b[0m") } else { padded }
}

/// The widest table where nothing says otherwise: a terminal of the standard width.
pub(crate) const WIDTH: usize = 80;
const GAP: usize = 2;

/// Lays rows out in columns that are at least as wide as `usual` says. `squeeze` names the columns that
/// give way when a line would be wider than `limit`, in this order, each with how little may be left of it; the others
/// are never cut. The last column has no padding.
pub(crate) fn columns(
    rows: &[Vec<String>],
    usual: &[usize],
    squeeze: &[(usize, usize)],
    limit: Option<usize>,
) -> Vec<Vec<String>> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0);
    let mut widths: Vec<usize> =
        (0..count).map(|c| wide(c).max(usual.get(c).copied().unwrap_or(0))).collect();
    for (column, least) in squeeze {
        let total = widths.iter().sum::<usize>() + GAP * count.saturating_sub(1);
        if let (Some(over), Some(width)) = (limit.map(|l| total.saturating_sub(l)), widths.get_mut(*column)) {
            *width = width.saturating_sub(over).max((*least).min(*width));
        }
    }
    let cell = |row: &Vec<String>, c: usize| {
        let text = cut(&row[c], widths[c]);
        if c + 1 == row.len() { text } else { format!("{text:width$}", width = widths[c] + GAP) }
    };
    rows.iter().map(|row| (0..row.len()).map(|c| cell(row, c)).collect()).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// `text` on one line: control characters (a stored message may hold any) would move the cursor.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || crate::safe::is_hidden(c) { ' ' } else { c }).collect()
}

/// The age in its largest unit, as kubectl shows it.
pub(crate) fn age(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A time with how long ago it was, or how far ahead it is.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> String {
    match now.millis() - at.millis() {
        // The server says its time in whole seconds.
        ahead @ i64::MIN..-999 => format!("{at} (in {})", age(-ahead)),
        past => format!("{at} ({} ago)", age(past)),
    }
}

/// Breaks `text` into lines of at most `width` columns, the second and later ones indented.
pub(crate) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let room = width.saturating_sub(indent).max(20);
    let mut lines = vec![String::new()];
    for word in one_line(text).split_whitespace() {
        let line = lines.last_mut().expect("there is a line always");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_column_gives_way_and_no_line_is_wider_than_the_limit() {
        let row = |a: &str, b: &str, c: &str| vec![a.to_owned(), b.to_owned(), c.to_owned()];
        let rows = [row("ID", "REASON", "AGE"), row("0123456789", "MaxAttemptsExceeded", "12m")];
        let shown: Vec<String> =
            columns(&rows, &[], &[(1, 8), (0, 20)], Some(30)).iter().map(|r| r.concat()).collect();
        assert_eq!(shown, ["ID          REASON         AGE", "0123456789  MaxAttemptsE…  12m"]);
        assert!(columns(&rows, &[], &[(1, 8)], None)[1].concat().contains("MaxAttemptsExceeded"));
    }

    #[test]
    fn a_stored_message_cannot_move_the_cursor() {
        assert_eq!(one_line("a\x1b[2Jb\nc\u{202e}d"), "a [2Jb c d");
    }

    #[test]
    fn ages_are_short() {
        let ages: Vec<String> = [-5, 0, 119_999, 120_000, 7_200_000, 172_800_000].map(age).into();
        assert_eq!(ages, ["0s", "0s", "119s", "2m", "2h", "2d"]);
        let at = Timestamp::from_millis(60_000);
        assert_eq!(moment(at, at.plus_seconds(5)), "1970-01-01T00:01:00.000Z (5s ago)");
        assert_eq!(moment(at.plus_seconds(5), at), "1970-01-01T00:01:05.000Z (in 5s)");
    }

    #[test]
    fn long_words_are_broken_between_words_only() {
        assert_eq!(wrapped("one two three four", 2, 22), "one two three four");
        assert_eq!(wrapped("one two three four five six", 2, 22), "one two three four\n  five six");
        assert_eq!(wrapped(&"x".repeat(40), 2, 22), "x".repeat(40));
    }
}
