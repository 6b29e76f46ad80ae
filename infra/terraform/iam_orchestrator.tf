# The task role of the orchestrator: port forwarding, and taking on the role of a part. Nothing else.

resource "aws_iam_role" "orchestrator" {
  name               = "${local.name}-orchestrator"
  description        = "Task role of the orchestrator: ECS Exec, and the roles of its parts"
  assume_role_policy = jsonencode(local.ecs_tasks_trust)
}

resource "aws_iam_role_policy" "orchestrator" {
  name = "orchestrator"
  role = aws_iam_role.orchestrator.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "PortForwarding"
        Effect = "Allow"
        Action = [
          "ssmmessages:CreateControlChannel",
          "ssmmessages:CreateDataChannel",
          "ssmmessages:OpenControlChannel",
          "ssmmessages:OpenDataChannel",
        ]
        # These actions know no resources (service authorization reference, Session Manager Message Gateway).
        Resource = "*"
      },
      {
        Sid      = "TakeOnTheRoleOfAPart"
        Effect   = "Allow"
        Action   = "sts:AssumeRole"
        Resource = [aws_iam_role.api.arn, aws_iam_role.reconciler.arn]
      },
    ]
  })
}

locals {
  part_trust = {
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TheOrchestratorsTask"
      Effect    = "Allow"
      Principal = { AWS = aws_iam_role.orchestrator.arn }
      Action    = "sts:AssumeRole"
    }]
  }
}
