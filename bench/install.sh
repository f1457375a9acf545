#!/usr/bin/env bash
# Brings the proxies that the benchmark compares the sidecar with, from Debian's
# packages: nginx (which is the backend as well), HAProxy and Caddy. What is
# there already stays as it is.
set -euo pipefail

export PATH="$PATH:/usr/sbin:/sbin" # where servers are, and not on everybody's path

packages=()
need() { # COMMAND PACKAGE
	command -v "$1" >/dev/null || packages+=("$2")
}
need nginx nginx
need haproxy haproxy
need caddy caddy
[ "${#packages[@]}" = 0 ] && exit 0

install=(apt-get install -y -qq --no-install-recommends --no-upgrade --no-remove "${packages[@]}")
if ! command -v apt-get >/dev/null; then
	echo "bench: needed is what Debian has in: ${packages[*]}; there is no apt-get here, install it in another way, or leave peers out with -only" >&2
	exit 1
fi
sudo=()
if [ "$(id -u)" != 0 ]; then
	sudo=(sudo -n)
	if ! sudo -n true 2>/dev/null; then
		echo "bench: needed are packages that only root can install: ${install[*]}" >&2
		exit 1
	fi
fi

# They are needed as programs, not as services on ports 80 and 2019: while this
# file says so, Debian's packages start nothing.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap '"${sudo[@]}" rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
	"${sudo[@]}" chmod 755 "$policy"
fi
echo "bench: installing ${packages[*]}"
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"
