//! The order of creation, which `GET /jobs` lists by.

use super::client::{Item, string_in};
use crate::clock::fresh_write_id;
use contract::Timestamp;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Jobs of this process in the order in which it stored them; those of several processes by their clocks.
#[derive(Debug, Default)]
pub(super) struct Order(Mutex<(i64, u32)>);

/// `2026-11-22`
const DAY: usize = 10;

const DAY_MILLIS: i64 = 86_400_000;

impl Order {
    /// The index attributes of a job that is stored now: its day, and where in the day it stands.
    pub(super) fn next(&self) -> (String, String) {
        let now = Timestamp::from(SystemTime::now()).millis();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back does not turn the order round.
        *last = if now > last.0 { (now, 0) } else { (last.0, last.1 + 1) };
        let (millis, number) = *last;
        let place = format!("{}-{number:06}-{}", Timestamp::from_millis(millis), fresh_write_id());
        (place[..DAY].to_owned(), place)
    }
}

/// Where a page of a listing ended: a day, and a place in it. A place that was written by hand may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) day: i64,
    pub(super) before: String,
}

/// Behind every place that this program writes.
const AFTER_ALL: &str = "~";

impl Cursor {
    /// Everything of `day` and before.
    pub(super) fn from(day: i64) -> Self {
        Self { day, before: AFTER_ALL.to_owned() }
    }

    /// Behind the job of an index entry.
    pub(super) fn after(entry: &Item) -> Option<Self> {
        let before = string_in(entry, "created_order")?.to_owned();
        Some(Self { day: day_in(string_in(entry, "day")?)?, before })
    }

    pub(super) fn text(&self) -> String {
        format!("{}/{}", day_name(self.day), self.before)
    }

    /// Anything else than a text of [`Cursor::text`] is refused.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (day, before) = text.split_once('/')?;
        (!before.is_empty()).then_some(Self { day: day_in(day)?, before: before.to_owned() })
    }
}

/// The day with this name.
fn day_in(name: &str) -> Option<i64> {
    let midnight = format!("{name}T00:00:00Z").parse().ok()?;
    let day = day_of(midnight);
    (day_name(day) == name).then_some(day)
}

/// Days since 1970-01-01.
pub(super) fn day_of(at: Timestamp) -> i64 {
    at.millis() / DAY_MILLIS
}

/// The name of a day in the index.
pub(super) fn day_name(day: i64) -> String {
    let mut text = Timestamp::from_millis(day.saturating_mul(DAY_MILLIS)).to_string();
    text.truncate(DAY);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_jobs_stand_later_also_within_a_millisecond() {
        let order = Order::default();
        let places: Vec<_> = (0..2000).map(|_| order.next()).collect();
        assert!(places.is_sorted() && places.iter().all(|(day, place)| place.starts_with(day)));
        let (day, last) = &places[1999];
        let cursor = Cursor::parse(&format!("{day}/{last}")).unwrap();
        assert_eq!((day_name(cursor.day), &cursor.before), (day.clone(), last));
        assert!(*last < Cursor::from(cursor.day).before);
    }

    #[test]
    fn a_clock_that_goes_on_counts_anew_and_one_that_was_set_back_goes_on_counting() {
        let order = Order::default();
        let number = |place: &str| place.split('-').nth(3).map(str::to_owned);
        let _ = order.next();
        order.0.lock().unwrap().0 -= 1000;
        assert_eq!(number(&order.next().1).as_deref(), Some("000000"));
        let ahead = Timestamp::from(SystemTime::now()).millis() + DAY_MILLIS;
        *order.0.lock().unwrap() = (ahead, 6);
        let (day, place) = order.next();
        assert_eq!(
            (day, number(&place).as_deref()),
            (day_name(day_of(Timestamp::from_millis(ahead))), Some("000007"))
        );
    }

    #[test]
    fn a_cursor_leads_to_where_a_page_ended_and_no_other_text_is_one() {
        for place in ["2026-11-22T10:05:12.975Z-000000-0123456789abcdef", "by hand / ä", "~"] {
            let cursor = Cursor { day: 20_779, before: place.to_owned() };
            assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        }
        for bad in
            ["", "no cursor", "/", "2026-11-22", "2026-11-22/", "2026-02-30/x", "2026-11-2/x", "ä/x", "x/y"]
        {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }
}
