# What pods, people and CI may do: no more than this.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name         = "winnow"
  cluster_name = "winnow"
  cluster_arn  = "arn:aws:eks:eu-central-1:111122223333:cluster/winnow"
  namespace    = "team-a"
  accounts = {
    winnow-stack   = { write = ["arn:aws:s3:::artifacts"] }
    winnow-workers = { read = ["arn:aws:s3:::data"] }
  }
  builder = {
    repositories = ["arn:aws:ecr:eu-central-1:111122223333:repository/winnow/winnow-train"]
    buckets      = ["arn:aws:s3:::data"]
  }
}

run "the_stack_writes_artifacts_and_workers_read_data" {
  module {
    source = "../../modules/aws/iam"
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.account["winnow-workers"].policy).Statement == [
      { Effect = "Allow", Action = ["s3:ListBucket", "s3:GetBucketLocation"], Resource = ["arn:aws:s3:::data"] },
      { Effect = "Allow", Action = ["s3:GetObject"], Resource = ["arn:aws:s3:::data/*"] },
    ]
    error_message = "Workers may do something else: ${aws_iam_role_policy.account["winnow-workers"].policy}"
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.account["winnow-stack"].policy).Statement == [
      { Effect = "Allow", Action = ["s3:ListBucket", "s3:GetBucketLocation"], Resource = ["arn:aws:s3:::artifacts"] },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        Resource = ["arn:aws:s3:::artifacts/*"]
      },
    ]
    error_message = "The stack may do something else: ${aws_iam_role_policy.account["winnow-stack"].policy}"
  }

  assert {
    condition = jsondecode(aws_iam_role.account["winnow-workers"].assume_role_policy).Statement[0].Condition.StringEquals == {
      "aws:RequestTag/eks-cluster-arn"            = "arn:aws:eks:eu-central-1:111122223333:cluster/winnow"
      "aws:RequestTag/kubernetes-namespace"       = "team-a"
      "aws:RequestTag/kubernetes-service-account" = "winnow-workers"
    }
    error_message = "Other pods may take the role"
  }

  assert {
    condition     = [for one in aws_eks_pod_identity_association.account : "${one.namespace}/${one.service_account}"] == ["team-a/winnow-stack", "team-a/winnow-workers"]
    error_message = "Other ServiceAccounts have roles"
  }

  assert {
    condition = [for one in jsondecode(aws_iam_policy.builder.policy).Statement : one.Resource if one.Action != ["ecr:GetAuthorizationToken"]] == [
      ["arn:aws:ecr:eu-central-1:111122223333:repository/winnow/winnow-train"],
      ["arn:aws:s3:::data"],
      ["arn:aws:s3:::data/*"],
      ["arn:aws:eks:eu-central-1:111122223333:cluster/winnow"],
    ]
    error_message = "Builders may change something else"
  }
}

run "the_account_that_replicas_have_and_the_namespace_default_are_refused" {
  command = plan
  module {
    source = "../../modules/aws/iam"
  }

  variables {
    accounts  = { default = { read = ["arn:aws:s3:::data"] } }
    namespace = "default"
  }

  expect_failures = [var.accounts, var.namespace]
}
