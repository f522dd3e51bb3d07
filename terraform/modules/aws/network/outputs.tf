output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Subnets of nodes and pods, in the order of `zones`."
  value       = [for zone in var.zones : aws_subnet.private[zone].id]

  # Nodes reach the cluster's public services through these.
  depends_on = [aws_route_table_association.private]
}
