//! The stores that the settings name.

use crate::settings::{ArtifactsAt, RecordsAt, Settings};
use backends::records::WorkerRecords;
use backends::{Artifacts, ArtifactsError, DirArtifacts, RecordsError};

/// Opens the records with the rights of a worker.
#[cfg(feature = "sqlite")]
pub(crate) fn records(settings: &Settings) -> Result<WorkerRecords, RecordsError> {
    use backends::sqlite::{Access, SqliteOptions, SqliteRecords};
    let RecordsAt::Sqlite(path) = &settings.records;
    let options = SqliteOptions { durability: settings.durability, access: Access::Worker };
    Ok(WorkerRecords::new(SqliteRecords::open(path, options)?))
}

/// Opens the records with the rights of a worker.
#[cfg(not(feature = "sqlite"))]
pub(crate) fn records(settings: &Settings) -> Result<WorkerRecords, RecordsError> {
    let RecordsAt::Sqlite(path) = &settings.records;
    Err(RecordsError::Unusable(format!("this worker was built without sqlite: {}", path.display())))
}

/// Opens the artifacts.
pub(crate) fn artifacts(settings: &Settings) -> Result<Box<dyn Artifacts>, ArtifactsError> {
    let ArtifactsAt::Dir(path) = &settings.artifacts;
    Ok(Box::new(DirArtifacts::open(path, settings.durability)?))
}
