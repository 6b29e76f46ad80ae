//! The figures: values of every round, a goal, and whether it is met; as a table and as JSON.

use super::stats::median;
use serde_json::{Value, json};
use std::fmt::Write;

/// A bound of a figure (or, of one that is compared, of its ratio).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At least.
    AtLeast(f64),
    /// At most.
    AtMost(f64),
    /// Exactly: counts.
    Exactly(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::Exactly(count) => value == count,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
            Self::Exactly(count) => format!("= {count}"),
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Figure {
    name: String,
    unit: &'static str,
    samples: Vec<f64>,
    ratios: Option<(&'static str, Vec<f64>)>,
    goal: Option<Goal>,
}

impl Figure {
    /// A figure measured in `unit`, one value per round.
    #[must_use]
    pub fn new(name: impl Into<String>, unit: &'static str, samples: Vec<f64>) -> Self {
        Self { name: name.into(), unit, samples, ratios: None, goal: None }
    }

    /// Compares round by round with what `to` names; the goal is then one of the ratio.
    #[must_use]
    pub fn against(mut self, to: &'static str, base: &[f64]) -> Self {
        self.ratios = Some((to, self.samples.iter().zip(base).map(|(a, b)| a / b).collect()));
        self
    }

    /// Sets the goal.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// What was measured.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The median over the rounds.
    #[must_use]
    pub fn value(&self) -> f64 {
        median(&self.samples)
    }

    fn ratio(&self) -> Option<f64> {
        self.ratios.as_ref().map(|(_, ratios)| median(ratios))
    }

    /// Whether the goal is met; `None` without one.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        self.goal.map(|goal| goal.is_met(self.ratio().unwrap_or_else(|| self.value())))
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "unit": self.unit,
            "median": self.value(),
            "rounds": self.samples,
            "ratio": self.ratio(),
            "ratio_to": self.ratios.as_ref().map(|(to, _)| to),
            "ratios": self.ratios.as_ref().map(|(_, ratios)| ratios),
            "goal": self.goal.map(Goal::text),
            "met": self.is_met(),
        })
    }
}

/// Three significant digits, so that no figure claims more than it knows.
fn short(value: f64) -> String {
    let digits = if value == 0.0 || value.abs() >= 100.0 {
        0
    } else {
        (2 - value.abs().log10().floor() as i32).clamp(0, 4)
    };
    format!("{value:.*}", digits as usize)
}

/// The figures as JSON, with what they were measured on.
#[must_use]
pub fn to_json(figures: &[Figure], conditions: &Value) -> Value {
    json!({ "conditions": conditions, "figures": figures.iter().map(Figure::json).collect::<Vec<_>>() })
}

/// The figures as a Markdown table.
#[must_use]
pub fn to_table(figures: &[Figure]) -> String {
    let mut rows = vec![["figure", "median", "spread", "ratio", "goal", ""].map(String::from)];
    for f in figures {
        let (least, most) =
            f.samples.iter().fold((f64::MAX, f64::MIN), |(least, most), v| (least.min(*v), most.max(*v)));
        let spread =
            if f.samples.len() > 1 { format!("{} … {}", short(least), short(most)) } else { String::new() };
        let ratio =
            f.ratios.as_ref().map_or_else(String::new, |(to, r)| format!("{} × {to}", short(median(r))));
        rows.push([
            f.name.clone(),
            format!("{} {}", short(f.value()), f.unit),
            spread,
            ratio,
            f.goal.map_or_else(String::new, Goal::text),
            f.is_met().map_or("", |met| if met { "met" } else { "missed" }).to_owned(),
        ]);
    }
    let widths: Vec<usize> =
        (0..6).map(|c| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if n == 0 {
            let lines: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(text, "| {} |", lines.join(" | "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_of_a_compared_figure_is_one_of_the_ratio_of_each_round() {
        // The machine was twice as fast in the second round; that must not count.
        let figure =
            Figure::new("A", "jobs/s", vec![600.0, 1400.0, 700.0]).against("W", &[1000.0, 2000.0, 1000.0]);
        let met = figure.clone().goal(Goal::AtLeast(0.7));
        assert_eq!((met.is_met(), met.value()), (Some(true), 700.0));
        assert_eq!(figure.clone().goal(Goal::AtLeast(0.71)).is_met(), Some(false));
        assert_eq!(figure.is_met(), None);
        assert!(to_table(&[met]).contains("| met"));
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!([1234.5, 12.345, 0.012_345, 0.0, 5.0].map(short), ["1234", "12.3", "0.0123", "0", "5.00"]);
    }
}
