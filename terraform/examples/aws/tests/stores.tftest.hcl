# Buckets and repositories.
mock_provider "aws" {
  source = "./tests/mocks"
}

run "a_bucket_is_private_versioned_and_reached_by_tls_alone" {
  module {
    source = "../../modules/aws/bucket"
  }

  variables {
    name = "acme-data"
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls, aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls, aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "The bucket can be made public"
  }

  assert {
    condition     = [for one in jsondecode(aws_s3_bucket_policy.this.policy).Statement : [one.Effect, one.Condition]] == [["Deny", { Bool = { "aws:SecureTransport" = "false" } }]]
    error_message = "Another policy"
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled" && !aws_s3_bucket.this.force_destroy
    error_message = "Objects can be lost"
  }
}

run "a_name_that_s3_refuses_is_refused" {
  command = plan
  module {
    source = "../../modules/aws/bucket"
  }

  variables {
    name = "Acme_Data"
  }

  expect_failures = [var.name]
}

run "each_image_has_a_repository" {
  command = plan
  module {
    source = "../../modules/aws/registry"
  }

  variables {
    prefix      = "winnow"
    deployments = ["churn", "weather"]
  }

  assert {
    condition = [for one in aws_ecr_repository.this : one.name] == [
      "winnow/winnow-prod-churn", "winnow/winnow-prod-weather", "winnow/winnow-router", "winnow/winnow-tracking", "winnow/winnow-train",
    ]
    error_message = "Other repositories"
  }
}

run "a_repository_of_a_wrong_name_is_refused" {
  command = plan
  module {
    source = "../../modules/aws/registry"
  }

  variables {
    prefix      = "winnow"
    deployments = ["Churn!"]
  }

  expect_failures = [var.deployments]
}
