mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "tables_have_the_keys_that_the_store_uses" {
  command = apply

  assert {
    condition     = [for t in [aws_dynamodb_table.jobs, aws_dynamodb_table.attempts, aws_dynamodb_table.leases] : [t.name, t.hash_key, coalesce(t.range_key, "-"), t.billing_mode]] == [["agent-runner-jobs", "job_id", "-", "PAY_PER_REQUEST"], ["agent-runner-attempts", "job_id", "token", "PAY_PER_REQUEST"], ["agent-runner-leases", "name", "-", "PAY_PER_REQUEST"]]
    error_message = "names and keys"
  }

  assert {
    condition = { for i in aws_dynamodb_table.jobs.global_secondary_index : i.name => [i.hash_key, i.range_key, i.projection_type, join(",", i.non_key_attributes == null ? [] : i.non_key_attributes)] } == {
      active   = ["active_shard", "job_id", "INCLUDE", "rev"]
      by_day   = ["day", "created_order", "KEYS_ONLY", ""]
      expiring = ["expiry_shard", "expires_at", "KEYS_ONLY", ""]
    }
    error_message = "indexes of jobs"
  }

  assert {
    condition     = { for a in aws_dynamodb_table.jobs.attribute : a.name => a.type } == { active_shard = "S", created_order = "S", day = "S", expires_at = "N", expiry_shard = "S", job_id = "S" }
    error_message = "types of key attributes"
  }

  assert {
    condition     = alltrue([for t in [aws_dynamodb_table.jobs, aws_dynamodb_table.attempts] : t.stream_enabled && t.stream_view_type == "NEW_AND_OLD_IMAGES"])
    error_message = "streams with both images: the filters look at both"
  }

  assert {
    condition     = alltrue([for t in [aws_dynamodb_table.jobs, aws_dynamodb_table.attempts, aws_dynamodb_table.leases] : t.point_in_time_recovery[0].enabled])
    error_message = "point-in-time recovery"
  }
}
