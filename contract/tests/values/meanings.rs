//! What small values mean, how they are shown, and what their texts are.

use contract::attempt::{Attempt, Manifest, ManifestEntry};
use contract::cost::Usd;
use contract::decode::nearest;
use contract::{
    Control, Desired, FailureClass, FieldError, Invalid, JobId, JsonText, LaunchToken, Raw, Status,
    Timestamp, WriteId,
};

#[test]
fn the_result_of_a_manifest_is_the_file_of_that_name() {
    let file = |path: &str| ManifestEntry { path: path.to_owned(), size: 1, sha256: String::new() };
    let manifest = Manifest { files: vec![file("stdout.log"), file("result.json")] };
    assert_eq!(manifest.result(), Some(&file("result.json")));
    assert_eq!(Manifest { files: vec![file("stdout.log")] }.result(), None);
}

#[test]
fn an_attempts_folder_shows_eight_digits_of_its_token() {
    let token = LaunchToken::from_bits(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(Attempt::folder(&JobId::new("j").unwrap(), 2, &token), "jobs/j/attempts/2-01234567");
}

#[test]
fn tokens_are_hex_digits_of_their_length() {
    assert_eq!(WriteId::new("0123456789abcdef").unwrap(), WriteId::from_bits(0x0123_4567_89ab_cdef));
    for bad in
        ["0123456789abcde", "0123456789abcdef0", "0123456789abcdeF", "0123456789abcdeg", "0123456789abcde/"]
    {
        assert!(WriteId::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_jobs_own_failures_are_not_those_of_the_infrastructure() {
    use FailureClass::*;
    for class in FailureClass::ALL {
        let own = [NonZeroExitCode, OutOfMemory, AttemptTimeout, CommandNotStarted, InvalidResult];
        assert_eq!(class.is_infrastructure(), !own.contains(class), "{class}");
    }
}

#[test]
fn success_and_failure_are_ends_and_nothing_else_is() {
    let ends: Vec<_> = Status::ALL.iter().filter(|status| status.is_terminal()).collect();
    assert_eq!(ends, [&Status::Succeeded, &Status::Failed]);
}

#[test]
fn dollars_are_millionths_and_shown_with_all_of_them() {
    let usd: Usd = serde_json::from_str("2.000001").unwrap();
    assert_eq!((usd, usd.to_string().as_str()), (Usd(2_000_001), "2.000001"));
    assert_eq!(serde_json::to_string(&Usd(2_500_000)).unwrap(), "2.5");
}

#[test]
fn times_count_from_the_earlier_one_and_are_refused_in_words() {
    let (a, b) = (Timestamp::from_millis(1_000), Timestamp::from_millis(3_500));
    assert_eq!((b.millis_since(a), a.millis_since(b)), (2_500, 0));
    let said = serde_json::from_str::<Timestamp>("true").unwrap_err().to_string();
    assert!(said.contains("an RFC 3339 time such as"), "{said}");
    assert!(serde_json::from_str::<Timestamp>("9223372036854775808").is_err(), "beyond 64 bits");
}

#[test]
fn sections_are_equal_when_their_texts_are() {
    let raw = |text: &str| Raw::<Desired>::stored(text);
    assert!(raw("{}") == raw("{}") && raw("{}") != raw("{ }"));
    assert_eq!((raw("{}").text(), format!("{:?}", raw("{}")).contains("{}")), ("{}", true));
    assert_eq!(JsonText::new("[1.50]").unwrap().to_string(), "[1.50]");
}

#[test]
fn a_control_leaves_out_what_says_nothing() {
    let text = "{\"version\":\"0123456789abcdef\",\"epoch\":1,\"run\":1,\"attempt\":0,\"tries\":0,\
                \"infra_tries\":0,\"phase\":\"Waiting\",\"seen_retry\":0,\
                \"run_started_at\":\"1970-01-01T00:00:00.000Z\"}";
    let mut control: Control = Raw::stored(text).parse().unwrap();
    assert!(
        !Raw::of(&control).text().contains("refusals") && !Raw::of(&control).text().contains("suspended")
    );
    (control.refusals, control.suspended) = (2, true);
    let text = Raw::of(&control);
    assert!(text.text().contains("\"refusals\":2") && text.text().contains("\"suspended\":true"));
    assert_eq!(text.parse(), Ok(control));
    let plain = Desired::new("echo").to_text();
    assert!(!plain.contains("failure_policy"), "{plain}");
}

#[test]
fn a_slip_is_a_name_that_is_near_and_no_other() {
    let known = || ["retry", "queue"].into_iter();
    assert_eq!(nearest("retri", known()), Some("retry"));
    assert_eq!(nearest("zzzzz", known()), None);
}

#[test]
fn errors_beyond_the_length_of_an_explanation_are_counted() {
    let error =
        |n: usize| FieldError { pointer: format!("/{n:04}"), value: String::new(), message: "m".repeat(100) };
    let all = Invalid { errors: (0..500).map(error).collect() };
    let text = all.to_string();
    let shown = text.matches("/0").count();
    assert!(shown > 5 && text.ends_with(&format!("; and {} more", 500 - shown)), "{text}");
}

#[test]
fn a_long_value_is_quoted_by_its_start_only() {
    let said = Raw::<Control>::stored("x".repeat(500)).parse().unwrap_err();
    assert_eq!(said.errors[0].value, format!("{}…", "x".repeat(120)));
    let short = Raw::<Control>::stored("x".repeat(120)).parse().unwrap_err();
    assert_eq!(short.errors[0].value, "x".repeat(120));
}
