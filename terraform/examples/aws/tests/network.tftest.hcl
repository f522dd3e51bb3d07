mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name  = "winnow"
  zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
}

run "private_subnets_have_no_public_address_and_share_a_gateway" {
  command = plan
  module {
    source = "../../modules/aws/network"
  }

  assert {
    condition     = [for zone in var.zones : aws_subnet.private[zone].cidr_block] == ["10.80.0.0/19", "10.80.32.0/19", "10.80.64.0/19"]
    error_message = "Other private subnets"
  }

  assert {
    condition     = [for zone in var.zones : aws_subnet.public[zone].cidr_block] == ["10.80.128.0/22", "10.80.132.0/22", "10.80.136.0/22"]
    error_message = "Other public subnets"
  }

  assert {
    condition     = alltrue([for subnet in concat(values(aws_subnet.private), values(aws_subnet.public)) : subnet.map_public_ip_on_launch == false])
    error_message = "A subnet gives public addresses"
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["eu-central-1a"]
    error_message = "Not one NAT gateway"
  }

  assert {
    condition     = aws_vpc_endpoint.s3.service_name == "com.amazonaws.eu-central-1.s3"
    error_message = "Another endpoint"
  }
}

run "a_gateway_in_each_zone_if_asked_for" {
  command = plan
  module {
    source = "../../modules/aws/network"
  }

  variables {
    nat_per_zone = true
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    error_message = "Not a gateway in each zone"
  }
}

run "one_zone_and_public_addresses_are_refused" {
  command = plan
  module {
    source = "../../modules/aws/network"
  }

  variables {
    zones = ["eu-central-1a"]
    cidr  = "52.0.0.0/16"
  }

  expect_failures = [var.zones, var.cidr]
}

run "zones_of_two_regions_and_a_network_too_small_are_refused" {
  command = plan
  module {
    source = "../../modules/aws/network"
  }

  variables {
    zones = ["eu-central-1a", "eu-west-1b"]
    cidr  = "10.80.0.0/24"
  }

  expect_failures = [var.zones, var.cidr]
}
