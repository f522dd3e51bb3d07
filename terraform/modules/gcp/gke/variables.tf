variable "project" {
  description = "Id of the project."
  type        = string
}

variable "name" {
  description = "Name of the cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 24 lower-case letters, digits and '-', starts with a letter and does not end with '-': NAME-nodes is a service account, of 30 at most."
  }
}

variable "zones" {
  description = "Zones of the nodes. With one, the control plane is there too; with several of a region, it is in the region."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 1 && length(distinct([for zone in var.zones : replace(zone, "/-[a-z]$/", "")])) == 1
    error_message = "One or more zones of one region: [\"europe-west3-a\", \"europe-west3-b\"]."
  }
}

variable "network_id" {
  description = "The network."
  type        = string
}

variable "subnetwork_id" {
  description = "The subnet, with the secondary ranges `pods` and `services`."
  type        = string
}

variable "control_plane_cidr" {
  description = "A /28 of private addresses for the control plane, which overlaps with no other."
  type        = string
  default     = "172.16.80.0/28"

  validation {
    condition     = can(cidrhost(var.control_plane_cidr, 0)) && endswith(var.control_plane_cidr, "/28")
    error_message = "A /28, such as 172.16.80.0/28."
  }
}

variable "api_cidrs" {
  description = "Networks that may reach the cluster's API from outside: your office, your VPN, CI. Empty: from the network itself alone."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.api_cidrs : can(cidrhost(cidr, 0)) && cidr != "0.0.0.0/0"])
    error_message = "Networks such as 203.0.113.0/24; not 0.0.0.0/0, which is everyone."
  }
}

variable "pools" {
  description = "Groups of nodes, whose size GKE chooses between `min` and `max`. `gpu` is the type of the GPUs, of which each node has one."
  type = map(object({
    type    = string
    min     = optional(number, 0)
    max     = number
    disk_gb = optional(number, 80)
    spot    = optional(bool, false)
    gpu     = optional(string, "")
  }))

  validation {
    condition     = alltrue([for pool in var.pools : pool.min >= 0 && pool.min <= pool.max && pool.max >= 1])
    error_message = "In each pool, 0 <= min <= max, and max is at least 1."
  }

  validation {
    condition     = anytrue([for pool in var.pools : pool.min >= 1 && pool.gpu == "" && !pool.spot])
    error_message = "One pool has a node that is neither spot nor for GPUs alone: DNS, Postgres and MLflow run there."
  }

  validation {
    condition     = alltrue([for name, pool in var.pools : can(regex("^[a-z][a-z0-9-]{0,19}$", name)) && pool.disk_gb >= 30])
    error_message = "A pool's name has 1 to 20 lower-case letters, digits and '-', and a node 30 GB for images."
  }
}

variable "deletion_protection" {
  description = "Whether `terraform destroy` is refused until this is applied as false."
  type        = bool
  default     = true
}
