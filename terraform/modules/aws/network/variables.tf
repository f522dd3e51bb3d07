variable "name" {
  description = "Name of the network, and the prefix of all that is in it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,37}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 39 lower-case letters, digits and '-', starts with a letter and does not end with '-'."
  }
}

variable "zones" {
  description = "Availability zones, at least two of one region: [\"eu-central-1a\", \"eu-central-1b\"]."
  type        = list(string)

  validation {
    condition     = length(distinct(var.zones)) == length(var.zones) && length(var.zones) >= 2 && length(var.zones) <= 4
    error_message = "EKS wants two different zones at least; this network has room for four."
  }

  validation {
    condition     = length(distinct([for zone in var.zones : replace(zone, "/[a-z]$/", "")])) == 1
    error_message = "The zones are of one region."
  }
}

variable "cidr" {
  description = "Private addresses of the network, a /16 to /20. Choose others than those of networks that it will be connected to."
  type        = string
  default     = "10.80.0.0/16"

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "A network such as 10.80.0.0/16, with a prefix of 16 to 20: every pod has an address of its own."
  }

  validation {
    condition     = can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.cidr))
    error_message = "Private addresses (RFC 1918). Winnow's NetworkPolicy keeps workers from these, and lets them reach all others."
  }
}

variable "nat_per_zone" {
  description = "A NAT gateway in each zone. With one for all, nodes lose the internet where its zone fails."
  type        = bool
  default     = false
}
