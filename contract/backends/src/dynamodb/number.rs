//! Numbers as DynamoDB keeps them: 38 significant digits, magnitudes from 1e-130 to below 1e126 (Amazon
//! DynamoDB developer guide, "Supported data types"). It keeps the value and not the spelling, so both sides
//! of a comparison are spelled the same way here.

/// The most significant digits.
const DIGITS: usize = 38;
/// The exponents of the first digit.
const EXPONENTS: std::ops::RangeInclusive<i64> = -130..=125;
/// Numbers whose first digit has an exponent in this range are spelled without one.
const PLAIN: std::ops::RangeInclusive<i64> = -7..=37;

/// The one spelling of the number that `text` is, as JSON has numbers. `None`: DynamoDB cannot hold it, or it
/// is none.
pub(super) fn canonical(text: &str) -> Option<String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if all.is_empty() || !all.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let Some(first) = all.iter().position(|digit| *digit != b'0') else { return Some("0".to_owned()) };
    let end = all.iter().rposition(|digit| *digit != b'0')? + 1;
    let digits = std::str::from_utf8(&all[first..end]).ok()?;
    let place = i64::try_from(whole.len()).ok()? - 1 - i64::try_from(first).ok()?;
    let exponent = exponent.checked_add(place)?;
    if digits.len() > DIGITS || !EXPONENTS.contains(&exponent) {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    Some(format!("{sign}{}", spell(digits, exponent)))
}

/// `digits` with a decimal point behind the first, times ten to the `exponent`.
fn spell(digits: &str, exponent: i64) -> String {
    if !PLAIN.contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{first}{point}{rest}E{exponent:+}");
    }
    let whole = usize::try_from(exponent + 1).unwrap_or(0);
    if exponent < 0 {
        let zeros = usize::try_from(-1 - exponent).unwrap_or(0);
        return format!("0.{}{digits}", "0".repeat(zeros));
    }
    match digits.len() {
        length if length <= whole => format!("{digits}{}", "0".repeat(whole - length)),
        _ => format!("{}.{}", &digits[..whole], &digits[whole..]),
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn a_number_has_one_spelling() {
        for (spelling, expected) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("0e5", "0"),
            ("7", "7"),
            ("007", "7"),
            ("+7.0", "7"),
            ("-12.50", "-12.5"),
            ("1e2", "100"),
            ("1.25E+1", "12.5"),
            ("0.001", "0.001"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e-7", "0.0000001"),
            ("1.5e-8", "1.5E-8"),
            ("1e37", "10000000000000000000000000000000000000"),
            ("1e38", "1E+38"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
            ("9.9e125", "9.9E+125"),
            ("1e-130", "1E-130"),
        ] {
            assert_eq!(canonical(spelling).as_deref(), Some(expected), "{spelling}");
        }
    }

    #[test]
    fn what_dynamodb_cannot_hold_is_no_number() {
        for text in [
            "1e126",
            "1e400",
            "1e-131",
            "100000000000000000000000000000000000001",
            "",
            "-",
            ".",
            "1e",
            "1e99999999999999999999",
            "NaN",
            "0x1",
            "1_0",
            "１",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
