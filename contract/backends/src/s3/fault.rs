//! What an answer of S3, or none, means for the caller.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// 412: the condition of the request does not hold. Nothing was changed by *this* try.
    Precondition,
    /// 409: another conditional write of the key is under way. Nothing was changed; try again.
    Conflict,
    /// 404 of an object.
    Absent,
    /// 404 of a multipart upload: completed, aborted, or swept away by the lifecycle of the bucket.
    NoUpload,
    /// 416: no byte of the object lies in the range.
    Range,
    /// 403.
    Denied(String),
    /// Nothing was changed, and trying again may help: a body that was damaged on its way.
    Damaged(String),
    /// It may have been carried out or not: no answer, or one that says that S3 itself failed.
    Uncertain(String),
    /// S3 refused it for good.
    Refused(String),
}

impl Fault {
    /// In words, for the message of an error.
    pub(super) fn words(self) -> String {
        match self {
            Self::Precondition => "another writer came first".to_owned(),
            Self::Conflict => "other writers of the key are at work".to_owned(),
            Self::Absent => "it does not exist".to_owned(),
            Self::NoUpload => "the upload was aborted from outside".to_owned(),
            Self::Range => "the range lies beyond its end".to_owned(),
            Self::Denied(words) | Self::Damaged(words) | Self::Uncertain(words) | Self::Refused(words) => {
                words
            }
        }
    }

    /// Classifies an error of the SDK.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let SdkError::ServiceError(context) = error else {
            let words = DisplayErrorContext(error).to_string();
            return match error {
                // Never sent: no credentials, a key that cannot be a URL.
                SdkError::ConstructionFailure(_) => Self::Refused(words),
                _ => Self::Uncertain(words),
            };
        };
        let meta = context.err().meta();
        Self::answered(context.raw().status().as_u16(), meta.code(), meta.message())
    }

    /// By code first: the answer to the completion of a multipart upload is 200 before S3 knows how it ends,
    /// so its errors come with that status (CompleteMultipartUpload, API reference).
    fn answered(status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        let words = match (code, message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            // The answer to a HEAD has no body.
            (None, _) => format!("status {status}"),
        };
        match (code.unwrap_or_default(), status) {
            ("PreconditionFailed", _) | (_, 412) => Self::Precondition,
            ("ConditionalRequestConflict" | "OperationAborted", _) => Self::Conflict,
            ("NoSuchUpload", _) => Self::NoUpload,
            ("NoSuchBucket", _) => Self::Refused(words),
            ("NoSuchKey" | "NotFound", _) | (_, 404) => Self::Absent,
            ("InvalidRange", _) | (_, 416) => Self::Range,
            // S3 heard nothing for too long; the body did not arrive.
            ("BadDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch", _)
            | ("RequestTimeout" | "IncompleteBody", _) => Self::Damaged(words),
            (_, 403) => Self::Denied(words),
            (_, 409) => Self::Conflict,
            (_, 501) => Self::Refused(words),
            (_, 200..=299 | 429 | 500..) => Self::Uncertain(words),
            _ => Self::Refused(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_classified_by_code_and_else_by_status() {
        let of =
            |status, code: &str| Fault::answered(status, Some(code).filter(|c| !c.is_empty()), Some("why"));
        let words = |code: &str| format!("{code}: why");
        for (status, code, wanted) in [
            (412, "PreconditionFailed", Fault::Precondition),
            (412, "", Fault::Precondition),
            // The completion of a multipart upload.
            (200, "PreconditionFailed", Fault::Precondition),
            (200, "InternalError", Fault::Uncertain(words("InternalError"))),
            (409, "ConditionalRequestConflict", Fault::Conflict),
            (409, "OperationAborted", Fault::Conflict),
            (404, "", Fault::Absent),
            (404, "NoSuchKey", Fault::Absent),
            (404, "NoSuchUpload", Fault::NoUpload),
            (404, "NoSuchBucket", Fault::Refused(words("NoSuchBucket"))),
            (416, "InvalidRange", Fault::Range),
            (403, "AccessDenied", Fault::Denied(words("AccessDenied"))),
            (403, "", Fault::Denied("status 403".to_owned())),
            (400, "BadDigest", Fault::Damaged(words("BadDigest"))),
            (400, "RequestTimeout", Fault::Damaged(words("RequestTimeout"))),
            (400, "InvalidArgument", Fault::Refused(words("InvalidArgument"))),
            (501, "NotImplemented", Fault::Refused(words("NotImplemented"))),
            (503, "SlowDown", Fault::Uncertain(words("SlowDown"))),
            (500, "InternalError", Fault::Uncertain(words("InternalError"))),
            (429, "TooManyRequests", Fault::Uncertain(words("TooManyRequests"))),
        ] {
            assert_eq!(of(status, code), wanted, "{status} {code}");
        }
    }
}
