# A repository for each image that winnow pushes: of workers, of MLflow's server, of routers, and one for each model.
locals {
  images = concat(["winnow-train", "winnow-tracking", "winnow-router"], [for name in var.deployments : "winnow-prod-${name}"])
}

resource "aws_ecr_repository" "this" {
  for_each = toset(local.images)

  name = "${var.prefix}/${each.key}"
  # `make build-train` pushes the same tag again. Pods name images by digest.
  image_tag_mutability = "MUTABLE"
  force_delete         = var.force_destroy

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  for_each = aws_ecr_repository.this

  repository = each.value.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Images whose tag moved on"
      selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = var.untagged_days }
      action       = { type = "expire" }
    }]
  })
}
