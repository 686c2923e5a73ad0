#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Build the emulator of the host from the sources of QEMU, with the patches and the
# files of this directory.
#
#   emulator.sh build     $EMULATOR/qemu-system-aarch64
#   emulator.sh tree      $EMULATOR/tree only: the sources, and a commit per patch
#   emulator.sh refresh   the patches and files here := the commits of this tree
#
# The repository of the tree is $EMULATOR/git, as QEMU is built in another way in a
# directory with a .git: GIT_DIR=$EMULATOR/git git log.
#
# The Makefile of the lab sets the environment:
#
#   QEMU_SOURCE   archive with the sources of QEMU 10.0
#   QEMU_PYTHON   directory with modules of Python for its build, if the machine lacks
#                 them: meson 1.5 and pycotap
#   EMULATOR      the directory for all output
#   JOBS          how many compilers may run at once
#
# "series" lists the patches in order. A patch is the message of a commit, "---", and
# a diff. files/ has the files that QEMU does not have, whole, at their paths in QEMU.
# The first commit of the tree is QEMU as it is, and the second commit adds all of files/.
# A patch makes QEMU build and use the files that it needs.
#
# The commits are made in an index of their own, so that unchanged files keep their
# times and the build is incremental. Without changed inputs a build does nothing.
set -eu -o pipefail
# Commits are made in $(...), where an error must end the script
shopt -s inherit_errexit
here=$(cd "$(dirname "$0")" && pwd)
# The configuration of the user must not change a patch
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=Lab GIT_AUTHOR_EMAIL=lab@localhost
export GIT_COMMITTER_NAME=Lab GIT_COMMITTER_EMAIL=lab@localhost
export LC_ALL=C.UTF-8

die() {
	echo "${0##*/}: error: $*" >&2
	exit 1
}

: "${EMULATOR:?}"
tree=$EMULATOR/tree
objects=$EMULATOR/objects
binary=$EMULATOR/qemu-system-aarch64

git_() {
	git -C "$tree" --git-dir="$EMULATOR/git" --work-tree="$tree" \
		-c core.quotePath=false -c core.autocrlf=false \
		-c commit.gpgSign=false -c gc.auto=0 "$@"
}

patches() {
	sed -e '/^#/d' -e '/^$/d' "$here/series"
}

own_files() {
	(cd "$here/files" && find . -type f -printf '%P\n' | sort)
}

# A checksum of everything that makes the binary
inputs() {
	[ -f "${QEMU_SOURCE:-}" ] || die "QEMU_SOURCE is not an archive"
	{
		sha256sum <"$QEMU_SOURCE"
		cd "$here"
		sha256sum "${0##*/}" series
		patches | xargs -d '\n' -r sha256sum --
		own_files | (cd files && xargs -d '\n' sha256sum --)
	} | sha256sum | cut -d ' ' -f 1
}

unpack() {
	local sum

	sum=$(sha256sum <"$QEMU_SOURCE")
	[ "$(cat "$EMULATOR/base" 2>/dev/null)" != "$sum" ] || return 0
	echo "unpacking $QEMU_SOURCE"
	rm -rf "$tree" "$EMULATOR/git" "$objects" "$EMULATOR/base" "$EMULATOR/head"
	mkdir -p "$tree"
	tar -C "$tree" --strip-components=1 -xf "$QEMU_SOURCE"
	case $(cat "$tree/VERSION") in
	10.0.*)	;;
	*)	die "$QEMU_SOURCE has QEMU $(cat "$tree/VERSION"), the patches are for 10.0" ;;
	esac
	git --git-dir="$EMULATOR/git" init -q
	git_ config core.bare false
	git_ config core.worktree "$tree"
	# Neither compression nor a file for each object
	git_ config core.compression 0
	git_ -c core.bigFileThreshold=1 add -A --force
	git_ commit -q --no-verify -m "QEMU $(cat "$tree/VERSION")"
	git_ tag base
	echo "$sum" >"$EMULATOR/base"
}

# commit PARENT MESSAGE: from the index
commit() {
	git_ commit-tree "$(git_ write-tree)" -p "$1" <<<"$2"
}

commits() {
	local parent file patch

	parent=$(git_ rev-parse base)
	git_ read-tree "$parent"
	while IFS= read -r file; do
		echo "100644 $(git_ hash-object -w "$here/files/$file")	$file"
	done < <(own_files) | git_ update-index --add --index-info
	parent=$(commit "$parent" "Files that QEMU does not have")
	while IFS= read -r patch; do
		git_ apply --cached --whitespace=nowarn "$here/$patch" ||
			die "$patch does not apply to $(cat "$EMULATOR/tree/VERSION")"
		parent=$(commit "$parent" \
			"$(sed -e '/^---$/,$d' -e '1s/^Subject: //' "$here/$patch")")
	done < <(patches)
	echo "$parent"
}

