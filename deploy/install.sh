#!/usr/bin/env bash
# Installs this checkout for production: the locked packages and the project itself, without what only rehearsals need.
#   deploy/install.sh [FOLDER]      the environment is made in FOLDER (default: .venv); a second run repairs or updates it
# The container image, the systemd units and CI install with this script.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
# What builds the project is pinned in the other lock, which holds the same versions and the tools.
build=$(mktemp)
awk '/^setuptools==/ {found = 1} found {print} found && !/\\$/ {exit}' requirements-dev.lock > "$build"
"$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$build"
rm "$build"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
"$venv/bin/python" -c 'import flows.release, flows.rollback, flows.recovery'
touch "$venv/.done"  # make deploy and make drain use this environment as it is
echo "installed in $venv"
