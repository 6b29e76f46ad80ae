//! The stores that the settings name.

use crate::settings::Settings;
use backends::records::WorkerRecords;
use backends::settings::{ArtifactsAt, RecordsAt};
use backends::{Artifacts, ArtifactsError, DirArtifacts, RecordsError};

/// Opens the records with the rights of a worker.
pub(crate) fn records(settings: &Settings) -> Result<WorkerRecords, RecordsError> {
    match &settings.records {
        #[cfg(feature = "sqlite")]
        RecordsAt::Sqlite(path) => {
            use backends::sqlite::{Access, SqliteOptions, SqliteRecords};
            let options = SqliteOptions { durability: settings.durability, access: Access::Worker };
            Ok(WorkerRecords::new(SqliteRecords::open(path, options)?))
        }
        #[allow(unreachable_patterns, reason = "with every backend built there is no other")]
        other => Err(RecordsError::Unusable(format!("{other}: this worker was built without it"))),
    }
}

/// Opens the artifacts.
pub(crate) fn artifacts(settings: &Settings) -> Result<Box<dyn Artifacts>, ArtifactsError> {
    match &settings.artifacts {
        ArtifactsAt::Dir(path) => Ok(Box::new(DirArtifacts::open(path, settings.durability)?)),
        #[allow(unreachable_patterns, reason = "with every backend built there is no other")]
        other => Err(ArtifactsError::Unavailable {
            key: other.to_string(),
            verb: "opened",
            message: "this worker was built without it".to_owned(),
        }),
    }
}
