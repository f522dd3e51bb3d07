variable "name" {
  description = "Prefix of the roles and policies."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,37}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 39 lower-case letters, digits and '-', starts with a letter and does not end with '-'."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster."
  type        = string
}

variable "cluster_arn" {
  description = "What policies call the EKS cluster."
  type        = string
}

variable "namespace" {
  description = "Namespace of the stack, of workers and of replicas: WINNOW_NAMESPACE."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace)) && !contains(["default", "kube-system", "kube-public"], var.namespace)
    error_message = "A namespace of its own, of lower-case letters, digits and '-'; not `default` or one of the cluster's own."
  }
}

variable "accounts" {
  description = <<-EOT
    ServiceAccounts of the namespace, and the buckets (ARNs) that pods with them may `read` or `write`. Writing includes
    reading. Replicas have none: their image contains the model, and their NetworkPolicy lets them reach nothing.
  EOT
  type = map(object({
    read  = optional(list(string), [])
    write = optional(list(string), [])
  }))

  validation {
    condition     = alltrue([for name in keys(var.accounts) : can(regex("^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$", name)) && name != "default"])
    error_message = "Names of ServiceAccounts, 24 letters at most; not `default`, which all other pods have, replicas among them."
  }

  validation {
    condition     = alltrue([for account in var.accounts : length(account.read) + length(account.write) > 0])
    error_message = "An account that may do nothing needs no role: leave it out."
  }
}

variable "builder" {
  description = "What people and CI that build images and prepare data may push to and write: ARNs of repositories and buckets."
  type = object({
    repositories = list(string)
    buckets      = list(string)
  })
}
