mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "an_unknown_region_is_refused" {
  command = plan

  variables {
    region = "US"
  }

  expect_failures = [var.region]
}

run "two_orchestrators_is_refused" {
  command = plan

  variables {
    desired_count = 2
  }

  expect_failures = [var.desired_count]
}

run "an_architecture_of_another_kind_is_refused" {
  command = plan

  variables {
    cpu_architecture = "arm"
  }

  expect_failures = [var.cpu_architecture]
}

run "a_tag_in_place_of_a_digest_is_refused" {
  command = plan

  variables {
    control_api_digest = "latest"
  }

  expect_failures = [var.control_api_digest]
}

run "a_short_digest_is_refused" {
  command = plan

  variables {
    worker_digest = "sha256:12"
  }

  expect_failures = [var.worker_digest]
}

run "a_size_that_fargate_lacks_is_refused" {
  command = plan

  variables {
    orchestrator_size = { cpu = 256, memory_mib = 4096 }
  }

  expect_failures = [var.orchestrator_size]
}

run "a_worker_size_that_fargate_lacks_is_refused" {
  command = plan

  variables {
    worker_size = { cpu = 300, memory_mib = 512 }
  }

  expect_failures = [var.worker_size]
}

run "no_concurrency_is_refused" {
  command = plan

  variables {
    max_concurrent_tasks = 0
  }

  expect_failures = [var.max_concurrent_tasks]
}

run "a_foreign_setting_is_refused" {
  command = plan

  variables {
    orchestrator_environment = { PATH = "/" }
  }

  expect_failures = [var.orchestrator_environment]
}

run "a_job_type_named_echo_is_refused" {
  command = plan

  variables {
    job_types = { echo = { command = ["x"] } }
  }

  expect_failures = [var.job_types]
}

run "a_job_type_without_a_program_is_refused" {
  command = plan

  variables {
    job_types = { a = { command = [] } }
  }

  expect_failures = [var.job_types]
}

run "a_job_type_with_half_a_size_is_refused" {
  command = plan

  variables {
    job_types = { a = { command = ["x"], cpu = 256 } }
  }

  expect_failures = [var.job_types]
}

run "a_job_type_with_too_little_storage_is_refused" {
  command = plan

  variables {
    job_types = { a = { command = ["x"], ephemeral_storage_gib = 20 } }
  }

  expect_failures = [var.job_types]
}

run "a_grace_that_fargate_would_cut_is_refused" {
  command = plan

  variables {
    job_types = { a = { command = ["x"], stop_grace_seconds = 120 } }
  }

  expect_failures = [var.job_types]
}

run "a_secret_by_value_is_refused" {
  command = plan

  variables {
    job_types = { a = { command = ["x"], secrets = { KEY = "hunter2" } } }
  }

  expect_failures = [var.job_types]
}

run "a_variable_that_is_ours_is_refused" {
  command = plan

  variables {
    job_types = { a = { command = ["x"], environment = { AGENT_RUNNER_RECORDS = "x" } } }
  }

  expect_failures = [var.job_types]
}

run "defaults_that_toml_cannot_take_is_refused" {
  command = plan

  variables {
    job_types = { a = { command = ["x"], defaults_json = "{\"failure_policy\":{\"rules\":[{\"action\":\"Fail\"}]}}" } }
  }

  expect_failures = [var.job_types]
}

run "an_empty_queue_is_refused" {
  command = plan

  variables {
    queues = { llm = 0 }
  }

  expect_failures = [var.queues]
}

run "a_vpc_without_subnets_is_refused" {
  command = plan

  variables {
    vpc_id = "vpc-1"
  }

  expect_failures = [var.subnet_ids]
}

run "a_network_that_is_none_is_refused" {
  command = plan

  variables {
    vpc_cidr = "10.0.0.0/8"
  }

  expect_failures = [var.vpc_cidr]
}

run "no_zone_is_refused" {
  command = plan

  variables {
    availability_zones = 0
  }

  expect_failures = [var.availability_zones]
}

run "an_egress_port_out_of_range_is_refused" {
  command = plan

  variables {
    worker_egress = [{ cidr = "0.0.0.0/0", port = 0 }]
  }

  expect_failures = [var.worker_egress]
}

run "a_bucket_of_another_name_is_refused" {
  command = plan

  variables {
    bucket_name = "results"
  }

  expect_failures = [var.bucket_name]
}

run "artifacts_that_go_before_their_jobs_is_refused" {
  command = plan

  variables {
    artifact_retention_days = 7
  }

  expect_failures = [var.artifact_retention_days]
}

run "logs_for_a_number_of_days_that_cloudwatch_lacks_is_refused" {
  command = plan

  variables {
    log_retention_days = 31
  }

  expect_failures = [var.log_retention_days]
}

run "too_few_images_is_refused" {
  command = plan

  variables {
    kept_images = 1
  }

  expect_failures = [var.kept_images]
}

run "insights_of_another_kind_is_refused" {
  command = plan

  variables {
    container_insights = "on"
  }

  expect_failures = [var.container_insights]
}

run "an_alarm_action_by_name_is_refused" {
  command = plan

  variables {
    alarm_actions = ["oncall"]
  }

  expect_failures = [var.alarm_actions]
}

run "an_alarm_after_hints_are_gone_is_refused" {
  command = plan

  variables {
    backlog_alarm_seconds = 300
  }

  expect_failures = [var.backlog_alarm_seconds]
}
