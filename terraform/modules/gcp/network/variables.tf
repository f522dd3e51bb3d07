variable "name" {
  description = "Name of the network, and the prefix of all that is in it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,37}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 39 lower-case letters, digits and '-', starts with a letter and does not end with '-'."
  }
}

variable "region" {
  description = "Region of the subnet: europe-west3."
  type        = string
}

variable "cidrs" {
  description = "Private addresses of nodes, pods and Services, which do not overlap. Each node takes a /24 of the pods'."
  type        = object({ nodes = string, pods = string, services = string })
  default     = { nodes = "10.80.0.0/20", pods = "10.84.0.0/14", services = "10.80.16.0/20" }

  validation {
    condition     = alltrue([for cidr in values(var.cidrs) : can(cidrhost(cidr, 0)) && can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", cidr))])
    error_message = "Private addresses (RFC 1918). Winnow's NetworkPolicy keeps workers from these, and lets them reach all others."
  }
}
