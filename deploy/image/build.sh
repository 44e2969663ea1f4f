#!/usr/bin/env bash
# Builds the image as root, without Docker and without any base image: debootstrap makes Debian, buildah the rest.
#   deploy/image/build.sh CONTEXT [OPTIONS of buildah build, such as --tag neuroq --target server]
# Needs: apt install buildah debootstrap. STORAGE is where images go (default: buildah's own place).
set -euo pipefail
context=$1
shift
base=localhost/debian:bookworm-slim
export BUILDAH_ISOLATION=chroot
buildah=(buildah ${STORAGE:+--root "$STORAGE" --runroot "$STORAGE/run"})

if ! "${buildah[@]}" inspect --type image "$base" > /dev/null 2>&1; then
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  debootstrap --variant=minbase --include=ca-certificates bookworm "$root" > /dev/null
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  container=$("${buildah[@]}" from scratch)
  "${buildah[@]}" add --quiet "$container" "$root" /
  "${buildah[@]}" commit --quiet --rm "$container" "$base"
fi
# Docker's format: OCI's has no health check. One layer a stage.
"${buildah[@]}" build --format docker --layers=false --build-arg BASE_IMAGE="$base" "$@" "$context"
