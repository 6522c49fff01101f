#!/bin/sh
# A base for the training image from Debian's packages, for machines that reach no registry of images:
#   tools/debian_base.sh debian-python:base
#   ONWING_BUILD_OPTIONS="--build-arg BASE_IMAGE=debian-python:base" onwing up --docker
# It needs mmdebstrap and Docker, or Podman named in LOCALCLOUD_ENGINE. Where containers have no network of their own,
# add `--network host` to the options.
set -eu
name="${1:?usage: debian_base.sh NAME}"
archive="$(mktemp --suffix=.tar)"
trap 'rm -f "$archive"' EXIT
# The machine's own certificates, so that pip trusts in the build what it trusts here.
mmdebstrap --quiet --variant=minbase --include=python3,python3-pip,ca-certificates \
    --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/' \
    "${DEBIAN_SUITE:-bookworm}" "$archive"
"${LOCALCLOUD_ENGINE:-docker}" import "$archive" "$name"
