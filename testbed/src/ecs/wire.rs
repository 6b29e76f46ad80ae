//! Errors on the wire.

use serde_json::{Value, json};

/// An error answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) resource_ids: Option<Vec<String>>,
}

impl Refused {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), resource_ids: None }
    }

    pub(crate) fn parameter(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterException", message)
    }

    pub(crate) fn client(message: impl Into<String>) -> Self {
        Self::new("ClientException", message)
    }

    // Amazon ECS API reference, common errors: ThrottlingException. It is not modelled for any action, so
    // that clients meet it as an unknown code. Words: paradisec-archive/nabu issue 1260.
    pub(crate) fn throttled() -> Self {
        Self::new("ThrottlingException", "Rate exceeded")
    }

    /// The HTTP status.
    // Amazon ECS API reference, RunTask, errors: every client error is 400 and ServerException 500.
    pub(crate) fn status(&self) -> u16 {
        if matches!(self.code.as_str(), "ServerException" | "InternalFailure") { 500 } else { 400 }
    }

    // AWS JSON 1.1 protocol (Smithy): the code in `__type`, the members of the error beside it.
    // ConflictException has `resourceIds` (Amazon ECS API reference, RunTask, errors).
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({"__type": self.code, "message": self.message});
        if let Some(ids) = &self.resource_ids {
            body["resourceIds"] = json!(ids);
        }
        body
    }
}

/// What an action answers.
pub(crate) type Answer = Result<Value, Refused>;
