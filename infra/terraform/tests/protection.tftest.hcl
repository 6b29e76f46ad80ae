mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "a_first_apply_with_images_may_start_the_orchestrator" {
  command = plan

  variables {
    desired_count      = 1
    control_api_digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
    worker_digest      = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
  }

  assert {
    condition     = aws_ecs_service.orchestrator.desired_count == 1
    error_message = "started"
  }
}

run "by_default_destroy_removes_everything" {
  command = plan

  variables {
    drain_on_destroy = true
  }

  assert {
    condition     = !anytrue([for t in [aws_dynamodb_table.jobs, aws_dynamodb_table.attempts, aws_dynamodb_table.leases] : t.deletion_protection_enabled])
    error_message = "tables"
  }

  assert {
    condition     = aws_s3_bucket.artifacts.force_destroy && alltrue([for r in aws_ecr_repository.this : r.force_delete])
    error_message = "bucket and repositories"
  }

  assert {
    condition     = terraform_data.drain.input.drain
    error_message = "running workers are stopped first"
  }
}

run "protected_data_outlives_a_destroy" {
  command = plan

  variables {
    protect_data = true
  }

  assert {
    condition     = alltrue([for t in [aws_dynamodb_table.jobs, aws_dynamodb_table.attempts, aws_dynamodb_table.leases] : t.deletion_protection_enabled])
    error_message = "tables"
  }

  assert {
    condition     = !aws_s3_bucket.artifacts.force_destroy && !anytrue([for r in aws_ecr_repository.this : r.force_delete])
    error_message = "bucket and repositories"
  }
}
