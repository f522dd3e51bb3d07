variable "name" {
  description = "Name of the cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,37}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 39 lower-case letters, digits and '-', starts with a letter and does not end with '-'."
  }
}

variable "kubernetes_version" {
  description = "Version of Kubernetes. Winnow needs 1.31 or newer; EKS supports a version for 14 months, and then upgrades the cluster."
  type        = string
  default     = "1.34"

  validation {
    condition     = can(regex("^1\\.[0-9]+$", var.kubernetes_version)) && try(tonumber(split(".", var.kubernetes_version)[1]) >= 31, false)
    error_message = "1.31 or newer, written as \"1.34\"."
  }
}

variable "subnet_ids" {
  description = "Private subnets of the nodes, in two zones at least."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "EKS wants subnets in two zones at least."
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

variable "developers" {
  description = "ARNs of IAM roles whose holders are the group `winnow-developers` in the cluster, which the hand-over binds to winnow's Role."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.developers : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/", arn))])
    error_message = "ARNs of roles or users: arn:aws:iam::111122223333:role/data-science."
  }
}

variable "pools" {
  description = <<-EOT
    Groups of nodes. `desired` is where a group starts: sizes that an autoscaler or a person sets later stay.
    `gpu` takes the image with NVIDIA's driver, and a taint that only pods with GPUs tolerate.
  EOT
  type = map(object({
    types   = list(string)
    min     = optional(number, 0)
    desired = number
    max     = number
    disk_gb = optional(number, 80)
    spot    = optional(bool, false)
    gpu     = optional(bool, false)
  }))

  validation {
    condition     = alltrue([for pool in var.pools : pool.min >= 0 && pool.min <= pool.desired && pool.desired <= pool.max && pool.max >= 1])
    error_message = "In each pool, 0 <= min <= desired <= max, and max is at least 1."
  }

  validation {
    condition     = anytrue([for pool in var.pools : pool.desired >= 1 && !pool.gpu && !pool.spot])
    error_message = "One pool has a node that is neither spot nor for GPUs alone: DNS, Postgres and MLflow run there."
  }

  validation {
    condition     = alltrue([for name, pool in var.pools : can(regex("^[a-z][a-z0-9-]{0,19}$", name)) && length(pool.types) >= 1 && pool.disk_gb >= 30])
    error_message = "A pool's name has 1 to 20 lower-case letters, digits and '-'; it has at least one type, and 30 GB for images."
  }
}
