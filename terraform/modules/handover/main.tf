# What winnow's verbs need to know of a cluster, as text. No provider, and nothing that is secret.
locals {
  accounts = [var.stack_account, var.worker_account]

  namespace = {
    apiVersion = "v1"
    kind       = "Namespace"
    metadata = {
      name   = var.namespace
      labels = { "pod-security.kubernetes.io/enforce" = "restricted" }
    }
  }

  service_accounts = [for name in local.accounts : {
    apiVersion = "v1"
    kind       = "ServiceAccount"
    metadata   = { name = name, namespace = var.namespace }
    # Pods get the cloud's credentials, and no access to the cluster's API.
    automountServiceAccountToken = false
  }]

  bindings = length(var.developers) == 0 ? [] : [jsonencode({
    apiVersion = "rbac.authorization.k8s.io/v1"
    kind       = "RoleBinding"
    metadata   = { name = "winnow-developers", namespace = var.namespace }
    roleRef    = { apiGroup = "rbac.authorization.k8s.io", kind = "Role", name = "winnow" }
    subjects   = [for one in var.developers : merge(one, { apiGroup = "rbac.authorization.k8s.io" })]
  })]

  storage_classes = var.storage_class == null ? [] : [jsonencode({
    apiVersion           = "storage.k8s.io/v1"
    kind                 = "StorageClass"
    metadata             = { name = "winnow" }
    provisioner          = var.storage_class.provisioner
    parameters           = var.storage_class.parameters
    volumeBindingMode    = "WaitForFirstConsumer"
    allowVolumeExpansion = true
  })]

  objects = concat(
    local.storage_classes,
    [jsonencode(local.namespace)],
    [for account in local.service_accounts : jsonencode(account)],
    local.bindings,
  )

  overlay = {
    apiVersion = "apps/v1"
    kind       = "Deployment"
    metadata   = { name = "winnow-mlflow" }
    spec       = { template = { spec = { serviceAccountName = var.stack_account } } }
  }

  environment = merge(
    {
      WINNOW_NAMESPACE             = var.namespace
      WINNOW_REGISTRY              = var.registry
      MLFLOW_ARTIFACTS_DESTINATION = var.artifacts
      WORKER_EGRESS                = join(",", concat(["public"], var.identity_networks))
      TRACKING_OVERLAY             = "winnow-overlay.yaml"
    },
    var.storage_class == null ? {} : { STORAGE_CLASS = "winnow" },
    var.settings,
  )
}
