# Job records, attempt records and the lease, in three tables, because IAM can tell attributes apart only
# at the top level of an item and an attempt's token is a capability that needs a key of its own.

resource "aws_dynamodb_table" "jobs" {
  #checkov:skip=CKV_AWS_119:Encrypted with a key that AWS owns; a customer key is a dollar a month and a permission more for every role
  name                        = "${local.name}-jobs"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "job_id"
  deletion_protection_enabled = var.protect_data
  stream_enabled              = true
  stream_view_type            = "NEW_AND_OLD_IMAGES"

  dynamic "attribute" {
    for_each = {
      job_id        = "S"
      active_shard  = "S"
      day           = "S"
      created_order = "S"
      expiry_shard  = "S"
      expires_at    = "N"
    }
    content {
      name = attribute.key
      type = attribute.value
    }
  }

  # Sparse: only active jobs have a shard, so a resync costs what is active. Sharded, because one
  # partition takes 1,000 index writes a second.
  global_secondary_index {
    name               = "active"
    hash_key           = "active_shard"
    range_key          = "job_id"
    projection_type    = "INCLUDE"
    non_key_attributes = ["rev"]
  }

  # GET /jobs, newest first.
  global_secondary_index {
    name            = "by_day"
    hash_key        = "day"
    range_key       = "created_order"
    projection_type = "KEYS_ONLY"
  }

  # Sparse: finished jobs, by the time at which they may go.
  global_secondary_index {
    name            = "expiring"
    hash_key        = "expiry_shard"
    range_key       = "expires_at"
    projection_type = "KEYS_ONLY"
  }

  point_in_time_recovery {
    enabled = true
  }
  server_side_encryption {
    enabled = false
  }
}

resource "aws_dynamodb_table" "attempts" {
  #checkov:skip=CKV_AWS_119:As for jobs
  name                        = "${local.name}-attempts"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "job_id"
  range_key                   = "token"
  deletion_protection_enabled = var.protect_data
  stream_enabled              = true
  stream_view_type            = "NEW_AND_OLD_IMAGES"

  attribute {
    name = "job_id"
    type = "S"
  }
  attribute {
    name = "token"
    type = "S"
  }
  point_in_time_recovery {
    enabled = true
  }
  server_side_encryption {
    enabled = false
  }
}

resource "aws_dynamodb_table" "leases" {
  #checkov:skip=CKV_AWS_119:As for jobs
  name                        = "${local.name}-leases"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "name"
  deletion_protection_enabled = var.protect_data

  attribute {
    name = "name"
    type = "S"
  }
  point_in_time_recovery {
    enabled = true
  }
  server_side_encryption {
    enabled = false
  }
}
