# Programs from Debian's packages, for scripts that source this file: they name
# what they need, and what is missing is installed. What is there already stays
# as it is.

export PATH="$PATH:/usr/sbin:/sbin" # where servers are, and not on everybody's path

missing=()

# need COMMAND PACKAGE: the command has to be there.
need() {
	command -v "$1" >/dev/null || missing+=("$2")
}

# install_missing WHO HINT: installs what need has found missing. WHO goes before
# each message; HINT is what can be done where nothing can be installed.
install_missing() {
	[ "${#missing[@]}" = 0 ] && return 0
	local install=(apt-get install -y -qq --no-install-recommends --no-upgrade --no-remove "${missing[@]}")
	if ! command -v apt-get >/dev/null; then
		echo "$1: needed is what Debian has in: ${missing[*]}; there is no apt-get here, $2" >&2
		return 1
	fi
	sudo=()
	if [ "$(id -u)" != 0 ]; then
		sudo=(sudo -n)
		if ! sudo -n true 2>/dev/null; then
			echo "$1: needed are packages that only root can install: ${install[*]}" >&2
			return 1
		fi
	fi
	# They are needed as programs, not as services on port 80: while this file
	# says so, Debian's packages start nothing.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		trap '"${sudo[@]}" rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
		"${sudo[@]}" chmod 755 "$policy"
	fi
	echo "$1: installing ${missing[*]}"
	"${sudo[@]}" apt-get update -qq
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"
}
