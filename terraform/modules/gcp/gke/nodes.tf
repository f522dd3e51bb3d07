# Which of the types each zone has, so that a plan says so, and not a pool after ten minutes.
data "google_compute_machine_types" "zone" {
  for_each = { for pair in setproduct(keys(var.pools), var.zones) : "${pair[0]}/${pair[1]}" => { type = var.pools[pair[0]].type, zone = pair[1] } }

  project = var.project
  zone    = each.value.zone
  filter  = "name = \"${each.value.type}\""
}

# What a node may do: write logs and metrics. Module `registry` lets it pull.
resource "google_service_account" "node" {
  project      = var.project
  account_id   = "${var.name}-nodes"
  display_name = "Nodes of ${var.name}"
}

resource "google_project_iam_member" "node" {
  project = var.project
  role    = "roles/container.defaultNodeServiceAccount"
  member  = "serviceAccount:${google_service_account.node.email}"
}

resource "google_container_node_pool" "this" {
  for_each = var.pools

  name     = each.key
  project  = var.project
  cluster  = google_container_cluster.this.name
  location = local.location

  # In each zone; later GKE chooses.
  initial_node_count = ceil(each.value.min / length(var.zones))

  autoscaling {
    total_min_node_count = each.value.min
    total_max_node_count = each.value.max
    location_policy      = each.value.spot ? "ANY" : "BALANCED"
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  node_config {
    machine_type    = each.value.type
    image_type      = "COS_CONTAINERD"
    disk_size_gb    = each.value.disk_gb
    disk_type       = "pd-balanced"
    spot            = each.value.spot
    service_account = google_service_account.node.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels          = { pool = each.key }
    metadata        = { disable-legacy-endpoints = "true" }

    dynamic "guest_accelerator" {
      for_each = each.value.gpu == "" ? [] : [each.value.gpu]
      content {
        type  = guest_accelerator.value
        count = 1

        gpu_driver_installation_config {
          gpu_driver_version = "DEFAULT"
        }
      }
    }

    # Pods get the identity of their ServiceAccount, never that of the node.
    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  lifecycle {
    ignore_changes = [initial_node_count]

    precondition {
      condition     = alltrue([for zone in var.zones : length(data.google_compute_machine_types.zone["${each.key}/${zone}"].machine_types) > 0])
      error_message = "A zone of ${join(", ", var.zones)} has no machines of type ${each.value.type} (pool ${each.key}). Choose another type: gcloud compute machine-types list"
    }
  }

  depends_on = [google_project_iam_member.node]
}
