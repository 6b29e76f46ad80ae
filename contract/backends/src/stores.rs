//! The stores that the settings name, opened for a part that stays up.

use crate::hints::{ChangeFeed, Hints, HintsError, Interest};
use crate::settings::{ArtifactsAt, HintsFrom, RecordsAt, Settings};
use crate::{Artifacts, ArtifactsError, DirArtifacts, Lease, RecordsBackend, RecordsError};
use std::path::PathBuf;
use std::sync::Arc;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// A folder cannot be made, or a path is not usable.
    #[error("{}: {error}", .path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The records cannot be opened.
    #[error("{place}: {error}")]
    Records {
        /// Where, without a password.
        place: String,
        /// Why.
        error: RecordsError,
    },
    /// The artifacts cannot be opened.
    #[error("{place}: {error}")]
    Artifacts {
        /// Where.
        place: String,
        /// Why.
        error: ArtifactsError,
    },
    /// The settings name a backend that this binary does not have; [`Settings::read`] refuses such a value.
    #[error("{0}: this binary was built without it")]
    NotBuilt(String),
}

/// The stores of an API or a reconciler.
#[derive(Clone)]
pub struct Stores {
    /// Job and attempt records.
    pub records: Arc<dyn RecordsBackend>,
    /// Results, logs and files.
    pub artifacts: Arc<dyn Artifacts>,
    /// Leadership.
    pub lease: Arc<dyn Lease>,
    /// What changes in the records.
    pub feed: Arc<dyn ChangeFeed>,
    /// Where the records are, absolute and without a password, for people.
    pub records_at: RecordsAt,
    /// Which records these are: a name that the store gave itself, or else its place.
    pub identity: String,
    /// Where the artifacts are.
    pub artifacts_at: ArtifactsAt,
    hints: HintsFrom,
}

/// Records, lease and feed, which come from one store, and its name for itself.
type RecordsParts = (Arc<dyn RecordsBackend>, Arc<dyn Lease>, Arc<dyn ChangeFeed>, Option<String>);

impl Stores {
    /// Opens what the settings name. To be called within a tokio runtime unless records are in SQLite.
    ///
    /// # Errors
    /// [`StoresError`].
    pub async fn open(settings: &Settings) -> Result<Self, StoresError> {
        let absolute = |path: &PathBuf| {
            std::path::absolute(path).map_err(|error| StoresError::Path { path: path.clone(), error })
        };
        let records_at = match &settings.records {
            RecordsAt::Sqlite(path) => RecordsAt::Sqlite(absolute(path)?),
            elsewhere => elsewhere.clone(),
        };
        let artifacts_at = match &settings.artifacts {
            ArtifactsAt::Dir(path) => ArtifactsAt::Dir(absolute(path)?),
            elsewhere => elsewhere.clone(),
        };
        let (records, lease, feed, id) = open_records(settings, &records_at).await?;
        let artifacts = open_artifacts(settings, &artifacts_at).await?;
        let identity = id.unwrap_or_else(|| records_at.to_string());
        let hints = settings.hints.clone();
        Ok(Self { records, artifacts, lease, feed, records_at, identity, artifacts_at, hints })
    }

    /// What wakes the reconciler.
    ///
    /// # Errors
    /// [`HintsError`].
    pub async fn hints(&self) -> Result<Option<Box<dyn Hints>>, HintsError> {
        match &self.hints {
            HintsFrom::Auto => self.feed.subscribe(Interest::Reconcile).await,
            #[cfg(feature = "sqs")]
            HintsFrom::Sqs(url) => Ok(Some(Box::new(crate::sqs::SqsHints::open(url).await))),
            #[cfg(not(feature = "sqs"))]
            HintsFrom::Sqs(url) => Err(HintsError::Unavailable(format!("built without {url}"))),
        }
    }
}

#[allow(unused_variables, clippy::unused_async, reason = "not every store needs them")]
async fn open_records(settings: &Settings, at: &RecordsAt) -> Result<RecordsParts, StoresError> {
    match at {
        #[cfg(feature = "sqlite")]
        RecordsAt::Sqlite(path) => open_sqlite(settings, path),
        #[cfg(feature = "redis")]
        RecordsAt::Redis(url) => {
            open_redis(url).await.map_err(|error| StoresError::Records { place: at.to_string(), error })
        }
        #[cfg(feature = "dynamodb")]
        RecordsAt::Dynamo(prefix) => Ok(open_dynamodb(prefix).await),
        #[allow(unreachable_patterns, reason = "with every backend built there is no other")]
        other => Err(StoresError::NotBuilt(other.to_string())),
    }
}

/// Sends nothing yet: a table that is missing is told by the first call.
#[cfg(feature = "dynamodb")]
async fn open_dynamodb(prefix: &str) -> RecordsParts {
    use crate::dynamodb::{DynamoLease, DynamoRecords};
    let records = DynamoRecords::open(prefix).await;
    (records.clone(), Arc::new(DynamoLease::open(prefix).await), records, None)
}

#[cfg(feature = "redis")]
async fn open_redis(url: &str) -> Result<RecordsParts, RecordsError> {
    use crate::redis::{RedisLease, RedisRecords};
    let records = RedisRecords::open(url).await?;
    Ok((records.clone(), Arc::new(RedisLease::of(&records)), records, None))
}

#[cfg(feature = "sqlite")]
fn open_sqlite(settings: &Settings, path: &std::path::Path) -> Result<RecordsParts, StoresError> {
    use crate::sqlite::{Access, SqliteLease, SqliteOptions, SqliteRecords};
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| StoresError::Path { path: folder.to_owned(), error })?;
    }
    let options = SqliteOptions { durability: settings.durability, access: Access::Orchestrator };
    let records = SqliteRecords::open(path, options)
        .map_err(|error| StoresError::Records { place: path.display().to_string(), error })?;
    let id = Some(records.id().to_owned());
    Ok((records.clone(), Arc::new(SqliteLease::open(path)), records, id))
}

async fn open_artifacts(settings: &Settings, at: &ArtifactsAt) -> Result<Arc<dyn Artifacts>, StoresError> {
    let failed = |error| StoresError::Artifacts { place: at.to_string(), error };
    match at {
        ArtifactsAt::Dir(path) => {
            Ok(Arc::new(DirArtifacts::open(path, settings.durability).map_err(failed)?))
        }
        #[cfg(feature = "s3")]
        ArtifactsAt::S3(bucket) => Ok(Arc::new(crate::s3::S3Artifacts::open(bucket).await)),
        #[allow(unreachable_patterns, reason = "with every backend built there is no other")]
        other => Err(StoresError::NotBuilt(other.to_string())),
    }
}
