# The whole example, applied to a provider that answers without AWS.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  buckets     = { artifacts = "acme-artifacts", data = "acme-data" }
  deployments = ["churn"]
}

run "applies" {
  assert {
    condition     = output.environment == <<-EOT
      export AWS_DEFAULT_REGION='eu-central-1'
      export MLFLOW_ARTIFACTS_DESTINATION='s3://acme-artifacts/mlflow'
      export STORAGE_CLASS='winnow'
      export TRACKING_OVERLAY='winnow-overlay.yaml'
      export WINNOW_NAMESPACE='winnow'
      export WINNOW_REGISTRY='111122223333.dkr.ecr.eu-central-1.amazonaws.com/winnow'
      export WORKER_EGRESS='public,169.254.170.23/32'
    EOT
    error_message = "Another environment: ${output.environment}"
  }

  assert {
    condition     = output.kubeconfig_command == "aws eks update-kubeconfig --region eu-central-1 --name winnow"
    error_message = "Another command: ${output.kubeconfig_command}"
  }

  assert {
    condition     = output.login_command == "aws ecr get-login-password --region eu-central-1 | docker login --username AWS --password-stdin 111122223333.dkr.ecr.eu-central-1.amazonaws.com"
    error_message = "Another command: ${output.login_command}"
  }
}

run "one_bucket_for_models_and_data_and_a_city_as_region_are_refused" {
  command = plan

  variables {
    buckets = { artifacts = "acme", data = "acme" }
    region  = "Frankfurt"
  }

  expect_failures = [var.buckets, var.region]
}
