output "role_arns" {
  description = "The role of each ServiceAccount."
  value       = { for name, role in aws_iam_role.account : name => role.arn }
}

output "builder_policy_arn" {
  description = "The policy of those who build images and prepare data."
  value       = aws_iam_policy.builder.arn
}
