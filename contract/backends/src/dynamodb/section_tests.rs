//! The way of sections into attributes and back.

use super::section::{attribute, text};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue::{self, B, Bool, Bs, L, M, N, Ns, Null, S, Ss};
use contract::{Claim, Control, Desired, Gate, JsonText, PayloadRef, Raw};
use proptest::prelude::*;

fn map(members: impl IntoIterator<Item = (&'static str, AttributeValue)>) -> AttributeValue {
    M(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn s(text: &str) -> AttributeValue {
    S(text.to_owned())
}

/// A payload that no type of DynamoDB keeps: spellings, 40 digits, a huge exponent, a name twice, a NUL.
const PAYLOAD: &str = r#"{ "b": 1.50, "a": [1e400, -0, 1234567890123456789012345678901234567890, {"x":1,"x":2}, "\u0000\u00e4"], "": null}"#;

fn full_desired() -> Desired {
    let mut desired = Desired::parse(
        r#"{"job_type":"echo","priority":-7,"queue":"gpu","resources":{"cpu":256,"memory_mib":512},
            "failure_policy":{"rules":[{"exit_codes":[3,4],"classes":["OutOfMemory"],"action":"Fail"}]},
            "env":{"B":"","A":"x y"},"labels":{"team/x":"ä"},"cancel":true,"max_cost_usd":1}"#,
    )
    .unwrap();
    desired.payload = JsonText::new(PAYLOAD).unwrap();
    desired
}

#[test]
fn what_the_system_stores_is_a_native_map_and_reads_back_as_the_same_text() {
    let desired = full_desired();
    let stored = attribute::<Desired>(&desired.to_text());
    let M(members) = &stored else { panic!("{stored:?}") };
    assert_eq!(members["cancel"], Bool(true));
    assert_eq!(members["priority"], N("-7".to_owned()));
    assert_eq!(members["payload"], s(PAYLOAD));
    assert_eq!(members["max_cost_usd"], N("1".to_owned()), "which JSON spells 1.0");
    assert_eq!(members["backoff"].as_m().unwrap()["factor"], N("2".to_owned()));
    assert_eq!(text::<Desired>(&stored).text(), desired.to_text());
}

#[test]
fn carried_json_of_a_claim_is_kept_byte_by_byte() {
    let mut claim = crate::conformance::fixtures::claim(1);
    for payload in [PayloadRef::Inline(JsonText::new(PAYLOAD).unwrap()), {
        PayloadRef::Stored { sha256: "ab".to_owned(), size: 1 << 40 }
    }] {
        claim.payload = payload;
        let written = Raw::of(&claim);
        let stored = attribute::<Claim>(written.text());
        assert!(stored.is_m());
        assert_eq!(text::<Claim>(&stored), written);
    }
}

#[test]
fn the_text_of_a_map_does_not_depend_on_who_wrote_it() {
    let by_hand = map([("task", s("task:a")), ("state", s("started"))]);
    assert_eq!(text::<Gate>(&by_hand).text(), r#"{"state":"started","task":"task:a"}"#);
    assert_eq!(attribute::<Gate>(r#"{"task":"task:a","state":"started"}"#), by_hand);
    // What is not exactly a value of the type has sorted keys.
    let strange = map([("why", s("b")), ("state", s("sealed"))]);
    assert_eq!(text::<Gate>(&strange).text(), r#"{"state":"sealed","why":"b"}"#);
}

#[test]
fn a_text_that_no_map_stands_for_is_kept_as_it_is() {
    let deep = format!("{}1{}", "[".repeat(31), "]".repeat(31));
    for kept in [
        "",
        "{",
        "nothing",
        "truth",
        "falsely",
        r#""""#,
        r#""nothing""#,
        r#"{"a": 1}"#,
        r#"{"a":1} "#,
        r#"{"a":1,"a":1}"#,
        r#"{"a":1e400}"#,
        r#"{"a":1234567890123456789012345678901234567890}"#,
        r#"{"\u0061":1}"#,
        r#"{"a":"\u0061"}"#,
        r#"{"":1}"#,
        "[1, 2]",
        "+1",
        "01",
        &deep,
    ] {
        assert_eq!(attribute::<Control>(kept), s(kept));
        assert_eq!(text::<Control>(&s(kept)).text(), kept);
    }
}

/// What an operator can put where a field of another type belongs.
fn strange() -> Vec<AttributeValue> {
    let bytes = || Blob::new([0x68, 0x69]);
    vec![B(bytes()), Bs(vec![bytes()]), Ss(vec!["a".to_owned()]), Ns(vec!["3".to_owned()]), N("9".repeat(39))]
}

#[test]
fn every_field_with_a_type_that_json_lacks_is_an_error_that_names_the_field() {
    let M(good) = attribute::<Desired>(&full_desired().to_text()) else { panic!("no map") };
    assert_eq!(good.len(), 19, "every field of desired");
    for name in good.keys() {
        for value in strange() {
            let mut edited = good.clone();
            edited.insert(name.clone(), value.clone());
            let read = text::<Desired>(&M(edited));
            let errors = Desired::parse(read.text()).expect_err(read.text()).errors;
            let named = errors.iter().any(|e| e.pointer.starts_with(&format!("/{name}")));
            assert!(named, "{name} = {value:?}: {errors:?}");
        }
    }
}

#[test]
fn strange_values_deep_inside_are_errors_too() {
    for (inside, pointer) in [
        (
            map([("rules", L(vec![map([("action", s("Fail")), ("exit_codes", Ns(vec!["3".to_owned()]))])]))]),
            "exit_codes",
        ),
        (
            map([("rules", L(vec![map([("action", s("Fail")), ("stop_codes", Ss(vec!["X".to_owned()]))])]))]),
            "stop_codes",
        ),
        (map([("rules", Ss(vec!["X".to_owned()]))]), "rules"),
    ] {
        let edited = map([("job_type", s("echo")), ("failure_policy", inside)]);
        let errors = Desired::parse(text::<Desired>(&edited).text()).unwrap_err().to_string();
        assert!(errors.contains(pointer), "{errors}");
    }
    let edited = map([("job_type", s("echo")), ("env", map([("A", B(Blob::new([1])))]))]);
    assert!(Desired::parse(text::<Desired>(&edited).text()).unwrap_err().to_string().contains("/env"));
}

#[test]
fn a_payload_by_hand_is_a_native_value_or_json_text_and_nothing_else() {
    for (payload, expected) in [
        (
            map([("b", N("1.5".to_owned())), ("a", L(vec![Null(true), Bool(false)]))]),
            r#"{"a":[null,false],"b":1.5}"#,
        ),
        (s(r#"{"a": 1}"#), r#"{"a": 1}"#),
        (s("7"), "7"),
        (s(r#""text""#), r#""text""#),
        (N("7.0".to_owned()), "7"),
        (Null(true), "null"),
    ] {
        let edited = map([("job_type", s("echo")), ("payload", payload)]);
        assert_eq!(Desired::parse(text::<Desired>(&edited).text()).unwrap().payload.as_str(), expected);
    }
    let deep = map([("tags", L(vec![Ss(vec!["a".to_owned()])]))]);
    for (payload, what) in
        [(s("hello"), "S that is not one JSON text"), (s(" 1"), "S that"), (s(""), "S that"), (deep, "SS")]
    {
        let edited = map([("job_type", s("echo")), ("payload", payload)]);
        let errors = Desired::parse(text::<Desired>(&edited).text()).unwrap_err().to_string();
        assert!(errors.contains("/payload (holds ") && errors.contains(what), "{errors}");
        assert!(errors.contains("did you mean \"payload\"?"), "{errors}");
    }
}

#[test]
fn sections_that_are_no_maps_are_errors_and_never_a_panic() {
    for value in strange().into_iter().chain([Null(true), Bool(true), N("1".to_owned()), L(vec![]), s("x")]) {
        assert!(Desired::parse(text::<Desired>(&value).text()).is_err(), "{value:?}");
        assert!(text::<Control>(&value).parse().is_err(), "{value:?}");
        assert!(text::<Gate>(&value).parse().is_err(), "{value:?}");
        assert!(text::<Claim>(&value).parse().is_err(), "{value:?}");
    }
}

#[test]
fn what_has_no_json_form_cannot_be_taken_for_what_has() {
    let imitated = map([("a", map([("SS", L(vec![s("x")]))]))]);
    let real = map([("a", Ss(vec!["x".to_owned()]))]);
    assert_ne!(text::<Control>(&imitated), text::<Control>(&real));
    // A set has no order.
    let set = |items: [&str; 2]| Ss(items.map(str::to_owned).to_vec());
    assert_eq!(text::<Control>(&set(["a", "b"])), text::<Control>(&set(["b", "a"])));
}

#[test]
fn what_has_no_json_form_is_named_with_all_that_it_holds() {
    let texts = |items: [&str; 2]| items.map(str::to_owned).to_vec();
    let [one, other] = [[0x0a, 0xff], [0x00, 0x10]].map(Blob::new);
    for (value, expected) in [
        (Ss(texts(["b", "a"])), r#"{ "SS": ["a", "b"] }"#),
        (Ns(texts(["3", "20"])), r#"{ "NS": ["20", "3"] }"#),
        (B(one.clone()), r#"{ "B": ["0aff"] }"#),
        (Bs(vec![one, other]), r#"{ "BS": ["0010", "0aff"] }"#),
    ] {
        assert_eq!(text::<Control>(&value).text(), expected);
        let kind = &expected[3..expected.rfind("\":").unwrap()];
        let payload = text::<Desired>(&map([("payload", L(vec![value]))]));
        let named = format!(r#"{{"payload (holds {kind})":[{expected}]}}"#);
        assert_eq!(payload.text(), named);
    }
}

/// Anything that JSON and DynamoDB both have, but a string (which on top stands for its text).
fn native() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        any::<String>().prop_map(S),
        any::<bool>().prop_map(Bool),
        Just(Null(true)),
        (any::<i64>(), -100..100_i64).prop_map(|(digits, exponent)| {
            N(super::number::canonical(&format!("{digits}e{exponent}")).expect("a number"))
        }),
    ];
    let tree = leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(L),
            prop::collection::hash_map(".+", inner, 0..6).prop_map(M),
        ]
    });
    tree.prop_filter("a string stands for its text", |value| !value.is_s())
}

/// A JSON text in any spelling.
fn spelled() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "-?(0|[1-9][0-9]{0,45})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        "\"([a-zäÄ\\\\/ ]|\\\\u00e4|\\\\n)*\""
            .prop_map(|t: String| t.replace("\\\"", "\"").replace("\\ ", " ")),
        Just("true".to_owned()),
        Just("null".to_owned()),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        let space = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n")];
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), space.clone())
                .prop_map(|(items, space)| format!("[{}]", items.join(&format!("{space},")))),
            (prop::collection::vec(("[a-c]", inner), 0..5), space).prop_map(|(items, space)| {
                let items: Vec<_> =
                    items.iter().map(|(name, value)| format!("\"{name}\":{space}{value}")).collect();
                format!("{{{}}}", items.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn a_map_is_read_back_from_its_text(value in native()) {
        let read = text::<Control>(&value);
        prop_assert_eq!(attribute::<Control>(read.text()), value);
    }

    #[test]
    fn a_desired_by_hand_is_read_back_from_its_text(job_type in "[a-z]{1,5}", other in native()) {
        let value = map([("job_type", S(job_type)), ("payload", s("1.0")), ("labels", other)]);
        let read = text::<Desired>(&value);
        prop_assert_eq!(attribute::<Desired>(read.text()), value);
    }

    #[test]
    fn two_maps_have_one_text_only_if_they_are_equal(one in native(), other in native()) {
        prop_assert_eq!(one == other, text::<Control>(&one) == text::<Control>(&other));
    }

    #[test]
    fn any_text_is_stored_and_keeps_its_value(written in prop_oneof![any::<String>(), spelled()]) {
        let stored = attribute::<Control>(&written);
        let read = text::<Control>(&stored);
        prop_assert_eq!(&attribute::<Control>(read.text()), &stored);
        match stored {
            S(kept) => prop_assert_eq!(kept, written),
            _ => {
                prop_assert_eq!(value(read.text()), value(&written));
            }
        }
    }

    #[test]
    fn any_payload_survives_in_a_native_desired(payload in spelled()) {
        if let Ok(payload) = JsonText::new(payload) {
            let mut desired = Desired::new("echo");
            desired.payload = payload;
            let stored = attribute::<Desired>(&desired.to_text());
            prop_assert!(stored.is_m());
            prop_assert_eq!(Desired::parse(text::<Desired>(&stored).text()), Ok(desired));
        }
    }
}

/// What a JSON text says, whatever its spelling; numbers as the nearest float.
#[derive(Debug, PartialEq)]
enum Said {
    Number(f64),
    List(Vec<Said>),
    Map(std::collections::BTreeMap<String, Said>),
    Other(serde_json::Value),
}

fn value(text: &str) -> Said {
    use serde_json::value::RawValue;
    let text = text.trim();
    match text.as_bytes()[0] {
        // serde_json's own floats are not the nearest ones.
        b'-' | b'0'..=b'9' => Said::Number(text.parse::<f64>().expect("a number") + 0.0),
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).expect("a list");
            Said::List(items.iter().map(|item| value(item.get())).collect())
        }
        b'{' => {
            let map: std::collections::BTreeMap<String, &RawValue> =
                serde_json::from_str(text).expect("a map");
            Said::Map(map.into_iter().map(|(name, item)| (name, value(item.get()))).collect())
        }
        _ => Said::Other(serde_json::from_str(text).expect("a value")),
    }
}
