# Google's side of the playbook for one project: the worker's account, what it may do on each service, which secrets it
# reads, the metrics sidecar's configuration, the remote registry, and a sign-in without a key. Services themselves are not
# managed here: releases change them.
#   terraform init && terraform apply -var project=ethixai-production -var 'services=["ethixai-backend"]' ...

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0, < 8.0"
    }
  }
}

variable "project" {
  description = "The Google Cloud project of this environment."
  type        = string
}

variable "region" {
  description = "Where the services run."
  type        = string
  default     = "us-east1"
}

variable "services" {
  description = "Names of the Cloud Run services that releases may change."
  type        = set(string)
}

variable "runtime_accounts" {
  description = "E-mail addresses of the accounts that the services run as. Cloud Run wants actAs on them for each new revision."
  type        = set(string)
}

variable "service_secrets" {
  description = "Secrets that the services use. The worker sees whether they are enabled and when they expire, not their values."
  type        = set(string)
  default     = []
}

variable "worker_secrets" {
  description = "Secrets that the worker itself reads: tokens of GitHub, Slack, PagerDuty, Sentry, the registry, and the signing key."
  type        = set(string)
  default     = []
}

variable "worker_host_account" {
  description = "The account of the VM that runs the worker, where it is not the one made here. Empty: use the one made here."
  type        = string
  default     = ""
}

variable "collector_config" {
  description = "The secret that holds the metrics sidecar's configuration, deploy/run-monitoring.yaml. Empty where another tool stores it."
  type        = string
  default     = "run-gmp-config"
}

variable "worker_identity" {
  description = "How a host outside Google Cloud signs in as the worker without a key: the issuer of its OIDC tokens, their audience, and their subject."
  type = object({
    issuer   = string
    audience = string
    subject  = string
  })
  default = null
}

variable "worker_pod" {
  description = "NAMESPACE/ACCOUNT of the Kubernetes service account that the worker runs as in GKE of this project. Empty outside GKE."
  type        = string
  default     = ""
}

variable "images" {
  description = "The remote repository that hands on images of ghcr.io. Empty where another project has it."
  type        = string
  default     = "ghcr"
}

variable "image_readers" {
  description = "Cloud Run service agents of other projects that pull from this repository."
  type        = set(string)
  default     = []
}

provider "google" {
  project = var.project
  region  = var.region
}

resource "google_project_service" "used" {
  for_each = toset([
    "run.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "secretmanager.googleapis.com",
    "artifactregistry.googleapis.com",
    "iamcredentials.googleapis.com",
    "sts.googleapis.com",
  ])
  service            = each.value
  disable_on_destroy = false
}

resource "google_service_account" "worker" {
  account_id   = "playbook-worker"
  display_name = "EthixAI playbook worker"
}

locals {
  worker = "serviceAccount:${var.worker_host_account != "" ? var.worker_host_account : google_service_account.worker.email}"
}

# Read and update, no delete and no change of who may call a service. Granted on each service, not on the project.
resource "google_project_iam_custom_role" "releaser" {
  role_id = "playbookReleaser"
  title   = "Playbook releaser"
  permissions = [
    "run.services.get",
    "run.services.update",
    "run.revisions.get",
    "run.revisions.list",
    "run.operations.get",
  ]
}

resource "google_cloud_run_v2_service_iam_member" "releaser" {
  for_each = var.services
  location = var.region
  name     = each.value
  role     = google_project_iam_custom_role.releaser.id
  member   = local.worker
}

# Operations and lists of revisions belong to the location, not to one service.
resource "google_project_iam_custom_role" "reader" {
  role_id     = "playbookReader"
  title       = "Playbook reader"
  permissions = ["run.revisions.list", "run.operations.get"]
}

resource "google_project_iam_member" "worker" {
  for_each = {
    reader     = google_project_iam_custom_role.reader.id
    logs       = "roles/logging.viewer"
    monitoring = "roles/monitoring.viewer"
  }
  project = var.project
  role    = each.value
  member  = local.worker
}

