mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "execution_roles_pull_one_image_and_write_one_log" {
  command = apply

  assert {
    condition = jsondecode(aws_iam_role_policy.orchestrator_execution.policy).Statement == [
      { Sid = "LogInToEcr", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] },
      {
        Sid      = "PullTheImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = ["arn:aws:ecr:us-east-1:123456789012:repository/agent-runner-control-api"]
      },
      {
        Sid      = "WriteTheLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "arn:aws:logs:us-east-1:123456789012:log-group:/agent-runner/orchestrator:log-stream:*"
      },
    ]
    error_message = aws_iam_role_policy.orchestrator_execution.policy
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.worker_execution.policy).Statement == [
      { Sid = "LogInToEcr", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] },
      {
        Sid      = "PullTheImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = ["arn:aws:ecr:us-east-1:123456789012:repository/agent-runner-worker"]
      },
      {
        Sid      = "WriteTheLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "arn:aws:logs:us-east-1:123456789012:log-group:/agent-runner/worker:log-stream:*"
      },
    ]
    error_message = aws_iam_role_policy.worker_execution.policy
  }
}

run "the_execution_role_of_workers_reads_the_secrets_of_job_types_and_no_others" {
  command = apply

  variables {
    secrets_kms_key_arns = ["arn:aws:kms:us-east-1:123456789012:key/1"]
    job_types = {
      research = {
        command = ["python3", "research.py"]
        image   = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/team/research@sha256:0000000000000000000000000000000000000000000000000000000000000000"
        secrets = {
          KEY   = "arn:aws:secretsmanager:us-east-1:123456789012:secret:llm-AbCdEf:key::"
          OTHER = "arn:aws:secretsmanager:us-east-1:123456789012:secret:llm-AbCdEf:other::"
          TOKEN = "arn:aws:ssm:us-east-1:123456789012:parameter/team/token"
        }
      }
    }
  }

  assert {
    condition = slice(jsondecode(aws_iam_role_policy.worker_execution.policy).Statement, 1, 2)[0].Resource == [
      "arn:aws:ecr:us-east-1:123456789012:repository/agent-runner-worker",
      "arn:aws:ecr:eu-west-1:210987654321:repository/team/research",
    ]
    error_message = aws_iam_role_policy.worker_execution.policy
  }

  assert {
    condition = slice(jsondecode(aws_iam_role_policy.worker_execution.policy).Statement, 3, length(jsondecode(aws_iam_role_policy.worker_execution.policy).Statement)) == [
      {
        Sid      = "ReadSecrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = ["arn:aws:secretsmanager:us-east-1:123456789012:secret:llm-AbCdEf"]
      },
      {
        Sid      = "ReadParameters"
        Effect   = "Allow"
        Action   = ["ssm:GetParameters"]
        Resource = ["arn:aws:ssm:us-east-1:123456789012:parameter/team/token"]
      },
      {
        Sid      = "DecryptSecrets"
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = ["arn:aws:kms:us-east-1:123456789012:key/1"]
      },
    ]
    error_message = aws_iam_role_policy.worker_execution.policy
  }
}
