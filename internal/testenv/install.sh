#!/usr/bin/env bash
# Brings what the tests need and a checkout does not have: the languages of the
# quickstart's services, and the nginx of an example, from Debian's packages.
# What is there already stays as it is.
set -euo pipefail

export PATH="$PATH:/usr/sbin:/sbin" # nginx is there, and not on everybody's path

packages=()
need() { # COMMAND PACKAGE
	command -v "$1" >/dev/null || packages+=("$2")
}
need curl curl
need nginx nginx
need node nodejs
need php php-cli
php -m 2>/dev/null | grep -qx curl || packages+=(php-curl)
need python3 python3
need slowhttptest slowhttptest
[ "${#packages[@]}" = 0 ] && exit 0

install=(apt-get install -y -qq --no-install-recommends --no-upgrade --no-remove "${packages[@]}")
if ! command -v apt-get >/dev/null; then
	echo "testenv: the tests need what Debian has in: ${packages[*]}; there is no apt-get here, install it in another way" >&2
	exit 1
fi
sudo=()
if [ "$(id -u)" != 0 ]; then
	sudo=(sudo -n)
	if ! sudo -n true 2>/dev/null; then
		echo "testenv: the tests need packages that only root can install: ${install[*]}" >&2
		exit 1
	fi
fi

# nginx is needed as a program, not as a service on port 80: while this file
# says so, Debian's packages start nothing.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap '"${sudo[@]}" rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
	"${sudo[@]}" chmod 755 "$policy"
fi
echo "testenv: installing ${packages[*]}"
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"
