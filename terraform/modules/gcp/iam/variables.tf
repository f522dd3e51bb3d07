variable "project" {
  description = "Id of the project."
  type        = string
}

variable "project_number" {
  description = "Number of the project, by which IAM names its pods' identities."
  type        = string
}

variable "workload_pool" {
  description = "Pool of the identities of pods: PROJECT.svc.id.goog."
  type        = string
}

variable "location" {
  description = "Region of the repository."
  type        = string
}

variable "repository" {
  description = "Name of the repository that builders push to."
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
    ServiceAccounts of the namespace, and the buckets that pods with them may `read` or `write`. Writing includes reading.
    Replicas have none: their image contains the model, and their NetworkPolicy lets them reach nothing.
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
    error_message = "An account that may do nothing needs no grant: leave it out."
  }
}

variable "builders" {
  description = "People and CI that build images and prepare data: user:ana@example.com, serviceAccount:ci@PROJECT.iam.gserviceaccount.com."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.builders : can(regex("^(user|group|serviceAccount|principal|principalSet):.+", member))])
    error_message = "Members as IAM writes them: user:…, group:…, serviceAccount:…, principal:…; not allUsers."
  }
}

variable "builder_buckets" {
  description = "Buckets that builders may write."
  type        = list(string)
  default     = []
}

variable "developers" {
  description = "People and CI that use winnow in its namespace: user:… or serviceAccount:…"
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.developers : can(regex("^(user|serviceAccount):.+@.+", member))])
    error_message = "user:… or serviceAccount:…. A group is known to a cluster only with Google Groups for RBAC, which this module does not set up."
  }
}
