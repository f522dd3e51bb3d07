# What a cluster needs to run winnow: pod addresses with NetworkPolicies, identities, DNS, volumes, and metrics for the
# autoscaler of replicas. Network and identities come before the nodes, which are not ready without them.
locals {
  # Roles of add-ons, for their own ServiceAccounts; nodes have none of these permissions.
  addon_roles = {
    vpc-cni            = { account = "aws-node", policy = "AmazonEKS_CNI_Policy" }
    aws-ebs-csi-driver = { account = "ebs-csi-controller-sa", policy = "service-role/AmazonEBSCSIDriverPolicy" }
  }
  addons_before_nodes = {
    kube-proxy             = "{}"
    eks-pod-identity-agent = "{}"
    # In its words: winnow's NetworkPolicies are enforced.
    vpc-cni = jsonencode({ enableNetworkPolicy = "true" })
  }
  addons_on_nodes = toset(["coredns", "metrics-server", "aws-ebs-csi-driver"])
}

resource "aws_iam_role" "addon" {
  for_each = local.addon_roles

  name = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
    }]
  })
}

resource "aws_iam_role_policy_attachment" "addon" {
  for_each = local.addon_roles

  role       = aws_iam_role.addon[each.key].name
  policy_arn = "${local.policies}/${each.value.policy}"
}

resource "aws_eks_addon" "before_nodes" {
  for_each = local.addons_before_nodes

  cluster_name         = aws_eks_cluster.this.name
  addon_name           = each.key
  configuration_values = each.value

  dynamic "pod_identity_association" {
    for_each = each.key == "vpc-cni" ? [local.addon_roles.vpc-cni] : []
    content {
      role_arn        = aws_iam_role.addon["vpc-cni"].arn
      service_account = pod_identity_association.value.account
    }
  }

  depends_on = [aws_iam_role_policy_attachment.addon]
}

resource "aws_eks_addon" "on_nodes" {
  for_each = local.addons_on_nodes

  cluster_name = aws_eks_cluster.this.name
  addon_name   = each.key

  dynamic "pod_identity_association" {
    for_each = each.key == "aws-ebs-csi-driver" ? [local.addon_roles.aws-ebs-csi-driver] : []
    content {
      role_arn        = aws_iam_role.addon["aws-ebs-csi-driver"].arn
      service_account = pod_identity_association.value.account
    }
  }

  depends_on = [aws_eks_node_group.this, aws_iam_role_policy_attachment.addon]
}
