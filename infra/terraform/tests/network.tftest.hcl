mock_provider "aws" {
  source = "./tests/mocks"
}

# Nothing was made, so there is nothing to drain.
variables {
  drain_on_destroy = false
}

run "the_own_network_has_public_subnets_free_endpoints_and_nothing_that_costs" {
  command = apply

  assert {
    condition     = [for s in aws_subnet.public : [s.availability_zone, s.cidr_block]] == [["us-east-1a", "10.60.0.0/20"], ["us-east-1b", "10.60.16.0/20"]]
    error_message = "subnets"
  }

  assert {
    condition     = sort(keys(aws_vpc_endpoint.gateway)) == tolist(["dynamodb", "s3"]) && length(aws_vpc_endpoint.interface) == 0
    error_message = "endpoints"
  }

  assert {
    condition     = aws_ecs_service.orchestrator.network_configuration[0].assign_public_ip
    error_message = "a public address is the way out"
  }

  assert {
    condition     = aws_default_security_group.this[0].ingress == toset([]) || length(aws_default_security_group.this[0].ingress) == 0
    error_message = "the default security group lets nothing in"
  }
}

run "nothing_comes_in_and_https_goes_out" {
  command = apply

  assert {
    condition     = [for r in concat([aws_vpc_security_group_egress_rule.orchestrator], values(aws_vpc_security_group_egress_rule.worker)) : [r.security_group_id, r.cidr_ipv4, r.ip_protocol, r.from_port, r.to_port]] == [["sg-orchestrator", "0.0.0.0/0", "tcp", 443, 443], ["sg-worker", "0.0.0.0/0", "tcp", 443, 443]]
    error_message = "egress"
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.endpoints) == 0
    error_message = "ingress"
  }
}

run "given_subnets_are_used_sorted_and_without_public_addresses" {
  command = apply

  variables {
    vpc_id     = "vpc-1"
    subnet_ids = ["subnet-b", "subnet-a"]
  }

  assert {
    condition     = length(aws_vpc.this) + length(aws_subnet.public) + length(aws_vpc_endpoint.gateway) + length(aws_internet_gateway.this) == 0
    error_message = "nothing is made"
  }

  assert {
    condition     = aws_ecs_service.orchestrator.network_configuration[0].subnets == toset(["subnet-a", "subnet-b"]) && !aws_ecs_service.orchestrator.network_configuration[0].assign_public_ip
    error_message = "the service uses them"
  }

  assert {
    condition     = local.orchestrator_environment.AGENT_RUNNER_ECS_SUBNETS == "subnet-a,subnet-b" && local.orchestrator_environment.AGENT_RUNNER_ECS_ASSIGN_PUBLIC_IP == "false"
    error_message = "workers, too, in an order that does not change"
  }

  assert {
    condition     = aws_security_group.worker.vpc_id == "vpc-1"
    error_message = "security groups are in the given VPC"
  }
}

run "interface_endpoints_are_made_where_asked_for_and_take_https_of_the_vpc" {
  command = apply

  variables {
    interface_endpoints = ["sts", "ecs"]
  }

  assert {
    condition     = sort(keys(aws_vpc_endpoint.interface)) == tolist(["ecs", "sts"]) && aws_vpc_security_group_ingress_rule.endpoints[0].cidr_ipv4 == "10.60.0.0/16"
    error_message = "endpoints"
  }
}
