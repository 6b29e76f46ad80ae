# The pipes: read two streams, send to one queue.

resource "aws_iam_role" "pipes" {
  name        = "${local.name}-pipes"
  description = "EventBridge Pipes: from the streams of jobs and attempts to the hints"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "PipesOfThisInstallation"
      Effect    = "Allow"
      Principal = { Service = "pipes.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account_id }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:pipes:${var.region}:${local.account_id}:pipe/${local.name}-*" }
      }
    }]
  })
}

resource "aws_iam_role_policy" "pipes" {
  name = "pipes"
  role = aws_iam_role.pipes.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadStreams"
        Effect   = "Allow"
        Action   = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"]
        Resource = values(local.streams)
      },
      {
        Sid      = "ListStreams"
        Effect   = "Allow"
        Action   = ["dynamodb:ListStreams"]
        Resource = ["${aws_dynamodb_table.jobs.arn}/stream/*", "${aws_dynamodb_table.attempts.arn}/stream/*"]
      },
      {
        Sid      = "SendHints"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.hints.arn]
      },
    ]
  })
}
