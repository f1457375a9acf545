#!/usr/bin/env bash
# Brings what the tests need and a checkout does not have. Nothing is needed
# yet but Python 3, for the users service of the quickstart; without it the
# tests use its Go twin, and say so.
set -euo pipefail

if ! command -v python3 >/dev/null; then
	echo "testenv: there is no python3: the quickstart's users service runs as its Go twin instead" >&2
fi
