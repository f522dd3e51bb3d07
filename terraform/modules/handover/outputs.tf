output "objects" {
  description = "Namespace, ServiceAccounts and the RoleBinding of developers, for `kubectl apply -f -`."
  value       = join("\n---\n", [for text in local.objects : yamlencode(jsondecode(text))])
}

output "overlay" {
  description = "The file that TRACKING_OVERLAY names: MLflow's pods have the account that may write artifacts."
  value       = yamlencode(local.overlay)
}

output "environment" {
  description = "Lines for the shell: export NAME='VALUE'."
  value       = join("", [for name, value in local.environment : "export ${name}='${value}'\n"])

  precondition {
    condition     = alltrue([for value in values(local.environment) : !strcontains(value, "'")])
    error_message = "No value may contain a quote: the shell would read what follows as a command."
  }
}

output "worker_settings" {
  description = "What an experiment adds, if its data are in the bucket."
  value       = yamlencode({ execution = { kubernetes = { pod = { serviceAccountName = var.worker_account } } } })
}
