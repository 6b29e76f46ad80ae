mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "the_task_role_forwards_ports_and_takes_on_the_roles_of_its_two_parts" {
  command = apply

  assert {
    condition = jsondecode(aws_iam_role_policy.orchestrator.policy).Statement == [
      {
        Sid      = "PortForwarding"
        Effect   = "Allow"
        Action   = ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]
        Resource = "*"
      },
      {
        Sid      = "TakeOnTheRoleOfAPart"
        Effect   = "Allow"
        Action   = "sts:AssumeRole"
        Resource = ["arn:aws:iam::123456789012:role/agent-runner-api", "arn:aws:iam::123456789012:role/agent-runner-reconciler"]
      },
    ]
    error_message = aws_iam_role_policy.orchestrator.policy
  }

  assert {
    condition = jsondecode(aws_iam_role.api.assume_role_policy).Statement == [{
      Sid       = "TheOrchestratorsTask"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::123456789012:role/agent-runner-orchestrator" }
      Action    = "sts:AssumeRole"
    }]
    error_message = aws_iam_role.api.assume_role_policy
  }

  assert {
    condition = jsondecode(aws_iam_role.reconciler.assume_role_policy).Statement == [{
      Sid       = "TheOrchestratorsTask"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::123456789012:role/agent-runner-orchestrator" }
      Action    = "sts:AssumeRole"
    }]
    error_message = aws_iam_role.reconciler.assume_role_policy
  }
}

run "roles_that_ecs_takes_on_are_for_tasks_of_this_account_only" {
  command = apply

  assert {
    condition = jsondecode(aws_iam_role.orchestrator.assume_role_policy).Statement == [{
      Sid       = "EcsTasksOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = "123456789012" }
        ArnLike      = { "aws:SourceArn" = "arn:aws:ecs:us-east-1:123456789012:*" }
      }
    }]
    error_message = aws_iam_role.orchestrator.assume_role_policy
  }

  assert {
    condition = jsondecode(aws_iam_role.worker.assume_role_policy).Statement == [{
      Sid       = "EcsTasksOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = "123456789012" }
        ArnLike      = { "aws:SourceArn" = "arn:aws:ecs:us-east-1:123456789012:*" }
      }
    }]
    error_message = aws_iam_role.worker.assume_role_policy
  }

  assert {
    condition = jsondecode(aws_iam_role.orchestrator_execution.assume_role_policy).Statement == [{
      Sid       = "EcsTasksOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = "123456789012" }
        ArnLike      = { "aws:SourceArn" = "arn:aws:ecs:us-east-1:123456789012:*" }
      }
    }]
    error_message = aws_iam_role.orchestrator_execution.assume_role_policy
  }

  assert {
    condition = jsondecode(aws_iam_role.worker_execution.assume_role_policy).Statement == [{
      Sid       = "EcsTasksOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = "123456789012" }
        ArnLike      = { "aws:SourceArn" = "arn:aws:ecs:us-east-1:123456789012:*" }
      }
    }]
    error_message = aws_iam_role.worker_execution.assume_role_policy
  }
}
