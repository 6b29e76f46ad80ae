# Workers: a task definition for those that have none of their own. A job's size is an override of RunTask, so
# no size needs a task definition.

locals {
  worker_environment = merge(local.store_environment, var.worker_environment)

  worker_container = {
    name      = "worker"
    essential = true
    # Agents write where they like; the file system belongs to one task and goes with it.
    readonlyRootFilesystem = false
    # Agents leave orphans behind; something must reap them.
    linuxParameters = { initProcessEnabled = true }
    # The longest that Fargate has: Spot gives two minutes, and the worker uses what the job type grants.
    stopTimeout      = 120
    logConfiguration = { logDriver = "awslogs", options = merge(local.log_options, { "awslogs-group" = aws_cloudwatch_log_group.worker.name }) }
  }
}

resource "aws_ecs_task_definition" "worker" {
  #checkov:skip=CKV_AWS_336:Agents write where they like; the file system belongs to one task and goes with it
  family                   = local.worker_family
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.worker_size.cpu
  memory                   = var.worker_size.memory_mib
  task_role_arn            = aws_iam_role.worker.arn
  execution_role_arn       = aws_iam_role.worker_execution.arn

  # A claim stores its launch request with the revision. A revision that an apply makes INACTIVE could not be
  # started any more; terraform_data.drain deregisters them all at the end.
  skip_destroy = true

  container_definitions = jsonencode([merge(local.worker_container, {
    image       = local.worker_image
    environment = [for name, value in local.worker_environment : { name = name, value = value }]
    logConfiguration = merge(local.worker_container.logConfiguration, {
      options = merge(local.worker_container.logConfiguration.options, { "awslogs-stream-prefix" = "worker" })
    })
  })])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }
}
