variable "name" {
  description = "Name of the bucket, which no other project may have."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.name)) && !startswith(var.name, "goog")
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits and '-', starts and ends with a letter or digit, and not with 'goog'."
  }
}

variable "project" {
  description = "Id of the project."
  type        = string
}

variable "location" {
  description = "Region of the bucket; that of the cluster, or reading costs."
  type        = string
}

variable "old_versions_days" {
  description = "Days for which a replaced or deleted object can be restored."
  type        = number
  default     = 30

  validation {
    condition     = var.old_versions_days >= 1 && floor(var.old_versions_days) == var.old_versions_days
    error_message = "Whole days, at least 1."
  }
}

variable "force_destroy" {
  description = "Whether `terraform destroy` deletes a bucket with objects in it."
  type        = bool
  default     = false
}
