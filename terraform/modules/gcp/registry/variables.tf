variable "name" {
  description = "Name of the repository, which holds all images."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,61}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 63 lower-case letters, digits and '-', starts with a letter and does not end with '-'."
  }
}

variable "project" {
  description = "Id of the project."
  type        = string
}

variable "location" {
  description = "Region of the repository; that of the cluster, or pulling costs."
  type        = string
}

variable "readers" {
  description = "Members that may pull, by any name: {nodes = \"serviceAccount:…\"}."
  type        = map(string)
}

variable "untagged_days" {
  description = "Days after which an image without a tag is deleted. Pods name images by digest: keep it longer than a rollback may be wanted."
  type        = number
  default     = 90

  validation {
    condition     = var.untagged_days >= 1 && floor(var.untagged_days) == var.untagged_days
    error_message = "Whole days, at least 1."
  }
}
