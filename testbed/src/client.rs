//! A client of the HTTP API that keeps what it gets: every answer is a status and a body.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null where it is no JSON.
    pub body: Value,
    /// The body as text.
    pub text: String,
    /// The `Location` header.
    pub location: Option<String>,
    /// The `ETag` header.
    pub etag: Option<String>,
    /// The `Content-Type` header.
    pub content_type: String,
}

impl Answer {
    /// A string member of the body, empty where there is none.
    #[must_use]
    pub fn word(&self, member: &str) -> &str {
        word(&self.body, member)
    }

    /// This answer if it has the given status.
    ///
    /// # Panics
    /// When it has another one.
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

/// A string member, empty where there is none.
#[must_use]
pub fn word<'a>(body: &'a Value, member: &str) -> &'a str {
    body.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// A client of one API.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    /// A client of the API at `base`, as in `http://127.0.0.1:8000`.
    #[must_use]
    pub fn new(base: String) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(70)))
            .timeout_connect(Some(Duration::from_secs(5)))
            .proxy(None)
            .build();
        Self { agent: config.new_agent(), base }
    }

    /// The address that this client calls.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request with a body or without.
    ///
    /// # Errors
    /// What kept the answer from coming, in words; the request may have been carried out.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, String> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(text) => {
                let request = request.header("content-type", "application/json").body(text);
                self.agent.run(request.map_err(|e| e.to_string())?)
            }
            None => self.agent.run(request.body(()).map_err(|e| e.to_string())?),
        };
        let mut answer = answer.map_err(|e| e.to_string())?;
        let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (location, etag) = (header("location"), header("etag"));
        let content_type = header("content-type").unwrap_or_default();
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().map_err(|e| e.to_string())?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, body, text, location, etag, content_type })
    }

    /// `GET`.
    ///
    /// # Panics
    /// When no answer comes.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], None).unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// `POST`, without a body for null.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let text = (!body.is_null()).then(|| body.to_string());
        self.ask("POST", path, &[], text.as_deref()).unwrap_or_else(|e| panic!("POST {path}: {e}"))
    }

    /// `PATCH`.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.ask("PATCH", path, &[], Some(&body.to_string())).unwrap_or_else(|e| panic!("PATCH {path}: {e}"))
    }

    /// Submits a job and gives its id.
    ///
    /// # Panics
    /// When it is not created.
    pub fn submit(&self, desired: &Value) -> String {
        let answer = self.post("/jobs", desired).expect(201);
        answer.word("job_id").to_owned()
    }

    /// Submits an `echo` job with this payload.
    pub fn echo(&self, payload: &Value) -> String {
        self.submit(&json!({"job_type": "echo", "payload": payload}))
    }

    /// Submits until the job is accepted, as a client does that must not lose it: the same key each time.
    ///
    /// # Errors
    /// The last refusal or failure, when `patience` is over.
    pub fn insist(&self, key: &str, desired: &Value, patience: Duration) -> Result<String, String> {
        let until = Instant::now() + patience;
        let text = desired.to_string();
        loop {
            let refused = match self.ask("POST", "/jobs", &[("idempotency-key", key)], Some(&text)) {
                Ok(answer) if matches!(answer.status, 200 | 201) => {
                    return Ok(answer.word("job_id").to_owned());
                }
                Ok(answer) if answer.status < 500 => return Err(answer.text),
                Ok(answer) => answer.text,
                Err(e) => e,
            };
            if Instant::now() >= until {
                return Err(refused);
            }
            // The server tells nobody when it is back: a client can only ask again.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The job as it is shown.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn job(&self, job_id: &str) -> Value {
        self.get(&format!("/jobs/{job_id}")).expect(200).body
    }

    /// The job's attempts, oldest first.
    ///
    /// # Panics
    /// When the job is not there.
    #[must_use]
    pub fn attempts(&self, job_id: &str) -> Vec<Value> {
        let body = self.get(&format!("/jobs/{job_id}/attempts")).expect(200).body;
        body["attempts"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the job has ended.
    ///
    /// # Panics
    /// When it has not within `patience`.
    pub fn ended(&self, job_id: &str, patience: Duration) -> Value {
        self.until(job_id, patience, "its end", |job| matches!(word(job, "status"), "SUCCEEDED" | "FAILED"))
    }

    /// Waits until the job has this status.
    ///
    /// # Panics
    /// When it has not within `patience`.
    pub fn status(&self, job_id: &str, status: &str, patience: Duration) -> Value {
        self.until(job_id, patience, status, |job| word(job, "status") == status)
    }

    /// Waits until the job shows this reason.
    ///
    /// # Panics
    /// When it does not within `patience`.
    pub fn reason(&self, job_id: &str, reason: &str, patience: Duration) -> Value {
        self.until(job_id, patience, reason, |job| word(job, "reason") == reason)
    }

    /// Waits until the job is as `wanted` says; looks again whenever its status changes, and every 10 ms for
    /// what is no change of status.
    ///
    /// # Panics
    /// When it is not within `patience`.
    pub fn until(
        &self,
        job_id: &str,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let until = Instant::now() + patience;
        loop {
            let answer = self.ask("GET", &format!("/jobs/{job_id}?wait=10ms"), &[], None);
            match answer {
                Ok(answer) if answer.status == 200 && wanted(&answer.body) => return answer.body,
                Ok(answer) if Instant::now() >= until => {
                    panic!("waited {patience:?} for {what} of job {job_id}: {}", answer.text)
                }
                Err(e) if Instant::now() >= until => {
                    panic!("waited {patience:?} for {what} of job {job_id}: {e}")
                }
                Ok(answer) if answer.status == 200 => {}
                // Not up, or not able: asked again without haste.
                Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// The value of a metric, by its name with labels as Prometheus writes them.
    ///
    /// # Panics
    /// When there is no such metric.
    #[must_use]
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").expect(200).text;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no metric {series}:\n{text}"))
    }
}
