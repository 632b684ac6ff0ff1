#!/usr/bin/env bash
# A real cluster on this machine: kind, images, and the chart's tests against it, docs/install.md's commands among them.
#
#   tools/kind.sh          make the cluster if it is not there, test, install with the trial Redis; it stays for a look
#                          (what a run before left in it, and every AgentPool, goes first)
#   tools/kind.sh down     delete the cluster
#
# Needs docker, kind, kubectl, helm, and the virtual environment (PYTHON, default .venv/bin/python).
set -euo pipefail
cd "$(dirname "$0")/.."

CLUSTER=${CLUSTER:-agentpool}
TAG=$(sed -n 's/^appVersion: *//p' charts/agentpool/Chart.yaml) # so that the page's commands need no values of their own
PYTHON=${PYTHON:-.venv/bin/python}
REDIS=$CLUSTER-redis # a container beside the cluster, reachable from here and from pods
export KUBECONFIG=${KUBECONFIG_FILE:-${TMPDIR:-/tmp}/kind-$CLUSTER.kubeconfig}

need() {
  for tool in "$@"; do
    command -v "$tool" >/dev/null || { echo "make kind needs $tool, which is not on PATH" >&2; exit 1; }
  done
}

fresh() {
  helm uninstall agentpool --namespace agentpool --ignore-not-found --wait
  helm uninstall agentpool --namespace agents --ignore-not-found --wait
  kubectl delete customresourcedefinition agentpools.agentpool.dev --ignore-not-found
  kubectl delete namespace agentpool agents research --ignore-not-found
}

if [ "${1:-up}" = down ]; then
  need docker kind
  docker rm --force "$REDIS" >/dev/null 2>&1 || true
  kind delete cluster --name "$CLUSTER"
  rm -f "$KUBECONFIG"
  exit
fi

need docker kind kubectl helm "$PYTHON"

if ! kind get clusters | grep -qx "$CLUSTER"; then
  kind create cluster --name "$CLUSTER" --wait 120s
fi
kind get kubeconfig --name "$CLUSTER" >"$KUBECONFIG"

TAG=$TAG REVISION=$(git rev-parse HEAD) docker buildx bake --load operator worker
kind load docker-image "agentpool-operator:$TAG" "agentpool-worker:$TAG" --name "$CLUSTER"

docker inspect "$REDIS" >/dev/null 2>&1 ||
  docker run --detach --name "$REDIS" --network kind docker.io/valkey/valkey:9.1.2-alpine >/dev/null
address=$(docker inspect --format '{{(index .NetworkSettings.Networks "kind").IPAddress}}' "$REDIS")

export AGENTPOOL_TEST_REDIS_URL="redis://$address:6379/0"

# Each begins on a cluster that knows nothing of AgentPool: the namespaces' names are those of the page.
for tests in test_install_page test_release; do
  fresh
  "$PYTHON" -m pytest "tests/chart/$tests.py" --kubeconfig "$KUBECONFIG"
done

# Once more with the trial Redis, which the page's commands leave out.
fresh
helm install agentpool charts/agentpool --namespace agentpool --create-namespace --wait --timeout 5m
helm test agentpool --namespace agentpool --logs --timeout 5m
echo "export KUBECONFIG=$KUBECONFIG"
