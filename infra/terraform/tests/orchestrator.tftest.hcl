mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "the_service_is_one_task_that_is_not_started_before_images_are_there" {
  command = apply

  assert {
    condition     = aws_ecs_cluster.this.name == "agent-runner" && aws_ecs_service.orchestrator.name == "orchestrator" && aws_ecs_service.orchestrator.desired_count == 0
    error_message = "names and count"
  }

  assert {
    condition     = aws_ecs_cluster_capacity_providers.this.capacity_providers == toset(["FARGATE", "FARGATE_SPOT"])
    error_message = "capacity providers"
  }

  assert {
    condition     = aws_ecs_service.orchestrator.enable_execute_command && aws_ecs_service.orchestrator.deployment_circuit_breaker[0].rollback
    error_message = "ECS Exec and rollback"
  }

  assert {
    condition     = aws_ecs_task_definition.orchestrator.cpu == "256" && aws_ecs_task_definition.orchestrator.memory == "512" && aws_ecs_task_definition.orchestrator.runtime_platform[0].cpu_architecture == "X86_64"
    error_message = "size"
  }
}

run "api_and_reconciler_start_after_setup_and_check_themselves" {
  command = apply

  assert {
    condition     = [for c in jsondecode(aws_ecs_task_definition.orchestrator.container_definitions) : [c.name, c.essential, join(" ", c.entryPoint)]] == [["setup", false, "/bin/sh -ec"], ["api", true, "agent-runner-api"], ["reconciler", true, "agent-runner-reconciler"]]
    error_message = "containers"
  }

  assert {
    condition     = alltrue([for i in [1, 2] : jsondecode(aws_ecs_task_definition.orchestrator.container_definitions)[i].dependsOn == [{ containerName = "setup", condition = "SUCCESS" }] && jsondecode(aws_ecs_task_definition.orchestrator.container_definitions)[i].mountPoints[0].readOnly])
    error_message = "settings are there before they start"
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.orchestrator.container_definitions)[1].healthCheck.command == ["CMD", "agent-runner-api", "healthcheck", "--live"] && jsondecode(aws_ecs_task_definition.orchestrator.container_definitions)[2].healthCheck.command == ["CMD", "agent-runner-reconciler", "healthcheck"]
    error_message = "health"
  }
}

run "both_parts_have_the_settings_of_aws_and_a_profile_of_their_own" {
  command = apply

  assert {
    condition = { for e in jsondecode(aws_ecs_task_definition.orchestrator.container_definitions)[2].environment : e.name => e.value } == {
      AGENT_RUNNER_ARTIFACTS            = "s3://agent-runner-123456789012-us-east-1"
      AGENT_RUNNER_ECS_ASSIGN_PUBLIC_IP = "true"
      AGENT_RUNNER_ECS_SECURITY_GROUPS  = "sg-worker"
      AGENT_RUNNER_ECS_SUBNETS          = join(",", sort(aws_subnet.public[*].id))
      AGENT_RUNNER_ECS_TASK_DEFINITION  = "arn:aws:ecs:us-east-1:123456789012:task-definition/agent-runner-worker:7"
      AGENT_RUNNER_HINTS                = "sqs:https://sqs.us-east-1.amazonaws.com/123456789012/agent-runner-hints"
      AGENT_RUNNER_LISTEN               = "127.0.0.1:8000"
      AGENT_RUNNER_LOG                  = "info"
      AGENT_RUNNER_LOG_FORMAT           = "json"
      AGENT_RUNNER_MAX_CONCURRENT_TASKS = "20"
      AGENT_RUNNER_METRICS_LISTEN       = "127.0.0.1:9464"
      AGENT_RUNNER_RECORDS              = "dynamodb:agent-runner"
      AGENT_RUNNER_TASKS                = "ecs:agent-runner"
      AWS_CONFIG_FILE                   = "/etc/agent-runner/aws-config"
      AWS_PROFILE                       = "reconciler"
      AWS_REGION                        = "us-east-1"
    }
    error_message = "environment of the reconciler"
  }

  assert {
    condition     = merge({ for e in jsondecode(aws_ecs_task_definition.orchestrator.container_definitions)[1].environment : e.name => e.value }, { AWS_PROFILE = "reconciler" }) == { for e in jsondecode(aws_ecs_task_definition.orchestrator.container_definitions)[2].environment : e.name => e.value } && { for e in jsondecode(aws_ecs_task_definition.orchestrator.container_definitions)[1].environment : e.name => e.value }.AWS_PROFILE == "api"
    error_message = "the api differs by its profile only"
  }

  assert {
    condition     = local.aws_config == <<-EOT
      [profile api]
      role_arn = arn:aws:iam::123456789012:role/agent-runner-api
      credential_source = EcsContainer
      role_session_name = agent-runner-api
      region = us-east-1

      [profile reconciler]
      role_arn = arn:aws:iam::123456789012:role/agent-runner-reconciler
      credential_source = EcsContainer
      role_session_name = agent-runner-reconciler
      region = us-east-1
    EOT
    error_message = local.aws_config
  }
}

run "pushed_images_are_named_by_digest" {
  command = apply

  variables {
    desired_count      = 1
    control_api_digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
    worker_digest      = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
  }

  assert {
    condition     = alltrue([for c in jsondecode(aws_ecs_task_definition.orchestrator.container_definitions) : c.image == "123456789012.dkr.ecr.us-east-1.amazonaws.com/agent-runner-control-api@sha256:1111111111111111111111111111111111111111111111111111111111111111"])
    error_message = "control-api"
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].image == "123456789012.dkr.ecr.us-east-1.amazonaws.com/agent-runner-worker@sha256:2222222222222222222222222222222222222222222222222222222222222222"
    error_message = "worker"
  }

  assert {
    condition     = aws_ecs_service.orchestrator.desired_count == 0
    error_message = "an apply leaves the count alone, whatever the variable says: scale owns it"
  }
}

run "an_orchestrator_without_an_image_is_refused" {
  command = plan

  variables {
    desired_count = 1
  }

  expect_failures = [aws_ecs_service.orchestrator]
}

run "repositories_scan_and_keep_what_task_definitions_name" {
  command = apply

  assert {
    condition     = { for k, r in aws_ecr_repository.this : r.name => [r.image_tag_mutability, r.image_scanning_configuration[0].scan_on_push] } == { agent-runner-control-api = ["MUTABLE", true], agent-runner-worker = ["MUTABLE", true] }
    error_message = "repositories"
  }

  assert {
    condition     = alltrue([for p in aws_ecr_lifecycle_policy.this : jsondecode(p.policy).rules[0].selection == { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 50 }])
    error_message = "lifecycle"
  }
}

run "arm64_is_for_every_task" {
  command = plan

  variables {
    cpu_architecture = "ARM64"
  }

  assert {
    condition     = alltrue([for t in [aws_ecs_task_definition.orchestrator, aws_ecs_task_definition.worker] : t.runtime_platform[0].cpu_architecture == "ARM64"])
    error_message = "architecture"
  }
}
