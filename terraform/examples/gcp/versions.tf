terraform {
  required_version = ">= 1.9"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.50"
    }
  }
}

provider "google" {
  project = var.project
  region  = local.region

  default_labels = { project = var.name, managed-by = "terraform" }
}
