#!/usr/bin/env bash
# Builds an image: graspgen:cpu or graspgen:gpu, each also tagged with the version.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: docker/build.sh [cpu|gpu] [--dry-run] [-- ARGUMENTS OF docker build]

  cpu        slim image, the default
  gpu        with CUDA, for trials on an NVIDIA GPU
  --dry-run  print the command instead
TEXT
}

fail() {
    echo "build.sh: $1" >&2
    exit 2
}

kind=cpu
dry_run=false
while [ $# -gt 0 ]; do
    case "$1" in
        cpu | gpu) kind=$1 ;;
        --dry-run | --dry_run) dry_run=true ;;
        -h | --help)
            usage
            exit 0
            ;;
        --)
            shift
            break
            ;;
        *) fail "$1 is not known; --help shows what there is" ;;
    esac
    shift
done

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
file=$root/docker/Dockerfile
[ "$kind" = cpu ] || file=$file.$kind
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$root/src/graspgen_cli/__init__.py")
command=(docker build --file "$file" --tag "graspgen:$kind" --tag "graspgen:$version-$kind" "$@" "$root")

if [ "$dry_run" = true ]; then
    printf '%q ' "${command[@]}"
    echo
    exit 0
fi
command -v docker >/dev/null || fail "docker is not installed; see https://docs.docker.com/engine/install/"
exec env DOCKER_BUILDKIT=1 "${command[@]}"
