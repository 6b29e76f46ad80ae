data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  # Everything is named after it: the scripts, the settings and the documented commands know this name.
  name       = "agent-runner"
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition

  # What only the cluster's ARN would say; written out so that policies can name tasks and task definitions
  # that do not exist yet.
  ecs_arn              = "arn:${local.partition}:ecs:${var.region}:${local.account_id}"
  worker_family        = "${local.name}-worker"
  worker_families_arns = ["${local.ecs_arn}:task-definition/${local.worker_family}:*", "${local.ecs_arn}:task-definition/${local.worker_family}-*:*"]
  worker_tasks_arn     = "${local.ecs_arn}:task/${local.name}/*"

  # The confused-deputy guard of every role that a service of this account takes on. ECS does not support a
  # narrower aws:SourceArn than the account's (ECS developer guide, task IAM role).
  ecs_tasks_trust = {
    Version = "2012-10-17"
    Statement = [{
      Sid       = "EcsTasksOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account_id }
        ArnLike      = { "aws:SourceArn" = "${local.ecs_arn}:*" }
      }
    }]
  }
}

locals {
  # MiB by CPU units (ECS API reference, RegisterTaskDefinition).
  fargate_memory = {
    "256"   = [512, 1024, 2048]
    "512"   = [for gib in range(1, 5) : gib * 1024]
    "1024"  = [for gib in range(2, 9) : gib * 1024]
    "2048"  = [for gib in range(4, 17) : gib * 1024]
    "4096"  = [for gib in range(8, 31) : gib * 1024]
    "8192"  = [for gib in range(16, 61, 4) : gib * 1024]
    "16384" = [for gib in range(32, 121, 8) : gib * 1024]
  }
}
