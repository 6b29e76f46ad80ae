variable "region" {
  description = "Where everything is."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region, as in us-east-1."
  }
}

variable "tags" {
  description = "Tags for everything."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "protect_data" {
  description = "true: deletion protection on tables, no deletion of a bucket or repository that is not empty. false: `terraform destroy` removes everything."
  type        = bool
  default     = false
  nullable    = false
}

variable "drain_on_destroy" {
  description = "Whether `terraform destroy` stops running workers first, with the AWS command line; without, a running worker makes it fail. What the last apply said counts, not what destroy is told."
  type        = bool
  default     = true
  nullable    = false
}

# Orchestrator

variable "desired_count" {
  description = "Orchestrators at the first apply: 0 until images are pushed. Later applies leave the count alone; infra/scripts/scale changes it."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = contains([0, 1], var.desired_count)
    error_message = "0 or 1: there is one orchestrator."
  }
}

variable "cpu_architecture" {
  description = "X86_64 or ARM64, for the orchestrator and for workers; images are built for it."
  type        = string
  default     = "X86_64"
  nullable    = false

  validation {
    condition     = contains(["X86_64", "ARM64"], var.cpu_architecture)
    error_message = "X86_64 or ARM64."
  }
}

variable "control_api_digest" {
  description = "Digest of the orchestrator's image (sha256:…); infra/scripts/push writes it to images.auto.tfvars.json."
  type        = string
  default     = null

  validation {
    condition     = var.control_api_digest == null || can(regex("^sha256:[0-9a-f]{64}$", var.control_api_digest))
    error_message = "A digest is sha256: and 64 hex digits."
  }
}

variable "worker_digest" {
  description = "Digest of the worker's image (sha256:…); infra/scripts/push writes it to images.auto.tfvars.json."
  type        = string
  default     = null

  validation {
    condition     = var.worker_digest == null || can(regex("^sha256:[0-9a-f]{64}$", var.worker_digest))
    error_message = "A digest is sha256: and 64 hex digits."
  }
}

variable "orchestrator_size" {
  description = "CPU units (1024 are a vCPU) and MiB of the orchestrator's task; a size that Fargate has."
  type        = object({ cpu = number, memory_mib = number })
  default     = { cpu = 256, memory_mib = 512 }
  nullable    = false

  validation {
    condition     = contains(try(local.fargate_memory[tostring(var.orchestrator_size.cpu)], []), var.orchestrator_size.memory_mib)
    error_message = "Not a size that Fargate has. 256 takes 512, 1024 or 2048 MiB; 512 takes 1 to 4 GiB; 1024 2 to 8; 2048 4 to 16; 4096 8 to 30; 8192 16 to 60 by 4; 16384 32 to 120 by 8."
  }
}

variable "max_concurrent_tasks" {
  description = "How many jobs may hold an attempt at once. A new account has 6 vCPU: 24 of the smallest tasks with the orchestrator's own."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.max_concurrent_tasks >= 1 && var.max_concurrent_tasks <= 10000 && floor(var.max_concurrent_tasks) == var.max_concurrent_tasks
    error_message = "A whole number from 1 to 10000."
  }
}

variable "log_level" {
  description = "AGENT_RUNNER_LOG of every part."
  type        = string
  default     = "info"
  nullable    = false
}

variable "orchestrator_environment" {
  description = "Further AGENT_RUNNER_* settings of api and reconciler, as in docs/configuration.md."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.orchestrator_environment) : can(regex("^AGENT_RUNNER_[A-Z_]+$", name))])
    error_message = "Only AGENT_RUNNER_* settings."
  }
}

variable "worker_environment" {
  description = "Environment of every worker: AGENT_RUNNER_* settings, and variables that a job type passes to its agents. Visible to everybody who may describe task definitions: no secrets."
  type        = map(string)
  default     = {}
  nullable    = false
}

# Job types

variable "worker_size" {
  description = "CPU units and MiB of a worker whose job says nothing; jobs override it with `resources`."
  type        = object({ cpu = number, memory_mib = number })
  default     = { cpu = 256, memory_mib = 512 }
  nullable    = false

  validation {
    condition     = contains(try(local.fargate_memory[tostring(var.worker_size.cpu)], []), var.worker_size.memory_mib)
    error_message = "Not a size that Fargate has. 256 takes 512, 1024 or 2048 MiB; 512 takes 1 to 4 GiB; 1024 2 to 8; 2048 4 to 16; 4096 8 to 30; 8192 16 to 60 by 4; 16384 32 to 120 by 8."
  }
}

