variable "name" {
  description = "Name of the bucket, which no other AWS account may have."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.name))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits and '-', and starts and ends with a letter or digit."
  }
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
