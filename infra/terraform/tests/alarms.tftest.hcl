mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "alarms_notify_whom_they_are_told_to_and_are_free_up_to_ten" {
  command = apply

  variables {
    alarm_actions = ["arn:aws:sns:us-east-1:123456789012:oncall"]
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.this) + 1 <= 10
    error_message = "ten alarms are free"
  }

  assert {
    condition     = alltrue([for a in concat(values(aws_cloudwatch_metric_alarm.this), [aws_cloudwatch_metric_alarm.vcpu_quota]) : a.alarm_actions == toset(["arn:aws:sns:us-east-1:123456789012:oncall"]) && a.treat_missing_data == "notBreaching"])
    error_message = "actions"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["hints-unread"].threshold == 120 && aws_cloudwatch_metric_alarm.this["hints-unread"].dimensions == tomap({ QueueName = "agent-runner-hints" })
    error_message = "backlog"
  }

  # CloudWatch does not know what is wanted; whoever is woken up must learn it from the alarm.
  assert {
    condition     = strcontains(aws_cloudwatch_metric_alarm.this["hints-unread"].alarm_description, "when the orchestrator was scaled to zero, and then nothing is wrong")
    error_message = aws_cloudwatch_metric_alarm.this["hints-unread"].alarm_description
  }
}

run "outputs_are_commands_to_paste" {
  command = apply

  variables {
    region = "eu-west-1"
  }

  assert {
    condition     = output.push_images == "infra/scripts/push --region eu-west-1" && output.scale_to_zero == "infra/scripts/scale 0 --region eu-west-1" && output.port_forward == "infra/scripts/port-forward --region eu-west-1" && output.destroy == "infra/scripts/destroy --region eu-west-1"
    error_message = "commands"
  }

  assert {
    condition     = strcontains(output.results, "--profile $${AWS_PROFILE:-dan-admin}")
    error_message = output.results
  }

  assert {
    condition     = output.build_images == "docker build -f compose/Dockerfile --target orchestrator -t agent-runner-control-api .\ndocker build -f compose/Dockerfile --target worker -t agent-runner-worker .\n"
    error_message = output.build_images
  }
}
