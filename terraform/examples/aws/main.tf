# A cluster for winnow on AWS: docs/infrastructure.md walks through it, and says what it costs.
module "network" {
  source = "../../modules/aws/network"

  name  = var.name
  zones = [for letter in var.zones : "${var.region}${letter}"]
}

module "eks" {
  source = "../../modules/aws/eks"

  name       = var.name
  subnet_ids = module.network.private_subnet_ids
  api_cidrs  = var.api_cidrs
  developers = var.developers
  pools      = var.pools
}

module "bucket" {
  source   = "../../modules/aws/bucket"
  for_each = var.buckets

  name = each.value
}

module "registry" {
  source = "../../modules/aws/registry"

  prefix      = var.name
  deployments = var.deployments
}

module "iam" {
  source = "../../modules/aws/iam"

  name         = var.name
  cluster_name = module.eks.name
  cluster_arn  = module.eks.arn
  namespace    = var.namespace
  accounts = {
    winnow-stack   = { write = [module.bucket["artifacts"].arn] }
    winnow-workers = { read = [module.bucket["data"].arn] }
  }
  builder = {
    repositories = module.registry.repository_arns
    buckets      = [module.bucket["data"].arn]
  }
}

module "handover" {
  source = "../../modules/handover"

  namespace      = var.namespace
  registry       = module.registry.registry
  artifacts      = "s3://${module.bucket["artifacts"].name}/mlflow"
  stack_account  = "winnow-stack"
  worker_account = "winnow-workers"
  developers     = length(var.developers) == 0 ? [] : [{ kind = "Group", name = "winnow-developers" }]
  # Where the agent of Pod Identity answers.
  identity_networks = ["169.254.170.23/32"]
  settings          = { AWS_DEFAULT_REGION = var.region }
  storage_class     = { provisioner = "ebs.csi.aws.com", parameters = { type = "gp3", encrypted = "true" } }
}
