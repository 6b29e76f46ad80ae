# Two repositories: agent-runner-control-api holds api and reconciler, agent-runner-worker the worker.
# `infra/scripts/push` writes the digests of what it pushed to images.auto.tfvars.json.

locals {
  repositories = { control_api = "${local.name}-control-api", worker = "${local.name}-worker" }

  # Before the first push there is no digest. The tag is then a name for something that is not there yet, which
  # nobody starts: desired_count is 0 (see the precondition in orchestrator.tf).
  control_api_image = join("", [
    aws_ecr_repository.this["control_api"].repository_url,
    var.control_api_digest == null ? ":latest" : "@${var.control_api_digest}",
  ])
  worker_image = join("", [
    aws_ecr_repository.this["worker"].repository_url,
    var.worker_digest == null ? ":latest" : "@${var.worker_digest}",
  ])
}

resource "aws_ecr_repository" "this" {
  #checkov:skip=CKV_AWS_51:The documented push moves the tag latest; task definitions name digests, which cannot move. var.immutable_tags forbids it
  #checkov:skip=CKV_AWS_136:Encrypted with a key that AWS owns; a customer key is a dollar a month
  for_each             = local.repositories
  name                 = each.value
  image_tag_mutability = var.immutable_tags ? "IMMUTABLE" : "MUTABLE"
  force_delete         = !var.protect_data

  image_scanning_configuration {
    scan_on_push = true
  }
  encryption_configuration {
    encryption_type = "AES256"
  }
}

# By number and not by age: a digest that a task definition names loses its tag at the next push and must
# stay for as long as somebody may launch it or roll back to it.
resource "aws_ecr_lifecycle_policy" "this" {
  for_each   = aws_ecr_repository.this
  repository = each.value.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep the newest images"
      selection = {
        tagStatus   = "any"
        countType   = "imageCountMoreThan"
        countNumber = var.kept_images
      }
      action = { type = "expire" }
    }]
  })
}
