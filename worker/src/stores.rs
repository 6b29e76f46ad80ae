//! The stores that the settings name.

use crate::settings::Settings;
use backends::records::WorkerRecords;
use backends::settings::{ArtifactsAt, RecordsAt};
use backends::{Artifacts, ArtifactsError, DirArtifacts, RecordsError};
#[cfg(feature = "sqlite")]
use backends::{RecordsBackend, relay::RelayRecords};
#[cfg(feature = "sqlite")]
use std::{os::unix::net::UnixStream, sync::Arc};

/// Opens the records with the rights of a worker.
pub(crate) fn records(settings: &Settings) -> Result<WorkerRecords, RecordsError> {
    match &settings.records {
        #[cfg(feature = "sqlite")]
        RecordsAt::Sqlite(path) => {
            use backends::sqlite::{Access, SqliteOptions, SqliteRecords};
            let options = SqliteOptions { durability: settings.durability, access: Access::Worker };
            let path = path.clone();
            let open = move || SqliteRecords::open(&path, options).map(|r| r as Arc<dyn RecordsBackend>);
            let Some(socket) = report_socket(settings) else { return Ok(WorkerRecords::new(open()?)) };
            let (job_id, token) = (settings.job_id.clone(), settings.token.clone());
            Ok(WorkerRecords::new(Arc::new(RelayRecords::new(socket, job_id, token, open))))
        }
        #[cfg(feature = "redis")]
        RecordsAt::Redis(url) => Ok(WorkerRecords::new(backends::RedisRecords::lazy(url)?)),
        #[cfg(feature = "aws")]
        RecordsAt::Dynamo(prefix) => {
            Ok(WorkerRecords::new(crate::drive::block_on(backends::DynamoRecords::open(prefix))))
        }
        #[allow(unreachable_patterns, reason = "with every backend built there is no other")]
        other => Err(RecordsError::Unusable(format!("{other}: this worker was built without it"))),
    }
}

/// The socket to the orchestrator, if the launch gave us one instead of a stdout.
#[cfg(feature = "sqlite")]
fn report_socket(settings: &Settings) -> Option<UnixStream> {
    use std::os::fd::AsFd;
    if !settings.reports_to_stdout {
        return None;
    }
    std::io::stdout().as_fd().try_clone_to_owned().ok().map(UnixStream::from)
}

/// Opens the artifacts.
pub(crate) fn artifacts(settings: &Settings) -> Result<Box<dyn Artifacts>, ArtifactsError> {
    match &settings.artifacts {
        ArtifactsAt::Dir(path) => Ok(Box::new(DirArtifacts::open(path, settings.durability)?)),
        #[cfg(feature = "aws")]
        ArtifactsAt::S3(bucket) => {
            Ok(Box::new(crate::drive::block_on(backends::s3::S3Artifacts::open(bucket))))
        }
        #[allow(unreachable_patterns, reason = "with every backend built there is no other")]
        other => Err(ArtifactsError::Unavailable {
            key: other.to_string(),
            verb: "opened",
            message: "this worker was built without it".to_owned(),
        }),
    }
}
