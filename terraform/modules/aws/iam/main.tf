# Roles that pods take by EKS Pod Identity: no key exists that could be lost, and the ServiceAccounts need no annotation.
locals {
  reads  = ["s3:GetObject"]
  writes = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
  lists  = ["s3:ListBucket", "s3:GetBucketLocation"]
}

resource "aws_iam_role" "account" {
  for_each = var.accounts

  name        = "${var.name}-${each.key}"
  description = "Pods of ${var.namespace}/${each.key} in ${var.cluster_name}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = { StringEquals = {
        "aws:RequestTag/eks-cluster-arn"            = var.cluster_arn
        "aws:RequestTag/kubernetes-namespace"       = var.namespace
        "aws:RequestTag/kubernetes-service-account" = each.key
      } }
    }]
  })
}

resource "aws_iam_role_policy" "account" {
  for_each = var.accounts

  name = "buckets"
  role = aws_iam_role.account[each.key].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{ Effect = "Allow", Action = local.lists, Resource = sort(distinct(concat(each.value.read, each.value.write))) }],
      length(each.value.read) == 0 ? [] : [{ Effect = "Allow", Action = local.reads, Resource = [for arn in each.value.read : "${arn}/*"] }],
      length(each.value.write) == 0 ? [] : [{ Effect = "Allow", Action = local.writes, Resource = [for arn in each.value.write : "${arn}/*"] }],
    )
  })
}

resource "aws_eks_pod_identity_association" "account" {
  for_each = var.accounts

  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = each.key
  role_arn        = aws_iam_role.account[each.key].arn
}

# For people and CI, to attach to their own roles.
resource "aws_iam_policy" "builder" {
  name        = "${var.name}-builder"
  description = "Push images, write data and find the cluster"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] },
      {
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:DescribeImages",
          "ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
        ]
        Resource = var.builder.repositories
      },
      { Effect = "Allow", Action = local.lists, Resource = var.builder.buckets },
      { Effect = "Allow", Action = local.writes, Resource = [for arn in var.builder.buckets : "${arn}/*"] },
      { Effect = "Allow", Action = ["eks:DescribeCluster"], Resource = [var.cluster_arn] },
    ]
  })
}