variable "job_types" {
  description = <<-EOT
    What jobs may execute, besides the built-in echo. Each gets a task definition.
      command                    program and arguments
      image                      an image that holds the worker as its entry point and the agent; default: the worker image
      task_role_arn              the agent's AWS permissions, passed on to it; the worker's are attached to it; default: the worker's role
      attach_worker_policy       false: somebody else attaches the output worker_policy_arn to task_role_arn. Needed where the role
                                 is made in the same configuration: Terraform must know what it attaches to when it plans
      secrets                    variable of the agent → ARN of a Secrets Manager secret or an SSM parameter
      environment                variable of the agent → value
      cpu, memory_mib, ephemeral_storage_gib   the size of a job that does not say one
      security_group_ids         egress; default: the worker's security group
      stop_grace_seconds         between SIGTERM and SIGKILL
      defaults_json              as in the job-types file: jsonencode({ max_attempts = 5, queue = "llm" }); objects one level deep
      limits                     as in the job-types file: { attempt_timeout_seconds = 900 }
  EOT
  type = map(object({
    command               = list(string)
    image                 = optional(string)
    task_role_arn         = optional(string)
    attach_worker_policy  = optional(bool, true)
    secrets               = optional(map(string), {})
    environment           = optional(map(string), {})
    cpu                   = optional(number)
    memory_mib            = optional(number)
    ephemeral_storage_gib = optional(number)
    security_group_ids    = optional(list(string), [])
    stop_grace_seconds    = optional(number)
    defaults_json         = optional(string, "{}")
    limits                = optional(map(number), {})
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.job_types) : can(regex("^[a-z0-9][a-z0-9_-]{0,63}$", name)) && name != "echo"])
    error_message = "Names of job types: 1 to 64 of a-z, 0-9, '-' and '_'; echo is built in."
  }
  validation {
    condition     = alltrue([for t in values(var.job_types) : length(t.command) > 0 && try(t.command[0] != "", false)])
    error_message = "command needs a program."
  }
  validation {
    condition = alltrue([for t in values(var.job_types) : (t.cpu == null) == (t.memory_mib == null) && (
      t.cpu == null || contains(try(local.fargate_memory[tostring(t.cpu)], []), coalesce(t.memory_mib, 0))
    )])
    error_message = "cpu and memory_mib come together and are a size that Fargate has (see worker_size)."
  }
  validation {
    condition     = alltrue([for t in values(var.job_types) : t.ephemeral_storage_gib == null || try(t.ephemeral_storage_gib >= 21 && t.ephemeral_storage_gib <= 200, false)])
    error_message = "ephemeral_storage_gib: 21 to 200; 20 are included."
  }
  validation {
    condition     = alltrue([for t in values(var.job_types) : t.stop_grace_seconds == null || try(t.stop_grace_seconds >= 0 && t.stop_grace_seconds <= 110, false)])
    error_message = "stop_grace_seconds: 0 to 110; Fargate kills after 120 s and the worker reports in between."
  }
  validation {
    condition = alltrue([for t in values(var.job_types) : can(keys(jsondecode(t.defaults_json))) && alltrue([
      for v in try(values(jsondecode(t.defaults_json)), []) : !can(keys(v)) || alltrue([for w in try(values(v), []) : !can(keys(w)) && can(tostring(w))])
    ])])
    error_message = "defaults_json: a JSON object of scalars, lists of scalars, and objects of scalars; what is deeper goes into a job-types file of the image."
  }
  validation {
    condition     = alltrue([for t in values(var.job_types) : length(t.security_group_ids) <= 5])
    error_message = "A task has at most 5 security groups."
  }
  validation {
    condition = alltrue(flatten([for t in values(var.job_types) : [
      for arn in values(t.secrets) : can(regex("^arn:[^:]+:(secretsmanager:[^:]+:[0-9]*:secret:|ssm:[^:]+:[0-9]*:parameter/)", arn))
    ]]))
    error_message = "secrets hold ARNs of Secrets Manager secrets or SSM parameters, never values."
  }
  validation {
    condition = alltrue(flatten([for t in values(var.job_types) : [
      for name in concat(keys(t.secrets), keys(t.environment)) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name)) && !startswith(name, "AGENT_RUNNER_")
    ]]))
    error_message = "Variables of agents: letters, digits and '_', not starting with AGENT_RUNNER_."
  }
}

variable "queues" {
  description = "Named concurrency limits: queue → how many of its jobs may hold an attempt at once."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for most in values(var.queues) : most >= 1 && floor(most) == most])
    error_message = "A whole number from 1."
  }
}

