//! Files where the store gives out URLs.

use crate::outputs::succeed;
use crate::rig::Rig;
use api::App;
use async_trait::async_trait;
use backends::{Artifacts, ArtifactsError, Content, DirArtifacts, Publication, Stored};
use contract::attempt::ManifestEntry;
use contract::{Attempt, JobId, LaunchToken};
use std::ops::Range;
use std::sync::Arc;

/// A folder that pretends to be a bucket.
struct WithUrls(Arc<DirArtifacts>);

#[async_trait]
impl Artifacts for WithUrls {
    async fn put(&self, key: &str, content: Content<'_>) -> Result<Stored, ArtifactsError> {
        self.0.put(key, content).await
    }
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, ArtifactsError> {
        self.0.get(key, range).await
    }
    async fn size(&self, key: &str) -> Result<Option<u64>, ArtifactsError> {
        self.0.size(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ArtifactsError> {
        self.0.list(prefix).await
    }
    async fn publish(
        &self,
        job_id: &JobId,
        number: u32,
        token: &LaunchToken,
        expected: &ManifestEntry,
    ) -> Result<Publication, ArtifactsError> {
        self.0.publish(job_id, number, token, expected).await
    }
    async fn delete_job(&self, job_id: &JobId) -> Result<(), ArtifactsError> {
        self.0.delete_job(job_id).await
    }
    async fn delete_payloads(&self, job_id: &JobId) -> Result<(), ArtifactsError> {
        self.0.delete_payloads(job_id).await
    }
    async fn download_url(&self, key: &str, content_type: &str) -> Result<Option<String>, ArtifactsError> {
        Ok(Some(format!("https://bucket.example/{key}?as={content_type}")))
    }
}

#[tokio::test]
async fn a_large_file_is_elsewhere_and_small_ones_results_and_logs_are_here() {
    let (mut rig, app) = Rig::parts(api::Limits::default());
    let app = App { artifacts: Arc::new(WithUrls(rig.artifacts.clone())), ..app };
    rig.router = api::router(app);
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let token = rig.claim(&id).await;
    let large = format!("\"{}\"", "x".repeat(300 * 1024));
    succeed(&rig, &id, &token, large.as_bytes(), large.as_bytes()).await;
    let folder = Attempt::folder(&id, 1, &token);
    rig.artifacts.put(&format!("{folder}/artifacts/large.bin"), Content::Bytes(&[7; 300_000])).await.unwrap();
    let below = folder.strip_prefix(&format!("jobs/{id}/")).unwrap();

    let file = rig.get(&format!("/jobs/{id}/artifacts/{below}/artifacts/large.bin")).await;
    let url = format!("https://bucket.example/{folder}/artifacts/large.bin?as=application/octet-stream");
    assert_eq!(file.status, 307);
    assert_eq!((file.header("location"), file.text.as_str()), (url.as_str(), ""));
    assert_eq!(file.header("cache-control"), "no-store");

    let file = rig.get(&format!("/jobs/{id}/artifacts/{below}/artifacts/a%20b.txt")).await;
    assert!(file.status == 200 && file.text == "file", "{file:?}");
    for text in [format!("/jobs/{id}/result"), format!("/jobs/{id}/logs")] {
        let answer = rig.get(&text).await;
        assert!(answer.status == 200 && answer.text == large, "{text}: {}", answer.status);
    }
    rig.get(&format!("/jobs/{id}/artifacts/{below}/none")).await.problem(404, "not-there");
}
