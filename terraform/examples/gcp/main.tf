# A cluster for winnow on Google Cloud: docs/infrastructure.md walks through it, and says what it costs.
locals {
  region   = replace(var.zones[0], "/-[a-z]$/", "")
  services = toset(["artifactregistry.googleapis.com", "compute.googleapis.com", "container.googleapis.com", "iam.googleapis.com"])
}

data "google_project" "this" {
  project_id = var.project
}

resource "google_project_service" "this" {
  for_each = local.services

  project            = var.project
  service            = each.key
  disable_on_destroy = false
}

module "network" {
  source = "../../modules/gcp/network"

  name   = var.name
  region = local.region

  depends_on = [google_project_service.this]
}

module "gke" {
  source = "../../modules/gcp/gke"

  project             = var.project
  name                = var.name
  zones               = var.zones
  network_id          = module.network.network_id
  subnetwork_id       = module.network.subnetwork_id
  api_cidrs           = var.api_cidrs
  pools               = var.pools
  deletion_protection = var.deletion_protection
}

module "bucket" {
  source   = "../../modules/gcp/bucket"
  for_each = var.buckets

  project  = var.project
  name     = each.value
  location = local.region
}

module "registry" {
  source = "../../modules/gcp/registry"

  project  = var.project
  name     = var.name
  location = local.region
  readers  = { nodes = "serviceAccount:${module.gke.node_account}" }

  depends_on = [google_project_service.this]
}

module "iam" {
  source = "../../modules/gcp/iam"

  project        = var.project
  project_number = data.google_project.this.number
  workload_pool  = module.gke.workload_pool
  location       = local.region
  repository     = module.registry.name
  namespace      = var.namespace
  accounts = {
    winnow-stack   = { write = [module.bucket["artifacts"].name] }
    winnow-workers = { read = [module.bucket["data"].name] }
  }
  builders        = var.builders
  builder_buckets = [module.bucket["data"].name]
  developers      = var.developers
}

module "handover" {
  source = "../../modules/handover"

  namespace      = var.namespace
  registry       = module.registry.registry
  artifacts      = "gs://${module.bucket["artifacts"].name}/mlflow"
  stack_account  = "winnow-stack"
  worker_account = "winnow-workers"
  developers     = [for member in var.developers : { kind = "User", name = split(":", member)[1] }]
  # Where GKE's metadata server answers.
  identity_networks = ["169.254.169.254/32"]
}
