mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "workers_know_records_and_artifacts_and_are_never_deregistered_under_a_claim" {
  command = apply

  assert {
    condition     = aws_ecs_task_definition.worker.family == "agent-runner-worker" && aws_ecs_task_definition.worker.skip_destroy
    error_message = "family and skip_destroy"
  }

  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].environment : e.name => e.value } == { AGENT_RUNNER_ARTIFACTS = "s3://agent-runner-123456789012-us-east-1", AGENT_RUNNER_LOG = "info", AGENT_RUNNER_LOG_FORMAT = "json", AGENT_RUNNER_RECORDS = "dynamodb:agent-runner", AWS_REGION = "us-east-1" }
    error_message = "environment"
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].name == "worker" && jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].stopTimeout == 120
    error_message = "name and the longest stop timeout of Fargate"
  }

  assert {
    condition     = aws_ecs_task_definition.worker.task_role_arn == "arn:aws:iam::123456789012:role/agent-runner-worker" && aws_ecs_task_definition.worker.execution_role_arn == "arn:aws:iam::123456789012:role/agent-runner-worker-execution"
    error_message = "roles"
  }

  assert {
    condition     = local.job_types_toml == "" && !contains(keys(local.orchestrator_environment), "AGENT_RUNNER_JOB_TYPES")
    error_message = "without job types the image's file is used"
  }
}

run "a_job_type_has_a_task_definition_with_image_role_secrets_and_size" {
  command = apply

  variables {
    worker_environment = { AGENT_RUNNER_HEARTBEAT_SECONDS = "20" }
    queues             = { llm = 4 }
    job_types = {
      research = {
        command               = ["python3", "agents/re\"search.py"]
        image                 = "public.ecr.aws/team/research:1"
        task_role_arn         = "arn:aws:iam::123456789012:role/team/research"
        secrets               = { LLM_KEY = "arn:aws:secretsmanager:us-east-1:123456789012:secret:llm-AbCdEf" }
        environment           = { MODEL = "large" }
        cpu                   = 1024
        memory_mib            = 4096
        ephemeral_storage_gib = 40
        security_group_ids    = ["sg-b", "sg-a"]
        stop_grace_seconds    = 20
        defaults_json         = "{\"max_attempts\":5,\"queue\":\"llm\",\"backoff\":{\"factor\":2,\"initial_seconds\":1}}"
        limits                = { attempt_timeout_seconds = 900 }
      }
    }
  }

  assert {
    condition     = aws_ecs_task_definition.job_type["research"].family == "agent-runner-worker-research" && aws_ecs_task_definition.job_type["research"].cpu == "1024" && aws_ecs_task_definition.job_type["research"].memory == "4096" && aws_ecs_task_definition.job_type["research"].ephemeral_storage[0].size_in_gib == 40 && aws_ecs_task_definition.job_type["research"].skip_destroy
    error_message = "size"
  }

  assert {
    condition     = aws_ecs_task_definition.job_type["research"].task_role_arn == "arn:aws:iam::123456789012:role/team/research" && aws_iam_role_policy_attachment.job_type["arn:aws:iam::123456789012:role/team/research"].role == "research"
    error_message = "role"
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.job_type["research"].container_definitions)[0].image == "public.ecr.aws/team/research:1" && jsondecode(aws_ecs_task_definition.job_type["research"].container_definitions)[0].secrets == [{ name = "LLM_KEY", valueFrom = "arn:aws:secretsmanager:us-east-1:123456789012:secret:llm-AbCdEf" }]
    error_message = "image and secrets"
  }

  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.job_type["research"].container_definitions)[0].environment : e.name => e.value }.MODEL == "large" && { for e in jsondecode(aws_ecs_task_definition.job_type["research"].container_definitions)[0].environment : e.name => e.value }.AGENT_RUNNER_HEARTBEAT_SECONDS == "20"
    error_message = "environment"
  }

  assert {
    condition     = [for s in jsondecode(aws_iam_role_policy.reconciler.policy).Statement : s.Resource if s.Sid == "PassTheRolesOfWorkers"][0] == ["arn:aws:iam::123456789012:role/agent-runner-worker", "arn:aws:iam::123456789012:role/agent-runner-worker-execution", "arn:aws:iam::123456789012:role/team/research"]
    error_message = "the reconciler may pass the role of this job type, too"
  }
}

run "the_job_types_file_says_what_the_reader_knows" {
  command = apply

  variables {
    worker_environment = { AGENT_RUNNER_HEARTBEAT_SECONDS = "20" }
    queues             = { llm = 4 }
    job_types = {
      research = {
        command               = ["python3", "agents/re\"search.py"]
        image                 = "public.ecr.aws/team/research:1"
        task_role_arn         = "arn:aws:iam::123456789012:role/team/research"
        secrets               = { LLM_KEY = "arn:aws:secretsmanager:us-east-1:123456789012:secret:llm-AbCdEf" }
        environment           = { MODEL = "large" }
        cpu                   = 1024
        memory_mib            = 4096
        ephemeral_storage_gib = 40
        security_group_ids    = ["sg-b", "sg-a"]
        stop_grace_seconds    = 20
        defaults_json         = "{\"max_attempts\":5,\"queue\":\"llm\",\"backoff\":{\"factor\":2,\"initial_seconds\":1}}"
        limits                = { attempt_timeout_seconds = 900 }
      }
    }
  }

  assert {
    condition     = local.job_types_toml == <<-EOT
      [job_types."research"]
      command = ["python3","agents/re\"search.py"]
      pass_env = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI","AWS_REGION","LLM_KEY","MODEL"]
      stop_grace_seconds = 20
      limits = { attempt_timeout_seconds = 900 }
      defaults.backoff = { factor = 2, initial_seconds = 1 }
      defaults.max_attempts = 5
      defaults.queue = "llm"
      defaults.resources = { cpu = 1024, memory_mib = 4096, ephemeral_storage_gib = 40 }
      task_definition = "arn:aws:ecs:us-east-1:123456789012:task-definition/agent-runner-worker-research:3"
      security_groups = ["sg-a","sg-b"]

      [queues."llm"]
      max_running = 4
    EOT
    error_message = local.job_types_toml
  }

  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.orchestrator.container_definitions)[0].environment : e.name => e.value }.SETUP_JOB_TYPES == local.job_types_toml
    error_message = "setup writes it"
  }

  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.orchestrator.container_definitions)[1].environment : e.name => e.value }.AGENT_RUNNER_JOB_TYPES == "/etc/agent-runner/job-types.toml"
    error_message = "api reads it"
  }
}

run "job_types_that_share_a_role_share_its_attachment_and_others_may_attach_it_themselves" {
  command = apply

  variables {
    job_types = {
      research = { command = ["a"], task_role_arn = "arn:aws:iam::123456789012:role/agents" }
      review   = { command = ["b"], task_role_arn = "arn:aws:iam::123456789012:role/agents" }
      summary  = { command = ["c"], task_role_arn = "arn:aws:iam::123456789012:role/own", attach_worker_policy = false }
      plain    = { command = ["d"] }
    }
  }

  assert {
    condition     = { for arn, a in aws_iam_role_policy_attachment.job_type : arn => a.role } == { "arn:aws:iam::123456789012:role/agents" = "agents" }
    error_message = jsonencode(aws_iam_role_policy_attachment.job_type)
  }

  assert {
    condition     = contains([for s in jsondecode(aws_iam_role_policy.reconciler.policy).Statement : s.Resource if s.Sid == "PassTheRolesOfWorkers"][0], "arn:aws:iam::123456789012:role/own")
    error_message = "the reconciler may pass it all the same"
  }
}
