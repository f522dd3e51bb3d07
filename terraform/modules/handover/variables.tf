variable "namespace" {
  description = "WINNOW_NAMESPACE."
  type        = string
}

variable "registry" {
  description = "WINNOW_REGISTRY."
  type        = string
}

variable "artifacts" {
  description = "Where MLflow keeps artifacts: s3://BUCKET/mlflow or gs://BUCKET/mlflow."
  type        = string

  validation {
    condition     = can(regex("^(s3|gs)://[a-z0-9][a-z0-9._-]+(/.*)?$", var.artifacts))
    error_message = "An address such as s3://my-bucket/mlflow or gs://my-bucket/mlflow."
  }
}

variable "stack_account" {
  description = "ServiceAccount of MLflow's server."
  type        = string
}

variable "worker_account" {
  description = "ServiceAccount of workers."
  type        = string
}

variable "developers" {
  description = "Who has winnow's Role (k8s/role.yaml) in the namespace: Groups and Users as the cluster knows them. Empty: administrators alone."
  type        = list(object({ kind = string, name = string }))
  default     = []

  validation {
    condition     = alltrue([for subject in var.developers : contains(["Group", "User"], subject.kind)])
    error_message = "The kind is Group or User."
  }
}

variable "identity_networks" {
  description = "Link-local addresses where pods get their identity's credentials, which winnow's NetworkPolicy would block."
  type        = list(string)
}

variable "settings" {
  description = "More variables of `make mlflow-init`."
  type        = map(string)
  default     = {}
}

variable "storage_class" {
  description = "A StorageClass to make, `winnow`, for Postgres' volume: its provisioner and parameters. Null: the cluster's default."
  type = object({
    provisioner = string
    parameters  = map(string)
  })
  default = null
}
