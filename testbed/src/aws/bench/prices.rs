//! What the control plane of a job costs: list prices of us-east-1 in dollars for a million.

/// Amazon DynamoDB pricing, on-demand capacity, Standard table class: write request units.
const WRITE_UNITS: f64 = 0.625;
/// The same: read request units.
const READ_UNITS: f64 = 0.125;
/// Amazon SQS pricing, standard queues, beyond the million a month that is free.
const SQS_REQUESTS: f64 = 0.40;
/// Amazon EventBridge pricing, Pipes: requests after filtering, of up to 64 KB. Events of AWS services are free.
const PIPED: f64 = 0.40;
/// Amazon S3 pricing, Standard: PUT, COPY, POST, LIST ($0.005 a thousand).
const S3_PUTS: f64 = 5.0;
/// The same: GET and all others ($0.0004 a thousand).
const S3_GETS: f64 = 0.40;

/// Records of a job that pass the filters of the pipes: its creation, the claim, the writes of RUNNING and of
/// another reason, the outcome. Not counted but taken for the most.
const PIPED_RECORDS: f64 = 5.0;

/// What was estimated before it was built: 10 write and 6 read units, 4 piped records, 8 requests to SQS, 3 puts and a
/// get. AWS Batch adds nothing to the price of its tasks; its SubmitJob takes no client token.
pub(super) const ESTIMATED: f64 = 27.0;

/// What one job uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    pub(super) write_units: f64,
    pub(super) read_units: f64,
    pub(super) sqs_requests: f64,
    pub(super) s3_puts: f64,
    pub(super) s3_gets: f64,
}

/// Dollars for a million jobs, without the tasks themselves. SQS also has a request for each message that is sent.
pub(super) fn of_a_million(used: &Use) -> f64 {
    used.write_units * WRITE_UNITS
        + used.read_units * READ_UNITS
        + (used.sqs_requests + PIPED_RECORDS) * SQS_REQUESTS
        + PIPED_RECORDS * PIPED
        + used.s3_puts * S3_PUTS
        + used.s3_gets * S3_GETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_jobs_cost_the_sum_of_what_they_use() {
        let used = Use { write_units: 10.0, read_units: 8.0, sqs_requests: 3.0, s3_puts: 3.0, s3_gets: 1.0 };
        // 6.25 + 1.00 + 3.20 + 2.00 + 15.00 + 0.40
        assert!((of_a_million(&used) - 27.85).abs() < 1e-9, "{}", of_a_million(&used));
    }
}
