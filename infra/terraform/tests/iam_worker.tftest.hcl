# Policies are asserted statement by statement: a statement more, or one member more, fails. That AWS enforces
# them as they read is not tested here (docs/aws-verified.md).

mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "a_worker_writes_gate_and_report_of_attempts_and_creates_files_and_nothing_else" {
  command = apply

  assert {
    condition = jsondecode(aws_iam_policy.worker.policy).Statement == [
      {
        Sid      = "PassTheGateAndReport"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts"
        Condition = {
          "ForAllValues:StringEquals" = { "dynamodb:Attributes" = ["job_id", "token", "gate", "report"] }
          StringEquals                = { "dynamodb:ReturnValues" = ["NONE", "UPDATED_OLD", "UPDATED_NEW"] }
        }
      },
      {
        Sid      = "ReadTheClaim"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts"
        Condition = {
          "ForAllValues:StringEquals" = { "dynamodb:Attributes" = ["job_id", "token", "gate", "report", "claim"] }
          StringEqualsIfExists        = { "dynamodb:Select" = "SPECIFIC_ATTRIBUTES" }
        }
      },
      {
        Sid      = "StoreArtifacts"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = "arn:aws:s3:::agent-runner-bucket/jobs/*/attempts/*"
      },
      {
        Sid      = "ReadPayloads"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "arn:aws:s3:::agent-runner-bucket/payloads/*"
      },
    ]
    error_message = "The worker's policy is ${aws_iam_policy.worker.policy}"
  }
}
