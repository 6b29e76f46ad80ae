# Commands to paste, from the repository root. They use AWS_PROFILE, or dan-admin where it is not set.

output "push_images" {
  description = "Builds and pushes both images, and pins what was pushed."
  value       = "infra/scripts/push --region ${var.region}"
}

output "build_images" {
  description = "The two builds alone."
  value       = <<-EOT
    docker build -f compose/Dockerfile --target orchestrator -t ${local.repositories.control_api} .
    docker build -f compose/Dockerfile --target worker -t ${local.repositories.worker} .
  EOT
}

output "start" {
  description = "Starts the orchestrator."
  value       = "infra/scripts/scale 1 --region ${var.region}"
}

output "port_forward" {
  description = "Makes the API answer on http://localhost:8000 until Ctrl-C."
  value       = "infra/scripts/port-forward --region ${var.region}"
}

output "submit" {
  description = "Submits a job, while the port is forwarded."
  value       = "curl -X POST http://localhost:8000/jobs -H 'Content-Type: application/json' -d '{\"job_type\": \"echo\", \"payload\": {\"message\": \"Hello, World!\"}}'"
}

output "results" {
  description = "What jobs left behind."
  value       = "aws s3 ls --recursive s3://${aws_s3_bucket.artifacts.bucket}/jobs/ --region ${var.region} --profile $${AWS_PROFILE:-dan-admin}"
}

output "scale_to_zero" {
  description = "Stops the orchestrator and every running worker."
  value       = "infra/scripts/scale 0 --region ${var.region}"
}

output "destroy" {
  description = "Removes everything, data included unless protect_data is set."
  value       = "infra/scripts/destroy --region ${var.region}"
}

output "cluster" {
  description = "Name of the cluster."
  value       = aws_ecs_cluster.this.name
}

output "repository_urls" {
  description = "Where images are pushed to."
  value       = { for key, repository in aws_ecr_repository.this : key => repository.repository_url }
}

output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.artifacts.bucket
}

output "hints_queue_url" {
  description = "URL of the queue of hints."
  value       = aws_sqs_queue.hints.url
}

output "tables" {
  description = "Names of the tables."
  value = {
    jobs     = aws_dynamodb_table.jobs.name
    attempts = aws_dynamodb_table.attempts.name
    leases   = aws_dynamodb_table.leases.name
  }
}

output "worker_policy_arn" {
  description = "What a task role of a job type must have; the module attaches it, but for those with attach_worker_policy = false."
  value       = aws_iam_policy.worker.arn
}

output "job_types_toml" {
  description = "The job-types file that api and reconciler read; empty: the image's."
  value       = local.job_types_toml
}
