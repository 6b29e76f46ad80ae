# Credentials come from the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, …); infra/scripts set AWS_PROFILE.
# Whoever calls this folder as a module deletes this file and passes a provider.
provider "aws" {
  region = var.region

  default_tags {
    tags = merge({ Application = local.name }, var.tags)
  }
}
