# Hints wake the reconciler: a key and never a fact. All may be lost, repeated or late; the resync finds
# what they should have said. Hence no dead-letter queue and a short life.
#
#   jobs, attempts --stream--> pipe --filter--> queue <--filter-- ECS Task State Change (EventBridge)

locals {
  # Files, so that tests can put the records of a real stream through the very same patterns.
  filters = {
    jobs     = [for pattern in jsondecode(file("${path.module}/filters/jobs.json")) : jsonencode(pattern)]
    attempts = [for pattern in jsondecode(file("${path.module}/filters/attempts.json")) : jsonencode(pattern)]
  }
  streams = {
    jobs     = aws_dynamodb_table.jobs.stream_arn
    attempts = aws_dynamodb_table.attempts.stream_arn
  }
}

resource "aws_sqs_queue" "hints" {
  name                       = "${local.name}-hints"
  message_retention_seconds  = 300
  visibility_timeout_seconds = 30
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true
}

resource "aws_sqs_queue_policy" "hints" {
  queue_url = aws_sqs_queue.hints.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TaskStateChanges"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.hints.arn
        Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.tasks.arn } }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.hints.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_pipes_pipe" "hints" {
  for_each    = local.streams
  name        = "${local.name}-${each.key}"
  description = "Hints from the table ${local.name}-${each.key}"
  role_arn    = aws_iam_role.pipes.arn
  source      = each.value
  target      = aws_sqs_queue.hints.arn

  source_parameters {
    filter_criteria {
      dynamic "filter" {
        for_each = local.filters[each.key]
        content {
          pattern = filter.value
        }
      }
    }

    # Ten, because that is what one SendMessageBatch takes. Tried for five minutes, which is how long a hint is
    # of use; a record that cannot be delivered must not hold up those behind it.
    dynamodb_stream_parameters {
      starting_position             = "LATEST"
      batch_size                    = 10
      maximum_record_age_in_seconds = 300
      maximum_retry_attempts        = 3
      parallelization_factor        = 1
    }
  }

  # The key alone, where a whole record has it: images of items are up to 400 KB, and a hint says no more. Of a job
  # also the versions of `control` before and after, by which the reconciler knows its own writes: it puts off the
  # look at such a job, two reads, until there is another reason or a minute has passed. What it did not write itself
  # it looks at at once.
  target_parameters {
    input_template = trimspace(file("${path.module}/filters/${each.key}.template"))
  }

  depends_on = [aws_iam_role_policy.pipes]
}

# Started, about to be stopped (the Spot warning is RUNNING with the desire STOPPED), and ended in any way but
# that of a worker that has done its work: of that the stream of attempts tells, and each of its four events on
# the way to STOPPED would cost a look at the job, two reads.
resource "aws_cloudwatch_event_rule" "tasks" {
  name        = "${local.name}-tasks"
  description = "Workers that started, ended or are about to be stopped"
  event_pattern = jsonencode(merge(jsondecode(file("${path.module}/filters/tasks.json")), {
    detail = merge(jsondecode(file("${path.module}/filters/tasks.json")).detail, {
      clusterArn = [aws_ecs_cluster.this.arn]
    })
  }))
}

resource "aws_cloudwatch_event_target" "tasks" {
  rule      = aws_cloudwatch_event_rule.tasks.name
  target_id = "hints"
  arn       = aws_sqs_queue.hints.arn

  # Cut down to what names the job. The whole event holds the overrides and with them the launch token, which
  # opens the attempt to whoever reads it.
  input_transformer {
    input_paths = {
      task    = "$.detail.taskArn"
      by      = "$.detail.startedBy"
      last    = "$.detail.lastStatus"
      desired = "$.detail.desiredStatus"
    }
    input_template = "{\"source\":\"aws.ecs\",\"detail-type\":\"ECS Task State Change\",\"detail\":{\"taskArn\":\"<task>\",\"startedBy\":\"<by>\",\"lastStatus\":\"<last>\",\"desiredStatus\":\"<desired>\"}}"
  }

  retry_policy {
    maximum_event_age_in_seconds = 300
    maximum_retry_attempts       = 3
  }
}
