#!/bin/sh
# Starts TensorFlow Serving's image with a published version, sends the version's
# example requests, and stops. It needs Docker and curl; no test of this project
# runs it.
#
#   sh examples/serving/smoke.sh exports/clicks [IMAGE_TAG]
set -eu
output="$(cd "$1" && pwd)"
tag="${2:-latest}"
name="$(basename "$output")"
version="$(ls "$output" | grep -E '^[0-9]+$' | sort -n | tail -1)"
container="$(docker run --detach --rm --publish 127.0.0.1::8501 \
  --volume "$output:/models/$name:ro" --env "MODEL_NAME=$name" \
  "tensorflow/serving:$tag")"
trap 'docker stop "$container" > /dev/null' EXIT
address="$(docker port "$container" 8501/tcp | head -1)"
for attempt in $(seq 60); do
  if curl -fsS "http://$address/v1/models/$name" 2> /dev/null |
      grep -q '"AVAILABLE"'; then
    sh "$output/$version/examples/curl.sh" "http://$address"
    printf '\n%s: version %s responded\n' "$name" "$version"
    exit 0
  fi
  sleep 1
done
docker logs "$container" >&2
echo "version $version was not available after 60 s" >&2
exit 1
