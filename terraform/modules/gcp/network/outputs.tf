output "network_id" {
  description = "The network."
  value       = google_compute_network.this.id
}

output "subnetwork_id" {
  description = "The subnet of nodes, with the ranges `pods` and `services`."
  value       = google_compute_subnetwork.this.id

  # Nodes pull public images through it.
  depends_on = [google_compute_router_nat.this]
}