variable "secrets_kms_key_arns" {
  description = "Customer keys with which secrets of job types are encrypted."
  type        = list(string)
  default     = []
  nullable    = false
}

# Network

variable "vpc_id" {
  description = "A VPC that is there; null: one is made."
  type        = string
  default     = null
}

variable "subnet_ids" {
  description = "Subnets of vpc_id for all tasks, at most 16. Without public addresses they need a way to ECR, CloudWatch Logs, ECS, STS, SQS, SSM messages, S3 and DynamoDB."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = (var.vpc_id == null) == (length(var.subnet_ids) == 0)
    error_message = "vpc_id and subnet_ids come together."
  }
  validation {
    condition     = length(var.subnet_ids) <= 16
    error_message = "A task is given at most 16 subnets."
  }
}

variable "assign_public_ip" {
  description = "Whether tasks get public addresses ($0.005 an hour each). null: in the own VPC yes, in a given one no."
  type        = bool
  default     = null
}

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made; a sixteenth for each zone."
  type        = string
  default     = "10.60.0.0/16"
  nullable    = false

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 24, false)
    error_message = "A block from /16 to /24, as in 10.60.0.0/16."
  }
}

variable "availability_zones" {
  description = "Zones of the VPC that is made. More zones: more places with Spot capacity."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = contains([1, 2, 3, 4], var.availability_zones)
    error_message = "1 to 4."
  }
}

variable "interface_endpoints" {
  description = "Interface endpoints in the VPC that is made, each $7.30 a month and zone. All that the system calls: ecr.api, ecr.dkr, ecs, logs, sqs, ssmmessages, sts."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "worker_egress" {
  description = "Where workers may connect to, over TCP."
  type        = list(object({ cidr = string, port = number }))
  default     = [{ cidr = "0.0.0.0/0", port = 443 }]
  nullable    = false

  validation {
    condition     = alltrue([for rule in var.worker_egress : can(cidrhost(rule.cidr, 0)) && rule.port >= 1 && rule.port <= 65535])
    error_message = "Blocks of addresses and ports, as in { cidr = \"0.0.0.0/0\", port = 443 }."
  }
}

# Data

variable "bucket_name" {
  description = "Name of the bucket; null: agent-runner-<account>-<region>."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_name == null || can(regex("^agent-runner[a-z0-9-]{0,50}[a-z0-9]$", var.bucket_name))
    error_message = "Starts with agent-runner; a-z, 0-9 and '-'."
  }
}

variable "artifact_retention_days" {
  description = "After how many days the bucket drops what the reconciler did not: longer than the longest ttl_seconds_after_finished plus active_deadline_seconds in use."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.artifact_retention_days >= 8 && floor(var.artifact_retention_days) == var.artifact_retention_days
    error_message = "At least 8: the default deadline of a job and its default TTL are 8 days."
  }
}

variable "noncurrent_retention_days" {
  description = "For how many days a deleted or replaced object can be brought back."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.noncurrent_retention_days >= 1 && floor(var.noncurrent_retention_days) == var.noncurrent_retention_days
    error_message = "At least 1."
  }
}

variable "log_retention_days" {
  description = "For how many days CloudWatch keeps logs."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "A number of days that CloudWatch Logs offers: 1, 3, 5, 7, 14, 30, 60, 90, …"
  }
}

variable "immutable_tags" {
  description = "Whether an image tag can be pushed once only; the documented push moves the tag latest."
  type        = bool
  default     = false
  nullable    = false
}

variable "kept_images" {
  description = "How many images a repository keeps. Task definitions name digests: keep more than the number of pushes that somebody may roll back."
  type        = number
  default     = 50
  nullable    = false

  validation {
    condition     = var.kept_images >= 10
    error_message = "At least 10."
  }
}

# Watching

variable "container_insights" {
  description = "disabled, enabled or enhanced; billed per metric."
  type        = string
  default     = "disabled"
  nullable    = false

  validation {
    condition     = contains(["disabled", "enabled", "enhanced"], var.container_insights)
    error_message = "disabled, enabled or enhanced."
  }
}

variable "alarm_actions" {
  description = "ARNs that alarms notify: SNS topics and the like. Alarms exist without, too."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.alarm_actions : startswith(arn, "arn:")])
    error_message = "ARNs."
  }
}

variable "backlog_alarm_seconds" {
  description = "How old an unread hint may become before the alarm: then no reconciler receives."
  type        = number
  default     = 120
  nullable    = false

  validation {
    condition     = var.backlog_alarm_seconds >= 60 && var.backlog_alarm_seconds < 300
    error_message = "60 to 299: hints are dropped after 300 s."
  }
}
