variable "prefix" {
  description = "First part of the repositories' names: what follows the host in WINNOW_REGISTRY."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,61}[a-z0-9]$", var.prefix))
    error_message = "The prefix has 3 to 63 lower-case letters, digits and '-', starts with a letter and does not end with '-'."
  }
}

variable "deployments" {
  description = "Names of the models to serve: `name` of each experiment. ECR wants a repository before the first push."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.deployments : can(regex("^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", name)) && length(name) <= 100])
    error_message = "Names of deployments as winnow writes them: lower-case letters, digits and '-', 100 at most; no 'winnow-prod-' before them."
  }
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

variable "force_destroy" {
  description = "Whether `terraform destroy` deletes repositories with images in them."
  type        = bool
  default     = false
}
