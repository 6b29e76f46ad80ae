resource "aws_cloudwatch_log_group" "orchestrator" {
  #checkov:skip=CKV_AWS_158:Encrypted with a key that AWS owns; a customer key is a dollar a month
  #checkov:skip=CKV_AWS_338:A year of logs is a decision about money; var.log_retention_days
  name              = "/${local.name}/orchestrator"
  retention_in_days = var.log_retention_days
}

# What workers say about themselves. Logs of agents are artifacts: jobs/<job_id>/attempts/…/stdout.log.
resource "aws_cloudwatch_log_group" "worker" {
  #checkov:skip=CKV_AWS_158:As for the orchestrator
  #checkov:skip=CKV_AWS_338:As for the orchestrator
  name              = "/${local.name}/worker"
  retention_in_days = var.log_retention_days
}

locals {
  # Not blocking: a worker must not stand still because CloudWatch does.
  log_options = {
    "awslogs-region"  = var.region
    "mode"            = "non-blocking"
    "max-buffer-size" = "4m"
  }
}
