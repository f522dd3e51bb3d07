output "kubeconfig_command" {
  description = "Writes the cluster into kubeconfig. It holds no token: `aws` makes one for each call."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${module.eks.name}"
}

output "login_command" {
  description = "Logs Docker in to the registry, for twelve hours."
  value       = "aws ecr get-login-password --region ${var.region} | docker login --username AWS --password-stdin ${module.registry.host}"
}

output "objects" {
  description = "For `kubectl apply -f -`: StorageClass, namespace, ServiceAccounts and the RoleBinding of developers."
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
  description = "The bucket for data: data.source: s3://BUCKET/…"
  value       = "s3://${module.bucket["data"].name}"
}

output "builder_policy_arn" {
  description = "The IAM policy of people and CI that build images and prepare data."
  value       = module.iam.builder_policy_arn
}
