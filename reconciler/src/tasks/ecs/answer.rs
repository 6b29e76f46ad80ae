//! What an answer of ECS means. Typed where AWS gives a type; where it gives words only, by words that were seen
//! in public reports, apostrophes left out because AWS sets typographic ones.

use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecs::operation::run_task::{RunTaskError, RunTaskOutput};
use aws_sdk_ecs::operation::stop_task::StopTaskError;
use aws_sdk_ecs::types::Task;
use contract::{Refusal, RefusalKind};
use std::error::Error;
use std::fmt::Debug;

/// An answer to RunTask.
#[derive(Debug)]
pub(super) enum Launched {
    /// This task was made, by this call or an earlier one with the same token.
    Task(Box<Task>),
    /// The token is bound to this task (ARN), which was made by a different request.
    Adopt(String),
    /// Certainly no task was made.
    Refused(Refusal),
    /// Too fast: nothing was made, and the same token is used again.
    Throttled(String),
    /// Nobody knows.
    Uncertain(String),
}

/// Reads a 200. Lack of capacity and quotas come as one, with an empty list of tasks.
pub(super) fn accepted(output: RunTaskOutput) -> Launched {
    let (tasks, failures) = (output.tasks.unwrap_or_default(), output.failures.unwrap_or_default());
    if let Some(task) = tasks.into_iter().next() {
        return Launched::Task(Box::new(task));
    }
    let Some(failure) = failures.into_iter().next() else {
        return Launched::Uncertain("RunTask was answered with neither a task nor a failure".into());
    };
    let reason = failure.reason.unwrap_or_default();
    let message = match failure.detail {
        Some(detail) => format!("{reason}: {detail}"),
        None => reason.clone(),
    };
    Launched::Refused(Refusal { kind: kind_of_failure(&reason), message })
}

/// Ordered, first match wins. Amazon ECS developer guide, "API failure reasons".
fn kind_of_failure(reason: &str) -> RefusalKind {
    // "You’ve reached the limit on the number of vCPUs you can run concurrently", "… number of tasks …".
    if reason.contains("reached the limit on the number of") {
        return RefusalKind::Quota;
    }
    // "The requested CPU configuration is above your limit": until somebody raises the quota.
    if reason.contains("is above your limit") {
        return RefusalKind::Quota;
    }
    // "Capacity is unavailable at this time", RESOURCE:CPU, AGENT, ATTRIBUTE, LOCATION; and whatever is new: the
    // call itself was in order, so that time may heal it.
    RefusalKind::Capacity
}

/// Reads an error of RunTask.
pub(super) fn refused(error: &SdkError<RunTaskError>) -> Launched {
    let message = words(error);
    let refused = |kind| Launched::Refused(Refusal { kind, message: message.clone() });
    let SdkError::ServiceError(service) = error else {
        return match error {
            // It was never sent.
            SdkError::ConstructionFailure(_) => refused(RefusalKind::Misconfigured),
            // Timeouts and broken connections, before or after the call arrived; answers that are none.
            _ => Launched::Uncertain(message),
        };
    };
    match service.err() {
        RunTaskError::ConflictException(conflict) => match conflict.resource_ids().first() {
            Some(arn) => Launched::Adopt(arn.clone()),
            None => Launched::Uncertain(message),
        },
        RunTaskError::ServerException(_) => Launched::Uncertain(message),
        // ECS passes on that EC2 throttles it: "Error retrieving security group information … Request limit
        // exceeded (ErrorCode: RequestLimitExceeded)" (dask/dask-cloudprovider issue 56).
        RunTaskError::InvalidParameterException(_) if message.contains("RequestLimitExceeded") => {
            refused(RefusalKind::Throttled)
        }
        // RunTask, API reference: "the number of tasks in the PROVISIONING state" has a quota.
        RunTaskError::ClientException(_) if message.contains("PROVISIONING") => refused(RefusalKind::Quota),
        // AccessDenied, Blocked, ClusterNotFound, Platform…, UnsupportedFeature, InvalidParameter, Client.
        other if other.code().is_some_and(is_throttling) => Launched::Throttled(message),
        _ if service.raw().status().is_server_error() => Launched::Uncertain(message),
        _ => refused(RefusalKind::Misconfigured),
    }
}

/// ECS models no exception for it (common errors of the API reference).
fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ThrottlingException"
            | "Throttling"
            | "RequestLimitExceeded"
            | "TooManyRequestsException"
            | "SlowDown"
    )
}

/// Whether AWS said that a call was too fast.
pub(super) fn throttled<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    matches!(error, SdkError::ServiceError(e) if e.err().code().is_some_and(is_throttling))
}

/// Whether StopTask does not know the task: gone, or not to be seen yet.
pub(super) fn unknown_task(error: &SdkError<StopTaskError>) -> bool {
    match error {
        // "The referenced task was not found."
        SdkError::ServiceError(e) => {
            let not_found = e.err().message().is_some_and(|words| words.contains("not found"));
            e.err().is_invalid_parameter_exception() && not_found
        }
        _ => false,
    }
}

/// The error in words: AWS's code and message, or whatever kept the call from being answered.
pub(super) fn words<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
    R: Debug,
{
    if let SdkError::ServiceError(service) = error
        && let Some(code) = service.err().code()
    {
        return match service.err().message() {
            Some(message) => format!("{code}: {message}"),
            None => code.to_owned(),
        };
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ecs::types::Failure;

    #[test]
    fn failures_in_an_answer_are_told_apart_by_words_without_apostrophes() {
        for (reason, kind) in [
            ("Capacity is unavailable at this time. Please try again later", RefusalKind::Capacity),
            ("You’ve reached the limit on the number of vCPUs you can run concurrently", RefusalKind::Quota),
            ("You've reached the limit on the number of tasks you can run concurrently", RefusalKind::Quota),
            ("The requested CPU configuration is above your limit", RefusalKind::Quota),
            ("RESOURCE:ENI", RefusalKind::Capacity),
            ("something new", RefusalKind::Capacity),
        ] {
            let failure = Failure::builder().reason(reason).build();
            let answer = accepted(RunTaskOutput::builder().failures(failure).build());
            let Launched::Refused(refusal) = answer else { panic!("{reason}: {answer:?}") };
            assert_eq!((refusal.kind, refusal.message.as_str()), (kind, reason));
        }
        assert!(matches!(accepted(RunTaskOutput::builder().build()), Launched::Uncertain(_)));
    }

    #[test]
    fn an_error_of_the_server_is_uncertain_whatever_it_is_called() {
        use aws_sdk_ecs::config::http::HttpResponse;
        use aws_sdk_ecs::error::ErrorMetadata;
        let answer = |status: u16| {
            let error = RunTaskError::generic(ErrorMetadata::builder().code("InternalFailure").build());
            let response = HttpResponse::new(status.try_into().unwrap(), "".into());
            refused(&SdkError::service_error(error, response))
        };
        assert!(matches!(answer(503), Launched::Uncertain(_)));
        assert!(matches!(answer(400), Launched::Refused(_)));
    }
}
