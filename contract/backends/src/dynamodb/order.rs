//! The order of creation, which `GET /jobs` lists by.

use super::client::string_in;
use crate::clock::fresh_write_id;
use contract::Timestamp;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Jobs of this process in the order in which it stored them; those of several processes by their clocks.
#[derive(Debug, Default)]
pub(super) struct Order(Mutex<(i64, u32)>);

/// `2026-11-22T10:05:12.975Z`
const TIME: usize = 24;
/// `2026-11-22`
const DAY: usize = 10;
/// Of the number of a job within its millisecond, and of the random part.
const NUMBER: usize = 6;
const RANDOM: usize = 16;

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

/// Where a job stands, as an index names it.
pub(super) fn place_in(item: &super::client::Item) -> Option<&str> {
    string_in(item, "created_order")
}

/// A place that a cursor names; anything else is refused.
pub(super) fn place(text: &str) -> Option<Timestamp> {
    if !text.is_ascii() || text.len() != TIME + NUMBER + RANDOM + 2 {
        return None;
    }
    let (time, rest) = text.split_at(TIME);
    let known = time.ends_with('Z') && rest.starts_with('-');
    known.then(|| time.parse().ok()).flatten()
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
        assert_eq!(day_name(day_of(place(last).unwrap())), *day);
    }

    #[test]
    fn a_cursor_that_names_no_place_is_refused() {
        let (_, good) = Order::default().next();
        for bad in ["", "no cursor", &good[1..], &good.replace('Z', "X"), &good.replace('-', "ä")] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
