# The images of AgentPool: `docker buildx bake` builds all three targets, operator, worker and gateway.
# Each result holds an interpreter and one virtual environment, nothing that builds, and runs as a plain user.

# A tag may move to another image; the digest does not. CONTRIBUTING.md says how it is renewed.
ARG PYTHON_IMAGE=docker.io/library/python:3.13.11-slim-bookworm@sha256:20080e807bfc404f8450b185cf0fc95d553462673598549613735f70a5b4d5d0

# What all builds share: the source, and an empty environment.
FROM ${PYTHON_IMAGE} AS source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY core core
COPY operator operator
COPY worker worker
COPY gateway gateway
COPY local local
COPY crds crds
COPY examples examples
COPY tools/slim_kubernetes.py tools/slim_kubernetes.py
RUN python3 -m venv --without-pip /opt/agentpool

# One build for each target, with only what it imports.
FROM source AS build-operator
RUN python3 -m pip --python /opt/agentpool/bin/python3 install --constraint constraints.txt '.[operator]' \
 && python3 tools/slim_kubernetes.py /opt/agentpool/lib \
 && python3 -m compileall -q /opt/agentpool/lib

FROM source AS build-worker
RUN python3 -m pip --python /opt/agentpool/bin/python3 install --constraint constraints.txt '.[worker,cli]' \
 && python3 -m compileall -q /opt/agentpool/lib

FROM source AS build-gateway
RUN python3 -m pip --python /opt/agentpool/bin/python3 install --constraint constraints.txt '.[gateway]' \
 && python3 tools/slim_kubernetes.py /opt/agentpool/lib \
 && python3 -m compileall -q /opt/agentpool/lib

# What all results share: the user, and where the command is. 65532 is the chart's runAsUser.
FROM ${PYTHON_IMAGE} AS runtime
ARG PYTHON_IMAGE
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="AgentPool" \
      org.opencontainers.image.description="Queue, slots and just enough workers for AI agents on Kubernetes." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 65532 agentpool \
 && useradd --uid 65532 --gid 65532 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin agentpool
ENV PATH=/opt/agentpool/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

# Servers install nothing, so the installer goes.
FROM runtime AS server
RUN python3 -m pip uninstall --yes --quiet --root-user-action=ignore --break-system-packages pip
USER 65532:65532

FROM server AS operator
COPY --from=build-operator /opt/agentpool /opt/agentpool
EXPOSE 8081
ENTRYPOINT ["agentpool"]
CMD ["operator"]

FROM server AS gateway
COPY --from=build-gateway /opt/agentpool /opt/agentpool
EXPOSE 8080
ENTRYPOINT ["agentpool"]
CMD ["gateway"]

# The base of users' images: `FROM agentpool-worker`, add packages with
# `python3 -m pip --python /opt/agentpool/bin/python3 install …` as root, put the App in /app, be user 65532 again.
FROM runtime AS worker
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build-worker /opt/agentpool /opt/agentpool
COPY --chmod=755 tools/container-agentpool.sh /opt/container/bin/agentpool
ENV PATH=/opt/container/bin:$PATH PYTHONPATH=/app
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["agentpool"]
CMD ["worker"]
