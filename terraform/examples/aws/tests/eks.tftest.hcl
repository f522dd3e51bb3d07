mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name       = "winnow"
  subnet_ids = ["subnet-a", "subnet-b"]
  pools = {
    main = { types = ["m7i.large"], min = 1, desired = 1, max = 2 }
    gpu  = { types = ["g5.xlarge"], desired = 0, max = 4, gpu = true, spot = true }
  }
}

run "the_api_is_private_and_nodes_keep_their_role" {
  module {
    source = "../../modules/aws/eks"
  }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "The API is reached from outside"
  }

  assert {
    condition     = aws_eks_cluster.this.access_config[0].authentication_mode == "API"
    error_message = "Access is given in the cluster, too"
  }

  assert {
    condition     = keys(aws_iam_role_policy_attachment.node) == ["AmazonEC2ContainerRegistryPullOnly", "AmazonEKSWorkerNodePolicy"]
    error_message = "Nodes may do something else than join and pull"
  }

  assert {
    condition = alltrue([for template in aws_launch_template.node :
      template.metadata_options[0].http_tokens == "required" && template.metadata_options[0].http_put_response_hop_limit == 1
    ])
    error_message = "Pods can borrow the node's role"
  }

  assert {
    condition     = jsondecode(aws_eks_addon.before_nodes["vpc-cni"].configuration_values) == { enableNetworkPolicy = "true" }
    error_message = "NetworkPolicies are not enforced"
  }

  assert {
    condition     = [for taint in aws_eks_node_group.this["gpu"].taint : taint.key] == ["nvidia.com/gpu"] && length(aws_eks_node_group.this["main"].taint) == 0
    error_message = "Other taints"
  }

  assert {
    condition     = [for name in ["gpu", "main"] : [aws_eks_node_group.this[name].ami_type, aws_eks_node_group.this[name].capacity_type]] == [["AL2023_x86_64_NVIDIA", "SPOT"], ["AL2023_x86_64_STANDARD", "ON_DEMAND"]]
    error_message = "Other machines"
  }
}

run "the_api_is_public_for_named_networks_alone" {
  command = plan
  module {
    source = "../../modules/aws/eks"
  }

  variables {
    api_cidrs  = ["203.0.113.0/24"]
    developers = ["arn:aws:iam::111122223333:role/data-science"]
  }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    error_message = "Other networks"
  }

  assert {
    condition     = [for entry in aws_eks_access_entry.developer : entry.kubernetes_groups] == [toset(["winnow-developers"])]
    error_message = "Developers have another group"
  }
}

run "a_type_that_the_region_lacks_is_refused_by_the_plan" {
  command = plan
  module {
    source = "../../modules/aws/eks"
  }

  variables {
    pools = { main = { types = ["p9.huge"], min = 1, desired = 1, max = 1 } }
  }

  expect_failures = [aws_eks_node_group.this]
}

run "an_api_open_to_all_spot_machines_alone_an_old_kubernetes_and_an_account_without_arn_are_refused" {
  command = plan
  module {
    source = "../../modules/aws/eks"
  }

  variables {
    api_cidrs          = ["0.0.0.0/0"]
    pools              = { main = { types = ["m7i.large"], desired = 1, max = 1, spot = true } }
    kubernetes_version = "1.30"
    developers         = ["data-science"]
  }

  expect_failures = [var.api_cidrs, var.pools, var.kubernetes_version, var.developers]
}

run "sizes_that_contradict_are_refused" {
  command = plan
  module {
    source = "../../modules/aws/eks"
  }

  variables {
    pools = { main = { types = ["m7i.large"], min = 3, desired = 2, max = 4 } }
  }

  expect_failures = [var.pools]
}
