# Applied for real: the module has no provider.
variables {
  namespace         = "team-a"
  registry          = "registry.example.com/winnow"
  artifacts         = "gs://artifacts/mlflow"
  stack_account     = "winnow-stack"
  worker_account    = "winnow-workers"
  identity_networks = ["169.254.169.254/32"]
}

run "the_cluster_s_own_storage_class_and_no_developers" {
  assert {
    condition     = [for text in split("\n---\n", output.objects) : yamldecode(text).kind] == ["Namespace", "ServiceAccount", "ServiceAccount"]
    error_message = "Other objects: ${output.objects}"
  }

  assert {
    condition     = !strcontains(output.environment, "STORAGE_CLASS")
    error_message = "A storage class that was not made: ${output.environment}"
  }

  assert {
    condition     = yamldecode(output.worker_settings) == { execution = { kubernetes = { pod = { serviceAccountName = "winnow-workers" } } } }
    error_message = "Other settings: ${output.worker_settings}"
  }
}

run "developers_have_winnow_s_role_in_the_namespace" {
  variables {
    developers = [{ kind = "User", name = "ana@example.com" }]
  }

  assert {
    condition = [for text in split("\n---\n", output.objects) : yamldecode(text) if yamldecode(text).kind == "RoleBinding"] == [{
      apiVersion = "rbac.authorization.k8s.io/v1"
      kind       = "RoleBinding"
      metadata   = { name = "winnow-developers", namespace = "team-a" }
      roleRef    = { apiGroup = "rbac.authorization.k8s.io", kind = "Role", name = "winnow" }
      subjects   = [{ apiGroup = "rbac.authorization.k8s.io", kind = "User", name = "ana@example.com" }]
    }]
    error_message = "Another binding: ${output.objects}"
  }
}

run "a_value_that_would_end_the_shell_s_quotes_is_refused" {
  command = plan

  variables {
    settings = { MLFLOW_WORKERS = "2'; rm -rf ~; '" }
  }

  expect_failures = [output.environment]
}
