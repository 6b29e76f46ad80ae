# A VPC of its own, or subnets that are given. Default: two public subnets, an internet gateway, free gateway
# endpoints for S3 and DynamoDB. No NAT ($33 a month and $0.045 per GB of image pulled), no interface
# endpoints ($7.30 a month for each service and zone). Tasks get public addresses and accept nothing.

locals {
  own_vpc          = var.vpc_id == null
  vpc_id           = local.own_vpc ? one(aws_vpc.this[*].id) : var.vpc_id
  subnet_ids       = sort(local.own_vpc ? aws_subnet.public[*].id : var.subnet_ids)
  assign_public_ip = coalesce(var.assign_public_ip, local.own_vpc)
  zones            = local.own_vpc ? slice(sort(data.aws_availability_zones.available[0].names), 0, var.availability_zones) : []
}

data "aws_availability_zones" "available" {
  count = local.own_vpc ? 1 : 0
  state = "available"

  # Zones that are not opted in, and local zones, which have no Fargate.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:Flow logs are billed per GB and every packet of every agent is in them; whoever needs them gives a VPC that has them (var.vpc_id)
  count                = local.own_vpc ? 1 : 0
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = local.name }
}

# Without rules, so that nothing can be started in it by mistake.
resource "aws_default_security_group" "this" {
  count  = local.own_vpc ? 1 : 0
  vpc_id = aws_vpc.this[0].id
  tags   = { Name = "${local.name}-unused" }
}

resource "aws_internet_gateway" "this" {
  count  = local.own_vpc ? 1 : 0
  vpc_id = aws_vpc.this[0].id
  tags   = { Name = local.name }
}

# /20 each in the default /16: 4,091 addresses. 20 launches a second at 90 s each hold 1,800 at a time.
resource "aws_subnet" "public" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.this[0].id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, count.index)
  tags              = { Name = "${local.name}-public-${count.index}" }
}

resource "aws_route_table" "public" {
  count  = local.own_vpc ? 1 : 0
  vpc_id = aws_vpc.this[0].id
  tags   = { Name = "${local.name}-public" }
}

resource "aws_route" "internet" {
  count                  = local.own_vpc ? 1 : 0
  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "public" {
  count          = length(aws_subnet.public)
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_vpc_endpoint" "gateway" {
  for_each          = local.own_vpc ? toset(["s3", "dynamodb"]) : toset([])
  vpc_id            = aws_vpc.this[0].id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.${each.key}"
  route_table_ids   = [aws_route_table.public[0].id]
  tags              = { Name = "${local.name}-${each.key}" }
}

resource "aws_vpc_endpoint" "interface" {
  for_each            = local.own_vpc ? var.interface_endpoints : toset([])
  vpc_id              = aws_vpc.this[0].id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  subnet_ids          = aws_subnet.public[*].id
  security_group_ids  = aws_security_group.endpoints[*].id
  private_dns_enabled = true
  tags                = { Name = "${local.name}-${each.key}" }
}

resource "aws_security_group" "endpoints" {
  count       = local.own_vpc && length(var.interface_endpoints) > 0 ? 1 : 0
  name        = "${local.name}-endpoints"
  description = "HTTPS from this VPC to its interface endpoints"
  vpc_id      = aws_vpc.this[0].id
  tags        = { Name = "${local.name}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count             = length(aws_security_group.endpoints)
  security_group_id = aws_security_group.endpoints[0].id
  description       = "HTTPS from the tasks"
  cidr_ipv4         = var.vpc_cidr
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# Nothing comes in: the API listens on loopback inside its task and is reached through SSM.
resource "aws_security_group" "orchestrator" {
  name        = "${local.name}-orchestrator"
  description = "Orchestrator: nothing in, HTTPS out"
  vpc_id      = local.vpc_id
  tags        = { Name = "${local.name}-orchestrator" }
}

resource "aws_vpc_security_group_egress_rule" "orchestrator" {
  security_group_id = aws_security_group.orchestrator.id
  description       = "AWS APIs"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_security_group" "worker" {
  #checkov:skip=CKV2_AWS_5:It is given to every worker by RunTask, which is no resource
  name        = "${local.name}-worker"
  description = "Workers: nothing in, the listed ports out"
  vpc_id      = local.vpc_id
  tags        = { Name = "${local.name}-worker" }
}

# DNS and the metadata endpoint are not subject to security groups.
resource "aws_vpc_security_group_egress_rule" "worker" {
  for_each          = { for rule in var.worker_egress : "${rule.cidr}-${rule.port}" => rule }
  security_group_id = aws_security_group.worker.id
  description       = "Agents"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}
