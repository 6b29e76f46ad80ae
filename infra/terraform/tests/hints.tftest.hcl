mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "the_pipes_role_reads_two_streams_and_sends_to_one_queue" {
  command = apply

  assert {
    condition = jsondecode(aws_iam_role_policy.pipes.policy).Statement == [
      {
        Sid      = "ReadStreams"
        Effect   = "Allow"
        Action   = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"]
        Resource = ["arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts/stream/2026-01-01T00:00:00.000", "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs/stream/2026-01-01T00:00:00.000"]
      },
      {
        Sid      = "ListStreams"
        Effect   = "Allow"
        Action   = ["dynamodb:ListStreams"]
        Resource = ["arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs/stream/*", "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts/stream/*"]
      },
      {
        Sid      = "SendHints"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = ["arn:aws:sqs:us-east-1:123456789012:agent-runner-hints"]
      },
    ]
    error_message = aws_iam_role_policy.pipes.policy
  }

  assert {
    condition = jsondecode(aws_iam_role.pipes.assume_role_policy).Statement == [{
      Sid       = "PipesOfThisInstallation"
      Effect    = "Allow"
      Principal = { Service = "pipes.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = "123456789012" }
        ArnLike      = { "aws:SourceArn" = "arn:aws:pipes:us-east-1:123456789012:pipe/agent-runner-*" }
      }
    }]
    error_message = aws_iam_role.pipes.assume_role_policy
  }
}

run "the_queue_takes_events_of_one_rule_over_tls_and_forgets_them_soon" {
  command = apply

  assert {
    condition = jsondecode(aws_sqs_queue_policy.hints.policy).Statement == [
      {
        Sid       = "TaskStateChanges"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = "arn:aws:sqs:us-east-1:123456789012:agent-runner-hints"
        Condition = { ArnEquals = { "aws:SourceArn" = "arn:aws:events:us-east-1:123456789012:rule/agent-runner-tasks" } }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = "arn:aws:sqs:us-east-1:123456789012:agent-runner-hints"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
    error_message = aws_sqs_queue_policy.hints.policy
  }

  assert {
    condition     = aws_sqs_queue.hints.message_retention_seconds == 300 && aws_sqs_queue.hints.sqs_managed_sse_enabled
    error_message = "hints are encrypted and live for 300 s"
  }
}

run "events_are_those_of_workers_of_this_cluster_that_start_end_or_are_about_to" {
  command = apply

  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.tasks.event_pattern) == {
      source      = ["aws.ecs"]
      detail-type = ["ECS Task State Change"]
      detail = {
        clusterArn = ["arn:aws:ecs:us-east-1:123456789012:cluster/agent-runner"]
        group      = [{ prefix = "family:agent-runner-worker" }]
        startedBy  = [{ exists = true }]
        "$or" = [
          { lastStatus = ["RUNNING"] },
          { desiredStatus = ["STOPPED"], stopCode = [{ anything-but = ["EssentialContainerExited"] }] },
          { desiredStatus = ["STOPPED"], containers = { exitCode = [{ anything-but = [0] }] } },
        ]
      }
    }
    error_message = aws_cloudwatch_event_rule.tasks.event_pattern
  }

  assert {
    condition     = aws_cloudwatch_event_target.tasks.arn == "arn:aws:sqs:us-east-1:123456789012:agent-runner-hints"
    error_message = "events go to the hints"
  }

  assert {
    condition = jsondecode(aws_cloudwatch_event_target.tasks.input_transformer[0].input_template) == {
      source      = "aws.ecs"
      detail-type = "ECS Task State Change"
      detail      = { taskArn = "<task>", startedBy = "<by>", lastStatus = "<last>", desiredStatus = "<desired>" }
    }
    error_message = "a hint holds no override, because the launch token is one"
  }
}

run "the_stream_of_jobs_hints_at_everything_but_the_end_of_a_job_and_attempts_at_outcomes_only" {
  command = apply

  assert {
    condition = [for f in aws_pipes_pipe.hints["jobs"].source_parameters[0].filter_criteria[0].filter : jsondecode(f.pattern)] == [
      { eventName = ["INSERT"] },
      { eventName = ["MODIFY"], dynamodb = { NewImage = { active_shard = { S = [{ exists = true }] } } } },
      { eventName = ["MODIFY"], dynamodb = { OldImage = { active_shard = { S = [{ exists = false }] } } } },
    ]
    error_message = "patterns of jobs"
  }

  assert {
    condition = [for f in aws_pipes_pipe.hints["attempts"].source_parameters[0].filter_criteria[0].filter : jsondecode(f.pattern)] == [{
      eventName = ["MODIFY"]
      dynamodb = {
        NewImage = { gate = { M = { state = { S = ["finished"] } } } }
        OldImage = { gate = { M = { state = { S = [{ anything-but = ["finished"] }] } } } }
      }
    }]
    error_message = "patterns of attempts"
  }

  assert {
    condition     = aws_pipes_pipe.hints["jobs"].source == "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-jobs/stream/2026-01-01T00:00:00.000" && aws_pipes_pipe.hints["attempts"].source == "arn:aws:dynamodb:us-east-1:123456789012:table/agent-runner-attempts/stream/2026-01-01T00:00:00.000"
    error_message = "each pipe has its stream"
  }

  assert {
    condition     = alltrue([for p in aws_pipes_pipe.hints : p.target == "arn:aws:sqs:us-east-1:123456789012:agent-runner-hints" && p.source_parameters[0].dynamodb_stream_parameters[0].batch_size == 10])
    error_message = "ten records are one SendMessageBatch"
  }

  assert {
    condition     = alltrue([for p in aws_pipes_pipe.hints : jsondecode(p.target_parameters[0].input_template).dynamodb.Keys.job_id.S == "<$.dynamodb.Keys.job_id.S>"])
    error_message = "a hint carries the key where a record has it"
  }

  assert {
    condition = jsondecode(aws_pipes_pipe.hints["jobs"].target_parameters[0].input_template) == {
      eventSource = "aws:dynamodb"
      dynamodb    = { Keys = { job_id = { S = "<$.dynamodb.Keys.job_id.S>" } } }
      control = {
        old = "<$.dynamodb.OldImage.control.M.version.S>"
        new = "<$.dynamodb.NewImage.control.M.version.S>"
      }
    }
    error_message = "a hint names the versions of control and no other content of a record"
  }
}
