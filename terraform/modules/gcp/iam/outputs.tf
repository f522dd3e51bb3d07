output "members" {
  description = "How IAM names each ServiceAccount."
  value       = { for name in keys(var.accounts) : name => "${local.subjects}/${name}" }
}
