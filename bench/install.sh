#!/usr/bin/env bash
# Brings the proxies that the benchmark compares the sidecar with, from Debian's
# packages: nginx (which is a backend as well), HAProxy and Caddy. What is there
# already stays as it is.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../internal/testenv/debian.sh"

need nginx nginx
need haproxy haproxy
need caddy caddy
install_missing bench "install it in another way, or leave peers out with -only"
