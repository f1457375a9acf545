#!/usr/bin/env bash
# Brings what the tests need and a checkout does not have: the languages of the
# quickstart's services, the nginx of an example and clients of the field, from
# Debian's packages and npm's.
# What is there already stays as it is.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/debian.sh"

need curl curl
need h2load nghttp2-client
need nginx nginx
need node nodejs
need npm npm
need openssl openssl
need php php-cli
php -m 2>/dev/null | grep -qx curl || missing+=(php-curl)
need python3 python3
need slowhttptest slowhttptest
install_missing testenv "install it in another way"

# The packages of the Node programs, in the versions of their lock file.
node="$(dirname -- "${BASH_SOURCE[0]}")/../../sidecar/conformance/peers/node"
if [ "$node/package-lock.json" -nt "$node/node_modules/.installed" ]; then
	echo "testenv: installing the packages of sidecar/conformance/peers/node"
	(cd "$node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.installed)
fi
