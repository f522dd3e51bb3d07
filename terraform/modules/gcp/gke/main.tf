# A cluster whose people and pods have identities of Google's IAM: no certificate, token or key of it is in Terraform's state.
locals {
  region   = replace(var.zones[0], "/-[a-z]$/", "")
  location = length(var.zones) == 1 ? var.zones[0] : local.region
}

resource "google_container_cluster" "this" {
  name                = var.name
  project             = var.project
  location            = local.location
  node_locations      = length(var.zones) == 1 ? null : var.zones
  network             = var.network_id
  subnetwork          = var.subnetwork_id
  deletion_protection = var.deletion_protection

  # The pools below replace it.
  remove_default_node_pool = true
  initial_node_count       = 1

  # Dataplane V2: winnow's NetworkPolicies are enforced.
  datapath_provider     = "ADVANCED_DATAPATH"
  enable_shielded_nodes = true

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = length(var.api_cidrs) == 0
    master_ipv4_cidr_block  = var.control_plane_cidr
  }

  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.api_cidrs
      content {
        cidr_block = cidr_blocks.value
      }
    }
  }

  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }

  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }

  # For `serving.gateway`.
  gateway_api_config {
    channel = "CHANNEL_STANDARD"
  }

  release_channel {
    channel = "REGULAR"
  }

  # While the first pool is made: it has no other account.
  node_config {
    service_account = google_service_account.node.email

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  lifecycle {
    ignore_changes = [node_config]
  }
}
