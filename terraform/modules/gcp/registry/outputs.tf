output "name" {
  description = "Name of the repository."
  value       = google_artifact_registry_repository.this.name
}

output "registry" {
  description = "WINNOW_REGISTRY."
  value       = "${var.location}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.this.repository_id}"
}

output "host" {
  description = "What `gcloud auth configure-docker` wants."
  value       = "${var.location}-docker.pkg.dev"
}
