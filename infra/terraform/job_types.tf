# A task definition for each job type, and the job-types file that api and reconciler read.

locals {
  # JSON's strings and arrays of strings are TOML's, too, and so are its numbers and booleans.
  job_type_lines = { for name, t in var.job_types : name => concat(
    ["[job_types.${jsonencode(name)}]"],
    ["command = ${jsonencode(t.command)}"],
    ["pass_env = ${jsonencode(sort(concat(
      keys(t.secrets),
      keys(t.environment),
      # An agent's environment is built from nothing; without these it could not use the role that it was given.
      t.task_role_arn == null ? [] : ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_REGION"],
    )))}"],
    t.stop_grace_seconds == null ? [] : ["stop_grace_seconds = ${t.stop_grace_seconds}"],
    length(t.limits) == 0 ? [] : ["limits = { ${join(", ", [for k, v in t.limits : "${k} = ${v}"])} }"],
    [for k, v in jsondecode(t.defaults_json) : "defaults.${k} = ${
      can(keys(v)) ? "{ ${join(", ", [for l, w in v : "${l} = ${jsonencode(w)}"])} }" : jsonencode(v)
    }" if k != "resources" || t.cpu == null],
    t.cpu == null ? [] : [join("", [
      "defaults.resources = { cpu = ${t.cpu}, memory_mib = ${t.memory_mib}",
      t.ephemeral_storage_gib == null ? "" : ", ephemeral_storage_gib = ${t.ephemeral_storage_gib}",
      " }",
    ])],
    ["task_definition = ${jsonencode(aws_ecs_task_definition.job_type[name].arn)}"],
    length(t.security_group_ids) == 0 ? [] : ["security_groups = ${jsonencode(sort(t.security_group_ids))}"],
  ) }

  job_types_toml = join("\n", concat(
    flatten([for name in sort(keys(var.job_types)) : concat(local.job_type_lines[name], [""])]),
    flatten([for name in sort(keys(var.queues)) : ["[queues.${jsonencode(name)}]", "max_running = ${var.queues[name]}", ""]]),
  ))

  # Images in other repositories of ECR, which the execution role must be able to pull.
  foreign_repositories = distinct(flatten([for t in values(var.job_types) : [
    for parts in try(regexall("^([0-9]{12})\\.dkr\\.ecr\\.([a-z0-9-]+)\\.amazonaws\\.com[.cn]*/([^:@]+)", t.image), []) :
    "arn:${local.partition}:ecr:${parts[1]}:${parts[0]}:repository/${parts[2]}"
  ]]))

  secret_arns         = distinct(flatten([for t in values(var.job_types) : values(t.secrets)]))
  task_role_arns      = distinct([for t in values(var.job_types) : t.task_role_arn if t.task_role_arn != null])
  secrets_manager_arn = "^(arn:[^:]+:secretsmanager:[^:]+:[0-9]*:secret:[^:]+)"
}

resource "aws_ecs_task_definition" "job_type" {
  #checkov:skip=CKV_AWS_336:Agents write where they like; the file system belongs to one task and goes with it
  for_each                 = var.job_types
  family                   = "${local.worker_family}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = coalesce(each.value.cpu, var.worker_size.cpu)
  memory                   = coalesce(each.value.memory_mib, var.worker_size.memory_mib)
  task_role_arn            = coalesce(each.value.task_role_arn, aws_iam_role.worker.arn)
  execution_role_arn       = aws_iam_role.worker_execution.arn

  # As for the worker.
  skip_destroy = true

  container_definitions = jsonencode([merge(local.worker_container, {
    image       = coalesce(each.value.image, local.worker_image)
    environment = [for name, value in merge(local.worker_environment, each.value.environment) : { name = name, value = value }]
    secrets     = [for name, arn in each.value.secrets : { name = name, valueFrom = arn }]
    logConfiguration = merge(local.worker_container.logConfiguration, {
      options = merge(local.worker_container.logConfiguration.options, { "awslogs-stream-prefix" = each.key })
    })
  })])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }

  dynamic "ephemeral_storage" {
    for_each = each.value.ephemeral_storage_gib[*]
    content {
      size_in_gib = ephemeral_storage.value
    }
  }
}

# The worker's own permissions on top of what the agent's role has. Once for each role and not for each job type: two
# attachments of the same pair are one, and the end of either would take it from both.
resource "aws_iam_role_policy_attachment" "job_type" {
  # The flag alone decides where it is false: the ARN may be unknown, and so whether it is null.
  for_each   = toset([for t in values(var.job_types) : t.task_role_arn if t.attach_worker_policy ? t.task_role_arn != null : false])
  role       = element(split("/", each.value), -1)
  policy_arn = aws_iam_policy.worker.arn
}
