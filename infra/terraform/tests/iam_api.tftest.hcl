mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "the_api_reads_writes_its_own_sections_of_jobs_and_can_neither_launch_nor_delete" {
  command = apply

  assert {
    condition = jsondecode(aws_iam_role_policy.api.policy).Statement == [
      {
        Sid      = "ReadJobs"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:BatchGetItem"]
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs"
      },
      {
        Sid    = "ListJobs"
        Effect = "Allow"
        Action = "dynamodb:Query"
        Resource = [
          "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs/index/by_day",
          "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs/index/active",
        ]
      },
      {
        Sid      = "WriteOwnSectionsOfJobs"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs"
        Condition = { "ForAllValues:StringEquals" = {
          "dynamodb:Attributes" = ["job_id", "created", "desired", "active_shard", "rev", "day", "created_order"]
        } }
      },
      {
        Sid      = "ReadAttempts"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:Query"]
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts"
      },
      {
        Sid      = "ReadTheLease"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-leases"
      },
      {
        Sid      = "ReadArtifacts"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "arn:aws:s3:::agent-runner-bucket/jobs/*"
      },
      {
        Sid      = "ListArtifacts"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = "arn:aws:s3:::agent-runner-bucket"
      },
    ]
    error_message = aws_iam_role_policy.api.policy
  }
}
