//! Data goes to stdout, everything said about it to stderr. A reader that goes away (`| head`) is no
//! error: what it does not want is not written, and the exit code stays that of the work.

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

/// Whether to colour what goes to stdout (<https://no-color.org>).
pub(crate) fn stdout_colours() -> bool {
    wants_colour() && io::stdout().is_terminal()
}

/// Whether to colour what goes to stderr.
pub(crate) fn stderr_colours() -> bool {
    wants_colour() && io::stderr().is_terminal()
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

/// Lays rows out in columns. `squeeze` names the column that gives way when a line would be wider than
/// `limit`; the others are never cut. The last column has no padding.
pub(crate) fn columns(rows: &[Vec<String>], squeeze: usize, limit: Option<usize>) -> Vec<Vec<String>> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..count).map(wide).collect();
    let total = widths.iter().sum::<usize>() + GAP * count.saturating_sub(1);
    if let Some(over) = limit.map(|limit| total.saturating_sub(limit)) {
        // 8 is what remains readable of a reason.
        widths[squeeze] = widths[squeeze].saturating_sub(over).max(8.min(widths[squeeze]));
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
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_column_gives_way_and_no_line_is_wider_than_the_limit() {
        let row = |a: &str, b: &str, c: &str| vec![a.to_owned(), b.to_owned(), c.to_owned()];
        let rows = [row("ID", "REASON", "AGE"), row("0123456789", "MaxAttemptsExceeded", "12m")];
        let shown: Vec<String> = columns(&rows, 1, Some(30)).iter().map(|r| r.concat()).collect();
        assert_eq!(shown, ["ID          REASON         AGE", "0123456789  MaxAttemptsE…  12m"]);
        assert!(columns(&rows, 1, None)[1].concat().contains("MaxAttemptsExceeded"));
    }

    #[test]
    fn a_stored_message_cannot_move_the_cursor() {
        assert_eq!(one_line("a\x1b[2Jb\nc"), "a [2Jb c");
    }
}
