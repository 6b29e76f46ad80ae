# The orchestrator: one service, one task, two containers. `api` listens on loopback inside the task and is
# reached by SSM port forwarding; `reconciler` is the only part that launches and stops.
#
# Containers of a task share one task role. So that api and reconciler still have permissions of their own, the
# task role may do nothing but port forwarding and take on two other roles, and each container's AWS
# configuration takes on its own. That holds against mistakes, not against somebody who executes code in one of
# the containers: for that the two need tasks of their own.
#
# The container `setup` writes that configuration and the job types to a volume and ends before the others
# start: neither has another place, a file of the image cannot know them, and values in the task definition
# make every change of them a revision that can be rolled back.

locals {
  settings_folder = "/etc/agent-runner"
  settings_mount  = { sourceVolume = "settings", containerPath = local.settings_folder, readOnly = true }

  aws_config = join("\n", flatten([for part, role in { api = aws_iam_role.api.arn, reconciler = aws_iam_role.reconciler.arn } : [
    "[profile ${part}]",
    "role_arn = ${role}",
    "credential_source = EcsContainer",
    "role_session_name = ${local.name}-${part}",
    "region = ${var.region}",
    "",
  ]]))

  store_environment = {
    AGENT_RUNNER_RECORDS    = "dynamodb:${local.name}"
    AGENT_RUNNER_ARTIFACTS  = "s3://${aws_s3_bucket.artifacts.bucket}"
    AGENT_RUNNER_LOG        = var.log_level
    AGENT_RUNNER_LOG_FORMAT = "json"
    AWS_REGION              = var.region
  }

  # One environment for both: each reads what it needs and checks the rest.
  orchestrator_environment = merge(
    local.store_environment,
    {
      AGENT_RUNNER_TASKS                = "ecs:${aws_ecs_cluster.this.name}"
      AGENT_RUNNER_HINTS                = "sqs:${aws_sqs_queue.hints.url}"
      AGENT_RUNNER_LISTEN               = "127.0.0.1:8000"
      AGENT_RUNNER_METRICS_LISTEN       = "127.0.0.1:9464"
      AGENT_RUNNER_MAX_CONCURRENT_TASKS = tostring(var.max_concurrent_tasks)
      # Sorted: a launch request is stored and must come out the same.
      AGENT_RUNNER_ECS_TASK_DEFINITION  = aws_ecs_task_definition.worker.arn
      AGENT_RUNNER_ECS_SUBNETS          = join(",", local.subnet_ids)
      AGENT_RUNNER_ECS_SECURITY_GROUPS  = aws_security_group.worker.id
      AGENT_RUNNER_ECS_ASSIGN_PUBLIC_IP = tostring(local.assign_public_ip)
    },
    # Without job types of its own the installation has those of the image.
    local.job_types_toml == "" ? {} : { AGENT_RUNNER_JOB_TYPES = "${local.settings_folder}/job-types.toml" },
    var.orchestrator_environment,
    { AWS_CONFIG_FILE = "${local.settings_folder}/aws-config" },
  )

  part = {
    image     = local.control_api_image
    essential = true
    # A port forwarding session is a process inside the container, which writes its state there: ECS Exec does
    # not work with a read-only root (ECS developer guide, ECS Exec). Something must reap its children.
    readonlyRootFilesystem = false
    linuxParameters        = { initProcessEnabled = true }
    mountPoints            = [local.settings_mount]
    dependsOn              = [{ containerName = "setup", condition = "SUCCESS" }]
    stopTimeout            = 30
  }
  # One file of at most a few KiB is written to a volume that belongs to root.
  setup = {
    name                   = "setup"
    image                  = local.control_api_image
    essential              = false
    user                   = "0"
    readonlyRootFilesystem = true
    entryPoint             = ["/bin/sh", "-ec"]
    command = [join(" && ", [
      "printf '%s' \"$SETUP_AWS_CONFIG\" > ${local.settings_folder}/aws-config",
      "printf '%s' \"$SETUP_JOB_TYPES\" > ${local.settings_folder}/job-types.toml",
      "chmod 0444 ${local.settings_folder}/*",
    ])]
    environment = [
      { name = "SETUP_AWS_CONFIG", value = local.aws_config },
      { name = "SETUP_JOB_TYPES", value = local.job_types_toml },
    ]
    mountPoints      = [merge(local.settings_mount, { readOnly = false })]
    logConfiguration = { logDriver = "awslogs", options = merge(local.log_options, local.orchestrator_logs, { "awslogs-stream-prefix" = "setup" }) }
  }
  orchestrator_logs = { "awslogs-group" = aws_cloudwatch_log_group.orchestrator.name }

  orchestrator_containers = concat([local.setup], [for part in ["api", "reconciler"] : merge(local.part, {
    name       = part
    entryPoint = ["${local.name}-${part}"]
    environment = [for name, value in merge(local.orchestrator_environment, { AWS_PROFILE = part }) : {
      name = name, value = value
    }]
    healthCheck = {
      # The API asks whether it answers, not whether its store does: a task that replaces it would have none either.
      command     = concat(["CMD", "${local.name}-${part}", "healthcheck"], part == "api" ? ["--live"] : [])
      interval    = 10
      timeout     = 5
      retries     = 3
      startPeriod = 30
    }
    logConfiguration = { logDriver = "awslogs", options = merge(local.log_options, local.orchestrator_logs, { "awslogs-stream-prefix" = part }) }
  })])
}

resource "aws_ecs_task_definition" "orchestrator" {
  #checkov:skip=CKV_AWS_336:ECS Exec, which carries the port forwarding, needs a writable root file system
  family                   = "${local.name}-orchestrator"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.orchestrator_size.cpu
  memory                   = var.orchestrator_size.memory_mib
  task_role_arn            = aws_iam_role.orchestrator.arn
  execution_role_arn       = aws_iam_role.orchestrator_execution.arn
  container_definitions    = jsonencode(local.orchestrator_containers)

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }

  volume {
    name = "settings"
  }
}

resource "aws_ecs_service" "orchestrator" {
  #checkov:skip=CKV_AWS_333:A public address is the way out without a NAT; the security group lets nothing in. var.subnet_ids and var.assign_public_ip change it
  name                   = "orchestrator"
  cluster                = aws_ecs_cluster.this.id
  task_definition        = aws_ecs_task_definition.orchestrator.arn
  desired_count          = var.desired_count
  launch_type            = "FARGATE"
  platform_version       = "LATEST"
  enable_execute_command = true
  propagate_tags         = "SERVICE"

  # A new one comes up before the old one goes: the lease says who leads, and safety does not depend on it. A
  # revision that does not become healthy is rolled back.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = local.subnet_ids
    security_groups  = [aws_security_group.orchestrator.id]
    assign_public_ip = local.assign_public_ip
  }

  lifecycle {
    # infra/scripts/scale owns it.
    ignore_changes = [desired_count]

    precondition {
      condition     = var.desired_count == 0 || (var.control_api_digest != null && var.worker_digest != null)
      error_message = "There is no image to start: apply with desired_count = 0, then infra/scripts/push."
    }
  }

  # Its tasks need what the roles allow and a way out from their first second on; and it goes before the
  # workers are drained, or it would start new ones.
  depends_on = [
    terraform_data.drain,
    aws_iam_role_policy.orchestrator,
    aws_iam_role_policy.orchestrator_execution,
    aws_iam_role_policy.api,
    aws_iam_role_policy.reconciler,
    aws_route.internet,
    aws_route_table_association.public,
    aws_vpc_security_group_egress_rule.orchestrator,
    aws_s3_bucket_policy.artifacts,
  ]
}
