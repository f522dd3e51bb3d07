variable "project" {
  description = "Id of the project, which has a billing account."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "The id of a project, not its name or number: 6 to 30 lower-case letters, digits and '-'."
  }
}

variable "zones" {
  description = "Zones of the nodes, of one region. One is cheaper, several outlive one."
  type        = list(string)
  default     = ["europe-west3-a"]
}

variable "name" {
  description = "Name of the cluster, and prefix of all else."
  type        = string
  default     = "winnow"
}

variable "buckets" {
  description = "Names of the buckets for artifacts and for data, which no other project may have."
  type        = object({ artifacts = string, data = string })

  validation {
    condition     = var.buckets.artifacts != var.buckets.data
    error_message = "Two buckets: workers may read data, but not write models."
  }
}

variable "namespace" {
  description = "Namespace of the stack, of workers and of replicas."
  type        = string
  default     = "winnow"
}

variable "api_cidrs" {
  description = "Networks from which people and CI reach the cluster's API, such as 203.0.113.0/24."
  type        = set(string)
  default     = []
}

variable "builders" {
  description = "People and CI that build images and prepare data: user:ana@example.com."
  type        = set(string)
  default     = []
}

variable "developers" {
  description = "People and CI that may use winnow in its namespace, and nothing else of the cluster: user:ana@example.com."
  type        = set(string)
  default     = []
}

variable "pools" {
  description = "Groups of nodes: see modules/gcp/gke."
  type = map(object({
    type    = string
    min     = optional(number, 0)
    max     = number
    disk_gb = optional(number, 80)
    spot    = optional(bool, false)
    gpu     = optional(string, "")
  }))
  default = {
    # Stack and replicas.
    main = { type = "e2-standard-2", min = 2, max = 4 }
    # Workers: a lost one returns its trial, so spot machines will do.
    workers = { type = "c3-standard-4", max = 8, spot = true }
  }
}

variable "deletion_protection" {
  description = "Whether `terraform destroy` is refused until this is applied as false."
  type        = bool
  default     = true
}
