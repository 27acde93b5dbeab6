#!/usr/bin/env bash
# The playbook by hand: its own commands, one after another, as a person pastes them who has every name ready.
#   bench/by_hand.sh release            staging, canary, smoke tests, the bake, all users (playbook 3 and 5)
#   bench/by_hand.sh rollback           `update-traffic` for each service, and nothing else (playbook 4, scenario 2, step 2)
#   bench/by_hand.sh rollback-checked   with steps 1 and 3: which revision was before, and whether the service is ready
# Environment: SERVICES and their URL_ethixai_backend=…, TAG, OLD_ethixai_backend=… (revisions), PROJECT, STAGING, REGION,
# PERCENT, BAKE_S, PROMETHEUS, SLACK, and what gcloud needs. It prints `SECONDS NAME` as each part is reached.
set -euo pipefail

mark() { echo "$(date +%s.%N) $1"; }
of() { local name="$1_${2//-/_}"; echo "${!name}"; }
here() { echo --project="$1" --region="$REGION" --quiet; }

ready() { curl -fsS "$1/health/readiness" >/dev/null; }

login() {
  curl -fsS -X POST "$1/api/auth/login" -H "Content-Type: application/json" -H "X-Smoke-Test: 1" \
    -d "{\"email\":\"$EMAIL\",\"password\":\"TestPass123\"}"
}

smoke() { # playbook 5.1 to 5.4, at one service's address
  local service=$1 url=$2 token id report state
  ready "$url"
  if [[ $service == ethixai-backend ]]; then
    EMAIL="smoke-test-$(date +%s%N)@example.com"
    curl -fsS -X POST "$url/api/auth/register" -H "Content-Type: application/json" -H "X-Smoke-Test: 1" \
      -d "{\"email\":\"$EMAIL\",\"password\":\"TestPass123\"}" >/dev/null
    token=$(login "$url" | jq -er .token)
    id=$(curl -fsS -X POST "$url/api/datasets/upload" -H "Authorization: Bearer $token" -H "X-Smoke-Test: 1" \
      -F "file=@$SAMPLE" -F "datasetName=smoke-test-dataset" | jq -er .datasetId)
    report=$(curl -fsS -X POST "$url/api/analyze" -H "Authorization: Bearer $token" -H "Content-Type: application/json" \
      -H "X-Smoke-Test: 1" -d "{\"datasetId\":\"$id\",\"targetColumn\":\"outcome\",\"sensitiveAttributes\":[\"gender\"]}" |
      jq -er .reportId)
    for _ in {1..30}; do
      state=$(curl -fsS "$url/api/reports/$report/status" -H "Authorization: Bearer $token" | jq -er .status)
      [[ $state == completed ]] && break
      [[ $state == failed ]] && { echo "the analysis failed" >&2; exit 1; }
      sleep 2
    done
  fi
  [[ $(curl -fsS "$url/metrics") == *http_requests_total* ]]  # `grep -q` closes the pipe on a long page, and curl fails
}

healthy() { # playbook 3, step 2: error rate and p95 of the canary
  local query
  for query in "sum(rate(http_requests_total{status=~\"5..\",revision=\"$1\"}[20s])) / sum(rate(http_requests_total{revision=\"$1\"}[20s]))" \
    "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{revision=\"$1\"}[20s])))"; do
    curl -fsS -G "$PROMETHEUS/api/v1/query" --data-urlencode "query=$query" | jq -er .status >/dev/null
  done
}

say() { curl -fsS -X POST "$SLACK/chat.postMessage" -H "Authorization: Bearer $SLACK_TOKEN" \
  -H "Content-Type: application/json" -d "{\"channel\":\"C0RELEASES\",\"text\":\"$1\"}" >/dev/null; }

release() {
  declare -A canary
  local service
  say "Production release starting"
  for service in $SERVICES; do
    gcloud run deploy "$service" $(here "$STAGING") --image="ghcr.io/geoaziz/$service:$TAG" >&2
    smoke "$service" "$(of STAGING_URL "$service")"
  done
  for service in $SERVICES; do
    gcloud run deploy "$service" $(here "$PROJECT") --image="ghcr.io/geoaziz/$service:$TAG" --no-traffic --tag=canary >&2
    smoke "$service" "$(gcloud run services describe "$service" $(here "$PROJECT") --format=json |
      jq -er '.status.traffic[] | select(.tag == "canary") | .url')"
  done
  for service in $SERVICES; do
    gcloud run services update-traffic "$service" $(here "$PROJECT") --to-tags="canary=$PERCENT" >&2
  done
  mark bake
  sleep "$BAKE_S"
  for service in $SERVICES; do
    canary[$service]=$(gcloud run services describe "$service" $(here "$PROJECT") --format="value(status.latestReadyRevisionName)")
    healthy "${canary[$service]}"
  done
  mark healthy
  for service in $SERVICES; do
    gcloud run services update-traffic "$service" $(here "$PROJECT") --to-revisions="${canary[$service]}=100" >&2
  done
  mark promoted
  for service in $SERVICES; do smoke "$service" "$(of URL "$service")"; done
  say "Production release complete"
}

rollback() {
  local service
  for service in $SERVICES; do
    gcloud run services update-traffic "$service" $(here "$PROJECT") --to-revisions="$(of OLD "$service")=100" >&2
  done
}

rollback-checked() {
  local service
  for service in $SERVICES; do
    gcloud run revisions list --service="$service" $(here "$PROJECT") \
      --format="table(metadata.name,status.conditions.lastTransitionTime,status.conditions.status)" >&2
  done
  rollback
  mark back
  for service in $SERVICES; do ready "$(of URL "$service")"; done
  say "PRODUCTION ROLLBACK EXECUTED"
}

mark begin
"$1"
mark end
