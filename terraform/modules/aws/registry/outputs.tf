output "registry" {
  description = "WINNOW_REGISTRY."
  value       = replace(aws_ecr_repository.this["winnow-train"].repository_url, "//winnow-train$/", "")
}

output "host" {
  description = "What `docker login` wants."
  value       = split("/", aws_ecr_repository.this["winnow-train"].repository_url)[0]
}

output "repository_arns" {
  description = "What policies call the repositories."
  value       = [for repository in aws_ecr_repository.this : repository.arn]
}