resource "google_service_account_iam_member" "act_as" {
  for_each           = var.runtime_accounts
  service_account_id = "projects/${var.project}/serviceAccounts/${each.value}"
  role               = "roles/iam.serviceAccountUser"
  member             = local.worker
}

resource "google_secret_manager_secret_iam_member" "state" {
  for_each  = var.service_secrets
  secret_id = each.value
  role      = "roles/secretmanager.viewer"
  member    = local.worker
}

resource "google_secret_manager_secret_iam_member" "value" {
  for_each  = var.worker_secrets
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = local.worker
}

# The sidecar reads its configuration as the service's own account, and writes metrics as that.
resource "google_secret_manager_secret" "collector" {
  count     = var.collector_config == "" ? 0 : 1
  secret_id = var.collector_config
  replication {
    auto {}
  }
  depends_on = [google_project_service.used]
}

resource "google_secret_manager_secret_version" "collector" {
  count       = var.collector_config == "" ? 0 : 1
  secret      = google_secret_manager_secret.collector[0].id
  secret_data = file("${path.module}/../run-monitoring.yaml")
}

resource "google_secret_manager_secret_iam_member" "collector" {
  for_each  = var.collector_config == "" ? [] : var.runtime_accounts
  secret_id = google_secret_manager_secret.collector[0].id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${each.value}"
}

resource "google_project_iam_member" "metrics" {
  for_each = var.runtime_accounts
  project  = var.project
  role     = "roles/monitoring.metricWriter"
  member   = "serviceAccount:${each.value}"
}

# A host outside Google Cloud, or a pod, is the worker without a key that could be copied.
resource "google_iam_workload_identity_pool" "worker" {
  count                     = var.worker_identity == null ? 0 : 1
  workload_identity_pool_id = "playbook-worker"
  display_name              = "EthixAI playbook worker"
  depends_on                = [google_project_service.used]
}

resource "google_iam_workload_identity_pool_provider" "worker" {
  count                              = var.worker_identity == null ? 0 : 1
  workload_identity_pool_id          = google_iam_workload_identity_pool.worker[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "host"
  attribute_mapping                  = { "google.subject" = "assertion.sub" }
  attribute_condition                = "assertion.sub == '${var.worker_identity.subject}'"
  oidc {
    issuer_uri        = var.worker_identity.issuer
    allowed_audiences = [var.worker_identity.audience]
  }
}

resource "google_service_account_iam_member" "worker_identity" {
  count              = var.worker_identity == null ? 0 : 1
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principal://iam.googleapis.com/${google_iam_workload_identity_pool.worker[0].name}/subject/${var.worker_identity.subject}"
}

resource "google_service_account_iam_member" "worker_pod" {
  count              = var.worker_pod == "" ? 0 : 1
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[${var.worker_pod}]"
}

resource "google_artifact_registry_repository" "images" {
  count         = var.images == "" ? 0 : 1
  location      = var.region
  repository_id = var.images
  format        = "DOCKER"
  mode          = "REMOTE_REPOSITORY"
  remote_repository_config {
    docker_repository {
      custom_repository {
        uri = "https://ghcr.io"
      }
    }
  }
  depends_on = [google_project_service.used]
}

resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each   = var.images == "" ? [] : var.image_readers
  location   = var.region
  repository = google_artifact_registry_repository.images[0].repository_id
  role       = "roles/artifactregistry.reader"
  member     = each.value
}

output "identity_provider" {
  description = "For gcloud iam workload-identity-pools create-cred-config, whose file GOOGLE_APPLICATION_CREDENTIALS names on the worker's host."
  value       = one(google_iam_workload_identity_pool_provider.worker[*].name)
}

output "worker" {
  description = "The account to attach to the worker's host."
  value       = google_service_account.worker.email
}
