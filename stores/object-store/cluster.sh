#!/usr/bin/env bash
# Runs the tests of S3 against a real store: AWS, MinIO, Ceph's radosgw, or another with conditional puts. By hand, and never by `.ci`.
#
#   RINGPOOL_S3_BUCKET=pages AWS_ENDPOINT=http://10.0.0.5:9000 AWS_ALLOW_HTTP=true AWS_REGION=us-east-1 \
#   AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... ./cluster.sh [rounds]
#
# Without AWS_ENDPOINT it is AWS. The objects are under ringpool-test-*, and what a failed run leaves there can be removed. A store that ignores
# If-Match on a put fails `two_clients_of_s3_fence_each_other`, sooner or later: give it some rounds (10 by default), and kill a node meanwhile.
set -euo pipefail
cd "$(dirname "$0")"
: "${RINGPOOL_S3_BUCKET:?the name of a bucket for tests}"
for round in $(seq "${1:-10}"); do
    printf '==> round %s\n' "$round"
    cargo test --release --test s3
done
