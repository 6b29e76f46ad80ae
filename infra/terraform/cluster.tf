# The cluster. Workers are started in it by RunTask, the orchestrator is its only service.

resource "aws_ecs_cluster" "this" {
  #checkov:skip=CKV_AWS_65:Container Insights is billed per metric; var.container_insights switches it on
  #checkov:skip=CKV_AWS_224:Sessions are port forwarding, which has no log; encrypting the channel needs a customer key
  name = local.name

  setting {
    name  = "containerInsights"
    value = var.container_insights
  }

  configuration {
    execute_command_configuration {
      # Logs of shell sessions go to the log driver of the container.
      logging = "DEFAULT"
    }
  }
}

# No default strategy: every RunTask names its own, and a default that somebody edits must not turn an
# on-demand job into a Spot job.
resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

# ECS refuses to delete a cluster with tasks, and nobody else stops workers once the orchestrator is gone.
# Destroyed after the service (which depends on it) and before the cluster (on which it depends).
resource "terraform_data" "drain" {
  # What is in the state when it is destroyed counts. With a count, switching this off would destroy it, and drain.
  input = {
    drain = var.drain_on_destroy
    # Whoever destroys with the credentials of another account must not stop what runs there.
    account = local.account_id
    cluster = aws_ecs_cluster.this.name
    family  = local.worker_family
    region  = var.region
    script  = "${path.module}/../scripts/stop-workers"
  }

  depends_on = [aws_ecs_cluster_capacity_providers.this]

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["bash", "-c"]
    command     = "[ \"$DRAIN\" != true ] || \"$SCRIPT\" --yes --account \"$ACCOUNT\" --cluster \"$CLUSTER\" --region \"$REGION\" --deregister \"$FAMILY\""
    environment = {
      # A state from before the switch was written down drains.
      DRAIN   = tostring(try(self.input.drain, true))
      SCRIPT  = self.input.script
      ACCOUNT = self.input.account
      CLUSTER = self.input.cluster
      REGION  = self.input.region
      FAMILY  = self.input.family
    }
  }
}

moved {
  from = terraform_data.drain[0]
  to   = terraform_data.drain
}
