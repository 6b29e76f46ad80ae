# What ECS itself does before a container starts: pulls its image, opens its log, reads its secrets.

resource "aws_iam_role" "orchestrator_execution" {
  name               = "${local.name}-orchestrator-execution"
  description        = "ECS: image and log of the orchestrator"
  assume_role_policy = jsonencode(local.ecs_tasks_trust)
}

resource "aws_iam_role_policy" "orchestrator_execution" {
  name = "execution"
  role = aws_iam_role.orchestrator_execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.ecr_login,
      merge(local.ecr_pull, { Resource = [aws_ecr_repository.this["control_api"].arn] }),
      merge(local.write_log, { Resource = "${aws_cloudwatch_log_group.orchestrator.arn}:log-stream:*" }),
    ]
  })
}

resource "aws_iam_role" "worker_execution" {
  name               = "${local.worker_family}-execution"
  description        = "ECS: image, log and secrets of workers"
  assume_role_policy = jsonencode(local.ecs_tasks_trust)
}

resource "aws_iam_role_policy" "worker_execution" {
  name = "execution"
  role = aws_iam_role.worker_execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        local.ecr_login,
        merge(local.ecr_pull, { Resource = concat([aws_ecr_repository.this["worker"].arn], local.foreign_repositories) }),
        merge(local.write_log, { Resource = "${aws_cloudwatch_log_group.worker.arn}:log-stream:*" }),
      ],
      [for statement in local.secret_statements : statement if length(statement.Resource) > 0],
    )
  })
}

locals {
  # The token is for the registry as a whole; the action knows no resources.
  ecr_login = { Sid = "LogInToEcr", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] }
  ecr_pull = {
    Sid    = "PullTheImage"
    Effect = "Allow"
    Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
  }
  write_log = { Sid = "WriteTheLog", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"] }

  secret_statements = [
    {
      Sid    = "ReadSecrets"
      Effect = "Allow"
      Action = ["secretsmanager:GetSecretValue"]
      # Without the JSON key, version stage and version id that may follow the ARN.
      Resource = distinct([for arn in local.secret_arns : regex(local.secrets_manager_arn, arn)[0] if strcontains(arn, ":secretsmanager:")])
    },
    {
      Sid      = "ReadParameters"
      Effect   = "Allow"
      Action   = ["ssm:GetParameters"]
      Resource = [for arn in local.secret_arns : arn if strcontains(arn, ":ssm:")]
    },
    {
      Sid      = "DecryptSecrets"
      Effect   = "Allow"
      Action   = ["kms:Decrypt"]
      Resource = var.secrets_kms_key_arns
    },
  ]
}
