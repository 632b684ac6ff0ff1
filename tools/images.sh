#!/usr/bin/env bash
# The images without an engine and without an image registry: buildah makes the Dockerfile's three targets.
#
#   tools/images.sh [BASE]    BASE: a folder with a root file system that stands in for the official Python image;
#                             debootstrap makes it, of Debian with Debian's Python, if it is not there (build/base)
#
# Needs root, and Debian's packages buildah and debootstrap. PIP_FOLDERS names folders that pip's settings speak of.
# Who takes over next: tests/chart/run_images.py starts what was built.
set -euo pipefail
cd "$(dirname "$0")/.."

BASE=$(realpath --canonicalize-missing "${1:-build/base}")
PYTHON_IMAGE=localhost/agentpool-base
export BUILDAH_ISOLATION=chroot # no namespaces: it works in a container too

# As on the host: which certificates are trusted, and where pip finds packages.
shared=()
for path in /etc/ssl/certs /etc/pip.conf ${PIP_FOLDERS:-}; do
  if [ -e "$path" ]; then shared+=(--volume "$path:$path:ro"); fi
done

if [ ! -e "$BASE" ]; then
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$BASE"
fi
container=$(buildah from scratch)
buildah add --quiet "$container" "$BASE" / >/dev/null
buildah config --env PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin "$container"
buildah commit --quiet --rm "$container" "$PYTHON_IMAGE" >/dev/null

for part in operator worker gateway; do
  buildah build --pull-never --layers=false --target "$part" --build-arg "PYTHON_IMAGE=$PYTHON_IMAGE" \
    --build-arg "REVISION=$(git rev-parse HEAD)" "${shared[@]}" --tag "localhost/agentpool-$part" .
done
buildah images
