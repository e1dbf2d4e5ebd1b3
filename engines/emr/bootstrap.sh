#!/bin/bash
# Unpacks the archive on an instance of an EMR cluster, and nothing else: no package manager, no network but S3.
# Usage: bootstrap.sh s3://BUCKET/ARCHIVE.tar.gz SHA256 FOLDER
set -euo pipefail
archive=$1 sha256=$2 folder=$3
# EMR runs this as hadoop, who owns no disk.
mkdir -p "$folder" 2>/dev/null || { sudo mkdir -p "$folder" && sudo chown "$(id -un)" "$folder"; }
aws s3 cp --only-show-errors "$archive" "$folder/archive.tar.gz"
echo "$sha256  $folder/archive.tar.gz" | sha256sum --check --quiet
tar -xzf "$folder/archive.tar.gz" -C "$folder"
rm "$folder/archive.tar.gz"
"$folder/bin/python" --version
