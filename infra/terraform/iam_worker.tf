# A worker: its gate and its report, by a token that nobody can guess or list; its files, once.

resource "aws_iam_role" "worker" {
  name               = local.worker_family
  description        = "Task role of workers"
  assume_role_policy = jsonencode(local.ecs_tasks_trust)
}

resource "aws_iam_role_policy_attachment" "worker" {
  role       = aws_iam_role.worker.name
  policy_arn = aws_iam_policy.worker.arn
}

# A policy of its own, so that roles of job types can have it, too.
resource "aws_iam_policy" "worker" {
  name        = local.worker_family
  description = "What the worker needs beside its agent"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      # ReturnValues: without this the answer to a write would show the columns that the worker may not read.
      # No key exists for ReturnValuesOnConditionCheckFailure (docs/aws-verified.md).
      {
        Sid      = "PassTheGateAndReport"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
        Resource = aws_dynamodb_table.attempts.arn
        Condition = {
          "ForAllValues:StringEquals" = { "dynamodb:Attributes" = ["job_id", "token", "gate", "report"] }
          StringEquals                = { "dynamodb:ReturnValues" = ["NONE", "UPDATED_OLD", "UPDATED_NEW"] }
        }
      },
      # GetItem without a projection asks for all attributes, which dynamodb:Attributes does not list.
      {
        Sid      = "ReadTheClaim"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = aws_dynamodb_table.attempts.arn
        Condition = {
          "ForAllValues:StringEquals" = { "dynamodb:Attributes" = ["job_id", "token", "gate", "report", "claim"] }
          StringEqualsIfExists        = { "dynamodb:Select" = "SPECIFIC_ATTRIBUTES" }
        }
      },
      {
        Sid      = "StoreArtifacts"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = local.attempts_arn
      },
      {
        Sid      = "ReadPayloads"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = local.payloads_arn
      },
    ]
  })
}
