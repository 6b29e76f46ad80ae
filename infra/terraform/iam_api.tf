# The API: writes what is wanted, reads everything, launches nothing.

resource "aws_iam_role" "api" {
  name               = "${local.name}-api"
  description        = "The api container: desired records, reading, payloads"
  assume_role_policy = jsonencode(local.part_trust)
}

resource "aws_iam_role_policy" "api" {
  name = "api"
  role = aws_iam_role.api.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "ReadJobs"
        Effect = "Allow"
        Action = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"]
        Resource = [
          aws_dynamodb_table.jobs.arn,
          "${aws_dynamodb_table.jobs.arn}/index/by_day",
          "${aws_dynamodb_table.jobs.arn}/index/active",
        ]
      },
      # dynamodb:Attributes are the top-level names that a request mentions, in writes and in conditions alike.
      # PutItem, which would replace what others wrote, is nobody's: jobs are created by UpdateItem.
      {
        Sid       = "WriteOwnSectionsOfJobs"
        Effect    = "Allow"
        Action    = "dynamodb:UpdateItem"
        Resource  = aws_dynamodb_table.jobs.arn
        Condition = { "ForAllValues:StringEquals" = { "dynamodb:Attributes" = local.api_attributes } }
      },
      {
        Sid      = "ReadAttempts"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:Query"]
        Resource = aws_dynamodb_table.attempts.arn
      },
      {
        Sid      = "ReadTheLease"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = aws_dynamodb_table.leases.arn
      },
      {
        Sid      = "ReadArtifacts"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = [local.jobs_arn, local.payloads_arn]
      },
      {
        Sid       = "ListArtifactsOfJobs"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.bucket_arn
        Condition = { StringLike = { "s3:prefix" = ["jobs/*"] } }
      },
      {
        Sid      = "StorePayloads"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = local.payloads_arn
      },
    ]
  })
}

locals {
  api_attributes = ["job_id", "created", "desired", "active_shard", "rev", "day", "created_order"]
}
