mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "artifacts_are_private_encrypted_versioned_and_expire" {
  command = apply

  assert {
    condition     = aws_s3_bucket_public_access_block.artifacts.block_public_acls && aws_s3_bucket_public_access_block.artifacts.block_public_policy && aws_s3_bucket_public_access_block.artifacts.ignore_public_acls && aws_s3_bucket_public_access_block.artifacts.restrict_public_buckets
    error_message = "private"
  }

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.artifacts.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "encrypted"
  }

  assert {
    condition     = aws_s3_bucket_versioning.artifacts.versioning_configuration[0].status == "Enabled"
    error_message = "versioned"
  }

  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.artifacts.rule[0].expiration[0].days == 90 && aws_s3_bucket_lifecycle_configuration.artifacts.rule[0].noncurrent_version_expiration[0].noncurrent_days == 7
    error_message = "expire"
  }

  assert {
    condition     = aws_s3_bucket.artifacts.bucket == "agent-runner-123456789012-us-east-1"
    error_message = "named by account and region, because names of buckets are global"
  }
}

run "whatever_an_attempt_stored_is_never_replaced_and_nothing_travels_in_the_clear" {
  command = apply

  assert {
    condition = jsondecode(aws_s3_bucket_policy.artifacts.policy).Statement == [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = ["arn:aws:s3:::agent-runner-bucket", "arn:aws:s3:::agent-runner-bucket/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "AttemptsAreCreatedOnce"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "arn:aws:s3:::agent-runner-bucket/jobs/*/attempts/*"
        Condition = {
          Null = { "s3:if-none-match" = "true" }
          Bool = { "s3:ObjectCreationOperation" = "true" }
        }
      },
    ]
    error_message = aws_s3_bucket_policy.artifacts.policy
  }
}
