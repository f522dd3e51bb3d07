output "kubeconfig_command" {
  description = "Writes the cluster into kubeconfig. It holds no token: gke-gcloud-auth-plugin makes one for each call."
  value       = "gcloud container clusters get-credentials ${module.gke.name} --location ${module.gke.location} --project ${var.project}"
}

output "login_command" {
  description = "Lets Docker log in to the registry by `gcloud`."
  value       = "gcloud auth configure-docker ${module.registry.host}"
}

output "objects" {
  description = "For `kubectl apply -f -`: namespace, ServiceAccounts and the RoleBinding of developers."
  value       = module.handover.objects
}

output "overlay" {
  description = "The file winnow-overlay.yaml, which TRACKING_OVERLAY names."
  value       = module.handover.overlay
}

output "environment" {
  description = "WINNOW_NAMESPACE, WINNOW_REGISTRY and the stack's settings, as lines for the shell."
  value       = module.handover.environment
}

output "worker_settings" {
  description = "Lines for an experiment whose data are in the bucket for data."
  value       = module.handover.worker_settings
}

output "data" {
  description = "The bucket for data: data.source: gs://BUCKET/…"
  value       = "gs://${module.bucket["data"].name}"
}
