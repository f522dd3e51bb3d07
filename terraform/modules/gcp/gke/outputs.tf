output "name" {
  description = "Name of the cluster."
  value       = google_container_cluster.this.name
}

output "location" {
  description = "Its zone or region."
  value       = local.location
}

output "node_account" {
  description = "Email of the nodes' service account."
  value       = google_service_account.node.email
}

output "workload_pool" {
  description = "Pool of the identities of pods, which exists with the cluster."
  value       = google_container_cluster.this.workload_identity_config[0].workload_pool
}
