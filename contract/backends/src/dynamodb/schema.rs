//! The tables and their indexes. `infra/terraform/records.tf` makes the same ones on AWS; what is here is for
//! tests, and for a store on a developer's machine.
//!
//! **`<prefix>-jobs`**, key `job_id`. Sections, each a map: `created`, `desired`, `control`, `status`. Index
//! attributes:
//!
//! | attribute | written by | index |
//! |---|---|---|
//! | `active_shard`: the `active` mark, and which partition of the index | API sets, reconciler sets and removes | `active`, with `job_id` |
//! | `rev`: a fresh id for each `desired` that the API writes | API | carried in `active` |
//! | `day`, `created_order`: when the API stored the job | API, once | `by_day` |
//! | `expiry_shard`, `expires_at`: milliseconds, from `control.expires_at` | reconciler | `expiring` |
//!
//! `active` and `expiring` are sparse: a job without the mark is not in them. They are eventually consistent,
//! as all indexes of DynamoDB are, so a resync may miss what was created a moment ago (the next one finds it)
//! and see what was settled a moment ago (a pass more).
//!
//! **`<prefix>-attempts`**, key `job_id` and `token`. Sections: `claim`, `gate`, `report`, `closing`.
//!
//! **`<prefix>-leases`**, key `name`.

use super::client::{Tables, failed_read};
use crate::records::RecordsError;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
};
use contract::JobId;
use sha2::{Digest, Sha256};

/// Partitions of the index of active jobs. One takes 1,000 writes per second (developer guide, "Service
/// quotas"), and Fargate starts 20 tasks per second unless quotas are raised. To be increased only: jobs stay
/// in the partition that they were put into.
const ACTIVE_SHARDS: u64 = 8;
/// Partitions of the index of jobs that wait for their deletion.
const EXPIRY_SHARDS: u64 = 4;

/// 64 bits that are spread evenly over `texts`.
pub(super) fn spread(texts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text);
        hash.update([0]);
    }
    let digest = hash.finalize();
    u64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default())
}

/// Where an active job stands in the index.
pub(super) fn active_shard(job_id: &JobId) -> String {
    format!("a{}", spread(&[job_id.as_str()]) % ACTIVE_SHARDS)
}

/// Where a finished job stands in the index.
pub(super) fn expiry_shard(job_id: &JobId) -> String {
    format!("e{}", spread(&[job_id.as_str()]) % EXPIRY_SHARDS)
}

/// Every partition of the index of active jobs.
pub(super) fn active_shards() -> impl Iterator<Item = String> {
    (0..ACTIVE_SHARDS).map(|shard| format!("a{shard}"))
}

/// Every partition of the index of jobs that wait for their deletion.
pub(super) fn expiry_shards() -> impl Iterator<Item = String> {
    (0..EXPIRY_SHARDS).map(|shard| format!("e{shard}"))
}

type Built<T> = Result<T, RecordsError>;

fn built<T>(part: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Built<T> {
    part.map_err(|e| RecordsError::Unusable(e.to_string()))
}

fn keys(names: &[&str]) -> Built<Vec<KeySchemaElement>> {
    let kinds = [KeyType::Hash, KeyType::Range];
    let key = |(name, kind): (&&str, KeyType)| {
        built(KeySchemaElement::builder().attribute_name(*name).key_type(kind).build())
    };
    names.iter().zip(kinds).map(key).collect()
}

fn index(name: &str, by: &[&str], carried: &[&str]) -> Built<GlobalSecondaryIndex> {
    let projection = match carried {
        [] => Projection::builder().projection_type(ProjectionType::KeysOnly),
        _ => Projection::builder()
            .projection_type(ProjectionType::Include)
            .set_non_key_attributes(Some(carried.iter().map(ToString::to_string).collect())),
    };
    let index = GlobalSecondaryIndex::builder().index_name(name).set_key_schema(Some(keys(by)?));
    built(index.projection(projection.build()).build())
}

fn attributes(names: &[&str]) -> Built<Vec<AttributeDefinition>> {
    let kind = |name: &str| match name {
        "expires_at" => ScalarAttributeType::N,
        _ => ScalarAttributeType::S,
    };
    let attribute = |name: &&str| {
        built(AttributeDefinition::builder().attribute_name(*name).attribute_type(kind(name)).build())
    };
    names.iter().map(attribute).collect()
}

/// Makes the tables `<prefix>-…` that are missing.
///
/// # Errors
/// [`RecordsError`].
pub async fn ensure_tables(client: &Client, prefix: &str) -> Result<(), RecordsError> {
    let tables = Tables::of(prefix);
    let indexes = vec![
        index("active", &["active_shard", "job_id"], &["rev"])?,
        index("by_day", &["day", "created_order"], &[])?,
        index("expiring", &["expiry_shard", "expires_at"], &[])?,
    ];
    let names = ["job_id", "active_shard", "day", "created_order", "expiry_shard", "expires_at"];
    ensure(client, &tables.jobs, &["job_id"], &names, Some(indexes)).await?;
    ensure(client, &tables.attempts, &["job_id", "token"], &["job_id", "token"], None).await?;
    ensure(client, &tables.leases, &["name"], &["name"], None).await
}

async fn ensure(
    client: &Client,
    table: &str,
    key: &[&str],
    names: &[&str],
    indexes: Option<Vec<GlobalSecondaryIndex>>,
) -> Result<(), RecordsError> {
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::NewAndOldImages)
        .build();
    let create = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(keys(key)?))
        .set_attribute_definitions(Some(attributes(names)?))
        .set_global_secondary_indexes(indexes)
        .stream_specification(built(stream)?);
    match create.send().await {
        Ok(_) => {}
        Err(e) if e.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => {}
        Err(e) => return Err(failed_read(&e)),
    }
    use aws_sdk_dynamodb::client::Waiters;
    let wait = client.wait_until_table_exists().table_name(table);
    match wait.wait(std::time::Duration::from_secs(120)).await {
        Ok(_) => Ok(()),
        Err(e) => Err(RecordsError::Unavailable(format!("{table}: {e}"))),
    }
}
