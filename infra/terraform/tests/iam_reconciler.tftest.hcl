mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "the_reconciler_writes_its_own_sections_collects_and_holds_the_lease" {
  command = apply

  assert {
    condition = slice(jsondecode(aws_iam_role_policy.reconciler.policy).Statement, 0, 9) == [
      {
        Sid      = "ReadJobs"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs"
      },
      {
        Sid    = "ListActiveAndExpiredJobs"
        Effect = "Allow"
        Action = "dynamodb:Query"
        Resource = [
          "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs/index/active",
          "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs/index/expiring",
        ]
      },
      {
        Sid      = "ScanJobs"
        Effect   = "Allow"
        Action   = "dynamodb:Scan"
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs"
      },
      {
        Sid      = "WriteOwnSectionsOfJobs"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs"
        Condition = { "ForAllValues:StringEquals" = {
          "dynamodb:Attributes" = ["job_id", "control", "status", "desired", "active_shard", "expiry_shard", "expires_at", "newest_attempt"]
        } }
      },
      {
        Sid      = "ReadAttempts"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:Query"]
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts"
      },
      {
        Sid       = "WriteOwnSectionsOfAttempts"
        Effect    = "Allow"
        Action    = "dynamodb:UpdateItem"
        Resource  = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts"
        Condition = { "ForAllValues:StringEquals" = { "dynamodb:Attributes" = ["job_id", "token", "claim", "gate", "closing"] } }
      },
      {
        Sid      = "CollectJobs"
        Effect   = "Allow"
        Action   = "dynamodb:DeleteItem"
        Resource = ["arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs", "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts"]
      },
      {
        Sid      = "HoldTheLease"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
        Resource = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-leases"
      },
      {
        Sid      = "ReceiveHints"
        Effect   = "Allow"
        Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
        Resource = "arn:aws:sqs:us-east-1:123456789012:agent-runner-hints"
      },
    ]
    error_message = aws_iam_role_policy.reconciler.policy
  }
}

run "the_reconciler_publishes_and_collects_but_never_writes_what_attempts_store" {
  command = apply

  assert {
    condition = slice(jsondecode(aws_iam_role_policy.reconciler.policy).Statement, 9, 14) == [
      {
        Sid      = "ReadArtifacts"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = ["arn:aws:s3:::agent-runner-bucket/jobs/*", "arn:aws:s3:::agent-runner-bucket/payloads/*"]
      },
      {
        Sid      = "ListArtifacts"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = "arn:aws:s3:::agent-runner-bucket"
      },
      {
        Sid      = "PublishResultsAndStorePayloads"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = ["arn:aws:s3:::agent-runner-bucket/jobs/*/result.json", "arn:aws:s3:::agent-runner-bucket/payloads/*"]
      },
      {
        Sid      = "NeverWriteWhatAttemptsStore"
        Effect   = "Deny"
        Action   = "s3:PutObject"
        Resource = "arn:aws:s3:::agent-runner-bucket/jobs/*/attempts/*"
      },
      {
        Sid      = "CollectArtifacts"
        Effect   = "Allow"
        Action   = "s3:DeleteObject"
        Resource = ["arn:aws:s3:::agent-runner-bucket/jobs/*", "arn:aws:s3:::agent-runner-bucket/payloads/*"]
      },
    ]
    error_message = aws_iam_role_policy.reconciler.policy
  }
}

run "the_reconciler_launches_workers_in_its_cluster_and_passes_exactly_two_roles" {
  command = apply

  assert {
    condition = slice(jsondecode(aws_iam_role_policy.reconciler.policy).Statement, 14, length(jsondecode(aws_iam_role_policy.reconciler.policy).Statement)) == [
      {
        Sid    = "LaunchWorkers"
        Effect = "Allow"
        Action = "ecs:RunTask"
        Resource = [
          "arn:aws:ecs:us-east-1:123456789012:task-definition/agent-runner-worker:*",
          "arn:aws:ecs:us-east-1:123456789012:task-definition/agent-runner-worker-*:*",
        ]
        Condition = {
          ArnEquals    = { "ecs:cluster" = "arn:aws:ecs:us-east-1:123456789012:cluster/agent-runner" }
          BoolIfExists = { "ecs:enable-execute-command" = "false" }
        }
      },
      {
        Sid       = "StopAndReadTasks"
        Effect    = "Allow"
        Action    = ["ecs:StopTask", "ecs:DescribeTasks"]
        Resource  = "arn:aws:ecs:us-east-1:123456789012:task/agent-runner/*"
        Condition = { ArnEquals = { "ecs:cluster" = "arn:aws:ecs:us-east-1:123456789012:cluster/agent-runner" } }
      },
      {
        Sid       = "ListTasks"
        Effect    = "Allow"
        Action    = "ecs:ListTasks"
        Resource  = "*"
        Condition = { ArnEquals = { "ecs:cluster" = "arn:aws:ecs:us-east-1:123456789012:cluster/agent-runner" } }
      },
      {
        Sid       = "TagWhatItLaunches"
        Effect    = "Allow"
        Action    = "ecs:TagResource"
        Resource  = "arn:aws:ecs:us-east-1:123456789012:task/agent-runner/*"
        Condition = { StringEquals = { "ecs:CreateAction" = "RunTask" } }
      },
      {
        Sid      = "ReadTaskDefinitions"
        Effect   = "Allow"
        Action   = "ecs:DescribeTaskDefinition"
        Resource = "*"
      },
      {
        Sid    = "PassTheRolesOfWorkers"
        Effect = "Allow"
        Action = "iam:PassRole"
        Resource = [
          "arn:aws:iam::123456789012:role/agent-runner-worker",
          "arn:aws:iam::123456789012:role/agent-runner-worker-execution",
        ]
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
    ]
    error_message = aws_iam_role_policy.reconciler.policy
  }
}
