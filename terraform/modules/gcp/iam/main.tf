# What pods may do, by Workload Identity Federation: grants to the ServiceAccounts themselves. No key exists that could be
# lost, no account of Google's stands between, and the ServiceAccounts need no annotation.
locals {
  subjects = "principal://iam.googleapis.com/projects/${var.project_number}/locations/global/workloadIdentityPools/${var.workload_pool}/subject/ns/${var.namespace}/sa"

  grants = merge(flatten([for name, account in var.accounts : [
    { for index, bucket in account.read : "${name}/read/${index}" => { member = "${local.subjects}/${name}", bucket = bucket, role = "roles/storage.objectViewer" } },
    { for index, bucket in account.write : "${name}/write/${index}" => { member = "${local.subjects}/${name}", bucket = bucket, role = "roles/storage.objectUser" } },
  ]])...)

  builders = { for pair in setproduct(var.builders, range(length(var.builder_buckets))) : "${pair[0]}/${pair[1]}" => {
    member = pair[0], bucket = var.builder_buckets[pair[1]], role = "roles/storage.objectUser"
  } }
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = merge(local.grants, local.builders)

  bucket = each.value.bucket
  role   = each.value.role
  member = each.value.member
}

resource "google_artifact_registry_repository_iam_member" "builder" {
  for_each = var.builders

  project    = var.project
  location   = var.location
  repository = var.repository
  role       = "roles/artifactregistry.writer"
  member     = each.key
}

# To find the cluster. What they may do in it, the RoleBinding of the hand-over says.
resource "google_project_iam_member" "viewer" {
  for_each = setunion(var.builders, var.developers)

  project = var.project
  role    = "roles/container.clusterViewer"
  member  = each.key
}
