# The API: writes what is wanted, reads everything, launches nothing.

resource "aws_iam_role" "api" {
  name               = "${local.name}-api"
  description        = "The api container: desired records, and reading"
  assume_role_policy = jsonencode(local.part_trust)
}

resource "aws_iam_role_policy" "api" {
  name = "api"
  role = aws_iam_role.api.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadJobs"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:BatchGetItem"]
        Resource = aws_dynamodb_table.jobs.arn
      },
      {
        # By day for GET /jobs; the active ones for the place of a waiting job in its queue (GET /jobs/{id}/explain).
        Sid      = "ListJobs"
        Effect   = "Allow"
        Action   = "dynamodb:Query"
        Resource = [for index in ["by_day", "active"] : "${aws_dynamodb_table.jobs.arn}/index/${index}"]
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
        Resource = local.jobs_arn
      },
      # Also tells a missing object (404) from a forbidden one (403). A condition on s3:prefix would spoil that: a
      # request for an object has no prefix.
      {
        Sid      = "ListArtifacts"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = local.bucket_arn
      },
    ]
  })
}

locals {
  api_attributes = ["job_id", "created", "desired", "active_shard", "rev", "day", "created_order"]
}
