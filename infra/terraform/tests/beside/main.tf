# A configuration that calls the module (without its providers.tf) beside a role of its own: scripts/infra-test.

terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

# In place of an aws_iam_role: of both Terraform knows what comes out only after it was made.
resource "terraform_data" "role" {
  input = "arn:aws:iam::123456789012:role/research"
}

module "agent_runner" {
  source    = "../.."
  providers = { aws = aws }

  drain_on_destroy = false
  job_types = {
    research = {
      command              = ["python3", "agents/research.py"]
      task_role_arn        = terraform_data.role.output
      attach_worker_policy = false
    }
  }
}
