output "name" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.bucket
}

output "arn" {
  description = "What policies call it."
  value       = aws_s3_bucket.this.arn
}
