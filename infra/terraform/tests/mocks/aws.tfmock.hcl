# What an account would answer. Each ARN differs from all others, so that a policy with the wrong one is seen.

mock_data "aws_caller_identity" {
  defaults = {
    account_id = "123456789012"
  }
}

mock_data "aws_partition" {
  defaults = {
    partition = "aws"
  }
}

mock_data "aws_availability_zones" {
  defaults = {
    names = ["us-east-1c", "us-east-1a", "us-east-1b"]
  }
}

override_resource {
  target = aws_dynamodb_table.jobs
  values = {
    arn        = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs"
    stream_arn = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs/stream/2026-01-01T00:00:00.000"
  }
}

override_resource {
  target = aws_dynamodb_table.attempts
  values = {
    arn        = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts"
    stream_arn = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts/stream/2026-01-01T00:00:00.000"
  }
}

override_resource {
  target = aws_dynamodb_table.leases
  values = {
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-leases"
  }
}

override_resource {
  target = aws_s3_bucket.artifacts
  values = {
    arn = "arn:aws:s3:::agent-runner-bucket"
    id  = "agent-runner-bucket"
  }
}

override_resource {
  target = aws_sqs_queue.hints
  values = {
    arn = "arn:aws:sqs:us-east-1:123456789012:agent-runner-hints"
    url = "https://sqs.us-east-1.amazonaws.com/123456789012/agent-runner-hints"
    id  = "https://sqs.us-east-1.amazonaws.com/123456789012/agent-runner-hints"
  }
}

override_resource {
  target = aws_ecs_cluster.this
  values = {
    arn = "arn:aws:ecs:us-east-1:123456789012:cluster/agent-runner"
    id  = "arn:aws:ecs:us-east-1:123456789012:cluster/agent-runner"
  }
}

override_resource {
  target = aws_ecs_task_definition.worker
  values = {
    arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/agent-runner-worker:7"
  }
}

override_resource {
  target = aws_ecs_task_definition.orchestrator
  values = {
    arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/agent-runner-orchestrator:7"
  }
}

override_resource {
  target = aws_ecs_task_definition.job_type
  values = {
    arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/agent-runner-worker-research:3"
  }
}

override_resource {
  target = aws_ecr_repository.this["control_api"]
  values = {
    arn            = "arn:aws:ecr:us-east-1:123456789012:repository/agent-runner-control-api"
    repository_url = "123456789012.dkr.ecr.us-east-1.amazonaws.com/agent-runner-control-api"
  }
}

override_resource {
  target = aws_ecr_repository.this["worker"]
  values = {
    arn            = "arn:aws:ecr:us-east-1:123456789012:repository/agent-runner-worker"
    repository_url = "123456789012.dkr.ecr.us-east-1.amazonaws.com/agent-runner-worker"
  }
}

override_resource {
  target = aws_iam_role.orchestrator
  values = {
    arn = "arn:aws:iam::123456789012:role/agent-runner-orchestrator"
    id  = "agent-runner-orchestrator"
  }
}

override_resource {
  target = aws_iam_role.api
  values = {
    arn = "arn:aws:iam::123456789012:role/agent-runner-api"
    id  = "agent-runner-api"
  }
}

override_resource {
  target = aws_iam_role.reconciler
  values = {
    arn = "arn:aws:iam::123456789012:role/agent-runner-reconciler"
    id  = "agent-runner-reconciler"
  }
}

override_resource {
  target = aws_iam_role.worker
  values = {
    arn = "arn:aws:iam::123456789012:role/agent-runner-worker"
    id  = "agent-runner-worker"
  }
}

override_resource {
  target = aws_iam_role.orchestrator_execution
  values = {
    arn = "arn:aws:iam::123456789012:role/agent-runner-orchestrator-execution"
    id  = "agent-runner-orchestrator-execution"
  }
}

override_resource {
  target = aws_iam_role.worker_execution
  values = {
    arn = "arn:aws:iam::123456789012:role/agent-runner-worker-execution"
    id  = "agent-runner-worker-execution"
  }
}

override_resource {
  target = aws_iam_role.pipes
  values = {
    arn = "arn:aws:iam::123456789012:role/agent-runner-pipes"
    id  = "agent-runner-pipes"
  }
}

override_resource {
  target = aws_iam_policy.worker
  values = {
    arn = "arn:aws:iam::123456789012:policy/agent-runner-worker"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.orchestrator
  values = {
    arn = "arn:aws:logs:us-east-1:123456789012:log-group:/agent-runner/orchestrator"
  }
}

override_resource {
  target = aws_security_group.orchestrator
  values = {
    id = "sg-orchestrator"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.worker
  values = {
    arn = "arn:aws:logs:us-east-1:123456789012:log-group:/agent-runner/worker"
  }
}

override_resource {
  target = aws_security_group.worker
  values = {
    id = "sg-worker"
  }
}

override_resource {
  target = aws_cloudwatch_event_rule.tasks
  values = {
    arn = "arn:aws:events:us-east-1:123456789012:rule/agent-runner-tasks"
  }
}
