//! Downloads that do not pass through the API.

use super::S3Artifacts;
use super::fault::Fault;
use aws_sdk_s3::presigning::PresigningConfig;
use std::time::Duration;

/// How long a URL can be used. It ends earlier when the credentials that signed it end.
const VALID: Duration = Duration::from_secs(15 * 60);

impl S3Artifacts {
    /// Signs a URL for reading `key`; computed here, S3 is not asked. Whoever opens it gets a download and
    /// never a page, whatever the agent wrote.
    pub(super) async fn presigned(&self, key: &str, content_type: &str) -> Result<String, Fault> {
        let refused = |e: &dyn std::fmt::Display| Fault::Refused(e.to_string());
        let valid = PresigningConfig::expires_in(VALID).map_err(|e| refused(&e))?;
        let request = self.clients.get().get_object().bucket(&self.bucket).key(key);
        let request = request.response_content_type(content_type).response_content_disposition("attachment");
        let signed = request.presigned(valid).await.map_err(|e| Fault::of(&e))?;
        Ok(signed.uri().to_owned())
    }
}
