# The reconciler: decides, launches, stops, closes, publishes, collects.

resource "aws_iam_role" "reconciler" {
  name               = "${local.name}-reconciler"
  description        = "The reconciler container: control, claims, tasks, publication"
  assume_role_policy = jsonencode(local.part_trust)
}

locals {
  # `desired` is here because every decision is conditional on the raw `desired` that it saw, and IAM cannot
  # tell a condition from a write. That the reconciler never writes it is a promise of the types, not of IAM.
  reconciler_job_attributes     = ["job_id", "control", "status", "desired", "active_shard", "expiry_shard", "expires_at", "newest_attempt"]
  reconciler_attempt_attributes = ["job_id", "token", "claim", "gate", "closing"]
}

resource "aws_iam_role_policy" "reconciler" {
  name = "reconciler"
  role = aws_iam_role.reconciler.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.reconciler_records, local.reconciler_artifacts, local.reconciler_tasks)
  })
}

locals {
  reconciler_records = [
    {
      Sid      = "ReadJobs"
      Effect   = "Allow"
      Action   = "dynamodb:GetItem"
      Resource = aws_dynamodb_table.jobs.arn
    },
    {
      Sid    = "ListActiveAndExpiredJobs"
      Effect = "Allow"
      Action = "dynamodb:Query"
      Resource = [
        "${aws_dynamodb_table.jobs.arn}/index/active",
        "${aws_dynamodb_table.jobs.arn}/index/expiring",
      ]
    },
    # For hand edits of finished jobs that no hint announced.
    {
      Sid      = "ScanJobs"
      Effect   = "Allow"
      Action   = "dynamodb:Scan"
      Resource = aws_dynamodb_table.jobs.arn
    },
    {
      Sid       = "WriteOwnSectionsOfJobs"
      Effect    = "Allow"
      Action    = "dynamodb:UpdateItem"
      Resource  = aws_dynamodb_table.jobs.arn
      Condition = { "ForAllValues:StringEquals" = { "dynamodb:Attributes" = local.reconciler_job_attributes } }
    },
    {
      Sid      = "ReadAttempts"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:Query"]
      Resource = aws_dynamodb_table.attempts.arn
    },
    {
      Sid       = "WriteOwnSectionsOfAttempts"
      Effect    = "Allow"
      Action    = "dynamodb:UpdateItem"
      Resource  = aws_dynamodb_table.attempts.arn
      Condition = { "ForAllValues:StringEquals" = { "dynamodb:Attributes" = local.reconciler_attempt_attributes } }
    },
    # At the end of their TTL. Nothing restricts what a deletion removes.
    {
      Sid      = "CollectJobs"
      Effect   = "Allow"
      Action   = "dynamodb:DeleteItem"
      Resource = [aws_dynamodb_table.jobs.arn, aws_dynamodb_table.attempts.arn]
    },
    {
      Sid      = "HoldTheLease"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
      Resource = aws_dynamodb_table.leases.arn
    },
    {
      Sid      = "ReceiveHints"
      Effect   = "Allow"
      Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
      Resource = aws_sqs_queue.hints.arn
    },
  ]

  reconciler_artifacts = [
    {
      Sid      = "ReadArtifacts"
      Effect   = "Allow"
      Action   = "s3:GetObject"
      Resource = [local.jobs_arn, local.payloads_arn]
    },
    # Also tells a missing object from a forbidden one; see the API's.
    {
      Sid      = "ListArtifacts"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = local.bucket_arn
    },
    {
      Sid      = "PublishResultsAndStorePayloads"
      Effect   = "Allow"
      Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
      Resource = ["${local.bucket_arn}/jobs/*/result.json", local.payloads_arn]
    },
    # A wildcard spans slashes, so the statement above would cover the results of attempts.
    {
      Sid      = "NeverWriteWhatAttemptsStore"
      Effect   = "Deny"
      Action   = "s3:PutObject"
      Resource = local.attempts_arn
    },
    {
      Sid      = "CollectArtifacts"
      Effect   = "Allow"
      Action   = "s3:DeleteObject"
      Resource = [local.jobs_arn, local.payloads_arn]
    },
  ]

  reconciler_tasks = [
    {
      Sid      = "LaunchWorkers"
      Effect   = "Allow"
      Action   = "ecs:RunTask"
      Resource = local.worker_families_arns
      Condition = {
        ArnEquals    = { "ecs:cluster" = aws_ecs_cluster.this.arn }
        BoolIfExists = { "ecs:enable-execute-command" = "false" }
      }
    },
    {
      Sid       = "StopAndReadTasks"
      Effect    = "Allow"
      Action    = ["ecs:StopTask", "ecs:DescribeTasks"]
      Resource  = local.worker_tasks_arn
      Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.this.arn } }
    },
    # Its resource type is the container instance, which Fargate does not have.
    {
      Sid       = "ListTasks"
      Effect    = "Allow"
      Action    = "ecs:ListTasks"
      Resource  = "*"
      Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.this.arn } }
    },
    {
      Sid       = "TagWhatItLaunches"
      Effect    = "Allow"
      Action    = "ecs:TagResource"
      Resource  = local.worker_tasks_arn
      Condition = { StringEquals = { "ecs:CreateAction" = "RunTask" } }
    },
    # At its start, for sizes and the processor. The action knows no resources.
    {
      Sid      = "ReadTaskDefinitions"
      Effect   = "Allow"
      Action   = "ecs:DescribeTaskDefinition"
      Resource = "*"
    },
    # Exactly the roles of workers: RunTask can override the task role, and with a wider grant the reconciler
    # could start a task with any role of the account.
    {
      Sid       = "PassTheRolesOfWorkers"
      Effect    = "Allow"
      Action    = "iam:PassRole"
      Resource  = concat([aws_iam_role.worker.arn, aws_iam_role.worker_execution.arn], local.task_role_arns)
      Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
    },
  ]
}