checkout() {
	local head

	unpack
	if [ -n "$(git_ status --porcelain -uno)" ] ||
	   [ -f "$EMULATOR/head" -a \
	     "$(git_ rev-parse HEAD)" != "$(cat "$EMULATOR/head" 2>/dev/null)" ]; then
		die "$tree has changes: emulator.sh refresh keeps its commits," \
			"rm -r $EMULATOR loses them"
	fi
	head=$(GIT_INDEX_FILE=$EMULATOR/index commits)
	rm -f "$EMULATOR/index"
	git_ reset -q --hard "$head"
	echo "$head" >"$EMULATOR/head"
}

configure() {
	# Nothing that no scenario uses. The version must not depend on git.
	set -- --target-list=aarch64-softmmu --without-default-features \
		--without-default-devices --with-devices-aarch64=lab \
		--enable-tcg --enable-fdt=system --enable-trace-backends=log \
		--disable-docs --disable-tools --disable-guest-agent \
		--disable-werror --disable-install-blobs --disable-download \
		--with-pkgversion=lab --python=/usr/bin/python3
	[ "$(cat "$objects/configured" 2>/dev/null)" != "$*" ] || return 0
	rm -rf "$objects"
	mkdir -p "$objects"
	(cd "$objects" && "$tree/configure" "$@") >"$EMULATOR/configure.log" 2>&1 ||
		die "configure failed: $(grep -i -m1 error "$EMULATOR/configure.log" ||
			tail -1 "$EMULATOR/configure.log")"
	echo "$*" >"$objects/configured"
}

build() {
	local key

	key=$(inputs)
	[ "$(cat "$EMULATOR/key" 2>/dev/null)" != "$key" ] || [ ! -x "$binary" ] ||
		return 0
	mkdir -p "$EMULATOR"
	rm -f "$EMULATOR/key"
	checkout
	# The build runs meson again if a meson.build changes
	[ -z "${QEMU_PYTHON:-}" ] || export PYTHONPATH=$QEMU_PYTHON
	configure
	ninja -C "$objects" -j "${JOBS:-$(nproc)}" qemu-system-aarch64
	cp "$objects/qemu-system-aarch64" "$binary.tmp"
	mv "$binary.tmp" "$binary"
	echo "$key" >"$EMULATOR/key"
}

refresh() {
	local base own file subject name commit n=0

	[ -e "$EMULATOR/git" ] || die "there is no $EMULATOR/git"
	[ -z "$(git_ status --porcelain -uno)" ] || die "$tree has uncommitted changes"
	base=$(git_ rev-list --reverse base..HEAD | sed -n 1p)
	rm -f "$here"/[0-9]*.patch
	own=$(git_ diff --name-only base "$base")
	rm -rf "$here/files"
	while IFS= read -r file; do
		mkdir -p "$here/files/${file%/*}"
		git_ show "HEAD:$file" >"$here/files/$file"
	done <<<"$own"
	echo "# The patches, in this order" >"$here/series"
	for commit in $(git_ rev-list --reverse "$base..HEAD"); do
		n=$((n + 1))
		subject=$(git_ show -s --format=%s "$commit")
		name=$(printf '%04d-%s.patch' $((n * 10)) \
			"$(sed -e 's/[^A-Za-z0-9.]\+/-/g' -e 's/-$//' <<<"$subject" |
				cut -c 1-52)")
		{
			echo "Subject: $(git_ show -s --format=%B "$commit")"
			echo ---
			# Empty lines of context have no space, for checkpatch
			git_ -c diff.suppressBlankEmpty=true diff --no-ext-diff \
				--no-renames --no-color --full-index \
				--diff-algorithm=myers "$commit^" "$commit" -- . \
				$(sed 's/^/:(exclude)/' <<<"$own")
		} | sed '/^index [0-9a-f]*\.\./d' >"$here/$name"
		echo "$name" >>"$here/series"
	done
	git_ rev-parse HEAD >"$EMULATOR/head"
}

case ${1:-} in
build)	build ;;
tree)	mkdir -p "$EMULATOR"; checkout ;;
refresh) refresh ;;
*)	sed -n '3,/^[^#]/{/^[^#]/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
