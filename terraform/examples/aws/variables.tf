variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region such as eu-central-1."
  }
}

variable "zones" {
  description = "Letters of the region's zones to use, two at least."
  type        = list(string)
  default     = ["a", "b"]
}

variable "name" {
  description = "Name of the cluster, and prefix of all else."
  type        = string
  default     = "winnow"
}

variable "buckets" {
  description = "Names of the buckets for artifacts and for data, which no other AWS account may have."
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

variable "deployments" {
  description = "Names of the models that will be served: each has a repository for its images."
  type        = set(string)
  default     = []
}

variable "api_cidrs" {
  description = "Networks from which people and CI reach the cluster's API, such as 203.0.113.0/24."
  type        = set(string)
  default     = []
}

variable "developers" {
  description = "ARNs of IAM roles that may use winnow in its namespace, and nothing else of the cluster."
  type        = set(string)
  default     = []
}

variable "pools" {
  description = "Groups of nodes: see modules/aws/eks."
  type = map(object({
    types   = list(string)
    min     = optional(number, 0)
    desired = number
    max     = number
    disk_gb = optional(number, 80)
    spot    = optional(bool, false)
    gpu     = optional(bool, false)
  }))
  default = {
    # Stack and replicas.
    main = { types = ["m7i.large"], min = 2, desired = 2, max = 4 }
    # Workers: a lost one returns its trial, so spot machines will do.
    workers = { types = ["c7i.xlarge", "c6i.xlarge", "c7a.xlarge"], desired = 1, max = 8, spot = true }
  }
}
