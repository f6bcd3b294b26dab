#!/usr/bin/env bash
# Runs a command in a container, with the three folders at places that stay the same in every container.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: docker/run.sh [--grasp_gen_code DIR] [--grasp_dataset DIR] [--object_dataset DIR]
                     [--gpus WHICH] [--image NAME] [--dry-run] [-- COMMAND]

  --grasp_gen_code DIR   GraspGen checkout, at /grasp_gen_code
  --grasp_dataset DIR    folder of all output, at /grasp_dataset
  --object_dataset DIR   folder of the meshes, at /object_dataset
  --gpus WHICH           all, 2, or device=0, as docker run takes it; default: none
  --image NAME           default: graspgen:cpu
  --dry-run              print the command instead
  COMMAND                default: bash

Each folder must exist; its place is in the container's environment as GRASP_GEN_CODE_DIR, GRASP_DATASET_DIR and OBJECT_DATASET_DIR,
which graspgen and GraspGen's tools read. The command runs as you, so the files are yours.
TEXT
}

fail() {
    echo "run.sh: $1" >&2
    exit 2
}

# A field of --mount, which docker reads as a line of CSV.
field() {
    local text="$1=$2"
    case "$text" in
        *[\",]*) text="\"${text//\"/\"\"}\"" ;;
    esac
    printf '%s' "$text"
}

options=()

# mount FLAG FOLDER TARGET VARIABLE
mount() {
    [ -n "$2" ] || fail "$1 needs a folder"
    [ -e "$2" ] || fail "$1: $2: no such folder; make it first, or name another"
    [ -d "$2" ] || fail "$1: $2: is not a folder"
    local folder
    folder=$(cd -- "$2" && pwd -P)
    case "$folder" in
        *$'\n'*) fail "$1: a folder with a line break in its name cannot be mounted" ;;
    esac
    options+=(--mount "type=bind,$(field source "$folder"),target=$3" --env "$4=$3")
}

image=graspgen:cpu
gpus=
dry_run=false
while [ $# -gt 0 ]; do
    # --image=NAME is --image NAME; dashes are as good as underscores.
    case "$1" in
        --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    flag=$1
    case "${flag//-/_}" in
        __dry_run) dry_run=true ;;
        __help | _h)
            usage
            exit 0
            ;;
        __)
            shift
            break
            ;;
        __grasp_gen_code | __grasp_dataset | __object_dataset | __gpus | __image)
            [ $# -ge 2 ] || fail "$flag needs a value; --help shows what there is"
            case "${flag//-/_}" in
                __grasp_gen_code) mount "$flag" "$2" /grasp_gen_code GRASP_GEN_CODE_DIR ;;
                __grasp_dataset) mount "$flag" "$2" /grasp_dataset GRASP_DATASET_DIR ;;
                __object_dataset) mount "$flag" "$2" /object_dataset OBJECT_DATASET_DIR ;;
                __gpus) gpus=$2 ;;
                __image) image=$2 ;;
            esac
            shift
            ;;
        *) fail "$flag is not known; --help shows what there is, and a command comes after --" ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- bash

# --init, so that Ctrl-C reaches the command; licences that the caller has accepted are accepted in the container as well.
command=(docker run --rm --init --user "$(id -u):$(id -g)" --env ACCEPT_EULA --env OMNI_KIT_ACCEPT_EULA)
if [ -t 0 ]; then
    command+=(--interactive --tty)
fi
if [ -n "$gpus" ]; then
    command+=(--gpus "$gpus")
fi
command+=(${options[@]+"${options[@]}"} "$image" "$@")

if [ "$dry_run" = true ]; then
    printf '%q ' "${command[@]}"
    echo
    exit 0
fi
command -v docker >/dev/null || fail "docker is not installed; see https://docs.docker.com/engine/install/"
exec "${command[@]}"
