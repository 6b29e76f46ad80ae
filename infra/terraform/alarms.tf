# What somebody should look at. Ten alarms are free in an account, each further one is $0.10 a month.

locals {
  alarms = {
    # Nobody receives: the reconciler is down, or cannot reach SQS. While scaled to zero workers that end still send.
    # That the orchestrator is wanted is a metric of Container Insights, which is billed; that it runs is free and would
    # silence the alarm when it is down.
    hints-unread = {
      description = "The oldest hint is older than ${var.backlog_alarm_seconds} s: no reconciler receives. For up to ten minutes after the last worker ended this is also so when the orchestrator was scaled to zero, and then nothing is wrong"
      namespace   = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", statistic = "Maximum"
      dimensions  = { QueueName = aws_sqs_queue.hints.name }
      threshold   = var.backlog_alarm_seconds, periods = 3
    }
    pipe-jobs-failing = {
      description = "Hints from the table of jobs are lost; jobs start at the next resync"
      namespace   = "AWS/EventBridge/Pipes", metric = "ExecutionFailed", statistic = "Sum"
      dimensions  = { PipeName = aws_pipes_pipe.hints["jobs"].name }
      threshold   = 0, periods = 5
    }
    pipe-attempts-failing = {
      description = "Hints from the table of attempts are lost; outcomes are seen at the next resync"
      namespace   = "AWS/EventBridge/Pipes", metric = "ExecutionFailed", statistic = "Sum"
      dimensions  = { PipeName = aws_pipes_pipe.hints["attempts"].name }
      threshold   = 0, periods = 5
    }
    task-events-failing = {
      description = "ECS events do not reach the queue"
      namespace   = "AWS/Events", metric = "FailedInvocations", statistic = "Sum"
      dimensions  = { RuleName = aws_cloudwatch_event_rule.tasks.name }
      threshold   = 0, periods = 5
    }
    jobs-throttled = {
      description = "DynamoDB throttles writes of jobs: above the warm capacity of the table, or a hot index shard"
      namespace   = "AWS/DynamoDB", metric = "WriteThrottleEvents", statistic = "Sum"
      dimensions  = { TableName = aws_dynamodb_table.jobs.name }
      threshold   = 0, periods = 5
    }
    attempts-throttled = {
      description = "DynamoDB throttles writes of attempts: above the warm capacity of the table"
      namespace   = "AWS/DynamoDB", metric = "WriteThrottleEvents", statistic = "Sum"
      dimensions  = { TableName = aws_dynamodb_table.attempts.name }
      threshold   = 0, periods = 5
    }
    orchestrator-memory = {
      description = "The orchestrator uses more than 90 % of its memory and will be killed at 100 %"
      namespace   = "AWS/ECS", metric = "MemoryUtilization", statistic = "Maximum"
      dimensions  = { ClusterName = aws_ecs_cluster.this.name, ServiceName = aws_ecs_service.orchestrator.name }
      threshold   = 90, periods = 5
    }
    errors-logged = {
      description = "Parts of the orchestrator log errors"
      namespace   = local.log_namespace, metric = "LoggedErrors", statistic = "Sum"
      dimensions  = {}
      threshold   = 0, periods = 5
    }
  }
  log_namespace = "AgentRunner"
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = 60
  evaluation_periods  = each.value.periods
  # One bad minute in the window is enough, except where a single reading says nothing.
  datapoints_to_alarm = each.value.threshold == 0 ? 1 : each.value.periods
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

# The first wall of a new account: 6 vCPU at a time.
resource "aws_cloudwatch_metric_alarm" "vcpu_quota" {
  alarm_name          = "${local.name}-vcpu-quota"
  alarm_description   = "Fargate On-Demand uses more than 80 % of the account's vCPU quota (L-3032A538); launches will be refused"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 80
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions

  metric_query {
    id          = "share"
    expression  = "used / SERVICE_QUOTA(used) * 100"
    label       = "Share of the quota in percent"
    return_data = true
  }
  metric_query {
    id = "used"
    metric {
      namespace   = "AWS/Usage"
      metric_name = "ResourceCount"
      stat        = "Maximum"
      period      = 300
      dimensions  = { Type = "Resource", Service = "Fargate", Resource = "vCPU", Class = "Standard/OnDemand" }
    }
  }
}

# The only metric with a price: $0.30 in a month in which an error was logged.
resource "aws_cloudwatch_log_metric_filter" "errors" {
  name           = "${local.name}-errors"
  log_group_name = aws_cloudwatch_log_group.orchestrator.name
  pattern        = "{ $.level = \"ERROR\" }"

  metric_transformation {
    name      = "LoggedErrors"
    namespace = local.log_namespace
    value     = "1"
  }
}
