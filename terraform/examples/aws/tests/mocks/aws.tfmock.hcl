# What AWS would answer, as far as plans depend on it.
mock_data "aws_ec2_instance_type_offerings" {
  defaults = {
    instance_types = ["m7i.large", "c7i.xlarge", "c6i.xlarge", "c7a.xlarge", "g5.xlarge"]
  }
}

mock_data "aws_partition" {
  defaults = { partition = "aws" }
}

mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
}

mock_resource "aws_iam_policy" {
  defaults = { arn = "arn:aws:iam::111122223333:policy/mock" }
}

mock_resource "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-central-1:111122223333:key/mock" }
}

mock_resource "aws_eks_cluster" {
  defaults = { arn = "arn:aws:eks:eu-central-1:111122223333:cluster/winnow" }
}

mock_resource "aws_launch_template" {
  defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
}

mock_resource "aws_ecr_repository" {
  defaults = {
    arn            = "arn:aws:ecr:eu-central-1:111122223333:repository/winnow/mock"
    repository_url = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/winnow/winnow-train"
  }
}
