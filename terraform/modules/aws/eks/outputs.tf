output "name" {
  description = "Name of the cluster."
  value       = aws_eks_cluster.this.name
}

output "arn" {
  description = "What policies call the cluster."
  value       = aws_eks_cluster.this.arn
}
