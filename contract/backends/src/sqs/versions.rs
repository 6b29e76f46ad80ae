//! Which version of `control` a message is about, if the write that it tells of made a new one.

use contract::WriteId;
use serde::Deserialize;

#[derive(Deserialize)]
struct Message {
    control: Option<Versions>,
}

/// The versions in the images of a record. A template leaves a member empty, or as it is, whose path leads nowhere.
#[derive(Deserialize)]
struct Versions {
    old: Option<String>,
    new: Option<String>,
}

/// The version that was written. A write that leaves the version as it was is somebody else's.
pub(super) fn written(body: &str) -> Option<WriteId> {
    let Versions { old, new } = serde_json::from_str::<Message>(body).ok()?.control?;
    let new = new.filter(|new| Some(new) != old.as_ref())?;
    WriteId::new(new).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_record_whose_version_of_control_changed_is_about_that_version() {
        let version = WriteId::from_bits(7);
        let said = |control: &serde_json::Value| {
            let keys = json!({"Keys": {"job_id": {"S": "j-1"}}});
            written(&json!({"dynamodb": keys, "control": control}).to_string())
        };
        let (new, path) = (version.as_str(), "<$.dynamodb.OldImage.control.M.version.S>");
        for old in [json!(WriteId::from_bits(6).as_str()), json!(""), json!(path), json!(null)] {
            assert_eq!(said(&json!({"old": old, "new": new})), Some(version.clone()));
        }
        for other in [
            // Somebody edited another section, or left the version of this one.
            json!({"old": new, "new": new}),
            // Somebody removed it, or made it a string.
            json!({"old": new, "new": ""}),
            json!({"old": new, "new": path}),
            json!({"old": new}),
            json!({"new": "not an id"}),
            json!({"new": 7}),
            json!({}),
            json!(null),
        ] {
            assert_eq!(said(&other), None, "{other}");
        }
    }
}
